"""The present: the newest retained messages. Changed in one thread, read in any.

A reader copies a dictionary's values in one atomic step; an entry is replaced, never changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

import msgspec

from bridge.consumer.shapes import State
from bridge.view import words


class Change(NamedTuple):
    """Something that changed. kind: `host`, `domain` or `progress`; key: its name or UUID."""

    kind: str
    key: str


class _Kept(Protocol):
    @property
    def payload(self) -> bytes: ...


KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT", bound=_Kept)


class Retained(Generic[KeyT, ValueT]):
    """Messages by what their topics name. One that isn't sent again after a new connection was cleared."""

    def __init__(self) -> None:
        self.values: dict[KeyT, ValueT] = {}
        self._unseen: set[KeyT] = set()

    def put(self, key: KeyT, value: ValueT | None) -> bool:
        """The topic now holds this; None: it was cleared. False: nothing changed."""
        self._unseen.discard(key)
        before = self.values.get(key)
        if value is None:
            return self.values.pop(key, None) is not None
        self.values[key] = value
        return before is None or before.payload != value.payload

    def begin(self) -> None:
        """A new connection: the broker sends everything again."""
        self._unseen = set(self.values)

    def unseen(self) -> list[KeyT]:
        """The keys that weren't sent again."""
        return list(self._unseen)


class Place(msgspec.Struct, frozen=True, gc=False):
    """A domain on one host."""

    host: str
    state: State
    time: str
    payload: bytes


class RetainedMessage(msgspec.Struct, frozen=True, gc=False):
    """A retained message: its data and its bytes."""

    time: str
    data: dict[str, Any]
    payload: bytes


@dataclass(frozen=True, slots=True)
class Broker:
    """The connection to the broker: since when, and why there is none."""

    connected: bool
    since: float
    why: str | None


class Present:
    """Hosts, domains and what is under way."""

    def __init__(self) -> None:
        self.statuses: Retained[str, RetainedMessage] = Retained()
        """By host."""
        self.locations: Retained[str, RetainedMessage] = Retained()
        """By UUID."""
        self.currents: Retained[str, RetainedMessage] = Retained()
        """`migration/current`, by UUID."""
        self.jobs: dict[str, RetainedMessage] = {}
        """By UUID: no domain has an outgoing job on two hosts."""
        self.domains: dict[str, tuple[Place, ...]] = {}
        """The places of each domain, by UUID, in the order of the hosts' names."""
        self.hosts: dict[str, set[str]] = {}
        """The UUIDs of the domains of each host."""
        self.running: Counter[str] = Counter()
        """How many of them run."""
        self.states: Counter[str] = Counter()
        """How many domains are in each state, where they run or else are defined."""
        self.came_at: float | None = None
        """When the newest message was received."""
        self.named_at = 0
        """How often a domain appeared, disappeared or changed its name."""
        self._places: Retained[tuple[str, str], Place] = Retained()
        self._jobs: Retained[tuple[str, str], RetainedMessage] = Retained()

    def begin(self) -> None:
        """A new connection: the broker sends all retained messages again."""
        for each in self._all:
            each.begin()

    def complete(self) -> Iterator[Change]:
        """Everything was sent: what wasn't is gone."""
        for host in self.statuses.unseen():
            yield from self.put_status(host, None)
        for key in self._places.unseen():
            yield from self.put_state(*key, None)
        for key in self._jobs.unseen():
            yield from self.put_job(*key, None)
        for uuid in self.locations.unseen():
            yield from self.put_location(uuid, None)
        for uuid in self.currents.unseen():
            yield from self.put_current(uuid, None)

    @property
    def _all(self) -> tuple[Retained[Any, Any], ...]:
        return self.statuses, self.locations, self.currents, self._places, self._jobs

    def put_status(self, host: str, retained: RetainedMessage | None) -> Iterator[Change]:
        """A host's status. This and the following yield what is otherwise now."""
        if self.statuses.put(host, retained):
            yield Change("host", host)

    def put_state(self, host: str, uuid: str, place: Place | None) -> Iterator[Change]:
        """A domain's state on a host."""
        if self._places.put((host, uuid), place):
            yield from self._replace(host, uuid, place)

    def put_location(self, uuid: str, retained: RetainedMessage | None) -> Iterator[Change]:
        """Where a domain is, as a correlator says."""
        main = self.main_place(uuid)
        if self.locations.put(uuid, retained):
            yield from self._relocate(uuid, main)

    def put_current(self, uuid: str, retained: RetainedMessage | None) -> Iterator[Change]:
        """A migration that is under way."""
        if self.currents.put(uuid, retained):
            yield Change("progress", uuid)

    def put_job(self, host: str, uuid: str, retained: RetainedMessage | None) -> Iterator[Change]:
        """A job that is under way."""
        if not self._jobs.put((host, uuid), retained):
            return
        if retained is not None:
            self.jobs[uuid] = retained
        elif uuid in self.jobs and self.jobs[uuid].data.get("host") == host:
            del self.jobs[uuid]
        yield Change("domain", uuid)

    def _relocate(self, uuid: str, main: Place | None) -> Iterator[Change]:
        self._count(main, self.main_place(uuid))
        yield Change("domain", uuid)

    def _count(self, before: Place | None, after: Place | None) -> None:
        """A domain's main place was this, and is that."""
        for place, step in ((before, -1), (after, 1)):
            if place is not None:
                self.states[place.state.state] += step

    def _replace(self, host: str, uuid: str, place: Place | None) -> Iterator[Change]:
        before, main = self.domains.get(uuid, ()), self.main_place(uuid)
        others = [each for each in before if each.host != host]
        after = tuple(others if place is None else sorted((*others, place), key=_by_host))
        if after:
            self.domains[uuid] = after
        else:
            self.domains.pop(uuid, None)
        on_host = self.hosts.setdefault(host, set())
        (on_host.add if place is not None else on_host.discard)(uuid)
        if name_of(before) != name_of(after):
            self.named_at += 1
        self._count(main, self.main_place(uuid))
        yield Change("domain", uuid)
        was = next((each.state.state for each in before if each.host == host), None)
        now = None if place is None else place.state.state
        self.running[host] += (now == "running") - (was == "running")
        if place is None or now != was:
            yield Change("host", host)

    def host_names(self) -> list[str]:
        """All hosts that have a status or a domain."""
        return sorted(
            {*list(self.statuses.values), *(host for host, uuids in list(self.hosts.items()) if uuids)}
        )

    def why_blind(self, host: str) -> str | None:
        """Why what happens on a host isn't seen now, in words; None where it is."""
        retained = self.statuses.values.get(host)
        if retained is None:
            return "no agent"
        libvirt = retained.data.get("libvirt")
        sees = isinstance(libvirt, dict) and libvirt.get("connected") is True
        return None if retained.data.get("state") == "online" and sees else words.host_status(retained.data)

    def main_place(self, uuid: str) -> Place | None:
        """Where a domain runs, else where it is defined."""
        places = self.domains.get(uuid, ())
        location = self.locations.values.get(uuid)
        at = location.data.get("host") if location is not None else None
        return min(
            places, key=lambda place: (place.host != at, _RANK.get(place.state.state, 1)), default=None
        )


_RANK: Final = {"running": 0, "paused": 0, "shutoff": 2}
"""A domain that is on several hosts is where it runs; where it is shut off it is only defined."""
_by_host: Final = attrgetter("host")


def name_of(places: tuple[Place, ...]) -> str | None:
    """What a domain is called; None for one that isn't there."""
    return max(places, key=lambda place: place.time).state.domain.name if places else None
