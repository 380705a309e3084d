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
from functools import cached_property
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
    Key,
    Mark,
    is_found,
    is_live,
    newest,
)

_BY_CLOCK: Final = (by_correction, by_stamp)
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


class Linker:
    """Links the legs of one domain, for one evaluation. Legs in `done` are left out; what was `published` as
    one attempt stays one unless there is evidence against it, and always if it is done.

    Segments are tried as one leg and as two (`segments.choose`): what was found of a leg in one form is kept.
    """

    def __init__(self, done: Collection[LegId], published: Collection[Ends] = ()) -> None:
        self._done = done
        self._published = published
        self._in_published = {leg for ends in published for leg in ends}
        self._fixed = [ends for ends in published if any(leg in done for leg in ends)]
        self._arrivals: dict[tuple[LegId, tuple[Key, ...], bool], _Arrival] = {}
        self._departures: dict[tuple[LegId, tuple[Key, ...], Mark | None], _Departure] = {}
        self._links: dict[tuple[_Arrival, _Departure], Link | None] = {}

    def pair(self, views: Mapping[str, HostView]) -> list[Pair]:
        """All attempts of one domain, arrivals first, each in its host's order."""
        arrivals, departures, links = self._linked(views)
        began = sorted(
            each.first.at for view in views.values() for each in view.arrivals if not each.tentative
        )
        pairs = []
        taken = set()
        for each in arrivals:
            arrival, host = each.arrival, each.host
            link = links.get(each.id)
            next_s = _next(began, arrival.first)
            if link is not None:
                taken.add(link.departure)
                left = link.departure[0]
                pairs.append(Pair(arrival, host, link.of, left, link.is_ambiguous, link.overlaps, next_s))
            elif not arrival.tentative:
                source, departure, overlaps = source_without_job(host, arrival, each.holders, views, links)
                pairs.append(Pair(arrival, host, departure, source, overlaps=overlaps, next_began=next_s))
        pairs.extend(
            Pair(None, None, each.departure, each.host, next_began=_next(began, each.departure.opened))
            for each in departures
            if each.id not in taken
        )
        return pairs

    def total_penalty(self, views: Mapping[str, HostView]) -> int:
        """The penalty of the best choice of links. Legs without a link count most, an arrival that is open
        not at all: messages of its source may still arrive. A job that isn't over may end in any way.
        """
        arrivals, departures, links = self._linked(views)
        linked = {link.departure for link in links.values()}
        penalty = sum(link.penalty - link.penalty_to_come for link in links.values())
        for came in arrivals:
            arrival = came.arrival
            is_open = arrival.stage == "open" and arrival.over is None
            if arrival.tentative or is_open or came.id in links:
                continue
            if arrival.stage != "ended":
                penalty += UNLINKED_PENALTY
            elif source_without_job(came.host, arrival, came.holders, views, links)[1] is None:
                penalty += ENDED_PENALTY  # the guest's end on its source explains it, too
        for left in departures:
            each = left.departure
            is_known_to_fail = each.iterated and each.job_gone is not None
            is_sure = each.suspended or each.postcopy or each.stage in _OF_A_MIGRATION or is_known_to_fail
            if is_sure and left.id not in linked:
                penalty += UNLINKED_PENALTY
        return penalty

    def _linked(
        self, views: Mapping[str, HostView]
    ) -> tuple[list[_Arrival], list[_Departure], dict[LegId, Link]]:
        """All legs except those in `done`, and each arrival's link: the choice with the lowest cost."""
        arrivals = [
            self._arrival(views, host, each)
            for host, view in sorted(views.items())
            for each in view.arrivals
            if (host, each.key) not in self._done
        ]
        departures = [
            self._departure(host, each, last)
            for host, view in sorted(views.items())
            for last, each in pairwise((None, *view.departures))
            if each is not None and (host, each.key) not in self._done
        ]
        prepared = sorted(each.opened.at for view in views.values() for each in view.arrivals if each.opened)
        proven = _proven(arrivals, departures, self._fixed)
        proofs = {leg for ends in proven.items() for leg in ends}
        options = [
            [
                link
                for left in departures
                if left.host != came.host
                and (
                    link := _link_by_proof(came, left, proven)
                    if came.id in proofs or left.id in proofs
                    else self._candidate(came, left, prepared)
                )
                is not None
                and not any(crosses(link.ends, ends) for ends in self._fixed)
            ]
            for came in arrivals
        ]
        chosen = best_links([link for found in options for link in found])
        linked = {link.arrival for link in chosen}
        wanted = {
            link.departure
            for found in options
            for link in found
            if link.arrival not in linked and not (link.unlikely or link.contradictory)
        }
        links = {
            link.arrival: replace(link, is_ambiguous=True) if link.departure in wanted else link
            for link in chosen
        }
        return arrivals, departures, links

    def _arrival(self, views: Mapping[str, HostView], host: str, arrival: Arrival) -> _Arrival:
        form = (host, arrival.key), arrival.absorbed, arrival.tentative
        if form not in self._arrivals:
            self._arrivals[form] = _Arrival(host, arrival, lasted(arrival), holders_at(views, host, arrival))
        return self._arrivals[form]

    def _departure(self, host: str, departure: Departure, last: Departure | None) -> _Departure:
        """last: the departure before it there."""
        marks = (*last.job_marks, last.ended) if last is not None else ()
        before = newest(mark for mark in marks if mark is not None and mark.origin == "event")
        form = (host, departure.key), departure.absorbed, before
        if form not in self._departures:
            earlier = [mark for mark in (before, departure.began) if mark is not None]
            self._departures[form] = _Departure(host, departure, lasted(departure), earlier)
        return self._departures[form]

    def _candidate(self, came: _Arrival, left: _Departure, prepared: Sequence[float]) -> Link | None:
        if (came, left) not in self._links:
            ends = came.id, left.id
            differs = ends not in self._published and any(leg in self._in_published for leg in ends)
            self._links[came, left] = _candidate(came, left, prepared, is_published=not differs)
        return self._links[came, left]


def _next(began: Sequence[float], first: Mark) -> float:
    """When the next attempt began."""
    n = bisect_right(began, first.at)
    return began[n] if n < len(began) else FOREVER


_OF_A_MIGRATION: Final[frozenset[DepartureStage]] = frozenset({"left", "resumed", "resumed_ended"})
"""What only a migration ends with."""


@dataclass(frozen=True, eq=False)
class _Arrival:
    """An arrival in one form: when it lasted, and where the guest was then, the likeliest first."""

    host: str
    arrival: Arrival
    lasted: Sequence[Interval]
    holders: Sequence[tuple[str, Residency]]

    @cached_property
    def id(self) -> LegId:
        return self.host, self.arrival.key

    @cached_property
    def waited(self) -> bool:
        over = self.arrival.decided
        return over is not None and _waited(self.arrival.first, over)


@dataclass(frozen=True, eq=False)
class _Departure:
    """A departure in one form: when it lasted, and what happened there before its job had a destination."""

    host: str
    departure: Departure
    lasted: Sequence[Interval]
    earlier: Sequence[Mark]

    @cached_property
    def id(self) -> LegId:
        return self.host, self.departure.key

    @cached_property
    def waited(self) -> bool:
        end = self.departure.ended
        return end is not None and _waited(self.departure.opened, end)

    @cached_property
    def copied_last(self) -> Mark | None:
        return self.departure.copied_last

    @cached_property
    def is_its_jobs_end(self) -> bool:
        """Whether nothing but its job's end is known."""
        it = self.departure
        return it.opened == it.ended and it.stage != "left" and it.began is None


def _overlaps(came: _Arrival, left: _Departure, *, held: bool) -> list[tuple[float, Overlap]]:
    """The readings of both clocks, and how far each is from what the order of libvirt's protocol allows for
    the legs of one attempt, in seconds. held: it is the guest's own end on the host that had it when the
    arrival was opened, however long that took.
    """
    arrival, departure = came.arrival, left.departure
    is_ordered = arrival.opened is not None and not is_found(departure.opened)
    was_prepared_seen = arrival.opened is not None and not is_found(arrival.opened)
    is_all_an_end = departure.stage == "left" and departure.opened == departure.ended
    trails_s = 0.0 if not is_all_an_end else FOREVER if held and arrival.stage != "ended" else _TRAILS_S
    found = []
    for a, d in product(came.lasted, left.lasted):
        after_s = d.begins - a.ends
        if trails_s:  # nor after the guest had left again
            after_s -= min(trails_s, max(0.0, a.read(arrival.over) - a.ends) if arrival.over else FOREVER)
        if left.is_its_jobs_end:
            after_s = 0.0 if after_s <= ASKED_S else FOREVER
        off_s = [a.begins - d.ends, after_s]
        if is_ordered:
            off_s.append(a.begins - d.read(departure.opened))
        if left.copied_last is not None and (copied_s := d.read(left.copied_last) - a.ends) > AFTER_S:
            off_s.append(copied_s)
        if was_prepared_seen:
            off_s.extend(d.read(mark) - a.begins for mark in left.earlier)
        found.append((max(off_s), (a, d)))
    return found


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


def _was_followed(arrival: Arrival, departure: Departure, prepared: Sequence[float]) -> bool:
    """Another attempt was prepared before the source's end: a source begins one job after the other."""
    end = departure.ended
    if end is None or end.origin != "event" or departure.stage not in _OF_A_MIGRATION:
        return False
    return _next(prepared, arrival.first) < end.at - AFTER_S


def _proven(
    arrivals: Iterable[_Arrival], departures: Iterable[_Departure], fixed: Collection[Ends]
) -> dict[LegId, LegId]:
    """Arrival -> departure, where both have the same figures of the copy, and no other leg has: the only data
    that libvirt reports on both sides. Of small guests that do nothing any two may be equal: none of an
    attempt that was over before the other began, or that others prove to be another.
    """
    legs: defaultdict[Copied, tuple[list[_Arrival], list[_Departure]]] = defaultdict(lambda: ([], []))
    for came in arrivals:
        if (figures := came.arrival.copied) is not None:
            legs[figures][0].append(came)
    for left in departures:
        if (figures := left.departure.copied) is not None:
            legs[figures][1].append(left)
    found = {}
    for alike, others in legs.values():
        if len(alike) == len(others) == 1:
            (came,), (left,) = alike, others
            is_other = came.host == left.host or any(crosses((came.id, left.id), ends) for ends in fixed)
            if not is_other and _may_be_one(came, left):
                found[came.id] = left.id
    return found


def _link_by_proof(came: _Arrival, left: _Departure, proven: Mapping[LegId, LegId]) -> Link | None:
    """The link of two legs of which one is proven to belong to a certain other one."""
    is_proven = proven.get(came.id) == left.id
    return Link(came.id, left.id, left.departure, proven=True) if is_proven else None


def _may_be_one(came: _Arrival, left: _Departure) -> bool:
    """Whether these lasted at the same time by any reading, or no reading of a clock may be right."""
    arrival, departure = came.arrival, left.departure
    over, end = arrival.decided or arrival.first, departure.ended or departure.opened
    return (
        any(
            a.begins <= d.ends + SKEW_S and d.begins <= a.ends + SKEW_S
            for a, d in product(came.lasted, left.lasted)
        )
        or _waited(arrival.first, over)
        or _waited(departure.opened, end)
    )


def _is_within(departure: Departure, residency: Residency) -> bool:
    """Whether it began while the guest was there."""
    ended = residency.ended
    return residency.began.key <= departure.key and (ended is None or departure.key <= ended.key)


def _ended_together(came: _Arrival, left: _Departure, *, was_sent: bool) -> list[Overlap]:
    """When both legs lasted if no reading of the clocks is right: a clock was set while its host's messages
    waited, so that its leg ended when the other one did. was_sent: the end alone shows that.
    """
    if not (was_sent or came.waited or left.waited):
        return []
    over, end, opened = came.arrival.decided, left.departure.ended, left.departure.opened
    if over is None or end is None or left.departure.stage in ("crashed", "stopped") or opened == end:
        return []  # a guest may crash at any time
    a, d = came.lasted[0], left.lasted[0]
    by_s = a.read(over) - d.read(end)
    is_apart = _is_exact(opened) and not a.begins - ORDER_S < d.read(opened) < a.ends
    was_sent = was_sent and not (is_apart and _is_exact(came.arrival.first))
    if was_sent or (left.waited and not is_apart):
        return [(a, d.shifted(by_s))]
    return [(a.shifted(-by_s), d)] if came.waited else []


def _is_exact(mark: Mark) -> bool:
    """Whether it was received when it was stamped: the clock is right, and nothing waited."""
    return abs(mark.received - mark.stamped) < AFTER_S


def _waited(first: Mark, last: Mark) -> bool:
    """Whether these waited on their way: they didn't come as they were stamped."""
    came_s, stamped_s = last.received - first.received, last.stamped - first.stamped
    return abs(came_s - stamped_s) > LIVE_S or not (is_live(first) or is_live(last))


def _candidate(
    came: _Arrival, left: _Departure, prepared: Sequence[float], *, is_published: bool
) -> Link | None:
    """The link of two legs that may belong together. prepared: when all arrivals were, in order."""
    arrival, departure = came.arrival, left.departure
    if arrival.tentative and departure.stage not in ("left", "job_ended"):
        return None
    holder, residency = next(iter(came.holders), (None, None))
    is_there = residency is not None and holder == left.host and _is_within(departure, residency)
    held = is_there and residency is not None and residency.ended in (None, departure.ended)
    by_readings = _overlaps(came, left, held=held)
    overlaps = [overlap for off_s, overlap in by_readings if off_s <= ORDER_S]
    is_between_readings = (
        not overlaps
        and min(a.begins for a in came.lasted) <= max(d.ends for d in left.lasted)
        and (min(d.begins for d in left.lasted) <= max(a.ends for a in came.lasted))
    )
    if is_between_readings:  # a clock may be off by less than its messages' latency
        overlaps = [overlap for off_s, overlap in by_readings if off_s <= SKEW_S]
    is_forced = not overlaps
    if is_forced:
        was_sent = held and departure.stage == "left"
        overlaps = _ended_together(came, left, was_sent=was_sent)
    if not overlaps:
        return None
    fit = _fit(arrival, departure, overlaps)
    if is_forced and fit != "fits":
        return None
    was_found = is_found(arrival.first) or is_found(departure.opened)
    is_plain = (came.lasted[0], left.lasted[0]) in overlaps and not is_between_readings
    was_joined = bool(arrival.absorbed or departure.absorbed)
    if fit == "contradicts" and (was_found or not is_plain or was_joined):
        return None
    is_early = departure.ended is not None and arrival.first.at > departure.ended.at
    return Link(
        came.id,
        left.id,
        departure,
        is_ambiguous=fit == "contradicts" or not is_plain or is_early or was_found or was_joined,
        contradictory=fit == "contradicts" or is_forced,
        between_readings=is_between_readings,
        guest_elsewhere=residency is not None and not is_there,
        unlikely=fit == "may_fit"
        or left.is_its_jobs_end
        or _was_followed(arrival, departure, prepared)
        or _outlived(arrival, departure, overlaps),
        clock_set=not any(a.read in _BY_CLOCK and d.read in _BY_CLOCK for a, d in overlaps),
        unpublished=not is_published,
        overlaps=tuple(overlaps),
        distance_ms=round(
            1000
            * min(
                abs(a.read(arrival.first) - d.read(departure.began or departure.opened)) for a, d in overlaps
            )
        ),
    )
