"""A judgement: what a case's facts prove now and wasn't told yet. Pure; `judge` is the way in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from bridge.correlator.rules import actions, segments
from bridge.correlator.rules.alignment import Half
from bridge.correlator.rules.attempts import judge_attempt
from bridge.correlator.rules.attention import attention
from bridge.correlator.rules.conflicts import judge_conflict, judge_offline
from bridge.correlator.rules.context import Sitting
from bridge.correlator.rules.current import judge_current
from bridge.correlator.rules.host_view import Arrival, Departure, Track
from bridge.correlator.rules.observations import Key
from bridge.correlator.rules.pairing import Pair, pair, weigh
from bridge.correlator.rules.record import Case, Hosts, Judgement, Times, Told

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
    hosts: Hosts | None = None,
) -> Judgement:
    """What the facts prove now and wasn't told yet; the case notes that it is told.

    blind: hosts that can't be heard (agent offline, libvirt not connected, or back for less than `settle`),
    and since when.
    """
    if case.is_quiet:
        return case.follow()
    sitting = Sitting(case, now, blind, times, hosts or Hosts())
    _give_up_holes(sitting)
    _find_halves_again(sitting)
    linked = {
        (told.arrival, told.departure)
        for told in case.told
        if told.arrival and told.departure and (told.last is not None or told.interrupted)
    }
    done = _done(case)
    told_alone = {half for told in case.told if told.last for half in (told.arrival, told.departure) if half}
    segments.choose(sitting.tracks, done, told_alone, lambda tracks: weigh(tracks, done, linked))
    pairs = pair(sitting.tracks, done, linked)
    attempts = [attempt for each in pairs if (attempt := judge_attempt(sitting, each)) is not None]
    sitting.is_open = sitting.is_open or (len(sitting.tracks) > 1 and bool(sitting.silent))
    judge_offline(sitting)
    judge_conflict(sitting, pairs)
    _judge_location(sitting, pairs)
    judge_current(sitting, attempts)
    _prune(sitting)
    future = [due for due in sitting.dues if due > now]
    return Judgement(
        tuple(sitting.tellings),
        min(future, default=None),
        sitting.is_open or bool(case.tails),
        frozenset(case.logs),
        frozenset(case.tails) | sitting.withheld,
        attention(sitting),
    )


def _give_up_holes(sitting: Sitting) -> None:
    """What has been missing for `patience` isn't waited for any more."""
    for log in sitting.case.logs.values():
        while (waiting := log.first_waiting()) is not None:
            if not sitting.ripe(waiting.received + sitting.times.patience_s):
                break
            log.complete = waiting.key


def _find_halves_again(sitting: Sitting) -> None:
    """What comes late may show another first sign of a half that was told of: it is that half still. Of what
    is done the halves aren't kept, and none of those that are is meant.
    """
    told_of = [told for told in sitting.case.told if not told.done]
    for told in told_of:
        told.arrival = _found(sitting, told.arrival, _arrivals, {each.arrival for each in told_of})
        told.departure = _found(sitting, told.departure, _departures, {each.departure for each in told_of})
        if told.last is not None and (
            _is_forgotten(sitting, told.arrival, _arrivals)
            or _is_forgotten(sitting, told.departure, _departures)
        ):
            told.done = True


def _arrivals(track: Track) -> Sequence[Arrival | Departure]:
    return track.arrivals


def _departures(track: Track) -> Sequence[Arrival | Departure]:
    return track.departures


def _is_forgotten(
    sitting: Sitting, half: Half | None, halves: Callable[[Track], Sequence[Arrival | Departure]]
) -> bool:
    """Whether so many others came since that it isn't kept any more: that is no reason to tell otherwise, nor
    to tell of its other half anew.
    """
    if half is None or half[0] not in sitting.tracks:
        return False
    known = halves(sitting.tracks[half[0]])
    return len(known) >= actions.KEPT and half[1] < known[0].key


def _found(
    sitting: Sitting,
    half: Half | None,
    halves: Callable[[Track], Sequence[Arrival | Departure]],
    told: AbstractSet[Half | None],
) -> Half | None:
    """The half that has this place now: the one that begins there; else the last one before that wasn't told
    of as another, or the next.
    """
    if half is None or half[0] not in sitting.tracks:
        return half
    host, key = half
    track = sitting.tracks[host]
    known = halves(track)
    if _is_forgotten(sitting, half, halves) or any(each.key == key for each in known):
        return half
    if any(stay.ended is not None and stay.ended.key == key for stay in track.past):
        return half  # the guest's end alone
    free = [each for each in known if (host, each.key) not in told]
    before = [each.key for each in free if each.key < key]
    if before:
        return host, before[-1]
    return (host, free[0].key) if free else half


def _done(case: Case) -> frozenset[Half]:
    return frozenset(
        half
        for told in case.told
        if told.done
        for half in (told.arrival, told.departure, *told.absorbed)
        if half
    )


def _judge_location(sitting: Sitting, pairs: list[Pair]) -> None:
    """The host that has the domain: where it runs; else, of those that define it, where it ran last."""
    case = sitting.case
    ranked = []
    for host, track in sitting.tracks.items():
        rank = _RANK.get(track.phase, 0)
        if (rank == 0 and not track.present) or host in sitting.gone:
            continue
        if track.stay is not None and track.stay.arrived:
            rank += 0.5
        if host in sitting.silent:
            rank -= 1.0
        began = track.stay.began.at if track.stay else 0.0
        last = track.past[-1].ended if track.past and rank == 0 else None
        ranked.append((rank, last.at if last else 0.0, host == case.location, began, host))
    place = max(ranked)[4] if ranked else _left_for(sitting, pairs)
    if not case.is_elsewhere(place, sitting.tracks.get(place) if place else None):
        return
    migration = next((t.id for t in reversed(case.told) if t.arrival and t.arrival[0] == place), None)
    sitting.tellings.append(case.move(place, migration, sitting.tracks))


def _left_for(sitting: Sitting, pairs: list[Pair]) -> str | None:
    """Where a guest is that left the host it was told to be on, and is known to be nowhere else: at its
    destination, or still there while nobody has said where it went.
    """
    place = sitting.case.location
    for host, track in sitting.tracks.items():
        last = track.departures[-1] if track.departures else None
        if last is None or last.stage != "left" or track.began > last.key:
            continue
        of_it = next((each for each in pairs if each.departure is last and each.source == host), None)
        if of_it is not None and of_it.arrival is not None:
            if place in (host, of_it.destination) and of_it.arrival.stage in ("open", "postcopy", "broken"):
                return of_it.destination
        elif host == place:
            told = (told for told in sitting.case.told if told.departure == (host, last.key))
            return None if any(each.arrival is not None for each in told) else place
    return None


def _prune(sitting: Sitting) -> None:
    """Forgets what can't bear on anything any more."""
    case = sitting.case
    stale = {
        half
        for told in case.told
        if told.done or (told.last is not None and told.at + _KEPT_S < sitting.now)
        for half in (told.arrival, told.departure, *told.absorbed)
        if half is not None
    }
    halves: set[Half] = {
        (host, half.key)
        for host, track in sitting.tracks.items()
        for half in _halves(track)
        if not (isinstance(half, Arrival) and half.tentative)
    }
    marks = {
        (host, mark.key)
        for host, track in sitting.tracks.items()
        for mark in (track.defined, track.lost, *(a.first for a in track.arrivals if a.tentative))
        if mark is not None
    }
    if halves <= stale and not sitting.is_open and not case.tails:
        _check_point(case, stale)
    alive = halves | marks
    beside = _beside(alive - stale, case.told)
    case.told = [
        t for t in case.told if t.arrival in alive or t.departure in alive or t.id in beside or case.tails
    ]


def _halves(track: Track) -> list[Arrival | Departure]:
    return [*track.arrivals, *track.departures]


def _check_point(case: Case, stale: AbstractSet[Half]) -> None:
    """Folds what is closed for good."""
    absorbed = {half for told in case.told for half in told.absorbed}
    for host, log in case.logs.items():
        log.fold_for_good()
        track = log.base = segments.joined_as(host, log.base, absorbed)
        track.arrivals = [a for a in track.arrivals if (host, a.key) not in stale or a is track.arrivals[-1]]
        track.departures = [
            d for d in track.departures if (host, d.key) not in stale or d is track.departures[-1]
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
