"""All that is known and was told of one domain: facts go in, tellings come out.

A case is a value that a store can keep (`dump`, `load`). `add` takes a fact in at its place in its host's
order, whenever it comes; `judging.judge` compares what the facts prove with what was told and returns the
difference. Both are pure: time and the hosts that can't be heard are arguments.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from bridge.correlator.facts import CLEARED, Fact, Key
from bridge.correlator.machine import ACTIVE, believe_presence, fold, list_state
from bridge.correlator.pairing import Half
from bridge.correlator.track import Track
from bridge.wire.messages import DomainName, Location, Migration

NAMESPACE: Final = uuid.UUID("5f0e5b1c-3b0f-5c55-9d8a-6a1f3f0b7c11")
_TAIL: Final = 1000
"""Facts of one host that wait for what is missing before them."""


@dataclass(frozen=True, slots=True)
class Times:
    """How long to wait: for the other side once one is conclusive, before evidence counts as missing, and,
    in a group, for what another member may have in hand.
    """

    settle_s: float = 10.0
    patience_s: float = 600.0
    in_hand_s: float = 0.0

    @property
    def unexplained_s(self) -> float:
        """How long a state waits for the event that explains it, before it stands for that event."""
        return max(self.settle_s, self.in_hand_s)


@dataclass(frozen=True, slots=True)
class Telling:
    """One message to publish. word: the outcome, or `location`; data None clears a retained location."""

    word: str
    id: str
    data: Migration | Location | None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What to tell now, when to judge again though nothing comes, and whose silence would matter."""

    tellings: tuple[Telling, ...]
    due: float | None
    is_open: bool
    hosts: frozenset[str]


@dataclass(slots=True)
class Told:
    """What was told of one attempt. source: the host that it came from, once known."""

    id: str
    arrival: Half | None = None
    departure: Half | None = None
    source: str | None = None
    started: bool = False
    interrupted: int = 0
    unresolved: list[str] = field(default_factory=list)
    revision: int = 0
    last_id: str | None = None
    last: Migration | None = None
    at: float = 0.0
    was_conflict: bool = False
    done: bool = False


@dataclass(slots=True)
class Case:
    """One domain: its hosts' tracks, what was told of its attempts, and where it is."""

    uuid: str
    tracks: dict[str, Track] = field(default_factory=dict)
    tails: dict[str, list[Fact]] = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    location: str | None = None
    moves: int = 0

    @classmethod
    def new(cls, domain: str) -> Case:
        """The case of a domain that nothing is known of."""
        return cls(domain)

    @classmethod
    def load(cls, data: bytes) -> Case:
        """The case that `dump` wrote. Raises msgspec.DecodeError or ValidationError for other bytes."""
        return _DECODER.decode(data)

    def dump(self) -> bytes:
        """The case as bytes, for `load`."""
        return _ENCODER.encode(self)

    def add(self, fact: Fact, *, settled: bool) -> bool:
        """Takes in a fact; False for one that is there already.

        settled: no sequence of this host before it is missing. An unsettled fact is kept aside, in order,
        until what was missing has come or was given up.
        """
        track = self.tracks.setdefault(fact.host, Track())
        if fact.kind in ("state", "cleared"):
            before = track.listed
            list_state(track, fact)
            if fact.host not in self.tails:
                believe_presence(track)
            return track.listed is not before
        if fact.key <= track.key:
            return False
        tail = self.tails.get(fact.host)
        if settled and not tail:
            fold(track, fact)
            return True
        tail = tail or []
        if any(known.key == fact.key for known in tail):
            return False
        tail.append(fact)
        tail.sort(key=lambda f: f.key)
        self.tails[fact.host] = tail
        if settled:
            self.absorb(fact.host, lambda f: f.key <= fact.key)
        elif len(tail) > _TAIL:
            self.absorb(fact.host, lambda f: f.key <= tail[_TAIL // 2].key)
        return True

    def settle(self, host: str, key: Key) -> bool:
        """Up to this place nothing of the host is missing any more. False: nothing had waited for that."""
        tail = self.tails.get(host)
        if not tail or tail[0].key > key:
            return False
        self.absorb(host, lambda fact: fact.key <= key)
        return True

    def absorb(self, host: str, ripe: Callable[[Fact], bool]) -> None:
        """Folds in what had waited for its turn, as long as it is ripe."""
        tail = self.tails[host]
        while tail and ripe(tail[0]):
            fold(self.tracks[host], tail.pop(0))
        if not tail:
            del self.tails[host]
            believe_presence(self.tracks[host])

    @property
    def is_quiet(self) -> bool:
        """Nothing but one host's ordinary life: by far the most frequent case."""
        if self.tails or self.told or len(self.tracks) != 1:
            return False
        (track,) = self.tracks.values()
        return (
            all(arrival.tentative for arrival in track.arrivals)
            and not track.departures
            and track.lost is None
            and (track.listed is None or track.listed.what != CLEARED or not track.present)
        )

    def follow(self) -> Judgement:
        """The judgement of a case that is quiet: where the domain is."""
        ((host, track),) = self.tracks.items()
        place = host if track.phase in ACTIVE or track.present else None
        tellings = () if place == self.location else (self.move(place, None),)
        return Judgement(tellings, None, False, frozenset())

    def move(self, place: str | None, migration: str | None) -> Telling:
        """Notes the domain's new place and returns what to publish of it.

        Its id is made from what brought the domain there, too: a correlator that lost its store counts anew.
        """
        self.location = place
        self.moves += 1
        message_id = f"{self.uuid}-location-{self.moves}"
        if place is None:
            return Telling("location", message_id, None)
        track = self.tracks[place]
        brought = track.stay.began if track.stay else track.listed.mark if track.listed else track.defined
        told_by = uuid.uuid5(NAMESPACE, f"{place} {brought.id if brought else ''}").hex
        data = Location(domain=DomainName(uuid=self.uuid, name=track.name), host=place, migration=migration)
        return Telling("location", f"{message_id}-{told_by[:12]}", data)


_ENCODER = msgspec.msgpack.Encoder(enc_hook=lambda model: model.model_dump())
_DECODER = msgspec.msgpack.Decoder(Case, dec_hook=lambda kind, value: kind.model_validate(value))
