"""What two halves of an attempt prove together: the table, and what bends it.

`OUTCOMES` is the whole rule: (the arrival's stage, the departure's stage) -> the judgement and when it may be
told. `unseen` stands for a half that no message told of. The rules' source is libvirt's migration protocol
(Begin, Prepare, Perform, Finish, Confirm; `qemu_migration.c`).
"""

from __future__ import annotations

from typing import Final, Literal

from bridge.correlator.rules.host_view import ArrivalStage, DepartureStage
from bridge.correlator.rules.observations import Mark
from bridge.correlator.rules.pairing import Pair, is_well_after

JointOutcome = Literal["under_way", "interrupted", "completed", "failed", "conflict"]
Timing = Literal["now", "soon", "settle", "never", "patience"]
"""now; soon: what is said in the same breath is waited for; `settle` after the newest conclusive mark;
never by time alone; unresolved after `patience`."""

RESUSPEND_S: Final = 1.0
"""A source that can't resume says resumed and at once suspended; this long for both to come."""

ArrivalState = ArrivalStage | Literal["unseen"]
DepartureState = DepartureStage | Literal["unseen"]

UNDER_WAY: Final = ("under_way", "never")
UNDER_WAY_WATCHED: Final = ("under_way", "patience")

OUTCOMES: Final[dict[ArrivalState, dict[DepartureState, tuple[JointOutcome, Timing]]]] = {
    # no word from any destination
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
    # it got there, and that stay is over by now
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
    """The two stages as `OUTCOMES` knows them. A source that ended well after the attempt was over at the
    destination ended for reasons of its own: then its stage before that end counts. Of two that ran and
    both ended, the one that ended first counts as ended.
    """
    arrival, departure = pair.arrival, pair.departure
    a: ArrivalState = arrival.stage if arrival else "unseen"
    if departure is None:
        return a, "unseen"
    d: DepartureState = departure.stage
    if arrival is None:
        return a, d
    if departure.ended is not None and d in _OWN_REASONS.get(a, ()):
        over = arrival.switched or arrival.ended
        if over is not None and is_well_after(departure.announced or departure.ended, over, pair.overlaps):
            d = departure.before_end
            if (a, d) == ("arrived", "unpaused"):
                d = "resumed_ended"  # both ran, and now one does
    elif (a, d) == ("departed", "resumed_ended") and arrival.over and departure.over:
        return (a, "resumed") if arrival.over.at < departure.over.at else ("arrived", d)
    return a, d


_OWN_REASONS: Final[dict[ArrivalState, frozenset[DepartureState]]] = {
    "ended": frozenset({"crashed", "stopped", "vanished"}),
    "arrived": frozenset({"crashed", "stopped"}),
    "departed": frozenset({"crashed", "stopped"}),
}


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
"""Both sides spoke their last word: once told, nothing that comes later changes such a verdict."""


def is_final(pair: Pair) -> bool:
    """Whether nothing can come that changes the verdict: see `FINAL`; or the source ended for reasons of
    its own.
    """
    arrival, departure = pair.arrival, pair.departure
    if arrival is not None and arrival.ended is not None and not is_reported(arrival.ended):
        return False  # the event itself may yet come, and say more
    if departure is not None and departure.ended is not None and departure.ended.origin == "state":
        return False
    states = states_of(pair)
    return states in FINAL or (departure is not None and states[1] != departure.stage)


def is_reported(end: Mark) -> bool:
    """Whether an event told of this end; else a state did, or what came after it."""
    return end.origin != "state" and end.what.startswith("stopped/")
