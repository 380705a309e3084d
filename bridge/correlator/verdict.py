"""What two halves of an attempt prove together.

`JOINT` is the whole rule: (the arrival's stage, the departure's stage) -> the judgement and when it may be
told. `unseen` stands for a half that no message told of. Everything else in this file reads one column of
a verdict off the same two halves: the reason by precedence, the guest, what a person has to see to.
The rules' source is libvirt's migration protocol (Begin, Prepare, Perform, Finish, Confirm;
`qemu_migration.c`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from bridge.correlator.facts import CLEARED, SKEW_S, Mark, is_live
from bridge.correlator.pairing import Pair
from bridge.correlator.track import Arrival, ArrivalStage, Departure, DepartureStage, Track
from bridge.wire.messages import Attention, GuestState, Mode, Reason, Side, seconds

Ruling = Literal["under_way", "interrupted", "completed", "failed", "conflict"]
When = Literal["now", "soon", "settle", "never", "patience"]
"""now; soon: what is said in the same breath is waited for; `settle` after the newest conclusive mark;
never by time alone; unresolved after `patience`."""

BREATH_S: Final = 1.0
"""A source that can't resume says resumed and at once suspended; this long for both to come."""

A = ArrivalStage | Literal["unseen"]
D = DepartureStage | Literal["unseen"]

UNDER_WAY: Final = ("under_way", "never")
UNDER_WAY_WATCHED: Final = ("under_way", "patience")

JOINT: Final[dict[A, dict[D, tuple[Ruling, When]]]] = {
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
        "stuck": ("failed", "settle"),
        "stranded": UNDER_WAY_WATCHED,
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
        "stuck": ("failed", "settle"),
        "stranded": UNDER_WAY_WATCHED,
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
        "stuck": UNDER_WAY,
        "stranded": UNDER_WAY,
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
        "stuck": ("interrupted", "now"),
        "stranded": ("interrupted", "now"),
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
        "stuck": ("completed", "now"),
        "stranded": ("completed", "now"),
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
        "stuck": ("failed", "now"),
        "stranded": ("failed", "now"),
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
        "stuck": ("completed", "now"),
        "stranded": ("completed", "now"),
        "job_ended": ("failed", "settle"),
        "crashed": ("completed", "now"),
        "stopped": ("completed", "now"),
        "vanished": ("completed", "now"),
    },
}

_AFTER_S: Final = 1.0
"""One end leads to the other's within a fraction of a second."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be told of one attempt now, or at `due`; stamps and ids as the messages have them."""

    ruling: Ruling
    when: When
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


def stages(pair: Pair) -> tuple[A, D]:
    """The two stages as `JOINT` knows them. A source that ended well after the attempt was over at the
    destination ended for reasons of its own: then its stage before that end counts. Of two that ran and
    both ended, the one that ended first counts as ended.
    """
    arrival, departure = pair.arrival, pair.departure
    a: A = arrival.stage if arrival else "unseen"
    if departure is None:
        return a, "unseen"
    d: D = departure.stage
    if arrival is None:
        return a, d
    if departure.ended is not None and d in _OWN_REASONS.get(a, ()):
        over = arrival.switched or arrival.ended
        if over is not None and _is_well_after(departure.ended, over):
            d = departure.before_end
            if (a, d) == ("arrived", "unpaused"):
                d = "resumed_ended"  # both ran, and now one does
    elif (a, d) == ("departed", "resumed_ended") and arrival.over and departure.over:
        return (a, "resumed") if arrival.over.at < departure.over.at else ("arrived", d)
    return a, d


_OWN_REASONS: Final[dict[A, frozenset[D]]] = {
    "ended": frozenset({"crashed", "stopped", "vanished"}),
    "arrived": frozenset({"crashed", "stopped"}),
    "departed": frozenset({"crashed", "stopped"}),
}


def _is_well_after(end: Mark, over: Mark) -> bool:
    """By the stamps, and by the receipt where both came as they happened: a clock may be wrong. When an end
    that was found afterwards happened, nobody knows; a source that saw would have told, had it outlived
    the attempt.
    """
    if end.origin != "event":
        return False
    if is_live(end, over):
        return min(end.at - over.at, end.received - over.received) > _AFTER_S
    return end.at > over.at + SKEW_S


def rule(pair: Pair, source_track: Track | None, silent: Mapping[str, float]) -> Verdict:
    """The verdict on one attempt from both halves, the source's track for how the guest fares there, and
    which hosts can't be heard at the moment, since when.
    """
    a, d = stages(pair)
    arrival, departure = pair.arrival, pair.departure
    ruling, when = JOINT[a][d]
    source_blind = pair.source in silent
    destination_blind = pair.destination in silent
    if a == "open" and destination_blind:
        if d in ("unseen", "copying", "leaving", "unpaused", "stranded", "vanished"):
            ruling, when = UNDER_WAY_WATCHED
        elif d in ("crashed", "stopped") and departure is not None and departure.suspended is not None:
            ruling, when = UNDER_WAY_WATCHED  # it may have arrived before its source ended
    if (a, d) == ("unseen", "job_ended") and not (departure and departure.iterated and departure.job_gone):
        ruling, when = UNDER_WAY  # a Prepare that failed, or a dump: nothing began
    is_sure = departure is not None and (departure.suspended is not None or departure.postcopy)
    if a == "unseen" and ruling == "under_way" and not is_sure:
        when = "never"  # it may as well have been a save or a dump
    marks = _conclusive(arrival, departure, d)
    if when in ("now", "soon") and (
        pair.doubtful
        or (d == "left" and _awaits_figures(departure, source_track))
        or not is_live(max((mark for _, mark in marks), key=lambda mark: mark.received, default=None))
    ):
        when = "settle"  # more is to come: a host that is late tells it all at once
    postcopy = bool((arrival and arrival.postcopy) or (departure and departure.postcopy))
    reason = _reason(arrival, d, postcopy) if ruling == "failed" else None
    if source_blind and arrival is not None and arrival.ended is not None and pair.source is not None:
        source_blind = silent[pair.source] <= arrival.ended.received
    guest, attention = _guest(pair, ruling, d, source_track, source_blind=source_blind, postcopy=postcopy)
    parted = _parted_by(ruling, a, d, arrival, departure)
    decided = parted[1] if parted else _decided_by(ruling, reason, arrival, departure)
    elapsed, downtime = (departure.figures if departure and departure.figures else None) or (None, None)
    return Verdict(
        ruling=ruling,
        when=when,
        since=max((m.received for _, m in marks), default=_first(arrival, departure).received),
        mode="postcopy" if postcopy else "precopy",
        reason=reason,
        attention=attention,
        guest=guest,
        confirmed_by=_confirmed_by(ruling, a, d),
        started_at=arrival.opened.stamp if arrival and arrival.opened else None,
        ended_at=decided.stamp if decided else None,
        duration_ms=elapsed if elapsed is not None else _duration_ms(arrival, departure),
        downtime_ms=downtime,
        evidence=_evidence(pair, d, parted),
    )


def _first(arrival: Arrival | None, departure: Departure | None) -> Mark:
    if arrival is not None:
        return arrival.first
    if departure is not None:
        return departure.opened
    raise ValueError("an attempt without either half")


def _evidence(pair: Pair, d: D, parted: tuple[Side, Mark] | None) -> tuple[tuple[str, str], ...]:
    """Host and id of each message that the verdict rests on; a cleared state has no id."""
    marks = _conclusive(pair.arrival, pair.departure, d, in_messages=True)
    if parted is not None and parted[1].what != CLEARED and parted not in marks:
        marks.append(parted)
    hosts = {"source": pair.source, "destination": pair.destination}
    return tuple((host, mark.id) for side, mark in marks if (host := hosts[side]) is not None)


def _conclusive(
    arrival: Arrival | None, departure: Departure | None, d: D, *, in_messages: bool = False
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


def _awaits_figures(departure: Departure | None, track: Track | None) -> bool:
    """Libvirt's own figures follow stopped/migrated at once, on drivers that have them."""
    return departure is not None and departure.figures is None and (track is None or track.driver != "Xen")


_REASON_OF_SOURCE: Final[dict[D, Reason]] = {"crashed": "source_crashed", "stopped": "source_stopped"}
_REASON_OF_DESTINATION: Final[dict[str, Reason]] = {
    "stopped/failed": "destination_failed",
    "stopped/crashed": "destination_crashed",
    "stopped/destroyed": "destination_destroyed",
    "stopped/unknown": "destination_vanished",
}
_REASON_LAST: Final[dict[D, Reason]] = {
    "resumed": "source_resumed",
    "resumed_ended": "source_resumed",
    "unpaused": "source_resumed",
    "stuck": "source_resumed",
    "job_ended": "source_job_ended",
    "stranded": "source_job_ended",
}


def _reason(arrival: Arrival | None, d: D, postcopy: bool) -> Reason | None:
    """The first that applies; what the evidence names, never a guess."""
    if d in _REASON_OF_SOURCE:
        return _REASON_OF_SOURCE[d]
    if postcopy and arrival is not None and arrival.stage == "ended":
        return "postcopy_failed"
    end = (arrival.ended if arrival.stage == "ended" else arrival.over) if arrival else None
    if end is not None and end.what != "stopped/migrated":
        if not _is_told(end):
            return "destination_vanished"
        return _REASON_OF_DESTINATION.get(end.what, "destination_stopped")
    return _REASON_LAST.get(d)


def _guest(
    pair: Pair, ruling: Ruling, d: D, track: Track | None, *, source_blind: bool, postcopy: bool
) -> tuple[tuple[str | None, GuestState], Attention | None]:
    """Where the guest is and how it fares after this ruling, and what a person has to see to."""
    if ruling == "failed":
        return _guest_after_failure(pair, d, track, source_blind=source_blind, postcopy=postcopy)
    arrival, source = pair.arrival, pair.source
    if ruling == "completed":
        attention: Attention | None = None
        if d in ("stranded", "stuck") or (d == "leaving" and not source_blind):
            attention = "source_left_paused"
        if arrival is None or arrival.guest is None:
            return (pair.destination, "unknown"), attention
        return (pair.destination, arrival.guest), attention
    if ruling == "conflict":
        return (None, "running"), None
    if ruling == "interrupted":
        return (pair.destination, "running" if arrival and arrival.postcopy else "unknown"), None
    state: GuestState = (track.guest or "unknown") if track and source and not source_blind else "unknown"
    return (source, state), None


def _guest_after_failure(
    pair: Pair, d: D, track: Track | None, *, source_blind: bool, postcopy: bool
) -> tuple[tuple[str | None, GuestState], Attention | None]:
    arrival, source = pair.arrival, pair.source
    if postcopy and d in ("crashed", "stopped"):
        return (None, "lost"), "postcopy_incomplete"
    if d == "crashed" or (postcopy and arrival is not None and arrival.stage == "ended"):
        return (None, "lost"), None
    if d == "stopped":
        return (source if track and track.persistent else None, "shutoff"), None
    if d == "vanished":
        return (None, "unknown"), None
    if d in ("stuck", "stranded") or (d == "leaving" and not source_blind):
        return (source, "paused"), "guest_left_paused"
    if d in ("resumed", "resumed_ended"):
        return (source, "running"), None
    if d == "job_ended" and pair.departure is not None and pair.departure.guest is not None:
        return (source, pair.departure.guest), None
    return (source, _guest_then(pair, track) if track and not source_blind else "unknown"), None


def _guest_then(pair: Pair, track: Track) -> GuestState:
    """How the guest fared on its source when the attempt was over. Where the source said nothing of the
    attempt, it fared as before.
    """
    arrival, departure = pair.arrival, pair.departure
    moment = (arrival.ended if departure else arrival.opened or arrival.ended) if arrival else None
    if moment is None:
        return track.guest or "unknown"
    return track.guest_at(moment, departure.closed if departure else None) or "unknown"


_SOURCE_CONFIRMS: Final[dict[Ruling, frozenset[D]]] = {
    "completed": frozenset({"left", "crashed", "stopped", "vanished", "resumed_ended"}),
    "failed": frozenset(
        {"resumed", "resumed_ended", "stuck", "stranded", "job_ended", "crashed", "stopped", "vanished"}
    ),
    "conflict": frozenset({"resumed", "unpaused", "job_ended"}),
    "interrupted": frozenset({"broken"}),
}
_DESTINATION_CONFIRMS: Final[dict[Ruling, frozenset[A]]] = {
    "completed": frozenset({"arrived", "departed"}),
    "failed": frozenset({"ended", "departed"}),
    "conflict": frozenset({"arrived"}),
    "interrupted": frozenset({"broken"}),
}
_LEFT: Final[tuple[D, ...]] = ("left", "crashed", "stopped", "vanished")
_STAYED: Final[tuple[D, ...]] = ("resumed_ended", "crashed", "stopped", "job_ended", "vanished")
FINAL: Final[frozenset[tuple[A, D]]] = frozenset(
    [
        *(("arrived", d) for d in (*_LEFT, "resumed_ended")),
        *(("departed", d) for d in _LEFT),
        *(("ended", d) for d in (*_STAYED, "stuck", "broken")),
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
    if arrival is not None and arrival.ended is not None and not _is_told(arrival.ended):
        return False  # the event itself may yet come, and say more
    if departure is not None and departure.ended is not None and departure.ended.origin == "state":
        return False
    joint = stages(pair)
    return joint in FINAL or (departure is not None and joint[1] != departure.stage)


def _is_told(end: Mark) -> bool:
    """Whether an event told of this end; else a state did, or what came after it."""
    return end.origin != "state" and end.what.startswith("stopped/")


def _confirmed_by(ruling: Ruling, a: A, d: D) -> tuple[Side, ...]:
    sides: list[Side] = []
    if d in _SOURCE_CONFIRMS.get(ruling, frozenset()):
        sides.append("source")
    if a in _DESTINATION_CONFIRMS.get(ruling, frozenset()):
        sides.append("destination")
    return tuple(sides)


def _parted_by(
    ruling: Ruling, a: A, d: D, arrival: Arrival | None, departure: Departure | None
) -> tuple[Side, Mark] | None:
    """Of two that both ran, the end of the one: it decides which way the attempt went."""
    mark: Mark | None = None
    side: Side = "destination"
    if ruling == "failed" and a == "departed" and arrival is not None:
        mark = arrival.over
    elif ruling == "completed" and d == "resumed_ended" and departure is not None:
        side, mark = "source", departure.over or departure.ended
    return None if mark is None else (side, mark)


def _decided_by(
    ruling: Ruling, reason: Reason | None, arrival: Arrival | None, departure: Departure | None
) -> Mark | None:
    """The event that decides: it gives the end its stamp."""
    there = (arrival.switched or arrival.ended) if arrival else None
    here = departure.ended if departure else None
    if ruling == "completed":
        return here if departure is not None and departure.stage == "left" else there or here
    if ruling == "failed":
        return here if reason is not None and reason.startswith("source_") else there or here
    if ruling == "conflict":
        return here
    return None


def _duration_ms(arrival: Arrival | None, departure: Departure | None) -> int | None:
    """The difference of two stamps of one host, as it stamped them: the destination's, else the source's.
    What was found afterwards doesn't tell when it began.
    """
    for first, last in (
        (arrival.opened, arrival.switched or arrival.ended) if arrival else (None, None),
        (departure.opened, departure.ended) if departure else (None, None),
    ):
        if first is None or first.origin != "event" or last is None or last.what == CLEARED:
            continue
        if last.key > first.key:
            return max(0, round((seconds(last.stamp) - seconds(first.stamp)) * 1000))
    return None
