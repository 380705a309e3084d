"""How a sign is noted in a track. Each act takes the track, the mark of the fact, and a job's figures."""

# ruff: noqa: ARG001 - every act of the table is called the same way, whatever it needs

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

from bridge.correlator.rules.facts import Mark
from bridge.correlator.rules.track import Arrival, Departure, DepartureStage, Stay, Track

Figures = tuple[int | None, int | None]
KEPT: Final = 32
"""Arrivals, departures and stays that are kept of each host: so many may come in one batch, before any of
them is judged.
"""

Act = Literal[
    "begin",
    "end",
    "open_arrival",
    "open_tentative",
    "arrive",
    "arrive_paused",
    "fail",
    "lapse",
    "flow",
    "break_in",
    "open_departure",
    "mark_iteration",
    "close",
    "split",
    "suspend",
    "unpause",
    "strand",
    "drop",
    "postcopy_out",
    "break_out",
    "leave",
    "resume",
    "stick",
    "stick_again",
    "crash",
    "stop",
    "vanish",
    "job_end",
    "measure",
    "run",
    "pause",
    "define",
    "persist",
    "undefine",
    "lose",
    "note",
    "job_gone",
    "announce",
]


def begin(track: Track, mark: Mark, _: object = None) -> None:
    """The domain is here from now on."""
    track.stay = Stay(began=mark)
    track.began = mark.key
    track.feel(None, mark)
    track.present = True
    track.lost = track.roleless = None


def _end(track: Track, mark: Mark, _: object = None) -> None:
    if track.stay is not None:
        track.stay.ended = mark
        track.past = [*track.past, track.stay][-KEPT:]
    track.stay = track.roleless = None
    track.feel(None, mark)
    if track.persistent is False:
        track.present = False
    for arrival in track.arrivals:
        if arrival.stage == "arrived":
            arrival.stage, arrival.over = "departed", mark
    for departure in track.departures:
        if departure.stage == "resumed":
            departure.stage, departure.over = "resumed_ended", mark


def _open_arrival(track: Track, mark: Mark, _: object = None) -> None:
    opened = mark if mark.what in ("started/migrated", "started/restored") else None
    arrival = Arrival(key=mark.key, first=mark, opened=opened, after=track.heard)
    track.arrivals = [*track.arrivals, arrival][-KEPT:]
    track.defined = track.lost = None
    track.feel(None, mark)


def _open_tentative(track: Track, mark: Mark, _: object = None) -> None:
    _open_arrival(track, mark)
    track.arrivals[-1].tentative = True


def _arrive(track: Track, mark: Mark, _: object = None) -> None:
    arrival = track.arrivals[-1]
    arrival.stage = "arrived"
    arrival.switched = mark
    arrival.guest = "running"
    if mark.what == "resumed/migrated":
        arrival.tentative = False
    track.stay = Stay(began=mark, arrived=True)
    track.began = mark.key
    track.feel("running", mark)
    track.present = True


def _arrive_paused(track: Track, mark: Mark, _: object = None) -> None:
    _arrive(track, mark)
    track.arrivals[-1].guest = "paused"
    track.feel("paused", mark)


def _fail(track: Track, mark: Mark, _: object = None) -> None:
    arrival = track.arrivals[-1]
    arrival.stage = "ended"
    arrival.ended = mark
    track.present = bool(track.persistent)


def lapse(track: Track, mark: Mark, _: object = None) -> None:
    """Whatever became of the last arrival wasn't seen; it was over by now."""
    track.arrivals[-1].over = mark


def _flow(track: Track, mark: Mark, _: object = None) -> None:
    arrival = track.arrivals[-1]
    arrival.stage = "postcopy"
    arrival.postcopy = True
    arrival.flowed = mark
    track.feel("running", mark)
    if track.stay is None:
        track.stay = Stay(began=mark, arrived=True)


def _break_in(track: Track, mark: Mark, _: object = None) -> None:
    arrival = track.arrivals[-1]
    arrival.stage = "broken"
    arrival.breaks += 1
    arrival.broke = mark


def _open_departure(track: Track, mark: Mark, _: object = None) -> None:
    departure = Departure(key=mark.key, opened=mark, guest=track.guest, after=track.heard)
    departure.state_before = track.listed.what if track.listed else None
    track.departures = [*track.departures, departure][-KEPT:]


def _mark_iteration(track: Track, mark: Mark, _: object = None) -> None:
    track.departures[-1].iterated = True
    track.departures[-1].iterated_last = mark


def close(track: Track, mark: Mark, _: object = None) -> None:
    """Whatever became of the last departure, it was over by now."""
    track.departures[-1].closed = mark


def _split(track: Track, mark: Mark, _: object = None) -> None:
    """Iterations count from one: a copy that had them already and was suspended were two jobs, the second
    not live. Nothing told of the first one's end.
    """
    last = track.departures[-1]
    if last.stage == "stranded":
        _open_departure(track, mark)
        _suspend(track, mark)
    elif last.iterated and last.suspended is not None:
        began, last.suspended = last.suspended, None
        last.stage, last.closed, last.guest = "copying", began, track.guest_before(began)
        _open_departure(track, began)
        _suspend(track, began)
    _mark_iteration(track, mark)


def _suspend(track: Track, mark: Mark, _: object = None) -> None:
    departure = track.departures[-1]
    departure.ended = None
    departure.suspended = mark
    departure.stage = "leaving"
    departure.guest = "paused"
    track.feel("paused", mark)


def _unpause(track: Track, mark: Mark, _: object = None) -> None:
    departure = track.departures[-1]
    departure.stage = "resumed" if departure.stage == "stranded" else "unpaused"
    departure.ended = mark
    departure.guest = "running"
    track.feel("running", mark)


def _strand(track: Track, mark: Mark, _: object = None) -> None:
    departure = track.departures[-1]
    departure.before_end = departure.stage
    departure.stage = "resumed" if departure.stage == "unpaused" else "stranded"
    departure.ended = mark


def _drop(track: Track, mark: Mark, _: object = None) -> None:
    track.departures = track.departures[:-1]


def _postcopy_out(track: Track, mark: Mark, _: object = None) -> None:
    departure = track.departures[-1]
    departure.stage = "postcopy"
    departure.postcopy = True
    departure.flowed = mark
    departure.guest = "paused"
    track.feel("paused", mark)


def _break_out(track: Track, mark: Mark, _: object = None) -> None:
    departure = track.departures[-1]
    departure.stage = "broken"
    departure.breaks += 1
    departure.broke = mark


def _finish(track: Track, mark: Mark, stage: DepartureStage) -> None:
    departure = track.departures[-1]
    departure.before_end = departure.stage
    departure.stage = stage
    departure.ended = mark
    departure.announced = track.stay.announced if track.stay else None


def _leave(track: Track, mark: Mark, _: object = None) -> None:
    _finish(track, mark, "left")


def _crash(track: Track, mark: Mark, _: object = None) -> None:
    _finish(track, mark, "crashed")


def _stop(track: Track, mark: Mark, _: object = None) -> None:
    _finish(track, mark, "stopped")


def _vanish(track: Track, mark: Mark, _: object = None) -> None:
    _finish(track, mark, "vanished")


def _job_end(track: Track, mark: Mark, _: object = None) -> None:
    _finish(track, mark, "job_ended")
    track.departures[-1].guest = track.guest
    if mark.what == "migration_out":
        track.departures[-1].job_gone = mark


def _resume(track: Track, mark: Mark, _: object = None) -> None:
    _finish(track, mark, "resumed")
    track.departures[-1].guest = "running"
    if track.stay is not None:
        track.stay.cancelled = True
    track.feel("running", mark)


def _stick(track: Track, mark: Mark, _: object = None) -> None:
    _finish(track, mark, "stuck")
    track.departures[-1].guest = "paused"
    track.feel("paused", mark)


def _stick_again(track: Track, mark: Mark, _: object = None) -> None:
    track.departures[-1].returned = track.departures[-1].ended
    _stick(track, mark)


def reopen(track: Track) -> None:
    """What looked like a source that couldn't resume was the next job, suspended before it iterated."""
    last = track.departures[-1]
    began, returned = last.ended, last.returned
    if began is not None and returned is not None:
        last.stage, last.ended, last.returned, last.guest = "resumed", returned, None, "running"
        _open_departure(track, began)
        track.departures[-1].guest = track.guest_before(began)
        _suspend(track, began)
        track.phase = "leaving"


def _measure(track: Track, mark: Mark, figures: Figures = (None, None)) -> None:
    if track.departures and track.departures[-1].stage == "left":
        track.departures[-1].figures = figures
        track.departures[-1].measured = mark


def _run(track: Track, mark: Mark, _: object = None) -> None:
    """What was announced didn't come: a guest that reboots may say that it shuts down, too."""
    track.feel("running", mark)
    if track.stay is not None:
        track.stay.announced = None


def _announce(track: Track, mark: Mark, _: object = None) -> None:
    half = track.stay or (track.arrivals[-1] if track.phase == "incoming" else None)
    if half is not None and half.announced is None:
        half.announced = mark


def _pause(track: Track, mark: Mark, _: object = None) -> None:
    track.feel("paused", mark)


def _define(track: Track, mark: Mark, _: object = None) -> None:
    """A new definition came out of nothing, unless the domain was here."""
    if not track.present:
        track.defined = mark
        track.began = mark.key
    track.lost = None
    track.present = track.persistent = True


def _persist(track: Track, mark: Mark, _: object = None) -> None:
    track.persistent = True
    if track.phase == "away":
        track.present = True


def _note(track: Track, mark: Mark, _: object = None) -> None:
    """A resume by migration, and no role known."""
    track.roleless = mark


def _job_gone(track: Track, mark: Mark, _: object = None) -> None:
    """The agent's word that the job is gone may follow a departure that ended by its own event."""
    last = track.departures[-1] if track.departures else None
    if last is not None and last.is_over and last.job_gone is None:
        note_job_gone(last, mark)
    else:
        _open_departure(track, mark)
        _job_end(track, mark)


def note_job_gone(departure: Departure, mark: Mark) -> None:
    """The agent's word on a job that was over already."""
    departure.job_gone = departure.job_gone or mark
    if departure.ended is None:
        departure.stage, departure.ended = "job_ended", mark


def _undefine(track: Track, mark: Mark, _: object = None) -> None:
    track.persistent = False
    track.present = track.phase != "away"
    track.defined = None


def _lose(track: Track, mark: Mark, _: object = None) -> None:
    last = track.departures[-1] if track.departures else None
    is_left_behind = last is not None and last.stage == "left" and track.began <= last.key
    if track.present is not False and not is_left_behind:
        track.lost = mark
    track.present = False
    track.persistent = None
    track.defined = None


ACTS: Final[dict[Act, Callable[[Track, Mark, Figures], None]]] = {
    "begin": begin,
    "end": _end,
    "open_arrival": _open_arrival,
    "open_tentative": _open_tentative,
    "arrive": _arrive,
    "arrive_paused": _arrive_paused,
    "fail": _fail,
    "lapse": lapse,
    "flow": _flow,
    "break_in": _break_in,
    "open_departure": _open_departure,
    "mark_iteration": _mark_iteration,
    "close": close,
    "split": _split,
    "suspend": _suspend,
    "unpause": _unpause,
    "strand": _strand,
    "drop": _drop,
    "postcopy_out": _postcopy_out,
    "break_out": _break_out,
    "leave": _leave,
    "resume": _resume,
    "stick": _stick,
    "stick_again": _stick_again,
    "crash": _crash,
    "stop": _stop,
    "vanish": _vanish,
    "job_end": _job_end,
    "measure": _measure,
    "run": _run,
    "pause": _pause,
    "define": _define,
    "undefine": _undefine,
    "lose": _lose,
    "persist": _persist,
    "note": _note,
    "job_gone": _job_gone,
    "announce": _announce,
}
