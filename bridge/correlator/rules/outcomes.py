"""What the two legs of an attempt prove together: the table, and its exceptions. Pure.

`OUTCOMES` is the rule: (the arrival's state, the departure's state) -> the outcome and its timing. `unseen`
stands for a leg without any message. The source of the rules is libvirt's migration protocol (Begin, Prepare,
Perform, Finish, Confirm; `qemu_migration.c`).
"""

from __future__ import annotations

from typing import Final, Literal

from bridge.correlator.rules.exceptions import exception_to
from bridge.correlator.rules.host_view import ArrivalStage, DepartureStage
from bridge.correlator.rules.observations import Mark
from bridge.correlator.rules.pairing import Pair, stage_then

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

OUTCOMES: Final[dict[ArrivalState, dict[DepartureState, tuple[JointOutcome, Timing]]]] = {
    # no message from any destination
    "unseen": {
        "copying": UNDER_WAY,  # an iteration proves nothing
        "leaving": UNDER_WAY_WATCHED,
        "unpaused": UNDER_WAY,
        "postcopy": UNDER_WAY,
        "broken": ("interrupted", "settle"),
        "left": ("completed", "settle"),
        "resumed": ("failed", "settle"),
        "resumed_ended": ("failed", "settle"),
        "left_paused": ("failed", "settle"),
        "job_lost": UNDER_WAY_WATCHED,
        "job_ended": ("failed", "settle"),
        "crashed": UNDER_WAY_WATCHED,
        "stopped": UNDER_WAY_WATCHED,
        "vanished": UNDER_WAY_WATCHED,
    },
    # prepared, and nothing more; a copy may take hours
    "open": {
        "unseen": UNDER_WAY,
        "copying": UNDER_WAY,
        "leaving": UNDER_WAY,
        "unpaused": UNDER_WAY,
        "postcopy": UNDER_WAY,
        "broken": ("interrupted", "now"),
        "left": ("completed", "settle"),
        "resumed": ("failed", "settle"),
        "resumed_ended": ("failed", "settle"),
        "left_paused": ("failed", "settle"),
        "job_lost": UNDER_WAY_WATCHED,
        "job_ended": ("failed", "settle"),
        "crashed": ("failed", "settle"),
        "stopped": ("failed", "settle"),
        "vanished": UNDER_WAY_WATCHED,
    },
    # the guest runs there, its memory is still coming; never times out
    "postcopy": {
        "unseen": UNDER_WAY,
        "copying": UNDER_WAY,
        "leaving": UNDER_WAY,
        "unpaused": UNDER_WAY,
        "postcopy": UNDER_WAY,
        "broken": ("interrupted", "now"),
        "left": ("completed", "settle"),
        "resumed": UNDER_WAY,
        "resumed_ended": UNDER_WAY,
        "left_paused": UNDER_WAY,
        "job_lost": UNDER_WAY,
        "job_ended": UNDER_WAY,
        "crashed": ("failed", "settle"),
        "stopped": ("failed", "settle"),
        "vanished": UNDER_WAY_WATCHED,
    },
    "broken": {
        "unseen": ("interrupted", "now"),
        "copying": ("interrupted", "now"),
        "leaving": ("interrupted", "now"),
        "unpaused": ("interrupted", "now"),
        "postcopy": ("interrupted", "now"),
        "broken": ("interrupted", "now"),
        "left": ("completed", "settle"),
        "resumed": ("interrupted", "now"),
        "resumed_ended": ("interrupted", "now"),
        "left_paused": ("interrupted", "now"),
        "job_lost": ("interrupted", "now"),
        "job_ended": ("interrupted", "now"),
        "crashed": ("failed", "now"),
        "stopped": ("failed", "now"),
        "vanished": ("interrupted", "now"),
    },
    # the guest was resumed (or left paused) there
    "arrived": {
        "unseen": ("completed", "settle"),
        "copying": ("completed", "settle"),
        "leaving": ("completed", "settle"),
        "unpaused": ("conflict", "settle"),
        "postcopy": ("completed", "settle"),
        "broken": ("completed", "settle"),
        "left": ("completed", "now"),
        "resumed": ("conflict", "soon"),
        "resumed_ended": ("completed", "now"),
        "left_paused": ("completed", "now"),
        "job_lost": ("completed", "now"),
        "job_ended": ("conflict", "settle"),
        "crashed": ("completed", "now"),
        "stopped": ("completed", "now"),
        "vanished": ("completed", "now"),
    },
    # it never got there
    "ended": {
        "unseen": ("failed", "settle"),
        "copying": ("failed", "settle"),
        "leaving": ("failed", "settle"),
        "unpaused": ("failed", "settle"),
        "postcopy": ("failed", "settle"),
        "broken": ("failed", "now"),
        "left": ("completed", "settle"),
        "resumed": ("failed", "soon"),
        "resumed_ended": ("failed", "now"),
        "left_paused": ("failed", "now"),
        "job_lost": ("failed", "now"),
        "job_ended": ("failed", "now"),
        "crashed": ("failed", "now"),
        "stopped": ("failed", "now"),
        "vanished": ("failed", "now"),
    },
    # it got there, and that residency is over by now
    "departed": {
        "unseen": ("completed", "settle"),
        "copying": ("completed", "settle"),
        "leaving": ("completed", "settle"),
        "unpaused": ("failed", "settle"),
        "postcopy": ("completed", "settle"),
        "broken": ("completed", "settle"),
        "left": ("completed", "now"),
        "resumed": ("failed", "soon"),
        "resumed_ended": ("completed", "settle"),
        "left_paused": ("completed", "now"),
        "job_lost": ("completed", "now"),
        "job_ended": ("failed", "settle"),
        "crashed": ("completed", "now"),
        "stopped": ("completed", "now"),
        "vanished": ("completed", "now"),
    },
}


def states_of(pair: Pair) -> tuple[ArrivalState, DepartureState]:
    """The two stages as `OUTCOMES` knows them."""
    arrival, departure = pair.arrival, pair.departure
    a: ArrivalState = arrival.stage if arrival else "unseen"
    if departure is None:
        return a, "unseen"
    if arrival is None:
        return a, departure.stage
    d: DepartureState = stage_then(arrival, departure, pair.overlaps)
    if (a, d) == ("arrived", "unpaused") and d != departure.stage:
        return a, "resumed_ended"  # both ran, and now one does
    if _both_ran_and_ended(pair) and arrival.over and departure.over:
        is_first = pair.at_destination(arrival.over) < pair.at_source(departure.over)
        return (a, "resumed") if is_first else ("arrived", d)
    return a, d


@exception_to("OUTCOMES", "only the one that ended first counts as ended")
def _both_ran_and_ended(pair: Pair) -> bool:
    """The guest ran on both hosts, and ended on both."""
    arrival, departure = pair.arrival, pair.departure
    return (arrival and arrival.stage, departure and departure.stage) == ("departed", "resumed_ended")


_LEFT: Final[tuple[DepartureState, ...]] = ("left", "crashed", "stopped", "vanished")
_STAYED: Final[tuple[DepartureState, ...]] = ("resumed_ended", "crashed", "stopped", "job_ended", "vanished")
FINAL: Final[frozenset[tuple[ArrivalState, DepartureState]]] = frozenset(
    [
        *(("arrived", d) for d in _LEFT),
        *(("departed", d) for d in _LEFT),
        *(("ended", d) for d in (*_STAYED, "left_paused", "broken")),
        ("broken", "crashed"),
        ("broken", "stopped"),
    ]
)
"""Both sides are conclusive: no later message changes a verdict of these once it is published."""


def is_final(pair: Pair) -> bool:
    """Whether nothing can come that changes the verdict: see `FINAL`; or the source ended for reasons of
    its own.
    """
    states = states_of(pair)
    is_over = states in FINAL or (pair.departure is not None and states[1] != pair.departure.stage)
    return is_over and not _events_may_yet_come(pair)


@exception_to("FINAL", "the verdict isn't final")
def _events_may_yet_come(pair: Pair) -> bool:
    """Only a state shows an end: the event itself may still come, and show more."""
    arrival, departure = pair.arrival, pair.departure
    came = arrival.ended if arrival is not None else None
    left = departure.ended if departure is not None else None
    return (came is not None and not is_reported(came)) or (left is not None and left.origin == "state")


def is_reported(end: Mark) -> bool:
    """Whether an event reported this end; else a state showed it, or a later event."""
    return end.origin != "state" and end.what.startswith("stopped/")
