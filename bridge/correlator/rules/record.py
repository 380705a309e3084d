"""All that is known and was published of one domain: observations go in, outbound messages come out.

A record is a value that a store can keep (`dump`, `load`). `add` inserts an observation at its place in its
host's order, whenever it is received; `evaluate.evaluate` compares what the observations prove with what was
published, and returns the difference. Both are sans-I/O: time and the blind hosts are arguments.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from bridge.correlator.rules.alignment import LegId
from bridge.correlator.rules.event_types import ORDINARY, event_type_of
from bridge.correlator.rules.host_log import HostLog, is_state, take_in_order
from bridge.correlator.rules.host_view import HostView
from bridge.correlator.rules.observations import CLEARED, Key, Observation, Return
from bridge.correlator.rules.transitions import ACTIVE
from bridge.wire.messages import Current, DomainName, Location, Migration, Progress

NAMESPACE: Final = uuid.UUID("5f0e5b1c-3b0f-5c55-9d8a-6a1f3f0b7c11")


@dataclass(frozen=True, slots=True)
class Times:
    """How long to wait: for the other side once one is conclusive, before evidence counts as missing, and, in
    a group, for what another member may be processing.
    """

    settle_s: float = 10.0
    patience_s: float = 600.0
    processing_s: float = 0.0

    @property
    def unexplained_s(self) -> float:
        """How long a state waits for the event that explains it, before it replaces that event."""
        return max(self.settle_s, self.processing_s)


RETAINED: Final = ("location", "current", "last")


@dataclass(frozen=True, slots=True)
class OutboundMessage:
    """One message to publish. name: the outcome, or one of `RETAINED`; data None clears a retained one."""

    name: str
    id: str
    data: Migration | Location | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What to publish now, when to evaluate again without a new message, which hosts it depends on, which of
    them have gaps that are waited for, and what of the domain needs attention.
    """

    messages: tuple[OutboundMessage, ...]
    due: float | None
    is_open: bool
    hosts: frozenset[str]
    waits: frozenset[str] = frozenset()
    attention: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Hosts:
    """What is known of the hosts themselves. epochs: the ordinal of each host's newest epoch; gone: hosts
    taken out of service, whose views are no evidence; gaps: hosts of whose event streams messages are
    missing; returning: hosts that still publish what they found, and their return; listing: since when
    hosts that list all their domains anew were blind, and their return; waited: between which places of hosts
    what came late had waited on its way; noticed: since when it is known that hosts
    are blind, which they may have been before; dark: since when hosts may have been blind, each time.
    """

    epochs: Mapping[str, int] = field(default_factory=dict)
    gone: AbstractSet[str] = frozenset()
    gaps: AbstractSet[str] = frozenset()
    returning: Mapping[str, Return] = field(default_factory=dict)
    listing: Mapping[str, tuple[float, Return]] = field(default_factory=dict)
    waited: Mapping[str, Sequence[tuple[Key, Key]]] = field(default_factory=dict)
    noticed: Mapping[str, float] = field(default_factory=dict)
    dark: Mapping[str, Sequence[float]] = field(default_factory=dict)


@dataclass(slots=True)
class Conflict:
    """A conflict without a migration that was published and lasts."""

    id: str
    data: Migration


@dataclass(slots=True)
class Published:
    """What was published of one attempt. source: the host that it came from, once known; began: when, by our
    clock; absorbed: the later segments of its legs.
    """

    id: str
    arrival: LegId | None = None
    departure: LegId | None = None
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
    began: float = 0.0
    absorbed: list[LegId] = field(default_factory=list)

    @property
    def legs(self) -> list[LegId]:
        """Its legs, with their later segments."""
        return [leg for leg in (self.arrival, self.departure, *self.absorbed) if leg is not None]


@dataclass(slots=True)
class DomainRecord:
    """One domain: its hosts' logs, what was published of its attempts, and its location.

    jobs: the progress of its outgoing migration on each host. current: the retained message of the attempt
    under way; decided: when the attempt began whose verdict is retained.
    """

    uuid: str
    logs: dict[str, HostLog] = field(default_factory=dict)
    published: list[Published] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)
    location: str | None = None
    location_name: str | None = None
    moves: int = 0
    jobs: dict[str, Progress] = field(default_factory=dict)
    current: Current | None = None
    currents: int = 0
    decided: float = 0.0

    @classmethod
    def load(cls, data: bytes) -> DomainRecord:
        """The record that `dump` wrote, in this version, 0.2.0 or 0.1.0. Raises msgspec.DecodeError or
        ValidationError for other bytes.
        """
        if not msgspec.msgpack.decode(data, type=_Shape).told:
            return _DECODER.decode(data)
        stored = _renamed(msgspec.msgpack.decode(data))
        if "views" not in stored:
            return msgspec.convert(stored, cls, dec_hook=_validated)
        former = msgspec.convert(stored, _Former, dec_hook=_validated)
        logs = {
            host: HostLog(view, former.tails.get(host, []), view.key) for host, view in former.views.items()
        }
        return cls(former.uuid, logs, former.published, [], former.location, None, former.moves)

    def dump(self) -> bytes:
        """The record as bytes, for `load`."""
        return _ENCODER.encode(self)

    def add(self, observation: Observation, *, contiguous: bool) -> bool:
        """Adds an observation; False if it is there already.

        contiguous: no sequence of this host before it is missing.
        """
        log = self.logs.setdefault(observation.host, HostLog())
        if contiguous and not log.observations and _is_ordinary(observation) and self.is_quiet:
            if log.has_folded(observation):
                return False
            take_in_order(log.base, observation)
            log.complete = max(log.complete, observation.key)
            return True
        if contiguous and not is_state(observation):
            log.complete = max(log.complete, observation.key)
        return log.add(observation)

    def note_jobs(self, jobs: Mapping[str, Progress | None]) -> bool:
        """The progress of outgoing migrations on these hosts, None where there is none; False if known."""
        before = self.jobs
        self.jobs = {host: job for host, job in {**before, **jobs}.items() if job is not None}
        return self.jobs != before

    def note_contiguous(self, host: str, key: Key) -> bool:
        """Nothing of the host is missing any more up to this place. False: nothing had waited for that."""
        log = self.logs.get(host)
        if log is None or key <= log.complete:
            return False
        waited = log.first_waiting()
        log.complete = key
        return waited is not None and waited.key <= key

    @property
    def reordering(self) -> Collection[str]:
        """The hosts of which observations wait for missing ones."""
        return [host for host, log in self.logs.items() if log.waits]

    @property
    def is_quiet(self) -> bool:
        """Whether one host had it all the time, without a migration: by far the most frequent case."""
        if self.published or self.current or len(self.logs) != 1:
            return False
        ((_, log),) = self.logs.items()
        view = log.base
        return not log.observations and (
            all(arrival.tentative for arrival in view.arrivals)
            and not view.departures
            and view.lost is None
            and (view.listed is None or view.listed.what != CLEARED or not view.present)
        )

    def follow(self) -> Evaluation:
        """The evaluation of a quiet record: where the domain is."""
        ((host, log),) = self.logs.items()
        place = host if log.base.phase in ACTIVE or log.base.is_listed_here else None
        messages = (self.move(place, None, {host: log.base}),) if self.is_elsewhere(place, log.base) else ()
        return Evaluation(messages, None, False, frozenset())

    def is_elsewhere(self, place: str | None, view: HostView | None) -> bool:
        """Whether this differs from the published location, or from the name there."""
        if place is None or view is None:
            return place != self.location
        if self.location_name is None and place == self.location:
            self.location_name = view.name
        return (place, view.name) != (self.location, self.location_name)

    def move(
        self, place: str | None, migration: str | None, views: Mapping[str, HostView]
    ) -> OutboundMessage:
        """Notes the domain's new location and returns what to publish of it.

        Its id is made from the event that brought the domain there, too: a correlator that lost its store
        restarts the count.
        """
        self.location = place
        self.location_name = views[place].name if place is not None else None
        self.moves += 1
        message_id = f"{self.uuid}-location-{self.moves}"
        if place is None:
            return OutboundMessage("location", message_id, None)
        view = views[place]
        brought = (
            view.residency.began if view.residency else view.listed.mark if view.listed else view.defined
        )
        brought_by = uuid.uuid5(NAMESPACE, f"{place} {brought.id if brought else ''}").hex
        data = Location(domain=DomainName(uuid=self.uuid, name=view.name), host=place, migration=migration)
        return OutboundMessage("location", f"{message_id}-{brought_by[:12]}", data)


def _is_ordinary(observation: Observation) -> bool:
    """Whether an observation is no part of a migration, whatever was before."""
    return observation.kind == "state" or (
        observation.kind == "lifecycle" and event_type_of(observation) in ORDINARY
    )


class _Shape(msgspec.Struct):
    """Whether 0.1.0 or 0.2.0 stored a domain, without decoding it."""

    told: msgspec.Raw = msgspec.Raw()


@dataclass(slots=True)
class _Former:
    """What 0.1.0 stored of a domain: its hosts' views, and the observations that waited."""

    uuid: str
    published: list[Published] = field(default_factory=list)
    location: str | None = None
    moves: int = 0
    views: dict[str, HostView] = field(default_factory=dict)
    tails: dict[str, list[Observation]] = field(default_factory=dict)


_FORMER_NAMES: Final = {
    "told": "published",
    "tracks": "views",
    "heard": "last_live",
    "moods": "run_states",
    "stay": "residency",
    "flowed": "postcopy_started",
    "roleless": "unclassified_resume",
}
_FORMER_STAGES: Final = {"stuck": "left_paused", "stranded": "job_lost", "restored": "incoming"}


def _renamed(stored: Any) -> Any:  # noqa: ANN401 - whatever was stored
    """What 0.1.0 or 0.2.0 stored, with today's names."""
    if isinstance(stored, dict):
        return {
            _FORMER_NAMES.get(name, name): _FORMER_STAGES.get(value, value)
            if name in ("phase", "stage", "before_end")
            else _renamed(value)
            for name, value in stored.items()
        }
    return [_renamed(each) for each in stored] if isinstance(stored, list) else stored


def _validated(kind: Any, value: object) -> object:  # noqa: ANN401 - msgspec's own signature
    return kind.model_validate(value)


_ENCODER = msgspec.msgpack.Encoder(enc_hook=lambda model: model.model_dump())
_DECODER = msgspec.msgpack.Decoder(DomainRecord, dec_hook=_validated)
