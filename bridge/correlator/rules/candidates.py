"""The links between an arrival and a departure that are possible, and those that are proven. Pure.

Both legs of one attempt overlap in time by some reading of the hosts' clocks (`clock_readings`), in the order
of libvirt's protocol.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Final, Literal, NamedTuple

from bridge.correlator.rules.alignment import Ends, LegId, Link, crosses
from bridge.correlator.rules.clock_readings import (
    AFTER_S,
    FOREVER,
    ORDER_S,
    Interval,
    Overlap,
    is_exact,
)
from bridge.correlator.rules.event_types import end_of
from bridge.correlator.rules.exceptions import exception_to
from bridge.correlator.rules.holders import is_well_after
from bridge.correlator.rules.host_view import (
    Arrival,
    ArrivalStage,
    Departure,
    DepartureStage,
    Residency,
)
from bridge.correlator.rules.observations import (
    ASKED_S,
    LIVE_S,
    SKEW_S,
    Copied,
    Mark,
    is_found,
    is_live,
    is_reported,
)

_TRAILS_S: Final = 3.0
"""The source's end comes a second or two after the destination's resume; it may be all that was seen."""


OF_A_MIGRATION: Final[frozenset[DepartureStage]] = frozenset({"left", "resumed", "resumed_ended"})
"""What only a migration ends with."""


@dataclass(frozen=True, eq=False)
class ArrivalForm:
    """An arrival, as one of its segments or as several joined: when it lasted, and where the guest was then,
    the likeliest first.
    """

    host: str
    arrival: Arrival
    lasted: Sequence[Interval]
    holders: Sequence[tuple[str, Residency]]

    @cached_property
    def id(self) -> LegId:
        """Its place, whatever its form."""
        return self.host, self.arrival.key

    @cached_property
    def holder(self) -> tuple[str | None, Residency | None]:
        """Where the guest was then, most likely."""
        return self.holders[0] if self.holders else (None, None)

    @cached_property
    def longest(self) -> tuple[float, float]:
        """From when to when it may have lasted, by all readings."""
        return _longest(self.lasted)

    @cached_property
    def waited(self) -> bool:
        """Whether its messages waited on their way, by its beginning and its end."""
        over = self.arrival.decided
        return over is not None and _waited(self.arrival.first, over)


@dataclass(frozen=True, eq=False)
class DepartureForm:
    """A departure likewise, and what happened there before its job had a destination."""

    host: str
    departure: Departure
    lasted: Sequence[Interval]
    earlier: Sequence[Mark]

    @cached_property
    def id(self) -> LegId:
        """Its place, whatever its form."""
        return self.host, self.departure.key

    @cached_property
    def longest(self) -> tuple[float, float]:
        """From when to when it may have lasted, by all readings."""
        return _longest(self.lasted)

    @cached_property
    def waited(self) -> bool:
        """Whether its messages waited on their way, by its beginning and its end."""
        end = self.departure.ended
        return end is not None and _waited(self.departure.opened, end)

    @cached_property
    def copied_last(self) -> Mark | None:
        """As the departure's."""
        return self.departure.copied_last

    @cached_property
    def is_all_an_end(self) -> bool:
        """Whether nothing but the guest's own departure is known."""
        return self.departure.stage == "left" and self.departure.opened == self.departure.ended

    @cached_property
    def is_its_jobs_end(self) -> bool:
        """Whether nothing but its job's end is known."""
        it = self.departure
        return it.opened == it.ended and it.stage != "left" and it.began is None


def _longest(lasted: Sequence[Interval]) -> tuple[float, float]:
    return min(each.begins for each in lasted), max(each.ends for each in lasted)


def _overlaps(came: ArrivalForm, left: DepartureForm, *, held: bool) -> list[tuple[float, Overlap]]:
    """The readings of both clocks by which the legs of one attempt are no further than `SKEW_S` from what the
    order of libvirt's protocol allows, and how far, in seconds. held: it is the guest's own end on the host
    that had it when the arrival was opened, however long that took.
    """
    arrival, departure = came.arrival, left.departure
    is_ordered = arrival.opened is not None and not is_found(departure.opened)
    was_prepared_seen = arrival.opened is not None and not is_found(arrival.opened)
    trails_s = 0.0 if not left.is_all_an_end else FOREVER if held and arrival.stage != "ended" else _TRAILS_S
    found = []
    for a, d in product(came.lasted, left.lasted):
        off_s, after_s = a.begins - d.ends, d.begins - a.ends
        if trails_s:  # nor after the guest had left again
            after_s -= min(trails_s, max(0.0, a.read(arrival.over) - a.ends) if arrival.over else FOREVER)
        if left.is_its_jobs_end:
            after_s = 0.0 if after_s <= ASKED_S else FOREVER
        off_s = max(off_s, after_s)
        if off_s > SKEW_S:
            continue
        if is_ordered:
            off_s = max(off_s, a.begins - d.read(departure.opened))
        if left.copied_last is not None and (copied_s := d.read(left.copied_last) - a.ends) > AFTER_S:
            off_s = max(off_s, copied_s)
        if was_prepared_seen:
            for mark in left.earlier:
                off_s = max(off_s, d.read(mark) - a.begins)
        found.append((off_s, (a, d)))
    return found


Agreement = Literal["by_one", "nearly", "by_none"]
"""Whether the times of two legs agree by one reading of each clock, nearly so or between two, or by none, as
neither leg has another link.
"""
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
    end_s = overlaps[0][1].read(end) if overlaps else end.at
    if is_found(end) and arrival.stage == "ended" and over.at < next_began < end_s:
        return True
    return is_well_after(end, over, overlaps)


def _fit(arrival: Arrival, departure: Departure, overlaps: Sequence[Overlap]) -> Fit:
    """By `_FITS`; an arrival may have come, and ended, unseen."""
    if arrival.stage == "open" and not departure.postcopy:
        return "fits"  # it may end in any way
    fit: Fit = _FITS.get(stage_then(arrival, departure, overlaps), {}).get(arrival.stage, "may_fit")
    if fit == "contradicts":
        return "fits" if arrival.stage == "ended" and arrival.may_have_come else fit
    return fit


def _outlived(arrival: Arrival, departure: Departure, overlaps: Sequence[Overlap]) -> bool:
    """The destination's guest ended well after its source's job."""
    end, over = departure.ended, arrival.ended_by
    if end is None or over is None or is_found(end) or departure.stage not in (*OF_A_MIGRATION, "job_ended"):
        return False
    return is_well_after(over, end, [(d, a) for a, d in overlaps])


class ArrivalTimes(NamedTuple):
    """When the arrivals of a domain were prepared, in order; those that are over likewise, and for each of
    these when the first of it and those after it was over.
    """

    prepared: Sequence[float]
    began: Sequence[float]
    over: Sequence[float]


def _was_followed(arrival: Arrival, departure: Departure, times: ArrivalTimes) -> bool:
    """Another attempt was prepared before the source's end: a source begins one job after the other. Or it
    was over before that was found, which shows the last one's.
    """
    end = departure.ended
    if end is None or departure.stage not in OF_A_MIGRATION:
        return False
    if is_found(end):
        n = bisect_right(times.began, arrival.first.at)
        return arrival.decided is not None and n < len(times.over) and times.over[n] < end.at - ORDER_S
    return end.origin == "event" and next_after(times.prepared, arrival.first) < end.at - ORDER_S


def proven_links(
    arrivals: Iterable[ArrivalForm], departures: Iterable[DepartureForm], fixed: Collection[Ends]
) -> dict[LegId, LegId]:
    """Arrival -> departure, where both have the same figures of the copy, and no other leg has: the only data
    that libvirt reports on both sides. Of small guests that do nothing any two may be equal: none of an
    attempt that was over before the other began, or that others prove to be another.
    """
    legs: defaultdict[Copied, tuple[list[ArrivalForm], list[DepartureForm]]] = defaultdict(lambda: ([], []))
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


def _may_be_one(came: ArrivalForm, left: DepartureForm) -> bool:
    """Whether these lasted at the same time by any reading, or no reading of a clock may be right."""
    arrival, departure = came.arrival, left.departure
    over, end = arrival.decided or arrival.first, departure.ended or departure.opened
    if _lasted_together(came, left):
        return True
    has_waited = _waited(arrival.first, over) or _waited(departure.opened, end)
    return has_waited and not _may_be_unseen(came, left)


def _may_be_unseen(came: ArrivalForm, left: DepartureForm) -> bool:
    """Whether these may be of two attempts, by their hosts' clocks: the host of the later one may have been
    blind when the earlier one ended.
    """
    opened, over = left.departure.opened, came.arrival.decided or came.arrival.first
    first, end = came.arrival.first, left.departure.ended or left.departure.opened
    return _may_have_been_blind(opened, over.at) or _may_have_been_blind(first, end.at)


def _may_have_been_blind(first: Mark, at: float) -> bool:
    """Whether a host may have been blind then, before something began there."""
    return first.since is not None and first.since <= at < first.at


def _is_within(departure: Departure, residency: Residency) -> bool:
    """Whether it began while the guest was there."""
    ended = residency.ended
    return residency.began.key <= departure.key and (ended is None or departure.key <= ended.key)


def _is_of_a_later_stay(came: ArrivalForm, left: DepartureForm, residency: Residency) -> bool:
    """The departure began after the stay there from which the guest had left for this arrival, which was over
    before that stay's end was known: both were heard at once, whatever its host's clock was later.
    """
    over, ended = came.arrival.decided, residency.ended
    if over is None or ended is None or left.departure.key < ended.key:
        return False
    return is_exact(over) and is_exact(ended) and over.received < ended.received


def _is_explained(came: ArrivalForm, left: DepartureForm, residency: Residency) -> bool:
    """The guest's own end, after that of the departure's job, was within the arrival."""
    over, end, ended = came.arrival.decided, left.departure.ended, residency.ended
    if came.arrival.stage != "ended" or over is None or end is None or ended is None or is_found(ended):
        return False
    if end_of(ended) is None or not is_reported(over):  # it left, or the arrival may have ended before
        return False
    return end.key < ended.key and came.arrival.first.at < (residency.announced or ended).at < over.earliest


def _ended_together(came: ArrivalForm, left: DepartureForm, *, was_sent: bool) -> list[Overlap]:
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
    is_apart = is_exact(opened) and not a.begins - ORDER_S < d.read(opened) < a.ends
    was_sent = was_sent and not (is_apart and is_exact(came.arrival.first))
    is_off = any(abs(mark.at - mark.stamped) > AFTER_S for mark in (came.arrival.first, over, opened, end))
    is_polled = left.departure.stage != "left"
    may_move = was_sent or (left.waited and not is_apart)
    if may_move and (is_polled or _may_have_been_at(a.read(over), end, is_off=is_off)):
        return [(a, d.shifted(by_s))]
    if came.waited and (is_polled or _may_have_been_at(d.read(end), over, is_off=is_off)):
        return [(a.shifted(-by_s), d)]
    return []


def _may_have_been_at(moment_s: float, end: Mark, *, is_off: bool) -> bool:
    """Whether an end may have been at this moment: before it was received, and, unless a clock is known to be
    off, no earlier than it says: one that is ahead shows at once, as no message is early.
    """
    return (is_off or moment_s > end.at) and moment_s < end.received + ORDER_S


def _waited(first: Mark, last: Mark) -> bool:
    """Whether these waited on their way: they didn't come as they were stamped."""
    came_s, stamped_s = last.received - first.received, last.stamped - first.stamped
    return abs(came_s - stamped_s) > LIVE_S or not (is_live(first) or is_live(last))


def _lasted_together(came: ArrivalForm, left: DepartureForm, margin_s: float = SKEW_S) -> bool:
    """Whether they may have lasted at the same time, by any reading."""
    for a in came.lasted:
        begins, ends = a.begins - margin_s, a.ends + margin_s
        for d in left.lasted:
            if begins <= d.ends and d.begins <= ends:
                return True
    return False


def _may_be_linked(came: ArrivalForm, left: DepartureForm, times_agree: Agreement) -> bool:
    """Whether there may be a link at all, as for most pairs of legs there isn't."""
    stage = left.departure.stage
    if came.arrival.tentative and stage not in ("left", "job_ended"):
        return False
    if times_agree == "by_none":
        return came.waited or left.waited or stage == "left"
    return left.is_all_an_end or _lasted_together(came, left, ORDER_S if times_agree == "by_one" else SKEW_S)


def candidate(
    came: ArrivalForm, left: DepartureForm, times: ArrivalTimes, times_agree: Agreement, *, differs: bool
) -> Link | None:
    """The link of two legs that may belong together. differs: from what was published."""
    arrival, departure = came.arrival, left.departure
    is_forced = times_agree == "by_none"
    if not _may_be_linked(came, left, times_agree):
        return None
    holder, residency = came.holder
    stay = residency if holder == left.host else None
    is_there = stay is not None and _is_within(departure, stay)
    held = is_there and stay is not None and stay.ended in (None, departure.ended)
    by_readings = _overlaps(came, left, held=held)
    overlaps = [overlap for off_s, overlap in by_readings if off_s <= ORDER_S]
    is_within = came.longest[0] <= left.longest[1] and left.longest[0] <= came.longest[1]
    is_between_readings = not overlaps and times_agree != "by_one" and is_within
    if is_between_readings:  # a clock may be off by less than its messages' latency
        # A suspend may be the last job's (`segments.return_suspends`).
        is_its_own = departure.opened != departure.suspended
        is_known = is_its_own and is_exact(arrival.first) and is_exact(departure.opened)
        overlaps = [overlap for off_s, overlap in by_readings if off_s <= (AFTER_S if is_known else SKEW_S)]
    if is_forced:
        if overlaps or _may_be_unseen(came, left):
            return None
        if stay is not None and _is_of_a_later_stay(came, left, stay):
            return None
        was_sent = held and departure.stage == "left"
        overlaps = _ended_together(came, left, was_sent=was_sent)
    if not overlaps:
        return None
    if is_found(arrival.first) and _outlived(arrival, departure, overlaps) and _may_be_unseen(came, left):
        return None
    fit = _fit(arrival, departure, overlaps)
    was_found = is_found(arrival.first) or is_found(departure.opened)
    is_plain = (came.lasted[0], left.lasted[0]) in overlaps and not is_between_readings
    if not is_plain and stay is not None and _is_explained(came, left, stay):
        return None
    was_joined = bool(arrival.absorbed or departure.absorbed)
    return Link(
        came.id,
        left.id,
        departure,
        is_ambiguous=fit == "contradicts" or not is_plain or was_found or was_joined,
        contradictory=fit == "contradicts",
        between_readings=is_between_readings,
        guest_elsewhere=residency is not None and not is_there,
        unlikely=fit == "may_fit" or _was_followed(arrival, departure, times),
        unpublished=differs,
        overlaps=tuple(overlaps),
        distance_ms=round(1000 * min(_apart_s(arrival, departure, a, d) for a, d in overlaps)),
    )


def _apart_s(arrival: Arrival, departure: Departure, a: Interval, d: Interval) -> float:
    """The time between their beginnings; of a departure that was found, between their ends, or for how long
    the arrival went on after that was found.
    """
    end, over = departure.ended, arrival.decided
    if end is not None and over is not None and is_found(departure.opened):
        apart_s = a.read(over) - d.read(end)
        return max(0.0, apart_s) if is_found(end) else abs(apart_s)
    return abs(a.read(arrival.first) - d.read(departure.began or departure.opened))


def next_after(began: Sequence[float], first: Mark) -> float:
    """When the next attempt began."""
    n = bisect_right(began, first.at)
    return began[n] if n < len(began) else FOREVER
