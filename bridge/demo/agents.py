"""One host's agent, played: each line of a trace becomes what the agent would publish for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from uuid import uuid4

from bridge import __version__
from bridge.demo.domains import Known, after, missed, named
from bridge.demo.trace import (
    Connected,
    Disconnected,
    Iteration,
    JobCompleted,
    JobGone,
    LifecycleEvent,
    Line,
    Listed,
    Looked,
)
from bridge.mqtt.messages import Publication
from bridge.wire import messages as wire
from bridge.wire import vocabulary
from bridge.wire.topics import Topics


@dataclass(slots=True)
class PlayedAgent:
    """One host's agent: turns each line of a trace into the messages that the agent would publish for it."""

    host: str
    topics: Topics = field(default_factory=Topics)
    epoch: str = field(default_factory=lambda: uuid4().hex)
    driver: str = "QEMU"
    libvirt: str = "9.0.0"
    sequence: int = 0
    connected: bool = False
    has_looked: bool = False
    known: dict[str, Known] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    undefines_source: bool = False
    """Whether a migration takes the definition away with it (`--undefinesource`): no event tells."""

    def tell(self, line: Line, stamp_s: float) -> list[Publication]:
        """The messages for one line. `stamp_s` is when the agent received it, in seconds since the epoch."""
        match line:
            case Connected(domains=domains):
                self.connected = True
                return [self.status(stamp_s), *self._compare(domains, stamp_s, again=True)]
            case Disconnected():
                self.connected = False
                return [self.status(stamp_s)]
            case Looked(domains=domains):
                return self._compare(domains, stamp_s)
            case LifecycleEvent():
                return self._lifecycle_and_state(line, stamp_s)
            case Iteration(uuid=uuid, number=number):
                return [self._event(uuid, "migration_iteration", {"iteration": number}, stamp_s)]
            case JobCompleted(uuid=uuid, params=params):
                shown = dict(params)
                if isinstance(shown.get("operation"), int):
                    shown["operation"] = vocabulary.operation_name(shown["operation"])
                return [self._event(uuid, "job_completed", shown, stamp_s)]
            case JobGone(uuid=uuid):
                gone = {"operation": "migration_out"}
                return [self._event(uuid, "job_failed", gone, stamp_s, origin="poll")]

    def status(self, stamp_s: float, *, state: str = "online") -> Publication:
        """The agent's word about itself, `online` or `offline`."""
        data = wire.HostStatus.model_validate(
            {
                "host": self.host,
                "state": state,
                "epoch": self.epoch,
                "version": __version__,
                "libvirt": {
                    "connected": self.connected,
                    "uri": "qemu:///system",
                    "hypervisor_version": self.libvirt,
                }
                if state == "online"
                else None,
                "last_sequence": self.sequence,
            }
        )
        payload = wire.build(
            wire.HOST_STATUS,
            id=f"{self.epoch}-status-{uuid4().hex}",
            source=wire.host_source(self.host),
            time=wire.stamp(stamp_s),
            data=data,
        )
        return Publication(
            self.topics.host_status(self.host), payload, retain=True, content_type=wire.CONTENT_TYPE
        )

    def _lifecycle_and_state(self, line: LifecycleEvent, stamp_s: float) -> list[Publication]:
        event = vocabulary.lifecycle_name(line.event_code)
        detail = vocabulary.detail_name(line.event_code, line.detail_code)
        known = after(self.known.get(line.uuid), event, detail, line.name, line.id)
        if self.undefines_source and (event, detail) == ("stopped", "migrated"):
            known = None
        told = self._lifecycle(line.uuid, line.name, line.id, (line.event_code, line.detail_code), stamp_s)
        return [told, *self._learn(line.uuid, known, stamp_s)]

    def _learn(self, uuid: str, known: Known | None, stamp_s: float) -> list[Publication]:
        if known is None:
            had = self.known.pop(uuid, None)
            return [Publication(self.topics.state(self.host, uuid), b"", retain=True)] if had else []
        self.known[uuid] = known
        self.names[uuid] = known.name
        return [self._state(uuid, known, stamp_s)]

    def _compare(
        self, domains: tuple[Listed, ...], stamp_s: float, *, again: bool = False
    ) -> list[Publication]:
        """The states that changed, or `again` all, and the resync events that tell how."""
        found = {domain.uuid: self._named(domain) for domain in domains}
        said: list[Publication] = []
        for uuid in {**self.known, **found}:
            was, now = self.known.get(uuid), found.get(uuid)
            said += [
                self._lifecycle(uuid, one.name, one.id, one.codes, stamp_s, origin="resync")
                for one in (missed(uuid, was, now) if self.has_looked else ())
            ]
            if now != was or again:
                said += self._learn(uuid, now, stamp_s)
        self.has_looked = True
        return said

    def _named(self, domain: Listed) -> Known:
        was = self.known.get(domain.uuid)
        persistent = (
            domain.persistent if domain.persistent is not None else was is not None and was.persistent
        )
        known = named(domain.name, domain.id, domain.state_code, domain.reason_code, persistent=persistent)
        arriving = was is not None and was.incoming and known.state == "paused" and known.reason != "user"
        return replace(known, incoming=arriving)

    def _lifecycle(
        self,
        uuid: str,
        name: str,
        domain_id: int | None,
        codes: tuple[int, int],
        stamp_s: float,
        *,
        origin: wire.Origin = "event",
    ) -> Publication:
        self.names[uuid] = name
        event = vocabulary.lifecycle_name(codes[0])
        data = wire.Lifecycle(
            host=self.host,
            driver=self.driver,
            domain=wire.Domain(uuid=uuid, name=name, id=domain_id),
            event=event,
            event_code=codes[0],
            detail=vocabulary.detail_name(*codes),
            detail_code=codes[1],
            origin=origin,
        )
        return self._numbered(
            wire.LIFECYCLE, self.topics.lifecycle(self.host, uuid, event), uuid, data, stamp_s
        )

    def _event(
        self, uuid: str, name: str, params: Mapping[str, object], stamp_s: float, *, origin: str = "event"
    ) -> Publication:
        known = self.known.get(uuid)
        data = wire.DomainEvent.model_validate(
            {
                "host": self.host,
                "driver": self.driver,
                "domain": {
                    "uuid": uuid,
                    "name": self.names.get(uuid, ""),
                    "id": known.id if known else None,
                },
                "event": name,
                "origin": origin,
                "params": dict(params),
            }
        )
        return self._numbered(wire.EVENT, self.topics.event(self.host, uuid, name), uuid, data, stamp_s)

    def _numbered(
        self, kind: wire.Kind, topic: str, uuid: str, data: wire.Model, stamp_s: float
    ) -> Publication:
        self.sequence += 1
        payload = wire.build(
            kind,
            id=wire.event_id(self.epoch, self.sequence),
            source=wire.host_source(self.host),
            time=wire.stamp(stamp_s),
            subject=uuid,
            sequence=self.sequence,
            data=data,
        )
        return Publication(topic, payload, content_type=wire.CONTENT_TYPE)

    def _state(self, uuid: str, known: Known, stamp_s: float) -> Publication:
        state_code, reason_code = vocabulary.state_codes(known.state, known.reason)
        data = wire.DomainState(
            host=self.host,
            driver=self.driver,
            domain=wire.Domain(uuid=uuid, name=known.name, id=known.id),
            state=known.state,
            state_code=state_code,
            reason=known.reason,
            reason_code=reason_code,
            persistent=known.persistent,
            epoch=self.epoch,
            as_of=self.sequence,
        )
        payload = wire.build(
            wire.STATE,
            id=f"{self.epoch}-state-{uuid4().hex}",
            source=wire.host_source(self.host),
            time=wire.stamp(stamp_s),
            subject=uuid,
            data=data,
        )
        return Publication(
            self.topics.state(self.host, uuid), payload, retain=True, content_type=wire.CONTENT_TYPE
        )
