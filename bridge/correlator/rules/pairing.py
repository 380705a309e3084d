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
from functools import partial
from itertools import pairwise, product
from typing import Final, Literal

from bridge.correlator.rules.alignment import (
    ENDED_PENALTY,
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
    Interval,
    Overlap,
    by_correction,
    by_stamp,
)
from bridge.correlator.rules.exceptions import exception_to
from bridge.correlator.rules.holders import holders_at, is_well_after, lasted, source_without_job
from bridge.correlator.rules.host_view import (
    Arrival,
    ArrivalStage,
    Departure,
    DepartureStage,
    HostView,
    Residency,
)
from bridge.correlator.rules.observations import (
    ASKED_S,
    LIVE_S,
    SKEW_S,
    Copied,
    Instant,
    Mark,
    is_found,
    is_live,
    newest,
)

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

    @property
    def first(self) -> Mark:
        """The first event of its arrival, else of its departure."""
        if self.arrival is not None:
            return self.arrival.first
        if self.departure is not None:
            return self.departure.opened
        raise ValueError("an attempt without either leg")

    def at_destination(self, moment: Mark) -> float:
        """A moment of the destination, by the likeliest reading of its clock."""
        return self.overlaps[0][0].read(moment) if self.overlaps else moment.at

    def at_source(self, moment: Mark | Instant) -> float:
        """A moment of the source, likewise."""
        return self.overlaps[0][1].read(moment) if self.overlaps else moment.at

    def over_by_source(self, source: HostView | None) -> list[float]:
        """When the attempt was over at its destination, by the receipt and by each reading of the source's
        clock; empty while it isn't.
        """
        over = self.arrival.decided if self.arrival is not None else None
        return [] if over is None else [over.received, *self.on_source_clock(over, source)]

    def on_source_clock(self, moment: Mark, source: HostView | None) -> list[float]:
        """A moment of the destination, by the source's clock as it is corrected: for each reading."""
        stamped = source.stamped if source is not None else None
        if stamped is None or not self.overlaps:
            return [self.at_destination(moment)]
        return [a.read(moment) - (d.read(stamped) - stamped.at) for a, d in self.overlaps]


def pair(
    views: Mapping[str, HostView], done: Collection[LegId], published: Collection[Ends] = ()
) -> list[Pair]:
    """All attempts of one domain, arrivals first, each in its host's order. Legs in `done` are left out; what
    was `published` as one attempt stays one unless there is evidence against it, and always if it is done.
    """
    arrivals, departures, residencies, links = _linked(views, done, published)
    began = sorted(each.first.at for view in views.values() for each in view.arrivals if not each.tentative)
    pairs = []
    taken = set()
    for host, arrival in arrivals:
        link = links.get((host, arrival.key))
        next_s = _next(began, arrival.first)
        if link is not None:
            taken.add(link.departure)
            left = link.departure[0]
            pairs.append(Pair(arrival, host, link.of, left, link.is_ambiguous, link.overlaps, next_s))
        elif not arrival.tentative:
            holders = residencies[host, arrival.key]
            source, departure, overlaps = source_without_job(host, arrival, holders, views, links)
            pairs.append(Pair(arrival, host, departure, source, overlaps=overlaps, next_began=next_s))
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
    """The penalty of the best choice of links; legs without a link count most, an arrival that is open not at
    all: messages of its source may still arrive. A job that isn't over may end in any way.
    """
    arrivals, departures, holders, links = _linked(views, done, published)
    linked = {link.departure for link in links.values()}
    penalty = sum(
        replace(link, unlikely=link.unlikely and link.of.is_over).penalty for link in links.values()
    )
    for host, arrival in arrivals:
        leg = (host, arrival.key)
        is_open = arrival.stage == "open" and arrival.over is None
        if arrival.tentative or is_open or leg in links:
            continue
        if arrival.stage != "ended":
            penalty += UNLINKED_PENALTY
        elif source_without_job(host, arrival, holders[leg], views, links)[1] is None:
            penalty += ENDED_PENALTY  # the guest's end on its source explains it, too
    for host, each in departures:
        is_known_to_fail = each.iterated and each.job_gone is not None
        is_sure = each.suspended or each.postcopy or each.stage in _OF_A_MIGRATION or is_known_to_fail
        if is_sure and (host, each.key) not in linked:
            penalty += UNLINKED_PENALTY
    return penalty


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
    residencies = {(host, arrival.key): holders_at(views, host, arrival) for host, arrival in arrivals}
    times = {(host, arrival.key): lasted(arrival) for host, arrival in arrivals}
    times |= {(host, departure.key): lasted(departure) for host, departure in departures}
    fixed = [ends for ends in published if any(leg in done for leg in ends)]
    known = _Known(
        {leg: found[0] if found else None for leg, found in residencies.items()},
        published,
        fixed,
        _proven(arrivals, departures, times, fixed),
        times,
        [each.opened for view in views.values() for each in view.arrivals if each.opened is not None],
        {
            (host, each.key): newest(m for m in (*last.job_marks, last.ended) if m and m.origin == "event")
            for host, view in views.items()
            for last, each in pairwise(view.departures)
        },
    )
    return arrivals, departures, residencies, _link(arrivals, departures, known)


def _overlaps(
    arrival: Arrival,
    departure: Departure,
    came: Sequence[Interval],
    left: Sequence[Interval],
    *,
    held: bool,
    earlier: Sequence[Mark],
    order_s: float = ORDER_S,
) -> list[Overlap]:
    """The readings of both clocks by which these may be the legs of one attempt, by the order of libvirt's
    protocol, within `order_s`. held: it is the guest's own end on the host that had it when the arrival was
    opened, however long that took. earlier: what happened on the source before its job had a destination.
    """
    is_ordered = arrival.opened is not None and not is_found(departure.opened)
    is_all_an_end = departure.stage == "left" and departure.opened == departure.ended
    was_prepared_seen = arrival.opened is not None and not is_found(arrival.opened)
    copied = departure.copied_last
    found = []
    for a, d in product(came, left):
        trails_s = 0.0 if not is_all_an_end else FOREVER if held and arrival.stage != "ended" else _TRAILS_S
        if arrival.over is not None:  # nor after the guest had left again
            trails_s = min(trails_s, max(0.0, a.read(arrival.over) - a.ends))
        slack_s = ASKED_S if _is_all_its_jobs_end(departure) else order_s
        if is_ordered and a.begins > d.read(departure.opened) + order_s:
            continue
        if copied is not None and d.read(copied) > a.ends + max(AFTER_S, order_s):
            continue
        if was_prepared_seen and any(d.read(mark) > a.begins + order_s for mark in earlier):
            continue
        if a.begins <= d.ends + order_s and d.begins <= a.ends + trails_s + slack_s:
            found.append((a, d))
    return found


def _is_all_its_jobs_end(departure: Departure) -> bool:
    return departure.opened == departure.ended and departure.stage != "left" and departure.began is None


Fit = Literal["fits", "may_fit", "contradicts"]
_FITS: Final[dict[DepartureStage, dict[ArrivalStage, Fit]]] = {
    "leaving": {"arrived": "fits", "departed": "fits"},
    "left": {"arrived": "fits", "departed": "fits", "ended": "contradicts"},
    "resumed": {"ended": "fits"},
    "resumed_ended": {"ended": "fits"},
    "left_paused": {"ended": "fits"},
    "job_lost": {"arrived": "fits", "departed": "fits"},
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
    what was published as one attempt, which of that is fixed, what equal figures prove, when each leg lasted,
    all preparations, and the last event of the job before each departure's.
    """

    holders: Mapping[LegId, tuple[str, Residency] | None]
    published: Collection[Ends]
    fixed: Collection[Ends]
    proven: Mapping[LegId, LegId]
    lasted: Mapping[LegId, list[Interval]]
    prepared: Sequence[Mark]
    before: Mapping[LegId, Mark | None]

    def proves(self, arrival: LegId, departure: LegId) -> bool | None:
        """Whether equal figures prove that these belong together, or that they don't; None: neither."""
        if arrival not in self.proven and departure not in self.proven.values():
            return None
        return self.proven.get(arrival) == departure


def stage_then(
    arrival: Arrival, departure: Departure, overlaps: Sequence[Overlap], next_began: float = FOREVER
) -> DepartureStage:
    """The source's stage when the attempt was over. next_began: as in `Pair`."""
    is_its_own = _ended_independently(arrival, departure, overlaps, next_began)
    return departure.before_end if is_its_own else departure.stage


@exception_to("OUTCOMES", "its stage before that end counts")
def _ended_independently(
    arrival: Arrival, departure: Departure, overlaps: Sequence[Overlap], next_began: float
) -> bool:
    """The source ended well after the attempt was over at the destination, or was found to have ended after
    the next attempt was prepared.
    """
    end, over = departure.announced or departure.ended, arrival.switched or arrival.ended_by
    ends = ("crashed", "stopped", "vanished") if arrival.stage == "ended" else ("crashed", "stopped")
    if end is None or over is None or departure.stage not in ends:
        return False
    if is_found(end) and arrival.stage == "ended" and over.at < next_began < end.at:
        return True
    return is_well_after(end, over, overlaps)


def _fit(arrival: Arrival, departure: Departure, overlaps: Sequence[Overlap]) -> Fit:
    """By `_FITS`, and both a post-copy or neither. An arrival may have come, and ended, unseen."""
    if arrival.stage == "open" and not departure.postcopy:
        return "fits"  # it may end in any way
    fit: Fit = _FITS.get(stage_then(arrival, departure, overlaps), {}).get(arrival.stage, "may_fit")
    if fit == "contradicts":
        return "may_fit" if arrival.stage == "ended" and arrival.may_have_come else fit
    if arrival.postcopy != departure.postcopy and not (departure.postcopy and is_found(arrival.switched)):
        return "may_fit"
    return "fits" if departure.postcopy and arrival.opened is not None else fit


def _outlived(arrival: Arrival, departure: Departure, overlaps: Sequence[Overlap]) -> bool:
    """The destination's guest ended well after its source's job."""
    end, over = departure.ended, arrival.ended_by
    if end is None or over is None or is_found(end) or departure.stage not in (*_OF_A_MIGRATION, "job_ended"):
        return False
    return is_well_after(over, end, [(d, a) for a, d in overlaps])


def _was_followed(arrival: Arrival, departure: Departure, known: _Known) -> bool:
    """Another attempt was prepared before the source's end: a source begins one job after the other."""
    end = departure.ended
    if end is None or end.origin != "event" or departure.stage not in _OF_A_MIGRATION:
        return False
    return any(arrival.first.at < prepared.at < end.at - AFTER_S for prepared in known.prepared)


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
    arrivals: _Arrivals,
    departures: _Departures,
    times: Mapping[LegId, list[Interval]],
    fixed: Collection[Ends],
) -> dict[LegId, LegId]:
    """Arrival -> departure, where both have the same figures of the copy, and no other leg has: the only data
    that libvirt reports on both sides. Of small guests that do nothing any two may be equal: none of an
    attempt that was over before the other began, or that others prove to be another.
    """
    legs: defaultdict[Copied, tuple[_Arrivals, _Departures]] = defaultdict(lambda: ([], []))
    for came in arrivals:
        if (figures := came[1].copied) is not None:
            legs[figures][0].append(came)
    for left in departures:
        if (figures := left[1].copied) is not None:
            legs[figures][1].append(left)
    found = {}
    for alike, others in legs.values():
        if len(alike) == len(others) == 1:
            ((host, arrival),), ((s_host, departure),) = alike, others
            here, there = (host, arrival.key), (s_host, departure.key)
            is_other = host == s_host or any(crosses((here, there), ends) for ends in fixed)
            if not is_other and _may_be_one(arrival, departure, times[here], times[there]):
                found[here] = there
    return found


def _may_be_one(
    arrival: Arrival, departure: Departure, came: Sequence[Interval], left: Sequence[Interval]
) -> bool:
    """Whether these lasted at the same time by any reading, or no reading of a clock may be right."""
    over, end = arrival.decided or arrival.first, departure.ended or departure.opened
    return (
        any(a.begins <= d.ends + SKEW_S and d.begins <= a.ends + SKEW_S for a, d in product(came, left))
        or _waited(arrival.first, over)
        or _waited(departure.opened, end)
    )


def _is_within(departure: Departure, residency: Residency) -> bool:
    """Whether it began while the guest was there."""
    ended = residency.ended
    return residency.began.key <= departure.key and (ended is None or departure.key <= ended.key)


def _ended_together(
    arrival: Arrival, departure: Departure, came: Interval, left: Interval, *, was_sent: bool
) -> list[Overlap]:
    """When both legs lasted if no reading of the clocks is right: a clock was set while its host's messages
    waited, so that its leg ended when the other one did. was_sent: the end alone shows that.
    """
    over, end, opened = arrival.decided, departure.ended, departure.opened
    if over is None or end is None or departure.stage in ("crashed", "stopped") or opened == end:
        return []  # a guest may crash at any time
    by_s = came.read(over) - left.read(end)
    is_apart = _is_exact(opened) and not came.begins - ORDER_S < left.read(opened) < came.ends
    was_sent = was_sent and not (is_apart and _is_exact(arrival.first))
    if was_sent or (_waited(opened, end) and not is_apart):
        return [(came, left.shifted(by_s))]
    return [(came.shifted(-by_s), left)] if _waited(arrival.first, over) else []


def _is_exact(mark: Mark) -> bool:
    """Whether it was received when it was stamped: the clock is right, and nothing waited."""
    return abs(mark.received - mark.stamped) < AFTER_S


def _waited(first: Mark, last: Mark) -> bool:
    """Whether these waited on their way: they didn't come as they were stamped."""
    came_s, stamped_s = last.received - first.received, last.stamped - first.stamped
    return abs(came_s - stamped_s) > LIVE_S or not (is_live(first) or is_live(last))


def _candidate(host: str, arrival: Arrival, s_host: str, departure: Departure, known: _Known) -> Link | None:
    if arrival.tentative and departure.stage not in ("left", "job_ended"):
        return None
    here, there = (host, arrival.key), (s_host, departure.key)
    if (proven := known.proves(here, there)) is not None:
        return Link(here, there, departure, proven=True) if proven else None
    holder = known.holders[here]
    is_there = holder is not None and holder[0] == s_host and _is_within(departure, holder[1])
    held = is_there and holder is not None and holder[1].ended in (None, departure.ended)
    came, left = known.lasted[here], known.lasted[there]
    earlier = [mark for mark in (known.before.get(there), departure.began) if mark is not None]
    overlaps_of = partial(_overlaps, arrival, departure, held=held, earlier=earlier)
    overlaps = overlaps_of(came, left)
    is_between_readings = (
        not overlaps
        and min(a.begins for a in came) <= max(d.ends for d in left)
        and (min(d.begins for d in left) <= max(a.ends for a in came))
    )
    if is_between_readings:  # a clock may be off by less than its messages' latency
        overlaps = overlaps_of(came, left, order_s=SKEW_S)
    is_forced = not overlaps
    if is_forced:
        was_sent = held and departure.stage == "left"
        overlaps = _ended_together(arrival, departure, came[0], left[0], was_sent=was_sent)
    fit = _fit(arrival, departure, overlaps)
    if not overlaps or (is_forced and fit != "fits"):
        return None
    was_found = is_found(arrival.first) or is_found(departure.opened)
    is_plain = (came[0], left[0]) in overlaps and not is_between_readings
    was_joined = bool(arrival.absorbed or departure.absorbed)
    if fit == "contradicts" and (was_found or not is_plain or was_joined):
        return None
    is_early = departure.ended is not None and arrival.first.at > departure.ended.at
    return Link(
        here,
        there,
        departure,
        is_ambiguous=fit == "contradicts" or not is_plain or is_early or was_found or was_joined,
        contradictory=fit == "contradicts" or is_forced,
        between_readings=is_between_readings,
        guest_elsewhere=holder is not None and not is_there,
        unlikely=fit == "may_fit"
        or _is_all_its_jobs_end(departure)
        or _was_followed(arrival, departure, known)
        or _outlived(arrival, departure, overlaps),
        clock_set=all(not {a.read, d.read} <= {by_correction, by_stamp} for a, d in overlaps),
        unpublished=(here, there) not in known.published,
        overlaps=tuple(overlaps),
        distance_ms=round(
            1000
            * min(
                abs(a.read(arrival.first) - d.read(departure.began or departure.opened)) for a, d in overlaps
            )
        ),
    )
