"""Which departure belongs to which arrival. Pure.

No event, XML or statistic names the other host. The UUID pairs the sides; the rest follows from three rules:
a guest can only leave the host that it was on; both legs of one attempt overlap in time by some reading of
the hosts' clocks (`clock_readings`); attempts between two hosts, whatever their directions, have the same
order on both.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from operator import itemgetter
from typing import Final, Literal

from bridge.correlator.rules.alignment import (
    OPEN_PENALTY,
    UNLINKED_PENALTY,
    Ends,
    LegId,
    Link,
    best_links,
    crosses,
)
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
    by_stamp,
    intervals,
)
from bridge.correlator.rules.event_types import end_of
from bridge.correlator.rules.exceptions import exception_to
from bridge.correlator.rules.host_view import (
    Arrival,
    ArrivalStage,
    Departure,
    DepartureStage,
    HostView,
    Residency,
)
from bridge.correlator.rules.observations import AS_IT_HAPPENED, SKEW_S, Copied, Mark, is_live

_ASKED_S: Final = 2.5
"""Agents poll an outgoing job every second or two."""
_TRAILS_S: Final = 3.0
"""The source's end comes a second or two after the destination's resume; it may be all that was seen."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One attempt: an arrival, a departure, or both. `source` is where the guest was, as far as known;
    `next_began` when the next attempt was prepared, wherever.
    """

    arrival: Arrival | None
    destination: str | None
    departure: Departure | None
    source: str | None
    ambiguous: bool = False
    overlaps: Sequence[Overlap] = ()
    next_began: float = FOREVER

    def at_destination(self, moment: Mark) -> float:
        """A moment of the destination, by the likeliest reading of its clock."""
        return self.overlaps[0][0].read(moment) if self.overlaps else moment.at

    def at_source(self, moment: Mark) -> float:
        """A moment of the source, likewise."""
        return self.overlaps[0][1].read(moment) if self.overlaps else moment.at


def pair(
    views: Mapping[str, HostView], done: Collection[LegId], published: Collection[Ends] = ()
) -> list[Pair]:
    """All attempts of one domain, arrivals first, each in its host's order. Legs in `done` are left out; what
    was `published` as one attempt stays one unless there is evidence against it, and always if it is done.
    """
    arrivals, departures, residencies, links = _linked(views, done, published)
    began = sorted(arrival.first.at for _, arrival in arrivals if not arrival.tentative)
    pairs = []
    taken = set()
    for host, arrival in arrivals:
        link = links.get((host, arrival.key))
        next_s = _next(began, arrival.first)
        if link is not None:
            taken.add(link.departure)
            source = link.departure[0]
            pairs.append(Pair(arrival, host, link.of, source, link.is_ambiguous, link.overlaps, next_s))
        elif not arrival.tentative:
            leg = (host, arrival.key)
            ends = [
                (source, end)
                for n, (source, residency) in enumerate(residencies[leg])
                if (n == 0 or _ended_after(arrival, residency))
                and (end := _end_before_copy(arrival, source, residency, views, links))
            ]
            holder = next(iter(residencies[leg]), None)
            if not ends and holder and (end := _ran_on(arrival, holder[1], views[holder[0]])):
                ends = [(holder[0], end)]
            held_by, end = ends[0] if ends else (_source(host, arrival, holder, links), None)
            overlaps = residency_overlaps(arrival, dict(residencies[leg]).get(held_by or ""))
            pairs.append(Pair(arrival, host, end, held_by, overlaps=overlaps, next_began=next_s))
    pairs.extend(
        Pair(None, None, departure, host, next_began=_next(began, departure.opened))
        for host, departure in departures
        if (host, departure.key) not in taken
    )
    return pairs


def _next(began: Sequence[float], first: Mark) -> float:
    """When the next attempt began."""
    n = bisect_right(began, first.at)
    return began[n] if n < len(began) else FOREVER


def total_penalty(views: Mapping[str, HostView], done: Collection[LegId], published: Collection[Ends]) -> int:
    """The penalty of the best choice of links; legs without a link count most, but for an arrival that is
    open: its source may be heard later.
    """
    arrivals, departures, _, links = _linked(views, done, published)
    linked = {link.departure for link in links.values()}
    unlinked = [a for host, a in arrivals if not a.tentative and (host, a.key) not in links]
    still_open = sum(a.stage == "open" and a.over is None for a in unlinked)
    alone = sum(
        1
        for host, each in departures
        if (host, each.key) not in linked
        and (each.suspended or each.postcopy or each.stage in _OF_A_MIGRATION)
    )
    alone += len(unlinked) - still_open
    penalty = sum(link.penalty for link in links.values())
    return alone * UNLINKED_PENALTY + still_open * OPEN_PENALTY + penalty


_OF_A_MIGRATION: Final[frozenset[DepartureStage]] = frozenset({"left", "resumed", "resumed_ended"})
"""What only a migration ends with."""
_Arrivals = list[tuple[str, Arrival]]
_Departures = list[tuple[str, Departure]]
_Residencies = dict[LegId, list[tuple[str, Residency]]]


def _linked(
    views: Mapping[str, HostView], done: Collection[LegId], published: Collection[Ends]
) -> tuple[_Arrivals, _Departures, _Residencies, dict[LegId, Link]]:
    """All legs except those in `done`, where the guest was at each arrival, and each arrival's link."""
    arrivals = [(h, a) for h, t in sorted(views.items()) for a in t.arrivals if (h, a.key) not in done]
    departures = [(h, d) for h, t in sorted(views.items()) for d in t.departures if (h, d.key) not in done]
    residencies = {(host, arrival.key): _holders(views, host, arrival) for host, arrival in arrivals}
    lasted = {(host, arrival.key): _lasted(arrival) for host, arrival in arrivals}
    lasted |= {(host, departure.key): _lasted(departure) for host, departure in departures}
    known = _Known(
        {leg: found[0] if found else None for leg, found in residencies.items()},
        published,
        [ends for ends in published if any(leg in done for leg in ends)],
        _proven(arrivals, departures),
        lasted,
    )
    return arrivals, departures, residencies, _link(arrivals, departures, known)


def _lasted(leg: Arrival | Departure) -> list[Interval]:
    """The time of a leg, from the first to the last known moment."""
    if isinstance(leg, Arrival):
        return intervals(leg.first, leg.after, leg.switched or leg.ended or leg.over)
    return intervals(leg.opened, leg.after, leg.ended or leg.closed)


def _overlaps(
    arrival: Arrival,
    departure: Departure,
    came: Sequence[Interval],
    left: Sequence[Interval],
    *,
    held: bool,
    order_s: float = ORDER_S,
) -> list[Overlap]:
    """The readings of both clocks by which these may be the legs of one attempt, by the order of libvirt's
    protocol, within `order_s`. held: it is the guest's own end on the host that had it when the arrival was
    opened, however long that took.
    """
    is_ordered = arrival.opened is not None and departure.opened.origin in AS_IT_HAPPENED
    is_all_an_end = departure.stage == "left" and departure.opened == departure.ended
    is_all_a_job_that_was_gone = _is_all_a_job_that_was_gone(departure)
    copied = departure.copied_last
    found = []
    for a, d in product(came, left):
        trails_s = 0.0 if not is_all_an_end else FOREVER if held and arrival.stage != "ended" else _TRAILS_S
        if arrival.over is not None:  # nor after the guest had left again
            trails_s = min(trails_s, max(0.0, a.read(arrival.over) - a.ends))
        slack_s = _ASKED_S if is_all_a_job_that_was_gone else order_s
        if is_ordered and a.begins > d.begins + order_s:
            continue
        if copied is not None and d.read(copied) > a.ends + AFTER_S:
            continue
        if a.begins <= d.ends + order_s and d.begins <= a.ends + trails_s + slack_s:
            found.append((a, d))
    likely = [overlap for overlap in found if _is_in_order(arrival, departure, overlap)]
    return likely or found


def _is_in_order(arrival: Arrival, departure: Departure, overlap: Overlap) -> bool:
    """Whether the destination resumed the guest after the source had suspended it, and before the source's
    guest ended.
    """
    if arrival.switched is None:
        return True
    came, left = overlap
    switched_s = came.read(arrival.switched)
    is_late = departure.suspended is not None and left.read(departure.suspended) > switched_s + ORDER_S
    is_early = departure.ended is not None and left.read(departure.ended) + AFTER_S < switched_s
    return not (is_late or (is_early and departure.stage in ("left", "crashed", "stopped")))


def _is_all_a_job_that_was_gone(departure: Departure) -> bool:
    return not (departure.iterated or departure.suspended or departure.postcopy or departure.stage == "left")


Fit = Literal["fits", "may_fit", "contradicts"]
_FITS: Final[dict[DepartureStage, dict[ArrivalStage, Fit]]] = {
    "leaving": {"arrived": "fits", "departed": "fits"},
    "left": {"arrived": "fits", "departed": "fits", "ended": "contradicts"},
    "resumed": {"ended": "fits"},
    "resumed_ended": {"ended": "fits"},
    "left_paused": {"ended": "fits"},
    "job_ended": {"ended": "fits", "arrived": "contradicts", "departed": "contradicts"},
    "crashed": {"ended": "fits"},
    "stopped": {"ended": "fits"},
    "vanished": {"arrived": "fits", "departed": "fits"},
}
"""Which ends go together: a guest that left arrived, and one that was never suspended arrived nowhere. What
is contradictory is linked only if nothing else can be.
"""


@dataclass(frozen=True, slots=True)
class _Known:
    """What else is known: on which host the guest was when each arrival was opened and its residency there,
    what was published as one attempt, which of that is fixed, what equal figures prove, and when each leg
    lasted.
    """

    holders: Mapping[LegId, tuple[str, Residency] | None]
    published: Collection[Ends]
    fixed: Collection[Ends]
    proven: Mapping[LegId, LegId]
    lasted: Mapping[LegId, list[Interval]]

    def proves(self, arrival: LegId, departure: LegId) -> bool | None:
        """Whether equal figures prove that these belong together, or that they don't; None: neither."""
        if arrival not in self.proven and departure not in self.proven.values():
            return None
        return self.proven.get(arrival) == departure


_OWN_REASONS: Final[dict[ArrivalStage, frozenset[DepartureStage]]] = {
    "ended": frozenset({"crashed", "stopped", "vanished"}),
    "arrived": frozenset({"crashed", "stopped"}),
    "departed": frozenset({"crashed", "stopped"}),
}


def stage_then(arrival: Arrival, departure: Departure, overlaps: Sequence[Overlap]) -> DepartureStage:
    """The source's stage when the attempt was over."""
    is_its_own = _ended_for_its_own_reasons(arrival, departure, overlaps)
    return departure.before_end if is_its_own else departure.stage


@exception_to("OUTCOMES", "its stage before that end counts")
def _ended_for_its_own_reasons(arrival: Arrival, departure: Departure, overlaps: Sequence[Overlap]) -> bool:
    """The source ended well after the attempt was over at the destination."""
    end, over = departure.announced or departure.ended, arrival.switched or arrival.ended
    if end is None or over is None or departure.stage not in _OWN_REASONS.get(arrival.stage, ()):
        return False
    return is_well_after(end, over, overlaps)


def _fit(arrival: Arrival, departure: Departure, overlaps: Sequence[Overlap]) -> Fit:
    """By `_FITS`, and both a post-copy or neither. An arrival that was found ended may have arrived."""
    was_found = arrival.ended is not None and arrival.ended.origin not in AS_IT_HAPPENED
    if arrival.stage == "open" and not departure.postcopy:
        return "fits"  # it may end in any way
    fit: Fit = _FITS.get(stage_then(arrival, departure, overlaps), {}).get(arrival.stage, "may_fit")
    if fit == "contradicts":
        return "may_fit" if was_found else fit
    if departure.postcopy != arrival.postcopy:
        return "may_fit"
    return "fits" if departure.postcopy and arrival.opened is not None else fit


def _link(
    arrivals: Iterable[tuple[str, Arrival]],
    departures: Iterable[tuple[str, Departure]],
    known: _Known,
) -> dict[LegId, Link]:
    """Arrival -> its departure, one to one: the choice of links with the lowest cost."""
    departures = list(departures)
    options: list[list[Link]] = []
    for host, arrival in arrivals:
        found = [
            link
            for s_host, departure in departures
            if s_host != host
            and (link := _candidate(host, arrival, s_host, departure, known)) is not None
            and not any(crosses(link.ends, ends) for ends in known.fixed)
        ]
        if found:
            options.append(found)
    chosen = best_links([link for found in options for link in found])
    linked = {link.arrival for link in chosen}
    wanted = {
        link.departure
        for found in options
        for link in found
        if link.arrival not in linked and not (link.unlikely or link.contradictory)
    }
    return {
        link.arrival: replace(link, is_ambiguous=link.is_ambiguous or link.departure in wanted)
        for link in chosen
    }


def _proven(
    arrivals: Sequence[tuple[str, Arrival]], departures: Sequence[tuple[str, Departure]]
) -> dict[LegId, LegId]:
    """Arrival -> departure, where both have the same figures of the copy, and no other leg has: the only data
    that libvirt reports on both sides.
    """
    legs: defaultdict[Copied, tuple[list[LegId], list[LegId]]] = defaultdict(lambda: ([], []))
    for host, arrival in arrivals:
        if arrival.copied is not None:
            legs[arrival.copied][0].append((host, arrival.key))
    for host, departure in departures:
        if departure.copied is not None:
            legs[departure.copied][1].append((host, departure.key))
    return {
        came[0]: left[0]
        for came, left in legs.values()
        if len(came) == len(left) == 1 and came[0][0] != left[0][0]
    }


def _candidate(host: str, arrival: Arrival, s_host: str, departure: Departure, known: _Known) -> Link | None:
    if arrival.tentative and departure.stage != "left":
        return None
    here, there = (host, arrival.key), (s_host, departure.key)
    if (proven := known.proves(here, there)) is not None:
        return Link(here, there, departure, proven=True) if proven else None
    holder = known.holders[here]
    held = holder is not None and holder[0] == s_host and holder[1].ended in (None, departure.ended)
    came, left = known.lasted[here], known.lasted[there]
    overlaps = _overlaps(arrival, departure, came, left, held=held)
    is_between_readings = (
        not overlaps
        and min(a.begins for a in came) <= max(d.ends for d in left)
        and (min(d.begins for d in left) <= max(a.ends for a in came))
    )
    if is_between_readings:  # a clock may be off by less than its messages' latency
        overlaps = _overlaps(arrival, departure, came, left, held=held, order_s=SKEW_S)
    fit = _fit(arrival, departure, overlaps)
    is_forced = not overlaps and held and fit == "fits" and departure.stage == "left"
    if is_forced:  # the guest left the host that had it, and arrived: then no reading of the clocks is right
        overlaps = [(a, d) for a, d in product(came, left) if a.begins <= d.ends + ORDER_S]
    if not overlaps:
        return None
    was_found = any(mark.origin not in AS_IT_HAPPENED for mark in (arrival.first, departure.opened))
    is_plain = (came[0], left[0]) in overlaps
    if fit == "contradicts" and (was_found or not is_plain or arrival.absorbed or departure.absorbed):
        return None
    is_early = departure.ended is not None and arrival.first.at > departure.ended.at
    return Link(
        here,
        there,
        departure,
        is_ambiguous=fit == "contradicts" or not is_plain or is_early or was_found,
        contradictory=fit == "contradicts" or is_forced,
        between_readings=is_between_readings,
        guest_elsewhere=holder is not None and (holder[0] != s_host or departure.key < holder[1].began.key),
        unlikely=fit == "may_fit" or _is_all_a_job_that_was_gone(departure),
        unpublished=(here, there) not in known.published,
        overlaps=tuple(overlaps),
        distance_ms=round(
            1000 * min(abs(a.read(arrival.first) - d.read(departure.opened)) for a, d in overlaps)
        ),
    )


def _holders(
    views: Mapping[str, HostView], destination: str, arrival: Arrival
) -> list[tuple[str, Residency]]:
    """The other hosts on which the guest was when this arrival was opened, and its residencies there, the
    likeliest first: by the corrected clocks, or by the receipt if all was received as it happened; if there
    is none, by any other reading. More than one only if the guest runs twice, or the clocks don't decide.
    """
    mark = arrival.first
    residencies = [
        (host, residency)
        for host, view in views.items()
        if host != destination
        for residency in ([*view.past, view.residency] if view.residency else view.past)
    ]
    found: list[tuple[float, bool, float, str, Residency]] = []
    for host, residency in residencies:
        away_s, began, ended = _away_at_s(residency, mark, by_correction), residency.began, residency.ended
        is_sure = ended is None or ended.origin in AS_IT_HAPPENED or ended.earliest > mark.at
        if away_s and _may_have_begun_before(residency, arrival):
            away_s, is_sure = max(0.0, began.earliest - mark.at), False
        if is_live(mark, began, ended):
            away_s = min(away_s, _away_at_s(residency, mark, by_receipt))
        if away_s <= SKEW_S:
            found.append((away_s, not is_sure, -began.at, host, residency))
    if not found:  # their messages may be late from the first on, or a clock was set, and nothing shows it
        found = [
            (away_s, False, -residency.began.at, host, residency)
            for host, residency in residencies
            if (away_s := _least_away_s(residency, mark)) <= SKEW_S
        ]
    likeliest: dict[str, Residency] = {}
    for *_, host, residency in sorted(found, key=itemgetter(0, 1, 2)):
        likeliest.setdefault(host, residency)
    return list(likeliest.items())


def _may_have_begun_before(residency: Residency, arrival: Arrival) -> bool:
    """The guest was found there after this was prepared, and before it was over."""
    over = arrival.switched or arrival.ended
    is_found = residency.began.origin not in AS_IT_HAPPENED
    return is_found and arrival.first.at < residency.began.at < (over.at if over else FOREVER)


def _least_away_s(residency: Residency, mark: Mark) -> float:
    """How far a moment is from a residency by the stamps, or by the receipt unless something held it up."""
    marks = [each for each in (mark, residency.began, residency.ended) if each is not None]
    readings = [by_stamp] if any(each.late for each in marks) else [by_stamp, by_receipt]
    return min(_away_at_s(residency, mark, read) for read in readings)


def _away_at_s(residency: Residency, mark: Mark, moment: ClockReading) -> float:
    """How far a moment is from a residency."""
    ended_s = moment(residency.ended) if residency.ended else FOREVER
    return max(0.0, moment(residency.began) - moment(mark), moment(mark) - ended_s)


def _source(
    host: str, arrival: Arrival, holder: tuple[str, Residency] | None, links: Mapping[LegId, Link]
) -> str | None:
    """The host that had the guest when this arrival began: its last known host, or the one to which it had
    left from there, though that hasn't published anything of it yet.
    """
    if holder is None:
        return None
    source, residency = holder
    if residency.ended is not None and residency.ended.at <= arrival.first.at + AFTER_S:
        for (destination, _), link in links.items():
            if link.departure[0] == source and link.of.stage == "left" and link.of.ended == residency.ended:
                return None if destination == host else destination
    return source


def _ended_after(arrival: Arrival, residency: Residency) -> bool:
    """Whether the guest ended there later: of two hosts that had it, this was the source."""
    end = residency.announced or residency.ended
    return end is not None and end.origin == "event" and end.at >= arrival.first.at


def _end_before_copy(
    arrival: Arrival,
    source: str,
    residency: Residency,
    views: Mapping[str, HostView],
    links: Mapping[LegId, Link],
) -> Departure | None:
    """The source's leg if no event shows a job there, and the guest ended: the host that had the guest was
    the source, and its end ended the last attempt that had been prepared by then.
    """
    if arrival.stage not in ("open", "ended"):
        return None
    end = residency.ended
    stage = end_of(end) if end is not None else None
    if end is None or stage is None:
        return None
    began = residency.announced or end
    if all(read(end) + AFTER_S < read(arrival.first) for read in READINGS):
        return None  # it had ended before; the guest was started again, unseen
    arrivals = {(host, each.key): each for host, view in views.items() for each in view.arrivals}
    if any(arrival.first.at < other.first.earliest <= began.at for other in arrivals.values()):
        return None
    if arrival.ended is not None and is_well_after(
        began, arrival.ended, residency_overlaps(arrival, residency)
    ):
        return None
    for leg, link in links.items():
        over = arrivals[leg].switched or arrivals[leg].ended
        if (
            link.departure[0] == source
            and link.of.ended == end
            and not (over and is_well_after(began, over, link.overlaps))
        ):
            return None  # it ended that attempt
    return Departure(key=end.key, opened=end, stage=stage, ended=end, announced=residency.announced)


def _ran_on(arrival: Arrival, residency: Residency, source: HostView) -> Departure | None:
    """The source's leg if no event shows a job there, and it lists the guest as running after that was
    resumed at its destination.
    """
    listed, switched = source.listed, arrival.switched
    if arrival.stage not in ("arrived", "departed") or listed is None or switched is None:
        return None
    if residency is not source.residency or source.guest != "running":
        return None
    overlaps = residency_overlaps(arrival, residency)
    if not all(d.read(listed.mark) > a.read(switched) + ORDER_S for a, d in overlaps) or not overlaps:
        return None
    return Departure(key=listed.key, opened=listed.mark, stage="resumed", guest="running", ended=listed.mark)


def residency_overlaps(arrival: Arrival, residency: Residency | None) -> list[Overlap]:
    """The readings of both clocks by which the guest was on the source when the arrival was opened."""
    if residency is None:
        return []
    return [(a, s) for a, s in product(_lasted(arrival), _resided(residency)) if _away_s(a, s) <= ORDER_S]


def _resided(residency: Residency) -> list[Interval]:
    return intervals(residency.began, None, residency.ended)


def is_well_after(end: Mark, over: Mark, overlaps: Sequence[Overlap]) -> bool:
    """Whether the source's end began well after the attempt was over at the destination, by all of these
    readings of their clocks; if it was found afterwards, its earliest possible moment counts.
    """
    was_found = end.origin not in AS_IT_HAPPENED
    readings = [(a.read, d.read) for a, d in overlaps] or [(by_correction, by_correction)]
    return all(
        (end.earliest if was_found else of_source(end)) > of_destination(over) + AFTER_S
        for of_destination, of_source in readings
    )


def _away_s(arrival: Interval, residency: Interval) -> float:
    """How far the beginning of an arrival is from a residency."""
    return max(0.0, residency.begins - arrival.begins, arrival.begins - residency.ends)
