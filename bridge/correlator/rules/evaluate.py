"""Evaluates a domain: what its observations prove now and wasn't published yet. Sans-I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from bridge.correlator.rules import actions, segments
from bridge.correlator.rules.alignment import LegId
from bridge.correlator.rules.attempts import evaluate_attempt
from bridge.correlator.rules.attention import attention
from bridge.correlator.rules.conflicts import evaluate_conflicts
from bridge.correlator.rules.context import EvaluationContext
from bridge.correlator.rules.current import evaluate_current
from bridge.correlator.rules.host_view import Arrival, HostView
from bridge.correlator.rules.observations import Key
from bridge.correlator.rules.offline import evaluate_offline
from bridge.correlator.rules.pairing import Linker, Pair
from bridge.correlator.rules.record import DomainRecord, Evaluation, Hosts, Published, Times
from bridge.correlator.rules.transitions import ACTIVE

_KEPT_S: Final = 7 * 86400.0


def evaluate(
    record: DomainRecord,
    now: float,
    blind: Mapping[str, float],
    times: Times,
    hosts: Hosts | None = None,
) -> Evaluation:
    """What the observations prove now and wasn't published yet; the record notes it as published.

    blind: hosts that are blind (agent offline, libvirt not connected, or back for less than `settle`), and
    since when.
    """
    if record.is_quiet:
        return record.follow()
    context = EvaluationContext(record, now, blind, times, hosts or Hosts())
    _give_up_gaps(context)
    _relocate_legs(context)
    linked = {
        (published.arrival, published.departure)
        for published in record.published
        if published.arrival and published.departure and (published.last is not None or published.interrupted)
    }
    remains = segments.remains(context.views)
    done = remains.union(leg for published in record.published if published.done for leg in published.legs)
    told = [published for published in record.published if published.last]
    published_alone = segments.Alone(
        {each.arrival for each in told if each.arrival}, {each.departure for each in told if each.departure}
    )
    linker = Linker(done, linked)
    segments.choose(context.views, done, published_alone, linker.total_penalty)
    pairs = linker.pair(context.views)
    segments.return_suspends(context.views, pairs)
    attempts = [attempt for each in pairs if (attempt := evaluate_attempt(context, each)) is not None]
    context.is_open = context.is_open or (len(context.views) > 1 and bool(context.silent))
    evaluate_offline(context)
    evaluate_conflicts(context, pairs)
    _evaluate_location(context, pairs)
    evaluate_current(context, attempts)
    _prune(context, remains)
    future = [due for due in context.due_times if due > now]
    return Evaluation(
        tuple(context.messages),
        min(future, default=None),
        context.is_open or bool(record.reordering),
        frozenset(record.logs),
        frozenset(record.reordering) | context.awaited,
        attention(context),
    )


def _give_up_gaps(context: EvaluationContext) -> None:
    """Stops waiting for messages that have been missing for `patience`."""
    for log in context.record.logs.values():
        while (waiting := log.first_waiting()) is not None:
            if not context.is_due(waiting.received + context.times.patience_s):
                break
            log.complete = waiting.key


def _relocate_legs(context: EvaluationContext) -> None:
    """A late message may give a published leg another first event: it is still that leg. What began before
    all that is known of some host is done: what was dropped there isn't evidence against it.
    """
    arrivals = {host: [each.key for each in view.arrivals] for host, view in context.views.items()}
    departures = {host: [each.key for each in view.departures] for host, view in context.views.items()}
    known_since = max(map(_known_since, context.views.values()), default=0.0)
    for each in context.record.published:
        if each.done:
            continue
        taken = {leg for other in context.record.published for leg in other.legs}
        each.arrival = _found(context, each.arrival, arrivals, taken)
        each.departure = _found(context, each.departure, departures, taken, may_be_an_end=True)
        is_forgotten = _is_forgotten(each.arrival, arrivals) or _is_forgotten(each.departure, departures)
        each.done = each.last is not None and (is_forgotten or each.began < known_since)


def _known_since(view: HostView) -> float:
    """Since when all is known of a host: before that, some of its legs or residencies were dropped."""
    kept = (
        [each.began for each in view.past],
        [each.first for each in view.arrivals],
        [each.opened for each in view.departures],
    )
    firsts = [marks[0] for marks in kept if len(marks) >= actions.KEPT]
    return max((min(first.at, first.received) for first in firsts), default=0.0)


def _is_forgotten(leg: LegId | None, keys: Mapping[str, Sequence[Key]]) -> bool:
    """Whether a leg was pruned: its absence is no evidence, and its other leg is no new attempt."""
    known = keys.get(leg[0], ()) if leg is not None else ()
    return leg is not None and len(known) >= actions.KEPT and leg[1] < known[0]


def _found(
    context: EvaluationContext,
    leg: LegId | None,
    keys: Mapping[str, Sequence[Key]],
    published: AbstractSet[LegId],
    *,
    may_be_an_end: bool = False,
) -> LegId | None:
    """The leg that has this place now: the one that begins there, or the guest's end alone if it may be one;
    else, of those that aren't published as another attempt's, the last one before within the same stay, or
    the next.
    """
    if leg is None or leg[0] not in keys:
        return leg
    host, key = leg
    ends = [residency.ended.key for residency in context.views[host].past if residency.ended is not None]
    if _is_forgotten(leg, keys) or key in keys[host] or (may_be_an_end and key in ends):
        return leg
    free = [each for each in keys[host] if (host, each) not in published]
    before = [each for each in free if each < key and not any(each < end <= key for end in ends)]
    found = before[-1:] or [each for each in free if each > key]
    return (host, found[0]) if found else leg


def _evaluate_location(context: EvaluationContext, pairs: list[Pair]) -> None:
    """The host that has the domain: where it runs; else, of those that define it, where it ran last."""
    record = context.record
    ranked = []
    for host, view in context.views.items():
        is_active = view.phase in ACTIVE
        if not (is_active or view.present) or host in context.gone:
            continue
        is_staying = is_active and not view.phase.startswith("leaving")
        residency = view.residency
        last = view.past[-1].ended if view.past and not is_active else None
        ranked.append(
            (
                is_active,
                is_staying,
                host not in context.silent,
                residency is not None and residency.arrived,
                last.at if last else 0.0,
                host == record.location,
                residency.began.at if residency else 0.0,
                host,
            )
        )
    best = max(ranked, default=None)
    place = best[-1] if best is not None and best[0] else _left_for(context, pairs)
    if place is None and best is not None:
        place = best[-1]
    if not record.is_elsewhere(place, context.views.get(place) if place else None):
        return
    came = [each for each in record.published if each.arrival and each.arrival[0] == place]
    newest = max(came, key=lambda each: (each.arrival, each.last is not None), default=None)
    context.messages.append(record.move(place, newest.id if newest else None, context.views))


def _left_for(context: EvaluationContext, pairs: list[Pair]) -> str | None:
    """Where a guest is that left its published location, and isn't known to be anywhere else: at its
    destination, or still there until the verdict is published. One that is gone there may be leaving its
    destination again.
    """
    place = context.record.location
    for host, view in context.views.items():
        last = view.departures[-1] if view.departures else None
        if last is None or view.began > last.key:
            continue
        left = host, last.key
        of_it = next((e for e in pairs if e.departure and (e.source, e.departure.key) == left), None)
        arrival = of_it.arrival if of_it is not None else None
        if of_it is not None and arrival is not None:
            is_open = arrival.over is None and arrival.stage in ("open", "postcopy", "broken")
            was_here = place in (host, of_it.destination) and last.stage == "left"
            if is_open and (was_here or arrival.relisted):
                return of_it.destination
        elif host == place and last.stage == "left":
            published = (each for each in context.record.published if each.departure == left)
            return None if any(each.last is not None for each in published) else place
    return None


def _prune(context: EvaluationContext, remains: AbstractSet[LegId]) -> None:
    """Drops what has no bearing on anything any more. remains: see `segments.remains`."""
    record = context.record
    stale = remains | {
        leg
        for published in record.published
        if published.done or (published.last is not None and published.at + _KEPT_S < context.now)
        for leg in published.legs
    }
    legs: set[LegId] = {
        (host, leg.key)
        for host, view in context.views.items()
        for leg in (*view.arrivals, *view.departures)
        if not (isinstance(leg, Arrival) and leg.tentative)
    }
    marks = {
        (host, mark.key)
        for host, view in context.views.items()
        for mark in (view.defined, view.lost, *(a.first for a in view.arrivals if a.tentative))
        if mark is not None
    }
    if legs <= stale and not context.is_open and not record.reordering:
        _check_point(record, stale)
    alive = legs | marks
    beside = _beside(alive - stale, record.published)
    record.published = [
        each
        for each in record.published
        if each.id in beside
        or record.reordering
        or any(leg in alive or _may_return(leg, record) for leg in each.legs)
    ]


def _may_return(leg: LegId, record: DomainRecord) -> bool:
    """Whether a leg that isn't kept any more may be found again: late messages can show fewer legs after
    it than were found before.
    """
    host, key = leg
    base = record.logs[host].base if host in record.logs else None
    return base is not None and (
        key > base.key or any(each.key == key for each in (*base.arrivals, *base.departures))
    )


def _check_point(record: DomainRecord, stale: AbstractSet[LegId]) -> None:
    """Folds what is closed for good."""
    absorbed = {leg for published in record.published for leg in published.absorbed}
    for host, log in record.logs.items():
        log.fold_for_good()
        view = log.base = segments.joined_as(host, log.base, absorbed)
        view.arrivals = [a for a in view.arrivals if (host, a.key) not in stale or a is view.arrivals[-1]]
        view.departures = [
            d for d in view.departures if (host, d.key) not in stale or d is view.departures[-1]
        ]


def _beside(open_legs: AbstractSet[LegId], published: Iterable[Published]) -> set[str]:
    """The published attempts next to a leg whose other leg may still come: between the same hosts, the last
    before it and the first after. They exclude links of it (`pairing.Linker`).
    """
    beside = set()
    for host, key in open_legs:
        nearest: dict[tuple[str, bool], tuple[Key, str]] = {}
        for each in published:
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
