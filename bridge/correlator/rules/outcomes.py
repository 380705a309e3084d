"""What the two legs of an attempt prove together: the table, and its exceptions. Pure.

`OUTCOMES` is the rule: (the arrival's state, the departure's state) -> the outcome and its timing. `unseen`
stands for a leg without any message, `resumed` for a source that resumed the guest (`resumed/migrated`), so
that the attempt failed. The source of the rules is libvirt's migration protocol (Begin, Prepare,
Perform, Finish, Confirm; `qemu_migration.c`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final, Literal

from bridge.correlator.rules.actions import KEPT
from bridge.correlator.rules.candidates import stage_then
from bridge.correlator.rules.clock_readings import FOREVER, Overlap
from bridge.correlator.rules.exceptions import exception_to
from bridge.correlator.rules.holders import is_well_after, residency_overlaps
from bridge.correlator.rules.host_view import Arrival, ArrivalStage, Departure, DepartureStage, HostView
from bridge.correlator.rules.observations import UNNOTICED_S, Blind, Key, Mark, is_found, is_live, is_reported
from bridge.correlator.rules.pairing import Pair

JointOutcome = Literal["under_way", "interrupted", "completed", "failed", "conflict"]
Timing = Literal["now", "soon", "settle", "never", "patience"]
"""now; soon: after `RESUSPEND_S`; `settle` after the newest conclusive mark; never by time alone; unresolved
after `patience`."""

RESUSPEND_S: Final = 1.0
"""A source that fails to resume emits resumed and at once suspended; both arrive within this time."""

ArrivalState = ArrivalStage | Literal["unseen"]
DepartureState = DepartureStage | Literal["unseen"]

UNDER_WAY: Final = ("under_way", "never")
UNDER_WAY_WATCHED: Final = ("under_way", "patience")

OUTCOMES: Final[
    dict[ArrivalState, dict[DepartureState | Literal["*"], JointOutcome | Literal["watched"]]]
] = {
    # no message from any destination
    "unseen": {
        "leaving": "watched",
        "broken": "interrupted",
        "left": "completed",
        "resumed": "failed",
        "resumed_ended": "failed",
        "left_paused": "failed",
        "job_lost": "watched",
        "job_ended": "failed",
        "crashed": "watched",
        "stopped": "watched",
        "vanished": "watched",
        "*": "under_way",  # an iteration proves nothing
    },
    # prepared, and nothing more; a copy may take hours
    "open": {
        "broken": "interrupted",
        "left": "completed",
        "resumed": "failed",
        "resumed_ended": "failed",
        "left_paused": "failed",
        "job_lost": "watched",
        "job_ended": "failed",
        "crashed": "failed",
        "stopped": "failed",
        "vanished": "watched",
        "*": "under_way",
    },
    # the guest runs there, its memory is still coming; never times out
    "postcopy": {
        "broken": "interrupted",
        "left": "completed",
        "crashed": "failed",
        "stopped": "failed",
        "vanished": "watched",
        "*": "under_way",
    },
    "broken": {"left": "completed", "crashed": "failed", "stopped": "failed", "*": "interrupted"},
    # the guest was resumed (or left paused) there
    "arrived": {"unpaused": "conflict", "resumed": "conflict", "job_ended": "conflict", "*": "completed"},
    # it never got there
    "ended": {"left": "completed", "*": "failed"},
    # it got there, and that residency is over by now
    "departed": {"unpaused": "failed", "resumed": "failed", "job_ended": "failed", "*": "completed"},
}
"""`watched`: under way, unresolved after `patience`."""

_OVER: Final[tuple[DepartureState, ...]] = (
    "resumed_ended",
    "left_paused",
    "job_lost",
    "crashed",
    "stopped",
    "vanished",
)
CONCLUSIVE: Final[frozenset[tuple[ArrivalState, DepartureState]]] = frozenset(
    [
        *(("arrived", d) for d in ("left", *_OVER)),
        *(("departed", d) for d in ("left", *_OVER)),
        *(("ended", d) for d in ("broken", "job_ended", *_OVER)),
        ("broken", "crashed"),
        ("broken", "stopped"),
    ]
)
"""Both sides have said how it ended: it is published now."""


def ruling(a: ArrivalState, d: DepartureState) -> tuple[JointOutcome, Timing]:
    """What two states prove, and when it is published."""
    found = OUTCOMES[a].get(d, OUTCOMES[a]["*"])
    if found == "watched":
        return UNDER_WAY_WATCHED
    if found == "under_way":
        return UNDER_WAY
    if (a, d) in CONCLUSIVE:
        return found, "now"
    return found, "soon" if d == "resumed" and a in ("arrived", "ended", "departed") else "settle"


def states_of(pair: Pair) -> tuple[ArrivalState, DepartureState]:
    """The two stages as `OUTCOMES` knows them."""
    arrival, departure = pair.arrival, pair.departure
    a: ArrivalState = arrival.stage if arrival else "unseen"
    if departure is None:
        return a, "unseen"
    if arrival is None:
        return a, departure.stage
    d: DepartureState = stage_then(arrival, departure, pair.overlaps, pair.next_began)
    is_over = (d == "unpaused" and d != departure.stage) or (d == "job_ended" and departure.over is not None)
    if a == "arrived" and is_over:
        return a, "resumed_ended"  # both ran, and now one does
    if _both_ran_and_ended(pair) and arrival.over and departure.over:
        is_first = pair.at_destination(arrival.over) < pair.at_source(departure.over)
        return (a, "resumed") if is_first or _was_there_later(pair) else ("arrived", "resumed_ended")
    return a, d


@exception_to("OUTCOMES", "only the one that ended first counts as ended")
def _both_ran_and_ended(pair: Pair) -> bool:
    """The guest ran on both hosts, and ended on both."""
    arrival, departure = pair.arrival, pair.departure
    return bool(arrival and arrival.stage == "departed" and departure and departure.over)


def _was_there_later(pair: Pair) -> bool:
    """Another attempt shows that the guest was on the source after it was gone from the destination."""
    departure = pair.departure
    if departure is None or departure.over is None:
        return False
    return any(departure.key < key <= departure.over.key for key in pair.later)


def outcome_of(
    pair: Pair,
    states: tuple[ArrivalState, DepartureState],
    source: HostView | None,
    silent: Mapping[str, Blind],
    newest: Mark | None,
) -> tuple[JointOutcome, Timing]:
    """What the legs of an attempt prove, and when it is published: by `OUTCOMES` and its exceptions. source:
    the source's view; silent: the hosts that are blind, and since when; newest: the newest conclusive mark.
    """
    a, d = states
    arrival, departure = pair.arrival, pair.departure
    if (
        _may_arrive_unseen(a, d, pair, silent)
        or _may_have_arrived(pair, source, is_source_blind=pair.source in silent)
        or _may_have_ended_first(a, d, pair, source, silent)
        or _may_have_come_back(a, d, pair, silent)
        or (pair.source not in silent and _is_ending(arrival, departure, source))
    ):
        return UNDER_WAY_WATCHED
    if _began_nothing(a, d, departure):
        return UNDER_WAY
    outcome, timing = ruling(a, d)
    if outcome == "under_way" and _may_be_no_migration(a, departure):
        return UNDER_WAY
    if timing in ("now", "soon") and _is_more_to_come(pair, d, source, newest):
        return outcome, "settle"
    return outcome, timing


@exception_to("OUTCOMES", "under way, unresolved after `patience`")
def _may_have_arrived(pair: Pair, source: HostView | None, *, is_source_blind: bool) -> bool:
    """A destination that was blind before its guest's end may have had it meanwhile: its source had suspended
    it for the switch-over, and ended later, or is blind; or showed no job, and is blind, or lost it while
    blind, too; or it had left all known hosts.
    """
    arrival, departure = pair.arrival, pair.departure
    over = arrival.ended_by if arrival is not None else None
    if arrival is None or over is None or not (arrival.may_have_come or _may_have_left_again(pair)):
        return False
    if source is None:
        return departure is None and not pair.is_alone
    if departure is None:
        return _lost_unseen(source, arrival, over, pair.later, is_blind=is_source_blind)
    if is_source_blind and departure.stage in ("leaving", "postcopy", "broken"):
        return True
    if departure.postcopy:  # its memory was split until then
        return departure.stage == "vanished"
    return departure.suspended is not None and departure.stage in (
        "job_lost",
        "crashed",
        "stopped",
        "vanished",
    )


def _may_have_left_again(pair: Pair) -> bool:
    """The destination was blind after the switch-over began, and listed the guest as one under migration."""
    relisted = pair.arrival.relisted if pair.arrival else None
    suspended = pair.departure.suspended if pair.departure else None
    if relisted is None or suspended is None:
        return False
    return pair.at_source(suspended) < pair.at_destination(relisted)


@exception_to("OUTCOMES", "under way, unresolved after `patience`")
def _is_ending(arrival: Arrival | None, departure: Departure | None, source: HostView | None) -> bool:
    """The source has reported that the guest's end began, before the destination's, and not yet of which kind
    it is.
    """
    residency = source.residency if source is not None else None
    if arrival is None or arrival.ended is None or residency is None or residency.announced is None:
        return False
    is_open = departure is None or departure.ended is None
    return is_open and not is_well_after(
        residency.announced, arrival.ended, residency_overlaps(arrival, residency)
    )


def _lost_unseen(
    source: HostView, arrival: Arrival, over: Mark, later: Collection[Key], *, is_blind: bool
) -> bool:
    """Whether a host may have had the guest when this was prepared, and lost it by the time that it was over,
    while it was blind, or is: only its last residencies are kept. later: as in `Pair`.
    """
    if len(source.past) == KEPT and source.past[0].began.at > arrival.first.at:
        return True
    stays = [*source.past, source.residency] if source.residency is not None else source.past
    there = [(stay, overlaps) for stay in stays if (overlaps := residency_overlaps(arrival, stay))]
    left_later = [
        any(stay.began.key <= key and (stay.ended is None or key <= stay.ended.key) for key in later)
        for stay, _ in there
    ]
    return not there or any(
        not was_there and (is_blind or _ended_unseen(stay.ended, over, overlaps))
        for was_there, (stay, overlaps) in zip(left_later, there, strict=True)
    )


def _ended_unseen(end: Mark | None, over: Mark, overlaps: Sequence[Overlap]) -> bool:
    return end is not None and end.origin != "event" and not is_well_after(end, over, overlaps)


@exception_to("OUTCOMES", "under way, unresolved after `patience`")
def _may_arrive_unseen(a: ArrivalState, d: DepartureState, pair: Pair, silent: Mapping[str, Blind]) -> bool:
    """The destination is blind, and the guest may arrive, or may have arrived before its source ended; or was
    blind, and the guest may leave again. Or the attempt may have ended before that, of which only the
    source's end was seen, or a copy of a guest that was paused before, as one is that is saved.
    """
    arrival, departure = pair.arrival, pair.departure
    relisted = arrival.relisted if arrival is not None else None
    since, noticed = silent.get(pair.destination or "", Blind())
    blind_since = min(since, relisted.earliest if relisted else FOREVER)
    end = departure.ended if departure is not None and d in ("crashed", "stopped") else None
    if departure is not None and end is not None:
        may_be_saved = departure.guest == "paused" and departure.suspended is None
        if departure.opened == end or may_be_saved:
            return a == "open" and noticed < departure.opened.at
        may_be_sent = is_found(end) if a in ("postcopy", "broken") else a == "open" and departure.suspended
        return bool(may_be_sent) and blind_since < end.at
    return (
        a == "open"
        and blind_since < FOREVER
        and d in ("unseen", "copying", "leaving", "unpaused", "job_lost", "vanished")
    )


@exception_to("OUTCOMES", "under way: a conflict that was published stays one")
def _may_have_ended_first(
    a: ArrivalState, d: DepartureState, pair: Pair, source: HostView | None, silent: Mapping[str, Blind]
) -> bool:
    """The guest ran on both hosts and ended on one; the other, blind by then, may have lost it first, or has
    reported that its end began before. Or it ended on both, and on one that was only found, and no next
    attempt shows that it was still there.
    """
    arrival, departure = pair.arrival, pair.departure
    if _both_ran_and_ended(pair) and arrival and departure and arrival.over and departure.over:
        if _was_there_later(pair):
            return False
        there, here = pair.at_destination(arrival.over), pair.at_source(departure.over)
        last = source.past[-1:] if source is not None and source.residency is None else []
        is_its_last = any(stay.ended == departure.over for stay in last)
        may_be_first = departure.over.earliest < there and not (
            is_its_last and there < pair.next_began < here
        )
        return arrival.over.earliest < here < there or (there < here and may_be_first)
    if (a, d) == ("arrived", "resumed_ended") and departure is not None:
        end, blind = departure.over or departure.ended, pair.destination
        ended_s = pair.at_source(end) if end is not None else FOREVER
    elif (a, d) == ("departed", "resumed") and arrival is not None and arrival.over is not None:
        ended_s, blind = pair.at_destination(arrival.over), pair.source
        residency = source.residency if source is not None else None
        if residency is not None and residency.announced and pair.at_source(residency.announced) < ended_s:
            return True
    else:
        return False
    return silent.get(blind or "", Blind()).since + UNNOTICED_S < ended_s


@exception_to("OUTCOMES", "under way, unresolved after `patience`")
def _may_have_come_back(a: ArrivalState, d: DepartureState, pair: Pair, silent: Mapping[str, Blind]) -> bool:
    """The guest arrived, and then its destination went blind: if found on its source, it may be back."""
    ran = pair.departure.ended if pair.departure is not None else None
    if a != "arrived" or d not in ("resumed", "unpaused") or ran is None or not is_found(ran):
        return False
    return silent.get(pair.destination or "", Blind()).since < pair.at_source(ran)


@exception_to("OUTCOMES", "under way: nothing began")
def _began_nothing(a: ArrivalState, d: DepartureState, departure: Departure | None) -> bool:
    """A Prepare that failed, or a dump: only the source reported a job, and no iteration, or no end, or one
    that may be the next job's.
    """
    if (a, d) != ("unseen", "job_ended") or departure is None:
        return False
    is_its_own = departure.closed is None or departure.began is not None
    return not departure.iterated or departure.job_gone is None or not is_its_own


@exception_to("OUTCOMES", "never published by time alone")
def _may_be_no_migration(a: ArrivalState, departure: Departure | None) -> bool:
    """Without a switch-over, a job that only the source reported may be a save or a dump."""
    is_sure = departure is not None and (departure.suspended is not None or departure.postcopy)
    return a == "unseen" and not is_sure


@exception_to("OUTCOMES", "published after `settle`")
def _is_more_to_come(pair: Pair, d: DepartureState, source: HostView | None, newest: Mark | None) -> bool:
    """The link is ambiguous, a source that failed to resume was suspended again, libvirt's figures are
    awaited, or the newest evidence came late: a late host sends everything at once.
    """
    departure = pair.departure
    return (
        pair.ambiguous
        or (d == "left_paused" and departure is not None and departure.returned is not None)
        or (d == "left" and _awaits_figures(departure, source))
        or not is_live(newest)
    )


def _awaits_figures(departure: Departure | None, view: HostView | None) -> bool:
    """libvirt's own figures follow stopped/migrated at once, on drivers that have them."""
    return departure is not None and departure.figures is None and (view is None or view.driver != "Xen")


FINAL: Final = frozenset(
    (a, d)
    for a, d in CONCLUSIVE
    if d != "job_lost" and (a == "ended" or d not in ("resumed_ended", "left_paused"))
)
"""No later message changes a verdict of these once it is published."""


def is_final(pair: Pair) -> bool:
    """Whether nothing can change the verdict: see `FINAL`; or the source's end isn't the attempt's."""
    states = states_of(pair)
    is_over = states in FINAL or (pair.departure is not None and states[1] != pair.departure.stage)
    return is_over and not _events_may_yet_come(pair)


@exception_to("FINAL", "the verdict isn't final")
def _events_may_yet_come(pair: Pair) -> bool:
    """Only a state shows an end, or an arrival: the event itself may still come, and show more."""
    arrival, departure = pair.arrival, pair.departure
    came = arrival.ended if arrival is not None else None
    switched = arrival.switched if arrival is not None else None
    left = departure.ended if departure is not None else None
    return (came is not None and not is_reported(came)) or any(
        mark is not None and mark.origin == "state" for mark in (switched, left)
    )
