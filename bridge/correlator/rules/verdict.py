"""The verdict on one attempt: the ruling of `joint`, and each column of the message from the same halves.

The reason by precedence, where the guest is and how it fares, what a person has to see to, who confirms it,
what it rests on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from bridge.correlator.rules.actions import KEPT
from bridge.correlator.rules.host_view import Arrival, Departure, HostView
from bridge.correlator.rules.observations import CLEARED, CLOCK_EXACT, SKEW_S, Mark, is_live
from bridge.correlator.rules.outcomes import (
    OUTCOMES,
    UNDER_WAY,
    UNDER_WAY_WATCHED,
    ArrivalState,
    DepartureState,
    JointOutcome,
    Timing,
    is_reported,
    states_of,
)
from bridge.correlator.rules.pairing import Pair, is_well_after, residency_overlaps
from bridge.wire.messages import Attention, GuestState, Mode, Reason, Side, seconds


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be told of one attempt now, or at `due`; stamps and ids as the messages have them."""

    outcome: JointOutcome
    timing: Timing
    since: float
    mode: Mode | None
    reason: Reason | None
    attention: Attention | None
    guest: tuple[str | None, GuestState]
    confirmed_by: tuple[Side, ...]
    started_at: str | None
    ended_at: str | None
    duration_ms: int | None
    downtime_ms: int | None
    evidence: tuple[tuple[str, str], ...]


def decide(pair: Pair, source_view: HostView | None, silent: Mapping[str, float], settle_s: float) -> Verdict:
    """The verdict on one attempt from both halves, the source's track for how the guest fares there, and
    which hosts can't be heard at the moment, since when.
    """
    a, d = states_of(pair)
    arrival, departure = pair.arrival, pair.departure
    outcome, timing = OUTCOMES[a][d]
    source_blind = pair.source in silent
    destination_blind = pair.destination in silent
    if a == "open" and destination_blind:
        if d in ("unseen", "copying", "leaving", "unpaused", "job_lost", "vanished"):
            outcome, timing = UNDER_WAY_WATCHED
        elif d in ("crashed", "stopped") and departure is not None and departure.suspended is not None:
            outcome, timing = UNDER_WAY_WATCHED  # it may have arrived before its source ended
    elif a == "ended" and (
        _may_have_arrived(arrival, departure, source_view)
        or (not source_blind and _is_ending(arrival, departure, source_view))
    ):
        outcome, timing = UNDER_WAY_WATCHED
    if (a, d) == ("unseen", "job_ended") and not (departure and departure.iterated and departure.job_gone):
        outcome, timing = UNDER_WAY  # a Prepare that failed, or a dump: nothing began
    is_sure = departure is not None and (departure.suspended is not None or departure.postcopy)
    if a == "unseen" and outcome == "under_way" and not is_sure:
        timing = "never"  # it may as well have been a save or a dump
    marks = _conclusive(arrival, departure, d)
    if timing in ("now", "soon") and (
        pair.ambiguous
        or (d == "left_paused" and departure is not None and departure.returned is not None)
        or (d == "left" and _awaits_figures(departure, source_view))
        or not is_live(max((mark for _, mark in marks), key=lambda mark: mark.received, default=None))
    ):
        timing = "settle"  # more is to come: a host that is late tells it all at once
    postcopy = bool((arrival and arrival.postcopy) or (departure and departure.postcopy))
    reason = _reason(arrival, d, postcopy) if outcome == "failed" else None
    over = (arrival.switched or arrival.ended) if arrival is not None else None
    if source_blind and over is not None and pair.source is not None:
        source_blind = silent[pair.source] <= over.received
    guest, attention = _guest(pair, outcome, d, source_view, source_blind=source_blind, postcopy=postcopy)
    if d == "leaving" and over is not None and departure is not None:
        lost = departure.ended.since if departure.ended else silent.get(pair.source or "")
        if lost is not None and _seen_last(departure) <= lost < over.received + settle_s:
            attention = None  # it may have left since it was lost
    decisive_end = _decisive_end(outcome, a, d, arrival, departure)
    decided = decisive_end[1] if decisive_end else _decided_by(outcome, reason, arrival, departure)
    elapsed, downtime = (departure.figures if departure and departure.figures else None) or (None, None)
    return Verdict(
        outcome=outcome,
        timing=timing,
        since=max((m.received for _, m in marks), default=_first(arrival, departure).received),
        mode="postcopy" if postcopy else "precopy",
        reason=reason,
        attention=attention,
        guest=guest,
        confirmed_by=_confirmed_by(outcome, a, d, pair),
        started_at=arrival.opened.stamp if arrival and arrival.opened else None,
        ended_at=decided.stamp if decided else None,
        duration_ms=elapsed if elapsed is not None else _duration_ms(arrival, departure),
        downtime_ms=downtime,
        evidence=_evidence(pair, d, decisive_end),
    )


def _seen_last(departure: Departure) -> float:
    return max(mark.at for mark in departure.job_marks if mark is not None)


def _may_have_arrived(arrival: Arrival | None, departure: Departure | None, source: HostView | None) -> bool:
    """Whether a destination that was found without the guest may have had it meanwhile: its source had
    suspended it for the switch-over, and ended later; or lost it unseen, too.
    """
    if arrival is None or arrival.ended is None or arrival.ended.origin == "event":
        return False
    if departure is None:
        return source is not None and _lost_unseen(source, arrival.first.at, arrival.ended.at + SKEW_S)
    was_suspended = departure.suspended is not None and not departure.postcopy
    return was_suspended and departure.stage in ("crashed", "stopped", "vanished")


def _is_ending(arrival: Arrival | None, departure: Departure | None, source: HostView | None) -> bool:
    """Whether the source has said that the guest's end began, before the destination's, and not yet of which
    kind it is.
    """
    residency = source.residency if source is not None else None
    if arrival is None or arrival.ended is None or residency is None or residency.announced is None:
        return False
    is_open = departure is None or departure.ended is None
    return is_open and not is_well_after(
        residency.announced, arrival.ended, residency_overlaps(arrival, residency)
    )


def _lost_unseen(source: HostView, begins_s: float, ends_s: float) -> bool:
    """Whether a host may have lost the guest in this time while it couldn't see: its stays are kept for a
    while only.
    """
    if len(source.past) == KEPT and source.past[0].began.at > begins_s:
        return True
    return any(
        residency.ended is not None
        and residency.ended.origin != "event"
        and begins_s <= residency.ended.at <= ends_s
        for residency in source.past
    )


def _first(arrival: Arrival | None, departure: Departure | None) -> Mark:
    if arrival is not None:
        return arrival.first
    if departure is not None:
        return departure.opened
    raise ValueError("an attempt without either half")


def _evidence(
    pair: Pair, d: DepartureState, decisive_end: tuple[Side, Mark] | None
) -> tuple[tuple[str, str], ...]:
    """Host and id of each message that the verdict rests on; a cleared state has no id."""
    marks = _conclusive(pair.arrival, pair.departure, d, in_messages=True)
    if decisive_end is not None and decisive_end[1].what != CLEARED and decisive_end not in marks:
        marks.append(decisive_end)
    hosts = {"source": pair.source, "destination": pair.destination}
    return tuple((host, mark.id) for side, mark in marks if (host := hosts[side]) is not None)


def _conclusive(
    arrival: Arrival | None, departure: Departure | None, d: DepartureState, *, in_messages: bool = False
) -> list[tuple[Side, Mark]]:
    """What each side's part rests on; `in_messages`: only on what has an id, which a cleared state hasn't."""
    sides: list[tuple[Side, tuple[Mark | None, ...]]] = []
    if arrival is not None:
        sides.append(("destination", (arrival.switched, arrival.ended, arrival.broke, arrival.first)))
    if departure is not None:
        ended = departure.ended if d == departure.stage else None
        sides.append(("source", (ended, departure.broke, departure.suspended)))
    marks = []
    for side, of_it in sides:
        for mark in of_it:
            if mark is not None and not (in_messages and mark.what == CLEARED):
                marks.append((side, mark))
                break
    return marks


def _awaits_figures(departure: Departure | None, view: HostView | None) -> bool:
    """Libvirt's own figures follow stopped/migrated at once, on drivers that have them."""
    return departure is not None and departure.figures is None and (view is None or view.driver != "Xen")


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
    "unpaused": "source_resumed",
    "left_paused": "source_resumed",
    "job_ended": "source_job_ended",
    "job_lost": "source_job_ended",
}


def _reason(arrival: Arrival | None, d: DepartureState, postcopy: bool) -> Reason | None:
    """The first that applies; what the evidence names, never a guess."""
    if d in _REASON_OF_SOURCE:
        return _REASON_OF_SOURCE[d]
    if postcopy and arrival is not None and arrival.stage == "ended":
        return "postcopy_failed"
    end = (arrival.ended if arrival.stage == "ended" else arrival.over) if arrival else None
    if end is not None and end.what != "stopped/migrated":
        if not is_reported(end):
            return "destination_vanished"
        return _REASON_OF_DESTINATION.get(end.what, "destination_stopped")
    return _REASON_LAST.get(d)


def _guest(
    pair: Pair,
    outcome: JointOutcome,
    d: DepartureState,
    view: HostView | None,
    *,
    source_blind: bool,
    postcopy: bool,
) -> tuple[tuple[str | None, GuestState], Attention | None]:
    """Where the guest is and how it fares after this ruling, and what a person has to see to."""
    if outcome == "failed":
        return _guest_after_failure(pair, d, view, source_blind=source_blind, postcopy=postcopy)
    arrival, source = pair.arrival, pair.source
    if outcome == "completed":
        attention: Attention | None = None
        if d in ("job_lost", "left_paused") or (d == "leaving" and not source_blind):
            attention = "source_left_paused"
        if arrival is None or arrival.guest is None:
            return (pair.destination, "unknown"), attention
        return (pair.destination, arrival.guest), attention
    if outcome == "conflict":
        return (None, "running"), None
    if outcome == "interrupted":
        return (pair.destination, "running" if arrival and arrival.postcopy else "unknown"), None
    state: GuestState = (view.guest or "unknown") if view and source and not source_blind else "unknown"
    return (source, state), None


def _guest_after_failure(
    pair: Pair, d: DepartureState, view: HostView | None, *, source_blind: bool, postcopy: bool
) -> tuple[tuple[str | None, GuestState], Attention | None]:
    arrival, source = pair.arrival, pair.source
    if postcopy and d in ("crashed", "stopped"):
        return (None, "lost"), "postcopy_incomplete"
    if d == "crashed" or (postcopy and arrival is not None and arrival.stage == "ended"):
        return (None, "lost"), None
    if d == "stopped":
        return (source if view and view.persistent else None, "shutoff"), None
    if d == "vanished":
        return (None, "unknown"), None
    if d in ("left_paused", "job_lost") or (d == "leaving" and not source_blind):
        return (source, "paused"), "guest_left_paused"
    if d in ("resumed", "resumed_ended"):
        return (source, "running"), None
    if d == "job_ended" and pair.departure is not None and pair.departure.guest is not None:
        return (source, pair.departure.guest), None
    return (source, _guest_then(pair, view) if view and not source_blind else "unknown"), None


def _guest_then(pair: Pair, view: HostView) -> GuestState:
    """How the guest fared on its source when the attempt was over."""
    arrival, departure = pair.arrival, pair.departure
    moment = arrival.ended if arrival else None
    if moment is None:
        return view.guest or "unknown"
    return view.guest_at(moment, departure.closed if departure else None) or "unknown"


_SOURCE_CONFIRMS: Final[dict[JointOutcome, frozenset[DepartureState]]] = {
    "completed": frozenset({"left", "crashed", "stopped", "vanished", "resumed_ended"}),
    "failed": frozenset(
        {"resumed", "resumed_ended", "left_paused", "job_lost", "job_ended", "crashed", "stopped", "vanished"}
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


def _confirmed_by(outcome: JointOutcome, a: ArrivalState, d: DepartureState, pair: Pair) -> tuple[Side, ...]:
    arrival, departure = pair.arrival, pair.departure
    sides: list[Side] = []
    if d in _SOURCE_CONFIRMS.get(outcome, frozenset()):
        sides.append("source")
    ended = arrival.ended if arrival is not None and arrival.postcopy and d in _REASON_OF_SOURCE else None
    is_cleared_up = bool(ended and departure and departure.ended and ended.at > departure.ended.at)
    if a in _DESTINATION_CONFIRMS.get(outcome, frozenset()) and not is_cleared_up:
        sides.append("destination")
    return tuple(sides)


def _decisive_end(
    outcome: JointOutcome,
    a: ArrivalState,
    d: DepartureState,
    arrival: Arrival | None,
    departure: Departure | None,
) -> tuple[Side, Mark] | None:
    """Of two that both ran, the end of the one: it decides which way the attempt went."""
    mark: Mark | None = None
    side: Side = "destination"
    if outcome == "failed" and a == "departed" and arrival is not None:
        mark = arrival.over
    elif outcome == "completed" and d == "resumed_ended" and departure is not None:
        side, mark = "source", departure.over or departure.ended
    return None if mark is None else (side, mark)


def _decided_by(
    outcome: JointOutcome, reason: Reason | None, arrival: Arrival | None, departure: Departure | None
) -> Mark | None:
    """The event that decides: it gives the end its stamp."""
    there = (arrival.switched or arrival.ended) if arrival else None
    here = departure.ended if departure else None
    if outcome == "completed":
        return here if departure is not None and departure.stage == "left" else there or here
    if outcome == "failed":
        return here if reason is not None and reason.startswith("source_") else there or here
    if outcome == "conflict":
        return here
    return None


def _duration_ms(arrival: Arrival | None, departure: Departure | None) -> int | None:
    """The difference of two stamps of one host, as it stamped them: the destination's, else the source's.
    What was found afterwards doesn't tell when it began. Nor does a difference that a setting of the clock
    is part of: the stamps contradict the order, or the correction of the host's clock (`Clock.offset_s`)
    changed by more than a message's way explains.
    """
    for first, last in (
        (arrival.opened, arrival.switched or arrival.ended) if arrival else (None, None),
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
