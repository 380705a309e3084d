"""Which departure belongs to which arrival.

No event, XML or statistic names the other host. The UUID pairs the sides; what settles the rest is that the
guest can only leave the host that it was on, that both halves of one attempt overlap in time by some reading
of the hosts' clocks (`readings`), and that attempts between two hosts, whichever way they went, come in the
same order on both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from operator import itemgetter
from typing import Final, Literal

from bridge.correlator.rules.alignment import UNLINKED_PENALTY, Ends, LegId, Link, best_links, crosses
from bridge.correlator.rules.clock_readings import (
    AFTER_S,
    FOREVER,
    ORDER_S,
    ClockReading,
    Interval,
    Overlap,
    by_correction,
    by_receipt,
    intervals,
)
from bridge.correlator.rules.event_types import end_of
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
"""Agents ask for an outgoing job every second or two."""
_TRAILS_S: Final = 3.0
"""The source's end comes a second or two after the guest was resumed there; it may be all that was seen."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One attempt: an arrival, a departure, or both. `source` is where the guest was, as far as known."""

    arrival: Arrival | None
    destination: str | None
    departure: Departure | None
    source: str | None
    ambiguous: bool = False
    overlaps: Sequence[Overlap] = ()


def pair(
    views: Mapping[str, HostView], done: Collection[LegId], published: Collection[Ends] = ()
) -> list[Pair]:
    """All attempts of one domain, arrivals first, each in its host's order. Halves in `done` are left out;
    what was `told` as one attempt stays so unless something speaks against it, and if it is done it stays.
    """
    arrivals, departures, residencies, links = _linked(views, done, published)
    pairs = []
    taken = set()
    for host, arrival in arrivals:
        link = links.get((host, arrival.key))
        if link is not None:
            taken.add(link.departure)
            pairs.append(Pair(arrival, host, link.of, link.departure[0], link.is_ambiguous, link.overlaps))
        elif not arrival.tentative:
            leg = (host, arrival.key)
            ends = [
                (source, end)
                for n, (source, residency) in enumerate(residencies[leg])
                if (n == 0 or _ended_after(arrival, residency))
                and (end := _end_before_copy(arrival, source, residency, views, links))
            ]
            held_by, end = (
                ends[0] if ends else (_source(host, arrival, next(iter(residencies[leg]), None), links), None)
            )
            residency = next((residency for source, residency in residencies[leg] if source == held_by), None)
            pairs.append(Pair(arrival, host, end, held_by, overlaps=residency_overlaps(arrival, residency)))
    pairs.extend(Pair(None, None, d, h) for h, d in departures if (h, d.key) not in taken)
    return pairs


def total_penalty(views: Mapping[str, HostView], done: Collection[LegId], published: Collection[Ends]) -> int:
    """What speaks against the best choice of links: above all, halves that have none."""
    arrivals, departures, _, links = _linked(views, done, published)
    linked = {link.departure for link in links.values()}
    alone = sum(
        1 for host, arrival in arrivals if not arrival.tentative and (host, arrival.key) not in links
    ) + sum(
        1
        for host, each in departures
        if (each.suspended or each.postcopy or each.stage == "left") and (host, each.key) not in linked
    )
    return alone * UNLINKED_PENALTY + sum(link.penalty for link in links.values())


_Arrivals = list[tuple[str, Arrival]]
_Departures = list[tuple[str, Departure]]
_Residencies = dict[LegId, list[tuple[str, Residency]]]


def _linked(
    views: Mapping[str, HostView], done: Collection[LegId], published: Collection[Ends]
) -> tuple[_Arrivals, _Departures, _Residencies, dict[LegId, Link]]:
    """All halves but those in `done`, where the guest was at each arrival, and each arrival's link."""
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
    """When this host took part, from the first to the last moment that is known."""
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
    """The readings of both clocks by which these may be the halves of one attempt, as libvirt's protocol has
    things happen in order, within `order_s`. held: it is the guest's own end on the host that had it when the
    arrival was opened, however long that took.
    """
    is_ordered = arrival.opened is not None and departure.opened.origin in AS_IT_HAPPENED
    is_all_an_end = departure.stage == "left" and departure.opened == departure.ended
    is_all_a_job_that_was_gone = _is_all_a_job_that_was_gone(departure)
    found = []
    for a, d in product(came, left):
        trails_s = 0.0 if not is_all_an_end else FOREVER if held and arrival.stage != "ended" else _TRAILS_S
        if arrival.over is not None:  # nor after the guest had left again
            trails_s = min(trails_s, max(0.0, a.read(arrival.over) - a.ends))
        slack_s = _ASKED_S if is_all_a_job_that_was_gone else order_s
        if is_ordered and a.begins > d.begins + order_s:
            continue
        if a.begins <= d.ends + order_s and d.begins <= a.ends + trails_s + slack_s:
            found.append((a, d))
    likely = [overlap for overlap in found if _is_in_order(arrival, departure, overlap)]
    return likely or found


def _is_in_order(arrival: Arrival, departure: Departure, overlap: Overlap) -> bool:
    """Whether the guest was resumed at its destination after its source had suspended it, and before the
    source let go of it, or ended.
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
"""Which ends go together: the guest that left arrived, and one that was never suspended arrived nowhere. What
contradicts is linked only where nothing else could be.
"""


@dataclass(frozen=True, slots=True)
class _Known:
    """What else is known: on which host the guest was when each arrival was opened and its stay there, what
    was told as one attempt, which of that is fixed, what equal figures prove, and when each half lasted.
    """

    holders: Mapping[LegId, tuple[str, Residency] | None]
    published: Collection[Ends]
    fixed: Collection[Ends]
    proven: Mapping[LegId, LegId]
    lasted: Mapping[LegId, list[Interval]]

    def proves(self, arrival: LegId, departure: LegId) -> bool | None:
        """Whether equal figures prove that these belong together, or not; None: they say nothing of them."""
        if arrival not in self.proven and departure not in self.proven.values():
            return None
        return self.proven.get(arrival) == departure


def _fit(arrival: Arrival, departure: Departure) -> Fit:
    """As `_FITS` has it, and both a post-copy or neither. What is found to have ended may have arrived."""
    was_found = arrival.ended is not None and arrival.ended.origin not in AS_IT_HAPPENED
    fit: Fit = _FITS.get(departure.stage, {}).get(arrival.stage, "may_fit")
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
    """Arrival -> its departure, one to one: the choice of links against which least speaks in all."""
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
    """Arrival -> departure, where both hold the same figures of the copy, and no other half does: the one
    thing that libvirt says of both sides.
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
    fit = _fit(arrival, departure)
    overlaps = _overlaps(arrival, departure, came, left, held=held)
    is_between_readings = (
        not overlaps
        and min(a.begins for a in came) <= max(d.ends for d in left)
        and (min(d.begins for d in left) <= max(a.ends for a in came))
    )
    if (
        is_between_readings
    ):  # a clock may be wrong by what its messages' way hides: the truth lies between readings
        overlaps = _overlaps(arrival, departure, came, left, held=held, order_s=SKEW_S)
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
    """The other hosts on which the guest was when this arrival was opened, and its stays there, the likeliest
    first: by the corrected clocks, or by the receipt where all came as it happened. More than one only where
    the guest runs twice, or clocks don't tell.
    """
    mark = arrival.first
    found: list[tuple[float, float, str, Residency]] = []
    for host, view in views.items():
        if host == destination:
            continue
        for residency in [*view.past, view.residency] if view.residency else view.past:
            away_s = _away_at_s(residency, mark, by_correction)
            if is_live(mark, residency.began, residency.ended):
                away_s = min(away_s, _away_at_s(residency, mark, by_receipt))
            if away_s <= SKEW_S:
                found.append((away_s, -residency.began.at, host, residency))
    likeliest: dict[str, Residency] = {}
    for _, _, host, residency in sorted(found, key=itemgetter(0, 1, 2)):
        likeliest.setdefault(host, residency)
    return list(likeliest.items())


def _away_at_s(residency: Residency, mark: Mark, moment: ClockReading) -> float:
    """How far a moment is from a stay."""
    ended_s = moment(residency.ended) if residency.ended else FOREVER
    return max(0.0, moment(residency.began) - moment(mark), moment(mark) - ended_s)


def _source(
    host: str, arrival: Arrival, holder: tuple[str, Residency] | None, links: Mapping[LegId, Link]
) -> str | None:
    """The host that had the guest when this arrival began: where it was known to be, or where it had gone
    from there, though nothing was heard of it at that place yet.
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
    """Whether the guest was seen to end there later, so that of two hosts that had it this was the source."""
    end = residency.announced or residency.ended
    return end is not None and end.origin == "event" and end.at >= arrival.first.at


def _end_before_copy(
    arrival: Arrival,
    source: str,
    residency: Residency,
    views: Mapping[str, HostView],
    links: Mapping[LegId, Link],
) -> Departure | None:
    """The source's half where nothing told of a job there, and the guest ended: whoever had the guest was the
    source, and its end ended the last attempt that had been prepared by then.
    """
    if arrival.stage not in ("open", "ended"):
        return None
    end = residency.ended
    stage = end_of(end) if end is not None else None
    if end is None or stage is None:
        return None
    began = residency.announced or end
    arrivals = {(host, each.key): each for host, view in views.items() for each in view.arrivals}
    if any(arrival.first.at < other.first.at <= began.at for other in arrivals.values()):
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


def residency_overlaps(arrival: Arrival, residency: Residency | None) -> list[Overlap]:
    """The readings of both clocks by which the guest was on its source when the arrival was opened."""
    if residency is None:
        return []
    return [(a, s) for a, s in product(_lasted(arrival), _resided(residency)) if _away_s(a, s) <= ORDER_S]


def _resided(residency: Residency) -> list[Interval]:
    return intervals(residency.began, None, residency.ended)


def is_well_after(end: Mark, over: Mark, overlaps: Sequence[Overlap]) -> bool:
    """Whether an end of the source began well after an attempt was over at its destination, by whichever of
    these readings of their clocks; of one that was found afterwards the earliest moment counts.
    """
    was_found = end.origin not in AS_IT_HAPPENED
    readings = [(a.read, d.read) for a, d in overlaps] or [(by_correction, by_correction)]
    return all(
        (end.earliest if was_found else of_source(end)) > of_destination(over) + AFTER_S
        for of_destination, of_source in readings
    )


def _away_s(arrival: Interval, residency: Interval) -> float:
    """How far the beginning of an arrival is from a stay."""
    return max(0.0, residency.begins - arrival.begins, arrival.begins - residency.ends)
