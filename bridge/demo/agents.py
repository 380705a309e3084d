"""One host's agent, played: the program's own (`memory_agent`) over a recording in place of libvirt.

Only libvirt is modelled: what its list of domains has between the lists that were recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal
from uuid import uuid4

from msgspec.structs import replace

from bridge.agent.inventory.domains import Known, ListedDomain, after_event, as_known
from bridge.agent.inventory.encoder import stamp_ns
from bridge.agent.inventory.reports import (
    ConnectionLost,
    ConnectionOpened,
    DomainsListed,
    DomainsRequested,
    JobEnded,
    JobFound,
    Occurrence,
    Report,
)
from bridge.agent.inventory.step import Step
from bridge.demo.memory_agent import HostMessages, MemoryAgent, as_listed
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
from bridge.wire.messages import Libvirt
from bridge.wire.topics import Topics
from bridge.wire.vocabulary import detail_name, lifecycle_name, state_codes

_ABSENT: Final = Known("", None, *state_codes("shutoff", "unknown"), persistent=False)
_QEMU: Final[dict[tuple[str, str, str], tuple[int, int]]] = {
    ("off", "started", "restored"): state_codes("paused", "migration"),
    ("off", "resumed", "unpaused"): state_codes("running", "booted"),  # a boot is resumed, then started
    ("on", "resumed", "from_snapshot"): state_codes("running", "restored"),
    ("on", "stopped", "failed"): state_codes("shutoff", "crashed"),
}
"""What libvirt's QEMU driver lists after an event, by what the domain was, where that isn't what an agent
concludes from the event (`after_event`).
"""


@dataclass(slots=True)
class PlayedAgent:
    """One host's agent: turns each line of a trace into the messages that the agent would publish for it."""

    host: str
    topics: Topics = field(default_factory=Topics)
    epoch: str = field(default_factory=lambda: uuid4().hex)
    driver: str = "QEMU"
    libvirt: str = "9.0.0"
    connected: bool = False
    since: str | None = None
    """When the connection to libvirt began."""
    undefines_source: bool = False
    """Whether a migration takes the definition away with it (`--undefinesource`): no event says so."""
    _agent: MemoryAgent = field(init=False)
    _there: dict[str, Known] = field(default_factory=dict)
    """The domains that libvirt has."""
    _names: dict[str, str] = field(default_factory=dict)
    _began_ns: dict[str, int] = field(default_factory=dict)
    """When each domain's last job had its first iteration: stands for when libvirt says that it began."""
    _lists: int = 0

    def __post_init__(self) -> None:
        self._agent = MemoryAgent(HostMessages(self.topics, self.host), self.epoch, self.driver)

    def messages(self, line: Line, stamp_s: float) -> list[Publication]:
        """The messages for one line. `stamp_s` is when the agent received it, in seconds since the epoch."""
        return list(self._received(line, stamp_s))

    def status(self, stamp_s: float, *, state: Literal["online", "offline"] = "online") -> Publication:
        """The agent's status, `online` or `offline`."""
        libvirt = Libvirt(
            connected=self.connected,
            uri="qemu:///system",
            hypervisor_version=self.libvirt,
            since=self.since if self.connected else None,
        )
        return self._agent.status(libvirt, stamp_s, state=state, suffix=f"-{uuid4().hex}")

    def _received(self, line: Line, stamp_s: float) -> Iterator[Publication]:
        match line:
            case Connected(domains=domains):
                self.connected, self.since = True, stamp_ns(_ns(stamp_s))
                yield self.status(stamp_s)
                yield from self._take(ConnectionOpened(self._lists, self.driver), stamp_s)
                self._found(domains)
                yield from self._list(stamp_s, first=True)
            case Disconnected():
                self.connected = False
                yield from self._take(ConnectionLost(self._lists, "recorded"), stamp_s)
                yield self.status(stamp_s)
            case Looked(domains=domains):
                self._found(domains)
                yield from self._list(stamp_s)
            case LifecycleEvent():
                self._happens(line)
                named = (line.uuid, line.name, line.id)
                yield from self._occurs("lifecycle", stamp_s, named, (line.event_code, line.detail_code))
            case Iteration(uuid=uuid, number=number):
                if number == 1:
                    self._began_ns[uuid] = _ns(stamp_s)
                yield from self._occurs(
                    "migration_iteration", stamp_s, self._named(uuid), arguments=(number,)
                )
            case JobCompleted(uuid=uuid, params=params):
                yield from self._occurs(
                    "job_completed", stamp_s, self._named(uuid), arguments=(dict(params),)
                )
            case JobGone(uuid=uuid):
                moment_ns = _ns(stamp_s)
                yield from self._take(JobFound(uuid, self._began_ns.get(uuid)), stamp_s)
                ended = JobEnded(
                    moment_ns, stamp_s, self.driver, *self._named(uuid), {"operation": "migration_out"}
                )
                yield from self._take(ended, stamp_s)

    def _named(self, uuid: str) -> tuple[str, str, int | None]:
        """A domain's UUID, last name and present id, for lines that have only the UUID."""
        there = self._there.get(uuid)
        return uuid, self._names.get(uuid, ""), there.id if there else None

    def _happens(self, line: LifecycleEvent) -> None:
        """libvirt's list after an event, as its QEMU driver has it."""
        event, detail = lifecycle_name(line.event_code), detail_name(line.event_code, line.detail_code)
        before = self._there.pop(line.uuid, _ABSENT)
        was = "off" if not before.active else "arriving" if before.incoming else "on"
        after = after_event(
            before,
            name=line.name,
            domain_id=None if event == "stopped" else line.id,
            event_code=line.event_code,
            detail_code=line.detail_code,
        )
        self._names[line.uuid] = line.name
        if after is None or (self.undefines_source and (event, detail) == ("stopped", "migrated")):
            return
        state, reason = _QEMU.get((was, event, detail), (after.state, after.reason))
        self._there[line.uuid] = replace(after, state=state, reason=reason)

    def _occurs(
        self,
        kind: str,
        stamp_s: float,
        named: tuple[str, str, int | None],
        codes: tuple[int, int] = (-1, -1),
        arguments: tuple[object, ...] = (),
    ) -> Iterator[Publication]:
        occurrence = Occurrence(_ns(stamp_s), stamp_s, kind, self.driver, *named, *codes, arguments)
        yield from self._take(occurrence, stamp_s)

    def _found(self, domains: Iterable[Listed]) -> None:
        """libvirt's list, as it was recorded."""
        self._there = {domain.uuid: self._known(domain) for domain in domains}
        self._names |= {domain.uuid: domain.name for domain in domains}

    def _list(self, stamp_s: float, *, first: bool = False) -> Iterator[Publication]:
        self._lists += 1
        yield from self._take(DomainsRequested(self._lists), stamp_s)
        seen = {uuid: as_listed(uuid, known) for uuid, known in self._there.items()}
        listed = DomainsListed(self._lists, self.driver, seen, first, _ns(stamp_s))
        yield from self._take(listed, stamp_s)

    def _known(self, domain: Listed) -> Known:
        before = self._there.get(domain.uuid)
        persistent = before is not None and bool(before.persistent)
        if domain.persistent is not None:
            persistent = domain.persistent
        codes = (domain.state_code, domain.reason_code)
        return as_known(ListedDomain(domain.uuid, domain.name, domain.id, *codes, persistent), before)

    def _take(self, report: Report, stamp_s: float) -> Iterator[Publication]:
        for step, published in self._agent.take(report, stamp_s):
            yield from published
            yield from self._after(step, stamp_s)

    def _after(self, step: Step, stamp_s: float) -> Iterator[Publication]:
        """The states that a step asks for, and the list."""
        read = step.changed | step.gone
        if step.listed is not None:
            read |= step.listed.seen.keys()
        if step.compared is not None:
            read |= {uuid for uuid, seen in step.compared.items() if seen != self._agent.states.get(uuid)}
        for uuid in sorted(read):
            known = self._there.get(uuid)
            seen = None if known is None else as_listed(uuid, known)
            if (state := self._agent.read(uuid, seen, _ns(stamp_s))) is not None:
                yield state
        if step.list_after_s is not None:
            yield from self._list(stamp_s)


def _ns(stamp_s: float) -> int:
    return round(stamp_s * 1_000_000) * 1000
