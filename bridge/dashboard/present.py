"""What is now: what the broker retains, as it last came. Changed in one thread, read in any.

A reader copies a dictionary's values in one step and then has time; an entry is replaced, never changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec

from bridge.consumer.shapes import State
from bridge.view import words


class Change(NamedTuple):
    """Something that is otherwise now. kind: `host`, `domain` or `progress`; key: its name or UUID."""

    kind: str
    key: str


ValueT = TypeVar("ValueT")


class Retained(Generic[ValueT]):
    """Messages by what their topics name. What a new connection doesn't bring again was cleared meanwhile."""

    def __init__(self) -> None:
        self.values: dict[str, ValueT] = {}
        self._unseen: set[str] = set()

    def put(self, key: str, value: ValueT | None) -> None:
        """The topic holds this now; None: nothing."""
        self._unseen.discard(key)
        if value is None:
            self.values.pop(key, None)
        else:
            self.values[key] = value

    def begin(self) -> None:
        """All that is retained comes anew."""
        self._unseen = set(self.values)

    def complete(self) -> list[str]:
        """It has come: what didn't come is gone. Returns the keys of that."""
        gone, self._unseen = list(self._unseen), set()
        for key in gone:
            del self.values[key]
        return gone


class Place(msgspec.Struct, frozen=True, gc=False):
    """A domain on one host."""

    host: str
    state: State
    time: str
    payload: bytes


class Told(msgspec.Struct, frozen=True, gc=False):
    """A retained message: its data and its bytes."""

    time: str
    data: dict[str, Any]
    payload: bytes


@dataclass(frozen=True, slots=True)
class Broker:
    """How the broker is: since when, and why it isn't there."""

    connected: bool
    since: float
    why: str | None


class Present:
    """Hosts, domains and what is under way."""

    def __init__(self) -> None:
        self.statuses: Retained[Told] = Retained()
        """By host."""
        self.locations: Retained[Told] = Retained()
        """By UUID."""
        self.currents: Retained[Told] = Retained()
        """`migration/current`, by UUID."""
        self.jobs: dict[str, Told] = {}
        """By UUID: no domain has an outgoing job on two hosts."""
        self.domains: dict[str, tuple[Place, ...]] = {}
        """The places of each domain, by UUID, in the order of the hosts' names."""
        self.hosts: dict[str, set[str]] = {}
        """The UUIDs of the domains of each host."""
        self.came_at: float | None = None
        """When the newest message came."""
        self.named_at = 0
        """How often a domain came, went or was named otherwise."""
        self._places: Retained[Place] = Retained()
        self._jobs: Retained[Told] = Retained()

    def begin(self) -> None:
        """The broker is there: all that it retains comes anew."""
        for each in self._all:
            each.begin()

    def complete(self) -> Iterator[Change]:
        """All of it has come."""
        for host in self.statuses.complete():
            yield Change("host", host)
        for key in self._places.complete():
            host, uuid = key.rsplit("/", 1)
            self._replace(host, uuid, None)
            yield Change("domain", uuid)
            yield Change("host", host)
        for key in self._jobs.complete():
            yield self._forget_job(key)
        for retained, kind in ((self.locations, "domain"), (self.currents, "progress")):
            for uuid in retained.complete():
                yield Change(kind, uuid)

    @property
    def _all(self) -> tuple[Retained[Any], ...]:
        return self.statuses, self.locations, self.currents, self._places, self._jobs

    def put_status(self, host: str, told: Told | None) -> Change:
        """A host's status."""
        self.statuses.put(host, told)
        return Change("host", host)

    def put_state(self, host: str, uuid: str, place: Place | None) -> Change:
        """A domain's state on a host."""
        self._places.put(f"{host}/{uuid}", place)
        self._replace(host, uuid, place)
        return Change("domain", uuid)

    def put_location(self, uuid: str, told: Told | None) -> Change:
        """Where a domain is, as a correlator says."""
        self.locations.put(uuid, told)
        return Change("domain", uuid)

    def put_current(self, uuid: str, told: Told | None) -> Change:
        """A migration that is under way."""
        self.currents.put(uuid, told)
        return Change("progress", uuid)

    def put_job(self, host: str, uuid: str, told: Told | None) -> Change:
        """A job that is under way."""
        key = f"{host}/{uuid}"
        self._jobs.put(key, told)
        if told is None:
            return self._forget_job(key)
        self.jobs[uuid] = told
        return Change("domain", uuid)

    def _forget_job(self, key: str) -> Change:
        host, uuid = key.rsplit("/", 1)
        if uuid in self.jobs and self.jobs[uuid].data.get("host") == host:
            del self.jobs[uuid]
        return Change("domain", uuid)

    def _replace(self, host: str, uuid: str, place: Place | None) -> None:
        before = self.domains.get(uuid, ())
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

    def host_names(self) -> list[str]:
        """All hosts that have a status or a domain."""
        return sorted(
            {*list(self.statuses.values), *(host for host, uuids in list(self.hosts.items()) if uuids)}
        )

    def why_blind(self, host: str) -> str | None:
        """Why what happens on a host isn't seen now, in words; None where it is."""
        told = self.statuses.values.get(host)
        if told is None:
            return "no agent"
        libvirt = told.data.get("libvirt")
        sees = isinstance(libvirt, dict) and libvirt.get("connected") is True
        return None if told.data.get("state") == "online" and sees else words.host_status(told.data)

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
