"""A judgement: what a case's facts prove now and wasn't told yet. Pure; `judge` is the way in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

import msgspec

from bridge.correlator.apart import judge_conflict, judge_offline
from bridge.correlator.attempts import judge_attempt
from bridge.correlator.case import Case, Judgement, Times, Told
from bridge.correlator.facts import Fact, Key
from bridge.correlator.machine import apply, fold
from bridge.correlator.pairing import Half, Pair, pair
from bridge.correlator.signs import sign_of_state
from bridge.correlator.sitting import Sitting
from bridge.correlator.track import Arrival, Departure, Track

_KEPT_S: Final = 7 * 86400.0
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


def judge(
    case: Case,
    now: float,
    blind: Mapping[str, float],
    times: Times,
    epochs: Mapping[str, int] | None = None,
) -> Judgement:
    """What the facts prove now and wasn't told yet; the case notes that it is told.

    blind: hosts that can't be heard (agent offline, libvirt not connected, or back for less than `settle`),
    and since when. epochs: the newest epoch's ordinal of each host; a track of an older one is a former life
    of that host.
    """
    if case.is_quiet:
        return case.follow()
    sitting = Sitting(case, now, blind, times, epochs or {})
    _absorb_old_tails(sitting)
    sitting.tracks = {
        host: _folded(track, case.tails[host]) if host in case.tails else track
        for host, track in case.tracks.items()
    }
    _find_halves_again(sitting)
    _believe_states(sitting)
    linked = {
        (told.arrival, told.departure)
        for told in case.told
        if told.arrival and told.departure and (told.last is not None or told.interrupted)
    }
    pairs = pair(sitting.tracks, _done(case), linked)
    for each in pairs:
        judge_attempt(sitting, each)
    judge_offline(sitting)
    judge_conflict(sitting, pairs)
    _judge_location(sitting, pairs)
    _prune(sitting)
    future = [due for due in sitting.dues if due > now]
    return Judgement(
        tuple(sitting.tellings),
        min(future, default=None),
        sitting.is_open or bool(case.tails),
        frozenset(case.tracks),
    )


def _absorb_old_tails(sitting: Sitting) -> None:
    for host in list(sitting.case.tails):
        sitting.case.absorb(host, lambda f: f.received + sitting.times.patience_s <= sitting.now)
        if host in sitting.case.tails:
            sitting.dues.append(sitting.case.tails[host][0].received + sitting.times.patience_s)


def _find_halves_again(sitting: Sitting) -> None:
    """What fills a hole, or comes after its state, may be the true beginning of a half that was told of:
    it is that half still. Of what is done the halves aren't kept, and none of those that are is meant.
    """
    for told in sitting.case.told:
        if told.done:
            continue
        told.arrival = _found(sitting, told.arrival, lambda track: track.arrivals)
        told.departure = _found(sitting, told.departure, lambda track: track.departures)
        if told.last is not None and (
            _is_forgotten(sitting, told.arrival, lambda track: track.arrivals)
            or _is_forgotten(sitting, told.departure, lambda track: track.departures)
        ):
            told.done = True


def _is_forgotten(
    sitting: Sitting, half: Half | None, halves: Callable[[Track], Sequence[Arrival | Departure]]
) -> bool:
    """Whether so many others came since that it isn't kept any more: that is no reason to tell otherwise, nor
    to tell of its other half anew.
    """
    if half is None or half[0] not in sitting.tracks:
        return False
    kept = halves(sitting.tracks[half[0]])
    return bool(kept) and half[1] < kept[0].key


def _found(
    sitting: Sitting, half: Half | None, halves: Callable[[Track], Sequence[Arrival | Departure]]
) -> Half | None:
    if half is not None and half[0] in sitting.tracks:
        host, key = half
        known = halves(sitting.tracks[host])
        if all(each.key != key for each in known):
            for each in known:
                is_foreseen = isinstance(each, Arrival) and each.foreseen == key
                if is_foreseen or each.key < key <= each.last_key:
                    return host, each.key
    return half


def _believe_states(sitting: Sitting) -> None:
    """A state that no event explained in time stands for the event that was lost."""
    for host, track in sitting.case.tracks.items():
        sign = None if host in sitting.case.tails else sign_of_state(track)
        listed = track.listed
        if sign and listed and sitting.ripe(listed.mark.received + sitting.times.unexplained_s):
            apply(track, sign, listed.mark)


def _done(case: Case) -> frozenset[Half]:
    return frozenset(
        half for told in case.told if told.done for half in (told.arrival, told.departure) if half
    )


def _judge_location(sitting: Sitting, pairs: list[Pair]) -> None:
    """The host that has the domain: where it runs, else where it lies defined."""
    case = sitting.case
    ranked = []
    for host, track in sitting.tracks.items():
        rank = _RANK.get(track.phase, 0)
        if rank == 0 and not track.present:
            continue
        if track.stay is not None and track.stay.arrived:
            rank += 0.5
        if host in sitting.silent:
            rank -= 1.0
        began = track.stay.began.at if track.stay else 0.0
        ranked.append((rank, host == case.location, began, host))
    place = max(ranked)[3] if ranked else None
    undecided = any(p.departure and p.departure.stage == "left" and p.arrival is None for p in pairs)
    if place == case.location or (place is None and undecided and sitting.is_open):
        return
    migration = next((t.id for t in reversed(case.told) if t.arrival and t.arrival[0] == place), None)
    sitting.tellings.append(case.move(place, migration))


def _prune(sitting: Sitting) -> None:
    """Forgets what can't bear on anything any more."""
    case = sitting.case
    stale = {
        half
        for told in case.told
        if told.done or (told.last is not None and told.at + _KEPT_S < sitting.now)
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
    copy = msgspec.msgpack.decode(msgspec.msgpack.encode(track), type=Track)
    for fact in tail:
        fold(copy, fact)
    return copy
