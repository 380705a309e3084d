"""The verdict on one attempt: its outcome by `outcomes`, and all fields of its message. Pure.

The reason by precedence, the guest's host and state, what needs attention, which sides confirm it, the
evidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from bridge.correlator.rules.clock_readings import AFTER_S
from bridge.correlator.rules.exceptions import exception_to
from bridge.correlator.rules.host_view import Arrival, Departure, HostView
from bridge.correlator.rules.observations import (
    CLEARED,
    CLOCK_EXACT,
    Blind,
    Mark,
    is_found,
    is_reported,
    newest,
    was_blind,
)
from bridge.correlator.rules.outcomes import (
    ArrivalState,
    DepartureState,
    JointOutcome,
    Timing,
    outcome_of,
    states_of,
)
from bridge.correlator.rules.pairing import Pair
from bridge.wire.messages import (
    Attention,
    Evidence,
    Guest,
    GuestState,
    Mode,
    Reason,
    Side,
    seconds,
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to publish of one attempt, and when. known: by the names of a message's fields."""

    outcome: JointOutcome
    timing: Timing
    since: float
    mode: Mode
    known: Mapping[str, object]


def decide(pair: Pair, source_view: HostView | None, silent: Mapping[str, Blind], settle_s: float) -> Verdict:
    """The verdict on one attempt from both legs, the source's view for the guest's state there, and the hosts
    that are blind, and since when.
    """
    a, d = states_of(pair)
    arrival, departure = pair.arrival, pair.departure
    marks = _conclusive(pair, d)
    newest = max((mark for _, mark in marks), key=lambda mark: mark.received, default=None)
    outcome, timing = outcome_of(pair, (a, d), source_view, silent, newest)
    source_blind = pair.source in silent
    postcopy = bool((arrival and arrival.postcopy) or (departure and departure.postcopy))
    reason = _reason(pair, d, postcopy) if outcome == "failed" else None
    if (ends := pair.over_by_source(source_view)) and pair.source is not None:
        source_blind = silent.get(pair.source, Blind()).since <= max(ends)
    is_paused = (
        d in ("left_paused", "job_lost", "leaving")
        and not (d == "leaving" and source_blind)
        and not _was_lost(pair, d, silent, settle_s)
    )
    at_source = _SourceState(source_view, is_paused, source_blind, postcopy)
    guest, attention = _guest(pair, outcome, d, at_source)
    decisive_end = _decisive_end(outcome, a, d, pair)
    decided = decisive_end[1] if decisive_end else _decided_by(outcome, reason, arrival, departure)
    elapsed, downtime = (departure.figures if departure and departure.figures else None) or (None, None)
    return Verdict(
        outcome=outcome,
        timing=timing,
        since=max((m.received for _, m in marks), default=pair.first.received),
        mode="postcopy" if postcopy else "precopy",
        known={
            "reason": reason,
            "attention": attention,
            "guest": Guest(host=guest[0], state=guest[1]),
            "confirmed_by": _confirmed_by(outcome, a, d, pair),
            "started_at": arrival.opened.stamp if arrival and arrival.opened else None,
            "ended_at": decided.stamp if decided else None,
            "duration_ms": elapsed if elapsed is not None else _duration_ms(arrival, departure),
            "downtime_ms": downtime,
            "evidence": _evidence(pair, d, decisive_end),
        },
    )


@dataclass(frozen=True, slots=True)
class _SourceState:
    """The guest on its source: the view, whether the attempt left it paused there, whether the
    source was blind when it was over, and whether the memory was split between the hosts.
    """

    view: HostView | None
    is_paused: bool
    is_blind: bool
    postcopy: bool


def _was_lost(pair: Pair, d: DepartureState, silent: Mapping[str, Blind], settle_s: float) -> bool:
    """Whether the source couldn't see how this attempt ended there, so that what was found may be the next
    one's doing; or couldn't for so long that the guest may have left since.
    """
    departure, arrival = pair.departure, pair.arrival
    if departure is None:
        return False
    end = departure.ended or departure.closed
    blind = silent.get(pair.source or "")
    lost = end.since if end is not None else blind.since if blind is not None else None
    listed = departure.listed_suspended
    is_its_own = listed is not None and pair.at_source(listed) < pair.next_began
    shown = [*departure.job_marks, listed if is_its_own else None]
    last = newest(shown) or departure.opened
    if lost is None or (end is not None and not was_blind(last, end)):
        return False
    if end is not None and pair.next_began < pair.at_source(end):
        return True
    if d != "leaving":
        return False
    over = arrival.decided if arrival is not None else None
    return over is not None and lost < max(over.received, last.received) + settle_s


def _evidence(pair: Pair, d: DepartureState, decisive_end: tuple[Side, Mark] | None) -> list[Evidence]:
    """The messages that the verdict rests on; a cleared state has no id."""
    marks = _conclusive(pair, d, in_messages=True)
    if decisive_end is not None and decisive_end[1].what != CLEARED and decisive_end not in marks:
        marks.append(decisive_end)
    hosts = {"source": pair.source, "destination": pair.destination}
    return [mark.evidence(host) for side, mark in marks if (host := hosts[side]) is not None]


def _conclusive(pair: Pair, d: DepartureState, *, in_messages: bool = False) -> list[tuple[Side, Mark]]:
    """The decisive mark of each side. `in_messages`: only marks with an id, which a cleared state hasn't, and
    none that begins the next attempt.
    """
    sides: dict[Side, tuple[Mark | None, ...]] = {}
    if (arrival := pair.arrival) is not None:
        sides["destination"] = (arrival.switched, arrival.ended, arrival.broke, arrival.first)
    if (departure := pair.departure) is not None:
        ended = departure.ended if d == departure.stage else None
        sides["source"] = (ended, departure.broke, departure.suspended)
    wanted = (
        next(
            ((side, mark) for mark in marks if mark and not (in_messages and _is_no_message(mark, arrival))),
            None,
        )
        for side, marks in sides.items()
    )
    return [each for each in wanted if each is not None]


def _is_no_message(mark: Mark, arrival: Arrival | None) -> bool:
    """Whether no message of this attempt shows it: a state was cleared, or the next attempt began."""
    is_the_next = arrival is not None and mark == arrival.ended and mark.what.startswith("started/")
    return mark.what == CLEARED or is_the_next


_REASON_OF_SOURCE: Final[dict[DepartureState, Reason]] = {
    "crashed": "source_crashed",
    "stopped": "source_stopped",
}
_REASON_OF_DESTINATION: Final[dict[str, Reason]] = {
    "stopped/failed": "destination_failed",
    "stopped/crashed": "destination_crashed",
    "stopped/destroyed": "destination_destroyed",
    "stopped/unknown": "destination_vanished",
}
_REASON_LAST: Final[dict[DepartureState, Reason]] = {
    "resumed": "source_resumed",
    "resumed_ended": "source_resumed",
    "left_paused": "source_resumed",
    "job_ended": "source_job_ended",
}


def _reason(pair: Pair, d: DepartureState, postcopy: bool) -> Reason | None:
    """The first reason that applies: what the evidence shows, never a guess."""
    arrival = pair.arrival
    if d in _REASON_OF_SOURCE and not _may_have_ended_later(pair, d):
        return _REASON_OF_SOURCE[d]
    if postcopy and arrival is not None and arrival.stage == "ended":
        return "postcopy_failed"
    end = (arrival.ended if arrival.stage == "ended" else arrival.over) if arrival else None
    if arrival is not None and end is not None and end.what != "stopped/migrated":
        if arrival.stage == "open" or not is_reported(end):  # nobody saw its end
            return "destination_vanished"
        return _REASON_OF_DESTINATION.get(end.what, "destination_stopped")
    return _REASON_LAST.get(d)


@exception_to("_REASON_OF_SOURCE", "the destination's reason")
def _may_have_ended_later(pair: Pair, d: DepartureState) -> bool:
    """The guest was found stopped on its source, or crashed, where the destination's end was only found, too,
    after the attempt had failed at its destination.
    """
    over = pair.arrival.ended if pair.arrival else None
    end = pair.departure.ended if pair.departure else None
    if over is None or end is None or not is_found(end):
        return False
    is_later = pair.at_source(end) > pair.at_destination(over) + AFTER_S
    return is_later and (is_found(over) if d == "crashed" else is_reported(over))


def _guest(
    pair: Pair, outcome: JointOutcome, d: DepartureState, at_source: _SourceState
) -> tuple[tuple[str | None, GuestState], Attention | None]:
    """The guest's host and state after this outcome, and what needs attention."""
    if outcome == "failed":
        return _guest_after_failure(pair, d, at_source)
    arrival, source = pair.arrival, pair.source
    if outcome == "completed":
        attention: Attention | None = "source_left_paused" if at_source.is_paused else None
        if arrival is None or arrival.guest is None:
            return (pair.destination, "unknown"), attention
        return (pair.destination, arrival.guest), attention
    if outcome == "conflict":
        return (None, "running"), None
    if outcome == "interrupted":
        return (pair.destination, "running" if arrival and arrival.postcopy else "unknown"), None
    view = at_source.view if source and not at_source.is_blind else None
    return (source, (view.guest if view else None) or "unknown"), None


def _guest_after_failure(
    pair: Pair, d: DepartureState, at_source: _SourceState
) -> tuple[tuple[str | None, GuestState], Attention | None]:
    arrival, source, view = pair.arrival, pair.source, at_source.view
    if at_source.postcopy and d in ("crashed", "stopped"):
        return (None, "lost"), "postcopy_incomplete"
    if d == "crashed" or (at_source.postcopy and arrival is not None and arrival.stage == "ended"):
        return (None, "lost"), None
    if d == "stopped":
        return (source if view and view.persistent else None, "shutoff"), None
    if d == "vanished":
        return (None, "unknown"), None
    if at_source.is_paused:
        return (source, "paused"), "guest_left_paused"
    if d in ("left_paused", "job_lost", "leaving"):
        return (source, "unknown"), None
    if d in ("resumed", "resumed_ended") and not _was_found_before_it_was_over(pair):
        return (source, "running"), None
    if d == "job_ended" and pair.departure is not None:
        return (source, pair.departure.guest or "unknown"), None
    return (source, "unknown" if view is None or at_source.is_blind else _guest_then(pair, view)), None


def _was_found_before_it_was_over(pair: Pair) -> bool:
    """All of the source's leg was found before the attempt was over: it may be how an earlier one ended."""
    arrival, departure = pair.arrival, pair.departure
    over = arrival.ended if arrival is not None else None
    if over is None or departure is None or departure.ended is None or not is_found(departure.opened):
        return False
    return pair.at_source(departure.ended) < pair.at_destination(over)


def _guest_then(pair: Pair, view: HostView) -> GuestState:
    """The guest's state on its source when the attempt was over, if it is the same by each reading."""
    end = pair.arrival.ended_by if pair.arrival is not None else None
    if end is None:
        return view.guest or "unknown"
    closed = pair.departure.closed if pair.departure else None
    states = {view.guest_at(then_s, closed) for then_s in pair.on_source_clock(end, view)}
    return (states.pop() if len(states) == 1 else None) or "unknown"


_SOURCE_CONFIRMS: Final[dict[JointOutcome, frozenset[DepartureState]]] = {
    "completed": frozenset({"left", "crashed", "stopped", "vanished", "resumed_ended"}),
    "failed": frozenset(
        {
            "resumed",
            "resumed_ended",
            "unpaused",
            "left_paused",
            "job_lost",
            "job_ended",
            "crashed",
            "stopped",
            "vanished",
        }
    ),
    "conflict": frozenset({"resumed", "unpaused", "job_ended"}),
    "interrupted": frozenset({"broken"}),
}
_DESTINATION_CONFIRMS: Final[dict[JointOutcome, frozenset[ArrivalState]]] = {
    "completed": frozenset({"arrived", "departed"}),
    "failed": frozenset({"ended", "departed"}),
    "conflict": frozenset({"arrived"}),
    "interrupted": frozenset({"broken"}),
}


def _confirmed_by(outcome: JointOutcome, a: ArrivalState, d: DepartureState, pair: Pair) -> list[Side]:
    arrival, departure = pair.arrival, pair.departure
    sides: list[Side] = []
    if d in _SOURCE_CONFIRMS.get(outcome, frozenset()):
        sides.append("source")
    ended = arrival.ended if arrival is not None and arrival.postcopy and d in _REASON_OF_SOURCE else None
    is_cleared_up = bool(ended and departure and departure.ended and ended.at > departure.ended.at)
    if a in _DESTINATION_CONFIRMS.get(outcome, frozenset()) and not is_cleared_up:
        sides.append("destination")
    return sides


def _decisive_end(
    outcome: JointOutcome, a: ArrivalState, d: DepartureState, pair: Pair
) -> tuple[Side, Mark] | None:
    """If both ran, the end of one of them: it decides the outcome."""
    arrival, departure = pair.arrival, pair.departure
    if outcome == "failed" and a == "departed" and arrival and arrival.over:
        return "destination", arrival.over
    if outcome == "completed" and d == "resumed_ended" and departure:
        mark = departure.over or departure.ended
        return ("source", mark) if mark else None
    return None


def _decided_by(
    outcome: JointOutcome, reason: Reason | None, arrival: Arrival | None, departure: Departure | None
) -> Mark | None:
    """The event that decides: it gives the end its stamp."""
    there = arrival.decided if arrival else None
    here = departure.ended if departure else None
    if outcome == "completed":
        return here if departure is not None and departure.stage == "left" else there or here
    if outcome == "failed":
        return here if reason is not None and reason.startswith("source_") else there or here
    if outcome == "conflict":
        return here
    return None


def _duration_ms(arrival: Arrival | None, departure: Departure | None) -> int | None:
    """The difference of two stamps of one host: the destination's, else the source's. None if the beginning
    was found afterwards, or the clock was set in between: the stamps contradict the order, or the offset of
    the host's clock (`Clock.offset_s`) changed by more than latency explains.
    """
    for first, last in (
        (arrival.opened, arrival.decided) if arrival else (None, None),
        (departure.opened, departure.ended) if departure else (None, None),
    ):
        if first is None or first.origin != "event" or last is None or last.what == CLEARED:
            continue
        if last.key <= first.key:
            continue
        first_s, last_s = seconds(first.stamp), seconds(last.stamp)
        corrected_s = (last.at - last_s) - (first.at - first_s)
        if last_s >= first_s and abs(corrected_s) <= CLOCK_EXACT[1] - CLOCK_EXACT[0]:
            return round((last_s - first_s) * 1000)
    return None
