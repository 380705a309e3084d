"""All that is known and was told of one domain: facts go in, tellings come out.

A case is a value that a store can keep (`dump`, `load`). `add` takes a fact in at its place in its host's
order, whenever it comes; `judge` compares what the facts prove with what was told and returns the
difference. Both are pure: time and the hosts that can't be heard are arguments.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final

import msgspec

from bridge.correlator.facts import Fact, Key, Mark, is_live
from bridge.correlator.machine import ACTIVE, apply, believe_presence, end_departure, fold, list_state
from bridge.correlator.pairing import Half, Pair, pair
from bridge.correlator.signs import sign_of_state
from bridge.correlator.track import Arrival, Departure, Track
from bridge.correlator.verdict import BREATH_S, Verdict, When, is_final, rule
from bridge.wire.messages import (
    DomainName,
    Evidence,
    Guest,
    HostRef,
    Location,
    Migration,
    Outcome,
    host_source,
)

NAMESPACE: Final = uuid.UUID("5f0e5b1c-3b0f-5c55-9d8a-6a1f3f0b7c11")
_KEPT_S: Final = 7 * 86400.0
_TAIL: Final = 1000
_NEVER: Final = float("inf")


@dataclass(frozen=True, slots=True)
class Times:
    """How long to wait: for the other side once one is conclusive, and before evidence counts as missing."""

    settle_s: float = 10.0
    patience_s: float = 600.0


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
    """What was told of one attempt. `substance` is what a revision would have to differ in."""

    id: str
    arrival: Half | None = None
    departure: Half | None = None
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

    def judge(
        self,
        now: float,
        blind: Mapping[str, float],
        times: Times,
        epochs: Mapping[str, int] | None = None,
    ) -> Judgement:
        """What the facts prove now and wasn't told yet.

        blind: hosts that can't be heard (agent offline, libvirt not connected, or back for less than
        `settle`), and since when. epochs: the newest epoch's ordinal of each host; a track of an older one
        is a former life of that host.
        """
        if self._is_quiet():
            return self._quiet()
        return _Judging(self, now, blind, times, epochs or {}).run()

    def _is_quiet(self) -> bool:
        """Nothing but one host's ordinary life: by far the most frequent case."""
        if self.tails or self.told or len(self.tracks) != 1:
            return False
        (track,) = self.tracks.values()
        return (
            all(arrival.tentative for arrival in track.arrivals)
            and not track.departures
            and track.lost is None
            and (track.listed is None or track.listed.what != "gone" or not track.present)
        )

    def _quiet(self) -> Judgement:
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


class _Judging:
    """One judgement of one case; lives for a single call."""

    def __init__(
        self, case: Case, now: float, blind: Mapping[str, float], times: Times, epochs: Mapping[str, int]
    ) -> None:
        self.case = case
        self.now = now
        self.times = times
        self.silent = {
            host: blind.get(host, 0.0)
            for host, track in case.tracks.items()
            if _is_former(track, epochs.get(host, 0)) or _is_silent(track, blind.get(host))
        }
        self.tellings: list[Telling] = []
        self.dues: list[float] = []
        self.is_open = False
        self.tracks: dict[str, Track] = {}

    def run(self) -> Judgement:
        case = self.case
        self._absorb_old_tails()
        self.tracks = {
            host: _folded(track, case.tails[host]) if host in case.tails else track
            for host, track in case.tracks.items()
        }
        self._find_halves_again()
        self._believe_states()
        linked = {
            (told.arrival, told.departure)
            for told in case.told
            if told.arrival and told.departure and (told.last is not None or told.interrupted)
        }
        pairs = pair(self.tracks, self._done(), linked)
        for each in pairs:
            self._judge_pair(each)
        self._judge_offline()
        self._judge_conflict(pairs)
        self._judge_location(pairs)
        self._prune()
        future = [due for due in self.dues if due > self.now]
        return Judgement(
            tuple(self.tellings),
            min(future, default=None),
            self.is_open or bool(case.tails),
            frozenset(case.tracks),
        )

    def _ripe(self, at: float) -> bool:
        """Whether that moment has come; else it is a moment to judge again."""
        if at <= self.now:
            return True
        self.dues.append(at)
        return False

    def _absorb_old_tails(self) -> None:
        for host in list(self.case.tails):
            self.case.absorb(host, lambda f: f.received + self.times.patience_s <= self.now)
            if host in self.case.tails:
                self.dues.append(self.case.tails[host][0].received + self.times.patience_s)

    def _find_halves_again(self) -> None:
        """What fills a hole, or comes after its state, may be the true beginning of a half that was told of:
        it is that half still.
        """
        for told in self.case.told:
            told.arrival = self._found(told.arrival, lambda track: track.arrivals)
            told.departure = self._found(told.departure, lambda track: track.departures)

    def _found(
        self, half: Half | None, halves: Callable[[Track], Sequence[Arrival | Departure]]
    ) -> Half | None:
        if half is not None and half[0] in self.tracks:
            host, key = half
            known = halves(self.tracks[host])
            if all(each.key != key for each in known):
                for each in known:
                    if each.key < key <= each.last_key:
                        return host, each.key
        return half

    def _believe_states(self) -> None:
        """A state that no event explained within `settle` stands for the event that was lost."""
        for host, track in self.case.tracks.items():
            sign = None if host in self.case.tails else sign_of_state(track)
            listed = track.listed
            if sign and listed and self._ripe(listed.mark.received + self.times.settle_s):
                apply(track, sign, listed.mark)

    def _done(self) -> frozenset[Half]:
        return frozenset(
            half for told in self.case.told if told.done for half in (told.arrival, told.departure) if half
        )

    # -- one attempt

    def _judge_pair(self, each: Pair) -> None:
        source_track = self.tracks.get(each.source) if each.source else None
        verdict = rule(each, source_track, self.silent)
        told = self._told_of(each, verdict)
        if told is None:
            return
        before = len(self.tellings)
        self._tell_of(told, each, verdict)
        is_told = len(self.tellings) > before
        if is_told and each.arrival is not None and each.destination is not None:
            told.arrival = told.arrival or (each.destination, each.arrival.key)
        if each.departure is not None and each.source is not None:
            if is_told or told.arrival is not None:
                told.departure = (each.source, each.departure.key)
        elif is_told:
            told.departure = None
        if is_told and told not in self.case.told:
            self.case.told.append(told)

    def _tell_of(self, told: Told, each: Pair, verdict: Verdict) -> None:
        """Tells what of this attempt wasn't told."""
        arrival = each.arrival
        is_untold = not told.started and told.last is None
        if arrival and arrival.opened and not arrival.tentative and is_untold:
            told.started = True
            self._tell(told, "started", each, verdict, f"{told.id}-started")
        self._tell_interruptions(told, each, verdict)
        if verdict.ruling in ("under_way", "interrupted"):
            if verdict.when == "patience" and told.last is None:
                self._tell_unresolved(told, each, verdict)
            self.is_open = self.is_open or told.last is None
            return
        has_hole = each.source in self.case.tails or each.destination in self.case.tails
        if not self._ripe(verdict.since + self._wait_s("settle" if has_hole else verdict.when)):
            self.is_open = True
            return
        is_settled = self._tell_verdict(told, each, verdict)
        if is_settled and verdict.ruling == "failed":
            self._end_departure(each)
        if is_settled and told.last is not None and told.last.outcome != "conflict":
            is_heard = all(
                host not in self.silent and self._is_heard_out(host)
                for host in (each.source, each.destination)
            )
            is_over = (is_final(each) and not each.doubtful) or (told.was_conflict and is_heard)
            told.done = is_over and not has_hole
        self.is_open = self.is_open or (not told.done and self._may_change(told, each))

    def _end_departure(self, each: Pair) -> None:
        """Lets a source that said nothing of the failure be here again, if it could have said it."""
        arrival, departure, source = each.arrival, each.departure, each.source
        if arrival is None or arrival.ended is None or departure is None or source is None:
            return
        track = self.case.tracks[source]
        if source in self.silent or source in self.case.tails or track.phase != "copying":
            return
        if not self._is_heard_out(source):
            return
        if track.departures[-1] is departure and departure.opened.at <= arrival.ended.at:
            end_departure(track, arrival.ended)

    def _wait_s(self, when: When) -> float:
        return {"now": 0.0, "soon": min(BREATH_S, self.times.settle_s)}.get(when, self.times.settle_s)

    def _may_change(self, told: Told, each: Pair) -> bool:
        """Whether a host that is heard again could change this, or a conflict lasts. What else comes is a
        fact, and that leads to a judgement of its own.
        """
        return (
            told.last is None
            or told.last.outcome == "conflict"
            or each.source in self.silent
            or each.destination in self.silent
        )

    def _told_of(self, each: Pair, verdict: Verdict) -> Told | None:
        """What was told of this attempt; a new record where nothing was and something may be."""
        arrival = (each.destination, each.arrival.key) if each.arrival and each.destination else None
        departure = (each.source, each.departure.key) if each.departure and each.source else None
        found = [t for t in self.case.told if arrival is not None and t.arrival == arrival]
        found += [
            t
            for t in self.case.told
            if departure is not None and t.departure == departure and t.arrival is None
        ]
        if found:
            return found[0]
        if arrival is None and verdict.ruling == "under_way" and verdict.when == "never":
            return None
        half = arrival or departure
        anchor = each.arrival.first if each.arrival else each.departure.opened if each.departure else None
        if half is None or anchor is None:
            return None
        name = f"{self.case.uuid} {half[0]} {anchor.id}"
        identity = uuid.uuid5(NAMESPACE, name).hex
        if any(told.id == identity for told in self.case.told):
            return None  # it was told under this name, and what it was linked to has found another half
        return Told(identity, arrival, departure)

    def _tell_interruptions(self, told: Told, each: Pair, verdict: Verdict) -> None:
        breaks = max(
            each.arrival.breaks if each.arrival else 0, each.departure.breaks if each.departure else 0
        )
        if breaks <= told.interrupted or told.last is not None:
            return
        broke = each.departure.broke if each.departure and each.arrival is None else None
        if broke is not None and not self._ripe(broke.received + self.times.settle_s):
            return
        for n in range(told.interrupted + 1, breaks + 1):
            self._tell(told, "interrupted", each, verdict, f"{told.id}-interrupted-{n}")
        told.interrupted = breaks

    def _tell_unresolved(self, told: Told, each: Pair, verdict: Verdict) -> None:
        missing = []
        since = verdict.since
        if each.destination is None:
            missing.append("destination: no host told of an arrival")
        elif each.arrival is not None and each.arrival.stage == "open":
            missing.append(f"destination: how the arrival on {each.destination} ended")
        for role, host in (("source", each.source), ("destination", each.destination)):
            if host is not None and host in self.silent:
                missing.append(f"{role}: {host} can't be heard")
                since = max(since, self.silent[host]) if role == "destination" else since
        if each.source is None:
            missing.append("source: no host told of a departure")
        key = "; ".join(missing)
        if key in told.unresolved or not self._ripe(since + self.times.patience_s):
            return
        told.unresolved = [*told.unresolved, key][-8:]
        n = len(told.unresolved)
        self._tell(told, "unresolved", each, verdict, f"{told.id}-unresolved-{n}", missing=missing)

    def _tell_verdict(self, told: Told, each: Pair, verdict: Verdict) -> bool:
        """Tells the verdict unless it was told; False where it will have to be told again, later."""
        outcome: Outcome = verdict.ruling  # type: ignore[assignment]
        data = self._data(told, outcome, each, verdict)
        last = told.last
        if last is not None:
            data = _keeping_known(data, last, source_is_silent=each.source in self.silent)
            if _substance(data) == _substance(last):
                return True
            same_but_guest = _substance(data)[:-1] == _substance(last)[:-1]
            if same_but_guest and last.guest.state != "unknown":
                return True
            if outcome == "failed" and each.departure is not None and each.departure.stage == "vanished":
                kept = data.model_copy(update={"confirmed_by": last.confirmed_by})
                if _substance(kept) == _substance(last):
                    return True  # that the domain is gone by now doesn't confirm that a copy of it failed
            if not (self._is_heard_out(each.source) and self._is_heard_out(each.destination)):
                self.is_open = True
                return False
            data = data.model_copy(update={"revision": told.revision, "supersedes": told.last_id})
        self._publish_verdict(told, data)
        return True

    def _is_heard_out(self, host: str | None) -> bool:
        """Whether a host that is telling what it couldn't before has had `settle` to do so."""
        track = self.tracks.get(host) if host else None
        if track is None:
            return True
        return sign_of_state(track) is None and self._ripe(track.late + self.times.settle_s)

    def _publish_verdict(self, told: Told, data: Migration) -> None:
        told.last_id = f"{told.id}-{data.outcome}-{told.revision}"
        told.last = data
        told.was_conflict = told.was_conflict or data.outcome == "conflict"
        told.at = self.now
        told.revision += 1
        self.tellings.append(Telling(data.outcome, told.last_id, data))

    def _tell(
        self,
        told: Told,
        outcome: Outcome,
        each: Pair,
        verdict: Verdict,
        message_id: str,
        *,
        missing: list[str] | None = None,
    ) -> None:
        data = self._data(told, outcome, each, verdict)
        blank: dict[str, object] = dict.fromkeys(("ended_at", "duration_ms", "downtime_ms", "reason"))
        if outcome == "started" and each.arrival is not None and each.destination is not None:
            source = self.tracks.get(each.source) if each.source else None
            state = source.guest if source and source.guest and each.source not in self.silent else "unknown"
            blank |= {
                "mode": None,
                "attention": None,
                "confirmed_by": [],
                "guest": Guest(host=each.source, state=state),
                "evidence": [Evidence(source=host_source(each.destination), id=each.arrival.first.id)],
            }
        if missing is not None:
            blank["missing"] = missing
        self.tellings.append(Telling(outcome, message_id, data.model_copy(update=blank)))

    def _data(self, told: Told, outcome: Outcome, each: Pair, verdict: Verdict) -> Migration:
        return Migration(
            migration=told.id,
            revision=told.revision,
            outcome=outcome,
            domain=DomainName(uuid=self.case.uuid, name=self._name(outcome, each)),
            source=HostRef(host=each.source),
            destination=HostRef(host=each.destination),
            mode=verdict.mode,
            reason=verdict.reason,
            attention=verdict.attention,
            guest=Guest(host=verdict.guest[0], state=verdict.guest[1]),
            started_at=verdict.started_at,
            ended_at=verdict.ended_at,
            duration_ms=verdict.duration_ms,
            downtime_ms=verdict.downtime_ms,
            confirmed_by=list(verdict.confirmed_by),
            evidence=[Evidence(source=host_source(host), id=mark) for host, mark in verdict.evidence],
        )

    def _name(self, outcome: Outcome, each: Pair) -> str | None:
        """The name the domain goes by where it is: it can change on the way (`migrate --dname`)."""
        order = (
            (each.source, each.destination)
            if outcome in ("failed", "started")
            else (
                each.destination,
                each.source,
            )
        )
        names = [self.tracks[host].name for host in order if host in self.tracks]
        names += [track.name for track in self.tracks.values()]
        return next((name for name in names if name), None)

    # -- what has no arrival by event

    def _judge_offline(self) -> None:
        """A definition that came out of nothing here, and one that went without a word there. What went can
        only have gone to one place: to where a definition came last.
        """
        for source, here in self.tracks.items():
            gone = here.lost
            if gone is None or here.phase != "away" or source in self.case.tails:
                continue
            came = [
                (there.defined.at, destination, there.defined)
                for destination, there in self.tracks.items()
                if destination != source
                and destination not in self.case.tails
                and there.defined is not None
                and there.defined.at - self.times.settle_s <= gone.at
                and gone.at <= there.defined.at + self.times.patience_s
            ]
            half = (source, gone.key)
            if not came or any(told.departure == half for told in self.case.told):
                continue
            _, destination, mark = max(came)
            if any(told.arrival == (destination, mark.key) for told in self.case.told):
                continue
            name = f"{self.case.uuid} {destination} {mark.id}"
            told = Told(uuid.uuid5(NAMESPACE, name).hex, (destination, mark.key), half, done=True)
            self.case.told.append(told)
            self._publish_verdict(told, self._offline_data(told, source, gone, destination, mark))

    def _offline_data(self, told: Told, source: str, gone: Mark, destination: str, came: Mark) -> Migration:
        return Migration(
            migration=told.id,
            revision=0,
            outcome="completed",
            domain=DomainName(uuid=self.case.uuid, name=self.tracks[destination].name),
            source=HostRef(host=source),
            destination=HostRef(host=destination),
            mode="offline",
            reason=None,
            attention=None,
            guest=Guest(host=destination, state="shutoff"),
            started_at=None,
            ended_at=gone.stamp,
            duration_ms=None,
            downtime_ms=None,
            confirmed_by=["source", "destination"],
            evidence=[
                Evidence(source=host_source(destination), id=came.id),
                Evidence(source=host_source(source), id=gone.id),
            ],
        )

    def _judge_conflict(self, pairs: list[Pair]) -> None:
        """One UUID running on two hosts, and no migration to explain it. Each two are told of once for as
        long as both stays last, however often they are paused or can't be heard meanwhile.
        """
        stays = sorted(
            ((track.stay.began, host) for host, track in self.tracks.items() if track.stay is not None),
            key=lambda each: (each[0].at, each[1]),
        )
        linked = {frozenset((p.source, p.destination)) for p in pairs if p.arrival and p.source}
        told = []
        for (began, host), (later, other) in itertools.combinations(stays, 2):
            since = max(self._runs_since(host), self._runs_since(other))
            if since == _NEVER and not self.case.conflicts:
                continue
            key = uuid.uuid5(NAMESPACE, f"{self.case.uuid} {host} {began.id} {other} {later.id}").hex
            if key in self.case.conflicts:
                told.append(key)
            elif since < _NEVER and frozenset((host, other)) not in linked:
                self.is_open = True
                if self._ripe(since + self.times.settle_s):
                    told.append(key)
                    self.tellings.append(
                        Telling(
                            "conflict", f"{key}-conflict-0", self._conflict_data(host, began, other, later)
                        )
                    )
        self.case.conflicts = told

    def _runs_since(self, host: str) -> float:
        """Since when the guest is known to run on a host that can be heard; else `_NEVER`."""
        track = self.tracks[host]
        if track.phase not in ("here", "copying") or track.guest != "running" or host in self.silent:
            return _NEVER
        return max(track.stay.began.received if track.stay else 0.0, track.moods[-1].received)

    def _conflict_data(self, host: str, began: Mark, other: str, later: Mark) -> Migration:
        return Migration(
            migration=None,
            revision=0,
            outcome="conflict",
            domain=DomainName(uuid=self.case.uuid, name=self.tracks[other].name),
            source=HostRef(host=host),
            destination=HostRef(host=other),
            mode=None,
            reason=None,
            attention=None,
            guest=Guest(host=None, state="running"),
            started_at=None,
            ended_at=None,
            duration_ms=None,
            downtime_ms=None,
            confirmed_by=["source", "destination"],
            evidence=[
                Evidence(source=host_source(host), id=began.id),
                Evidence(source=host_source(other), id=later.id),
            ],
        )

    def _judge_location(self, pairs: list[Pair]) -> None:
        """The host that has the domain: where it runs, else where it lies defined."""
        case = self.case
        ranked = []
        for host, track in self.tracks.items():
            rank = _RANK.get(track.phase, 0)
            if rank == 0 and not track.present:
                continue
            if track.stay is not None and track.stay.arrived:
                rank += 0.5
            if host in self.silent:
                rank -= 1.0
            began = track.stay.began.at if track.stay else 0.0
            ranked.append((rank, host == case.location, began, host))
        place = max(ranked)[3] if ranked else None
        undecided = any(p.departure and p.departure.stage == "left" and p.arrival is None for p in pairs)
        if place == case.location or (place is None and undecided and self.is_open):
            return
        migration = next((t.id for t in reversed(case.told) if t.arrival and t.arrival[0] == place), None)
        self.tellings.append(case.move(place, migration))

    # -- forgetting

    def _prune(self) -> None:
        case = self.case
        stale = {
            half
            for told in case.told
            if told.done or (told.last is not None and told.at + _KEPT_S < self.now)
            for half in (told.arrival, told.departure)
            if half is not None
        }
        alive: set[Half] = set()
        for host, track in case.tracks.items():
            if host not in case.tails:
                track.arrivals = [
                    a for a in track.arrivals if (host, a.key) not in stale or a is track.arrivals[-1]
                ]
                track.departures = [
                    d for d in track.departures if (host, d.key) not in stale or d is track.departures[-1]
                ]
            alive |= {(host, a.key) for a in track.arrivals} | {(host, d.key) for d in track.departures}
            for mark in (track.defined, track.lost):
                if mark is not None:
                    alive.add((host, mark.key))
        beside = _beside(alive - stale, case.told)
        case.told = [
            t for t in case.told if t.arrival in alive or t.departure in alive or t.id in beside or case.tails
        ]


_RANK: Final = {
    "here": 3.0,
    "copying": 3.0,
    "restored": 3.0,
    "incoming_postcopy": 4.0,
    "incoming_broken": 4.0,
    "leaving": 2.0,
    "leaving_postcopy": 2.0,
    "leaving_broken": 2.0,
}


def _beside(open_halves: AbstractSet[Half], told: Iterable[Told]) -> set[str]:
    """What was told of the attempts next to a half whose other half may yet come: between the same hosts, the
    last before it and the first after. They hold what it can't belong to (`pairing.pair`).
    """
    beside = set()
    for host, key in open_halves:
        nearest: dict[tuple[str, bool], tuple[Key, str]] = {}
        for each in told:
            if each.arrival is None or each.departure is None:
                continue
            places = dict((each.arrival, each.departure))
            place = places.pop(host, key)
            if place == key:
                continue
            (other,) = places
            side = other, place > key
            last = nearest.get(side)
            if last is None or (place < last[0]) == (place > key):
                nearest[side] = place, each.id
        beside |= {identity for _, identity in nearest.values()}
    return beside


def _folded(track: Track, tail: list[Fact]) -> Track:
    """The track as it would be with everything that waits for its turn."""
    copy = msgspec.msgpack.decode(_ENCODER.encode(track), type=Track)
    for fact in tail:
        fold(copy, fact)
    return copy


def _is_former(track: Track, epoch: int) -> bool:
    """Whether all that is known of it was said in an epoch of the host that is over."""
    return max(track.key[0], track.listed.key[0] if track.listed else -1) < epoch


def _is_silent(track: Track, blind_since: float | None) -> bool:
    """Whether the host can't be heard, and has said nothing of the domain's state since. A state that is only
    sent once more was read before.
    """
    if blind_since is None:
        return False
    if track.listed is None:
        return True
    mark = track.listed.mark
    return mark.received <= blind_since or (mark.at <= blind_since and not is_live(mark))


def _substance(data: Migration) -> tuple[object, ...]:
    return (
        data.outcome,
        data.reason,
        data.source.host,
        data.destination.host,
        data.mode,
        data.attention,
        tuple(data.confirmed_by),
        data.downtime_ms,
        (data.guest.host, data.guest.state),
    )


def _keeping_known(data: Migration, last: Migration, *, source_is_silent: bool) -> Migration:
    """What was known stays known: a side that is forgotten, or can't be heard any more, is no evidence."""
    update: dict[str, object] = {}
    for name in ("started_at", "downtime_ms"):
        if getattr(data, name) is None and getattr(last, name) is not None:
            update[name] = getattr(last, name)
    for name in ("source", "destination"):
        if getattr(data, name).host is None:
            update[name] = getattr(last, name)
    if source_is_silent and (data.outcome, data.reason) == (last.outcome, last.reason):
        if "source" not in data.confirmed_by:
            update["attention"] = data.attention or last.attention
        if data.guest.state == "unknown" and last.guest.state != "unknown":
            update["guest"] = last.guest
    return data.model_copy(update=update) if update else data
