"""Where the guest was when a migration to another host was prepared, and how it fared there. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from operator import itemgetter

from bridge.correlator.rules.alignment import LegId, Link
from bridge.correlator.rules.clock_readings import (
    AFTER_S,
    FOREVER,
    ORDER_S,
    READINGS,
    ClockReading,
    Interval,
    Overlap,
    by_correction,
    by_receipt,
    earliest,
    intervals,
    readings,
)
from bridge.correlator.rules.event_types import end_of
from bridge.correlator.rules.host_view import Arrival, Departure, DepartureStage, HostView, Residency
from bridge.correlator.rules.observations import SKEW_S, Key, Mark, is_found, is_live


def holders_at(
    views: Mapping[str, HostView], destination: str, arrival: Arrival
) -> list[tuple[str, Residency]]:
    """The other hosts on which the guest was when this arrival was opened, and its residencies there, the
    likeliest first: by the corrected clocks, or by the receipt if all was received as it happened; then by
    any other reading. More than one only if the guest runs twice, or the clocks don't decide.
    """
    mark = arrival.first
    moments_s = [read(mark) for read in readings([mark])]
    residencies = [
        (host, residency)
        for host, view in views.items()
        if host != destination
        for residency in ([*view.past, view.residency] if view.residency else view.past)
    ]
    found: list[tuple[float, bool, float, str, Residency]] = []
    for host, residency in residencies:
        away_s, began, ended = (
            _away_at_s(residency, mark, by_correction, by_correction),
            residency.began,
            residency.ended,
        )
        was_seen = not (is_found(mark) or is_found(ended))
        is_sure = ended is None or was_seen or ended.earliest > mark.at
        if away_s and _may_have_begun_before(residency, arrival):
            away_s, is_sure = max(0.0, began.earliest - mark.at), False
        if is_live(mark, began, ended):
            away_s = min(away_s, _away_at_s(residency, mark, by_receipt, by_receipt))
        if away_s > ORDER_S:  # by another reading of the clocks
            away_s = min(away_s, ORDER_S + _least_away_s(residency, moments_s))
        if away_s <= SKEW_S:
            found.append((away_s, not is_sure, -began.at, host, residency))
    likeliest: dict[str, Residency] = {}
    for *_, host, residency in sorted(found, key=itemgetter(0, 1, 2)):
        likeliest.setdefault(host, residency)
    return list(likeliest.items())


def _may_have_begun_before(residency: Residency, arrival: Arrival) -> bool:
    """The guest was found there after this was prepared, and before it was over."""
    ends_s = arrival.decided.at if arrival.decided else FOREVER
    return is_found(residency.began) and arrival.first.at < residency.began.at < ends_s


def _least_away_s(residency: Residency, moments_s: Sequence[float]) -> float:
    """How far a moment, here by each reading of its clock, is from a residency by any reading."""
    began, ended = residency.began, residency.ended
    spans = [
        (read(began), read(ended) if ended is not None else FOREVER)
        for read in readings([began] if ended is None else [began, ended])
    ]
    return min(max(0.0, began_s - s, s - ended_s) for began_s, ended_s in spans for s in moments_s)


def _away_at_s(residency: Residency, mark: Mark, there: ClockReading, here: ClockReading) -> float:
    """How far a moment here, at the earliest if it was found, is from a residency there."""
    ended_s = there(residency.ended) if residency.ended else FOREVER
    return max(0.0, there(residency.began) - here(mark), earliest(mark, here) - ended_s)


def source_without_job(
    host: str,
    arrival: Arrival,
    holders: Sequence[tuple[str, Residency]],
    views: Mapping[str, HostView],
    links: Mapping[LegId, Link],
) -> tuple[str | None, Departure | None, Sequence[Overlap]]:
    """The source of an arrival without a link, how the guest fared there, where that is known, and the
    readings of both clocks by which it was there.
    """
    holders = [each for each in holders if not _came_later(*each, arrival, views, links)]
    holders = [each for each in holders if not _was_busy(views[each[0]], arrival)] or holders
    holder = next(iter(holders), None)
    end = holder and (_end_before_copy(arrival, *holder, views) or _ran_on(arrival, holder[1]))
    source = holder[0] if holder and end else _last_host(host, arrival, holder, views, links)
    return source, end, residency_overlaps(arrival, dict(holders).get(source or ""))


def _came_later(
    host: str,
    residency: Residency,
    arrival: Arrival,
    views: Mapping[str, HostView],
    links: Mapping[LegId, Link],
) -> bool:
    """Whether the guest came there from a host that it left after this arrival was opened."""
    came = [each.key for each in views[host].arrivals if each.key <= residency.began.key]
    link = links.get((host, came[-1])) if came and residency.arrived else None
    if link is None:
        return False
    readings = [d.read for _, d in link.overlaps] or [by_correction]
    left_s = min(earliest(link.of.opened, read) for read in readings)
    return left_s > arrival.first.at + SKEW_S


def _was_busy(view: HostView, arrival: Arrival) -> bool:
    """Whether another job was under way there all the time: a host begins one after the other, and sends no
    guest that is still coming, by the receipt, too.
    """
    over = arrival.decided or arrival.first

    def lasted_longer(began: Mark, end: Mark | None, read: ClockReading) -> bool:
        is_over = end is not None and read(end) - ORDER_S <= read(over)
        return read(began) + ORDER_S < read(arrival.first) and not is_over

    return any(
        lasted_longer(each.opened, each.ended, by_correction)
        for each in view.departures
        if each.ended is not None and not is_found(each.ended)
    ) or any(
        all(
            lasted_longer(each.first, each.decided or each.over, read) for read in (by_correction, by_receipt)
        )
        for each in view.arrivals
    )


def _last_host(
    host: str,
    arrival: Arrival,
    holder: tuple[str, Residency] | None,
    views: Mapping[str, HostView],
    links: Mapping[LegId, Link],
) -> str | None:
    """The host that had the guest when this arrival began: its last known host, or the one to which it had
    left from there, though that hasn't published anything of it yet.
    """
    if holder is None:
        return None
    source, residency = holder
    of = {link.departure[1]: leg for leg, link in links.items() if link.departure[0] == source}
    if _may_have_left(views[source], residency, (host, arrival.key), arrival.first, of):
        return None
    was_there = any(s.ends > a.begins + AFTER_S for a, s in residency_overlaps(arrival, residency))
    if residency.ended is not None and not was_there:
        if end_of(residency.ended) and _had_ended(residency, arrival):
            return None
        for (destination, _), link in links.items():
            if link.departure[0] == source and link.of.stage == "left" and link.of.ended == residency.ended:
                return None if destination == host else destination
        if any(each.stage == "left" and each.ended == residency.ended for each in views[source].departures):
            return None  # to a host that didn't see it come
    return source


def _may_have_left(
    view: HostView, residency: Residency, came: LegId, began: Mark, of: Mapping[Key, LegId]
) -> bool:
    """The guest had been suspended for an earlier attempt, and was found gone: it may be on any host. of: the
    arrivals to which departures from there belong.
    """
    for each in view.departures:
        if each.stage != "vanished" or each.ended != residency.ended or each.suspended is None:
            continue
        to = of.get(each.key)
        if to is not None and to[0] == came[0] and to > came:
            continue  # for a later one
        if each.suspended.at < began.at:
            return True
    return False


def _had_ended(residency: Residency, arrival: Arrival) -> bool:
    """The guest had ended before this was prepared, by all readings: it was started again, unseen."""
    return all(_had_ended_by(residency, arrival))


def may_have_ended(residency: Residency, arrival: Arrival) -> bool:
    """The guest had ended before this was prepared, by some reading."""
    return any(_had_ended_by(residency, arrival))


def _had_ended_by(residency: Residency, arrival: Arrival) -> list[bool]:
    end = residency.ended
    return [end is not None and read(end) + ORDER_S < read(arrival.first) for read in READINGS]


def _end_before_copy(
    arrival: Arrival,
    source: str,
    residency: Residency,
    views: Mapping[str, HostView],
) -> Departure | None:
    """The source's leg if no event shows a job there, and the guest ended: the host that had the guest was
    the source, and its end ended the last attempt that had been prepared by then.
    """
    if arrival.stage in ("arrived", "departed"):
        return None
    end = residency.ended
    stage = end_of(end) if end is not None else None
    if end is None or stage is None or _had_ended(residency, arrival):
        return None
    if arrival.may_have_come and _may_have_begun_before(residency, arrival):
        return None  # the guest may have come, and be back
    began = residency.announced or end
    others = (each.first for host, view in views.items() if host != source for each in view.arrivals)
    if any(_is_between(first, arrival.first, began) for first in others):
        return None
    over = arrival.ended_by
    if over is not None and is_well_after(began, over, residency_overlaps(arrival, residency)):
        return None
    return Departure(key=end.key, opened=end, stage=stage, ended=end, announced=residency.announced)


def _is_between(first: Mark, after: Mark, before: Mark) -> bool:
    """Whether an attempt was prepared between these, by all readings."""
    return all(read(after) < earliest(first, read) <= read(before) for read in READINGS)


def _ran_on(arrival: Arrival, residency: Residency) -> Departure | None:
    """The source's leg if no event shows a job there, and the guest ran there after it was resumed at its
    destination; it may have come back if it left that one, or was found gone.
    """
    ran, switched = residency.ran, arrival.switched
    if arrival.over is not None and end_of(arrival.over) is None:
        return None
    if arrival.stage not in ("arrived", "departed") or ran is None or switched is None:
        return None
    overlaps = residency_overlaps(arrival, residency)
    if not all(d.read(ran) > a.read(switched) + ORDER_S for a, d in overlaps) or not overlaps:
        return None
    over, began = arrival.over, residency.began
    if over is not None and is_found(began) and any(d.read(began) > a.read(over) for a, d in overlaps):
        return None  # it may have been started there again
    stage: DepartureStage = "resumed" if residency.ended is None else "resumed_ended"
    return Departure(ran.key, ran, stage, guest="running", ended=ran, over=residency.ended)


def residency_overlaps(arrival: Arrival, residency: Residency | None) -> list[Overlap]:
    """The readings of both clocks by which the guest was on the source when the arrival was opened."""
    if residency is None:
        return []
    resided = intervals(residency.began, None, residency.ended)
    return [
        (a, there)
        for a, there in product(lasted(arrival), resided)
        if earliest(residency.began, there.read) - ORDER_S <= a.begins <= there.ends + ORDER_S
    ]


def is_well_after(end: Mark, over: Mark, overlaps: Sequence[Overlap]) -> bool:
    """Whether the source's end began well after the attempt was over at the destination, by every reading of
    their clocks: what one end leads to follows at once, before either is found, and after what was seen last.
    """
    margin_s = ORDER_S if is_found(over) or is_found(end) else AFTER_S
    readings = [(a.read, d.read) for a, d in overlaps] or [(by_correction, by_correction)]
    return all(earliest(end, source) - destination(over) > margin_s for destination, source in readings)


def lasted(leg: Arrival | Departure) -> list[Interval]:
    """The time of a leg, from the first to the last known moment."""
    if isinstance(leg, Arrival):
        return intervals(leg.first, leg.after, leg.switched or leg.ended_by or leg.over)
    return intervals(leg.began or leg.opened, leg.after, leg.ended or leg.closed)
