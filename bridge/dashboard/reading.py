"""A message from the broker to what it changes: a row of the store, a host's sequences, what is now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import msgspec

from bridge.consumer.derived import read_migration
from bridge.consumer.inputs import Cleared, HostMessage, Status
from bridge.consumer.intake import Intake
from bridge.consumer.rejected import Rejected
from bridge.consumer.shapes import State
from bridge.consumer.state_counts import StateCounts
from bridge.consumer.streams import FLOWING_S, AgentStream
from bridge.dashboard.moments import OPEN, OVER, Moment, moment_of_event, moment_of_migration
from bridge.dashboard.present import Change, Place, Present, RetainedMessage
from bridge.mqtt.messages import Received, Subscription
from bridge.wire.topics import Address, Topics

OF_A_MOMENT: Final = (*OPEN, *OVER)
KNOWN_NAMES: Final = 200_000
"""Domains whose names are known to be stored."""


def subscriptions(topics: Topics) -> list[Subscription]:
    """The subscriptions: events and verdicts at QoS 1, retained messages at QoS 0."""
    root = topics.root
    moments = [f"{root}/hosts/+/+/+/lifecycle/+", f"{root}/hosts/+/+/+/event/+"]
    moments += [f"{root}/domains/+/migration/{outcome}" for outcome in OF_A_MOMENT]
    retained = ["hosts/+/status", "hosts/+/domains/+/state", "hosts/+/domains/+/job"]
    retained += ["domains/+/location", "domains/+/migration/current", "domains/+/migration/last"]
    return [Subscription(each) for each in moments] + [
        Subscription(f"{root}/{each}", qos=0) for each in retained
    ]


@dataclass(slots=True)
class Batch:
    """What a number of messages change. streams: those of the hosts that changed."""

    moments: list[Moment] = field(default_factory=list)
    possible_duplicates: list[Moment] = field(default_factory=list)
    """Those of the moments that may be stored already."""
    names: set[tuple[str, str]] = field(default_factory=set)
    streams: set[str] = field(default_factory=set)
    changes: list[Change] = field(default_factory=list)


class Reading:
    """Reads messages one by one into a batch. names: what each domain was last called."""

    def __init__(self, topics: Topics, present: Present) -> None:
        self.streams: dict[str, AgentStream] = {}
        self.state_counts = StateCounts(FLOWING_S, lambda host: len(present.hosts.get(host, ())))
        self._address = lru_cache(maxsize=8192)(topics.parse)
        self._intake = Intake(topics)
        self._present = present
        self._names: dict[str, str] = {}

    def read(self, received: Received, at: float, batch: Batch) -> None:
        """Takes one message in. Raises Rejected."""
        try:
            address = self._address(received.topic)
        except ValueError as error:
            raise Rejected("not_ours", str(error)[:300]) from error
        read = _READ.get(address.kind)
        if read is None:
            raise Rejected("not_ours", f"nothing that is shown ({address.kind})")
        read(self, address, received, at, batch)

    def _stream(self, host: str, batch: Batch) -> AgentStream:
        batch.streams.add(host)
        if (stream := self.streams.get(host)) is None:
            stream = self.streams[host] = AgentStream(host)
        return stream

    def _event(self, _: Address, received: Received, at: float, batch: Batch) -> None:
        message = self._intake.read(received.topic, received.payload, received.retain)
        assert isinstance(message, HostMessage)
        moment = _storable(moment_of_event(message, received.payload))
        batch.moments.append(moment)
        host = message.address.host
        if not self._stream(host, batch).see(message.epoch, message.sequence, at).is_new:
            batch.possible_duplicates.append(moment)
        if moment.uuid is not None:
            self._name(moment.uuid, message.message.data.domain.name, batch)  # type: ignore[union-attr]

    def _migration(self, address: Address, received: Received, _: float, batch: Batch) -> None:
        payload = received.payload
        if address.name == "current":
            if payload:
                read_migration(address, payload)
            batch.changes += self._present.put_current(address.uuid, _retained(payload))
            return
        if address.name == "last" and (not received.retain or not payload):
            return  # the verdict itself comes, too
        if received.retain and address.name != "last":
            raise Rejected("retained_event", "verdicts are never retained, except on `last`")
        message = read_migration(address, payload)
        moment = _storable(moment_of_migration(message, payload))
        batch.moments.append(moment)
        batch.possible_duplicates.append(moment)
        if message.data.domain.name is not None:
            self._name(address.uuid, message.data.domain.name, batch)

    def _state(self, address: Address, received: Received, _: float, batch: Batch) -> None:
        message = self._intake.read(received.topic, received.payload, received.retain)
        if isinstance(message, Cleared):
            batch.changes += self._present.put_state(address.host, address.uuid, None)
            return
        assert isinstance(message, HostMessage)
        data = message.message.data
        assert isinstance(data, State)
        place = Place(address.host, data, message.message.time, received.payload)
        batch.changes += self._present.put_state(address.host, address.uuid, place)
        self._name(address.uuid, data.domain.name, batch)

    def _status(self, address: Address, received: Received, _: float, batch: Batch) -> None:
        read = self._intake.read(received.topic, received.payload, received.retain)
        status = read if isinstance(read, Status) else None
        retained = _retained(received.payload)
        batch.changes += self._present.put_status(address.host, retained)
        self._stream(address.host, batch).note_agent(status, retained=received.retain)
        self.state_counts.note_status(address.host, status)

    def _location(self, address: Address, received: Received, _: float, batch: Batch) -> None:
        batch.changes += self._present.put_location(address.uuid, _retained(received.payload))

    def _job(self, address: Address, received: Received, _: float, batch: Batch) -> None:
        batch.changes += self._present.put_job(address.host, address.uuid, _retained(received.payload))

    def _name(self, uuid: str, name: str, batch: Batch) -> None:
        if self._names.get(uuid) != name:
            if len(self._names) >= KNOWN_NAMES:
                self._names.clear()
            self._names[uuid] = name
            batch.names.add((name, uuid))


def _storable(moment: Moment) -> Moment:
    """The same; raises Rejected where a text has what no database takes."""
    for value in (moment.id, moment.source, *moment[7:10], *moment[11:]):
        if value is not None and "\0" in value:
            raise Rejected("malformed", f"a NUL in {value[:100]!r}")
    return moment


class _Event(msgspec.Struct):
    time: str
    data: dict[str, Any]


_DECODE: Final = msgspec.json.Decoder(_Event).decode


def _retained(payload: bytes) -> RetainedMessage | None:
    """What a retained message says; None for an empty one."""
    if not payload:
        return None
    try:
        event = _DECODE(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Rejected("malformed", str(error)[:200]) from error
    return RetainedMessage(event.time, event.data, payload)


_READ: Final[dict[str, Callable[[Reading, Address, Received, float, Batch], None]]] = {
    "lifecycle": Reading._event,  # noqa: SLF001 - a table of this class's own methods
    "event": Reading._event,  # noqa: SLF001
    "object_lifecycle": Reading._event,  # noqa: SLF001
    "object_event": Reading._event,  # noqa: SLF001
    "migration": Reading._migration,  # noqa: SLF001
    "state": Reading._state,  # noqa: SLF001
    "host_status": Reading._status,  # noqa: SLF001
    "location": Reading._location,  # noqa: SLF001
    "job": Reading._job,  # noqa: SLF001
}
