"""How an event changes a host view. Actions take the view, the observation's mark and a job's figures."""

# ruff: noqa: ARG001, D103 - every action is called the same way, whatever it needs, and named for what it does

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bridge.correlator.rules.host_view import Arrival, Departure, DepartureStage, HostView, Residency
from bridge.correlator.rules.observations import Mark, is_found

Figures = tuple[int | None, int | None]
KEPT: Final = 32
"""Arrivals, departures and residencies that are kept of each host: so many may be in one batch, before the
domain is evaluated.
"""

Action = Callable[[HostView, Mark, Figures], None]


def begin(view: HostView, mark: Mark, _: object = None) -> None:
    """The domain is here from now on."""
    view.residency = Residency(began=mark)
    view.began = mark.key
    view.set_run_state(None, mark)
    view.present = True
    view.lost = None


def end_residency(view: HostView, mark: Mark) -> None:
    """The guest isn't here any more."""
    if view.residency is not None:
        view.residency.ended = mark
        view.past = [*view.past, view.residency][-KEPT:]
    view.residency = None
    view.set_run_state(None, mark)


def end(view: HostView, mark: Mark, _: object = None) -> None:
    announced = view.residency.announced if view.residency is not None and is_found(mark) else None
    end_residency(view, mark)
    if not view.persistent:
        view.present = False  # a state lists it if it is still defined
    for arrival in view.arrivals:
        if arrival.stage == "arrived":
            arrival.stage, arrival.over = "departed", announced or mark
    for departure in view.departures:
        if departure.stage in ("resumed", "job_ended") and departure.over is None:
            departure.over = announced or mark
            if departure.stage == "resumed":
                departure.stage = "resumed_ended"


def open_arrival(view: HostView, mark: Mark, _: object = None) -> None:
    opened = mark if mark.what in ("started/migrated", "started/restored") else None
    arrival = Arrival(key=mark.key, first=mark, opened=opened, after=view.last_live)
    view.arrivals = [*view.arrivals, arrival][-KEPT:]
    view.defined = view.lost = None
    view.set_run_state(None, mark)


def open_tentative(view: HostView, mark: Mark, _: object = None) -> None:
    open_arrival(view, mark)
    view.arrivals[-1].tentative = True


def arrive(view: HostView, mark: Mark, _: object = None) -> None:
    arrival = view.arrivals[-1]
    arrival.stage = "arrived"
    arrival.switched = mark
    arrival.guest = "running"
    if mark.what == "resumed/migrated":
        arrival.tentative = False
    view.residency = Residency(began=mark, arrived=True)
    view.began = mark.key
    view.set_run_state("running", mark)
    view.present = True


def arrive_paused(view: HostView, mark: Mark, _: object = None) -> None:
    arrive(view, mark)
    view.arrivals[-1].guest = "paused"
    view.set_run_state("paused", mark)


def fail(view: HostView, mark: Mark, _: object = None) -> None:
    arrival = view.arrivals[-1]
    arrival.stage = "ended"
    arrival.ended = mark
    view.present = bool(view.persistent)


def close_arrival(view: HostView, mark: Mark, _: object = None) -> None:
    """The last arrival is over by now; its end wasn't seen."""
    view.arrivals[-1].over = mark


def start_postcopy(view: HostView, mark: Mark, _: object = None) -> None:
    arrival = view.arrivals[-1]
    arrival.stage = "postcopy"
    arrival.postcopy = True
    arrival.postcopy_started = mark
    view.set_run_state("running", mark)
    if view.residency is None:
        view.residency = Residency(began=mark, arrived=True)


def break_in(view: HostView, mark: Mark, _: object = None) -> None:
    arrival = view.arrivals[-1]
    arrival.stage = "broken"
    arrival.breaks += 1
    arrival.broke = mark


def open_departure(view: HostView, mark: Mark, _: object = None) -> None:
    departure = Departure(key=mark.key, opened=mark, guest=view.guest, after=view.last_live)
    departure.state_before = view.listed.what if view.listed else None
    view.departures = [*view.departures, departure][-KEPT:]


def mark_iteration(view: HostView, mark: Mark, figures: Figures = (None, None)) -> None:
    view.departures[-1].iterated = True
    view.departures[-1].iteration = figures[0] or 0
    view.departures[-1].iterated_last = mark


def close_departure(view: HostView, mark: Mark, _: object = None) -> None:
    """The last departure is over by now; its end wasn't seen."""
    view.departures[-1].closed = mark


def split_job(view: HostView, mark: Mark, figures: Figures = (None, None)) -> None:
    """Iterations count from one: if some came before the suspend as well, there were two jobs, the second not
    live. The end of the first wasn't seen.
    """
    last = view.departures[-1]
    if last.stage == "job_lost" and last.continues and not last.iterated:
        _return_the_end(view)
    elif last.stage == "job_lost":
        open_departure(view, mark)
        suspend(view, mark)
    elif last.iterated and last.suspended is not None:
        began, last.suspended = last.suspended, None
        last.stage, last.closed, last.guest = "copying", began, view.guest_before(began)
        open_departure(view, began)
        suspend(view, began)
    mark_iteration(view, mark, figures)


def _return_the_end(view: HostView) -> None:
    """The last job begins only now: what is gone is the one before it, if that is still kept."""
    last = view.departures[-1]
    for before in view.departures[-2:-1]:
        if last.ended is not None:
            note_job_gone(before, last.ended)
    last.stage, last.ended, last.continues = "leaving", None, False


def next_job(view: HostView, mark: Mark, figures: Figures = (None, None)) -> None:
    """What still iterates isn't the job that is gone."""
    if view.departures[-1].stage == "job_lost":
        split_job(view, mark, figures)


def suspend(view: HostView, mark: Mark, _: object = None) -> None:
    departure = view.departures[-1]
    departure.ended = None
    departure.suspended = mark
    departure.stage = "leaving"
    departure.guest = "paused"
    view.set_run_state("paused", mark)


def unpause(view: HostView, mark: Mark, _: object = None) -> None:
    departure = view.departures[-1]
    departure.stage = "resumed" if departure.stage == "job_lost" else "unpaused"
    departure.ended = mark
    departure.guest = "running"
    view.set_run_state("running", mark)


def lose_job(view: HostView, mark: Mark, _: object = None) -> None:
    departure = view.departures[-1]
    departure.before_end = departure.stage
    departure.stage = "resumed" if departure.stage == "unpaused" else "job_lost"
    departure.ended = departure.job_gone = mark


def discard_job(view: HostView, mark: Mark, _: object = None) -> None:
    view.departures = view.departures[:-1]


def discard_found(view: HostView, mark: Mark, _: object = None) -> None:
    """The guest was being restored: if it was found suspended, that was why."""
    if is_found(view.departures[-1].opened):
        discard_job(view, mark)
    else:
        close_departure(view, mark)


def postcopy_out(view: HostView, mark: Mark, _: object = None) -> None:
    departure = view.departures[-1]
    departure.stage = "postcopy"
    departure.postcopy = True
    departure.postcopy_started = mark
    departure.guest = "paused"
    view.set_run_state("paused", mark)


def break_out(view: HostView, mark: Mark, _: object = None) -> None:
    departure = view.departures[-1]
    departure.stage = "broken"
    departure.breaks += 1
    departure.broke = mark


def _finish(view: HostView, mark: Mark, stage: DepartureStage) -> None:
    departure = view.departures[-1]
    departure.before_end = departure.stage
    departure.stage = stage
    departure.ended = mark
    departure.announced = view.residency.announced if view.residency else None


def leave(view: HostView, mark: Mark, _: object = None) -> None:
    _finish(view, mark, "left")


def crash(view: HostView, mark: Mark, _: object = None) -> None:
    _finish(view, mark, "crashed")


def stop(view: HostView, mark: Mark, _: object = None) -> None:
    _finish(view, mark, "stopped")


def vanish(view: HostView, mark: Mark, _: object = None) -> None:
    _finish(view, mark, "vanished")


def job_end(view: HostView, mark: Mark, _: object = None) -> None:
    _finish(view, mark, "job_ended")
    view.departures[-1].guest = view.guest
    if mark.what == "migration_out":
        view.departures[-1].job_gone = mark


def resume(view: HostView, mark: Mark, _: object = None) -> None:
    _finish(view, mark, "resumed")
    view.departures[-1].guest = "running"
    if view.residency is not None:
        view.residency.cancelled = True
    view.set_run_state("running", mark)


def leave_paused(view: HostView, mark: Mark, _: object = None) -> None:
    _finish(view, mark, "left_paused")
    view.departures[-1].guest = "paused"
    view.set_run_state("paused", mark)


def leave_paused_again(view: HostView, mark: Mark, _: object = None) -> None:
    view.departures[-1].returned = view.departures[-1].ended
    leave_paused(view, mark)


def reopen(view: HostView) -> None:
    """What looked like a source that failed to resume was the next job, suspended before it iterated."""
    last = view.departures[-1]
    began, returned = last.ended, last.returned
    if began is not None and returned is not None:
        last.stage, last.ended, last.returned, last.guest = "resumed", returned, None, "running"
        open_departure(view, began)
        view.departures[-1].guest = view.guest_before(began)
        suspend(view, began)
        view.phase = "leaving"


def measure(view: HostView, mark: Mark, figures: Figures = (None, None)) -> None:
    """A job completes after the guest has left; that it left may have been found only as its absence."""
    departure = view.departures[-1] if view.departures else None
    if departure is not None and departure.stage in ("left", "vanished"):
        departure.stage = "left"
        departure.figures = figures


def run(view: HostView, mark: Mark, _: object = None) -> None:
    """An announced end that didn't follow is void: libvirt reports `shutdown` for a reboot, too."""
    view.set_run_state("running", mark)
    if view.residency is not None:
        view.residency.announced = None


def announce(view: HostView, mark: Mark, _: object = None) -> None:
    leg = view.residency or (view.arrivals[-1] if view.phase == "incoming" else None)
    if leg is not None and leg.announced is None:
        leg.announced = mark


def pause(view: HostView, mark: Mark, _: object = None) -> None:
    view.set_run_state("paused", mark)


def define(view: HostView, mark: Mark, _: object = None) -> None:
    """A definition without an earlier one, unless the domain was here."""
    if not view.present:
        view.defined = mark
        view.began = mark.key
    view.lost = None
    view.present = view.persistent = True


def persist(view: HostView, mark: Mark, _: object = None) -> None:
    view.persistent = True
    if view.phase == "away":
        view.present = True


def note_resume(view: HostView, mark: Mark, _: object = None) -> None:
    """A `resumed/migrated` while the host's role is unknown."""
    view.unclassified_resume = mark


def note_beginning(departure: Departure, figures: Figures) -> None:
    """The report of a job's end has its beginning."""
    if figures[0] is not None and figures[0] / 1e6 <= departure.opened.stamped:
        departure.began = departure.opened.moved_to(figures[0] / 1e6)


def note_job_gone(departure: Departure, mark: Mark) -> None:
    """The agent's report that a job is gone which was over already."""
    departure.job_gone = departure.job_gone or mark
    if departure.ended is None:
        if departure.stage == "leaving":
            departure.guest = None  # it was resumed since, unseen
        departure.stage, departure.ended = "job_ended", mark


def undefine(view: HostView, mark: Mark, _: object = None) -> None:
    view.persistent = False
    view.present = view.phase != "away"
    view.defined = None


def lose(view: HostView, mark: Mark, _: object = None) -> None:
    last = view.departures[-1] if view.departures else None
    is_left_behind = last is not None and last.stage == "left" and view.began <= last.key
    if view.present is not False and not is_left_behind:
        view.lost = mark
    view.present = False
    view.persistent = None
    view.defined = None
