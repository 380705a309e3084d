"""Folds the events of one host into its view of one domain. Sans-I/O.

Everything that reads a single host's order is here and in the tables of `event_types`, which say what each
event means, and of `transitions`, which say what that does in each phase.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import structs

from bridge.correlator.rules import actions as do
from bridge.correlator.rules.actions import KEPT, Action, Figures
from bridge.correlator.rules.event_types import event_type_of, event_type_of_state
from bridge.correlator.rules.exceptions import exception_to
from bridge.correlator.rules.host_view import (
    PART_IN_A_MIGRATION,
    Arrival,
    Departure,
    GuestHere,
    HostView,
    Listed,
)
from bridge.correlator.rules.observations import (
    AS_IT_HAPPENED,
    ASKED_S,
    CLEARED,
    LIVE_S,
    Instant,
    Mark,
    Observation,
    is_found,
)
from bridge.correlator.rules.segments import begin_segment, was_unseen
from bridge.correlator.rules.transitions import EventType, transition
from bridge.wire.messages import seconds


def fold(view: HostView, observation: Observation) -> None:
    """Folds the next event in the host's order."""
    if observation.key[0] > view.key[0] >= 0:
        _begin_epoch(view, Mark.of(observation))
    view.key = observation.key
    if observation.received - observation.at > LIVE_S:
        view.late = observation.received
    if observation.kind == "lifecycle":
        view.moved = observation.key
    view.driver = observation.driver or view.driver
    view.name = observation.name or view.name
    event_type = event_type_of(observation)
    if event_type is not None:
        apply(view, event_type, _mark(view, observation), observation.figures)
    if observation.copied is not None:
        _note_copied(view, observation)
    if observation.origin in AS_IT_HAPPENED:
        view.last_live = Instant(observation.at, observation.received, seconds(observation.stamp))


def _note_copied(view: HostView, observation: Observation) -> None:
    """The figures that are equal on both hosts of a pre-copy follow its end on each."""
    is_arrival = observation.what == "migration_in"
    legs: Sequence[Arrival | Departure] = view.arrivals if is_arrival else view.departures
    if legs and not legs[-1].postcopy and legs[-1].stage in ("arrived", "departed", "left"):
        legs[-1].copied = observation.copied


def _mark(view: HostView, observation: Observation) -> Mark:
    """An observation's mark. What an agent found happened after the host's last live message; what a state
    shows may have happened before that, in a blind time.
    """
    mark = Mark.of(observation)
    if view.last_live is None:
        return mark
    if mark.late and mark.at < view.last_live.at:  # its clock was set back while it waited
        return structs.replace(mark, at=view.last_live.at)
    if mark.origin in (*AS_IT_HAPPENED, "state"):
        return mark
    return structs.replace(mark, since=max(mark.earliest, view.last_live.at))


def _begin_epoch(view: HostView, mark: Mark) -> None:
    """A new epoch began: what was under way ended unseen."""
    if view.phase.startswith("incoming"):
        do.close_arrival(view, mark)
    elif view.phase in ("copying", "leaving", "leaving_postcopy", "leaving_broken"):
        do.close_departure(view, mark)
    do.end_residency(view, mark)
    view.lost = view.defined = None
    view.phase = "away"
    view.present = False
    view.key = view.moved = (mark.key[0], 0)


def apply(view: HostView, event_type: EventType, mark: Mark, figures: Figures = (None, None)) -> None:
    """Changes the view by one event type, by `TABLE`."""
    event_type = _meant(view, event_type, mark, figures)
    is_its_own = False
    if event_type == "job_failed" and figures[0] is None and _is_of_the_last_job(view, mark):
        do.note_job_gone(view.departures[-1], mark)
        return
    if event_type == "job_failed" and figures[0] is not None:
        meant = _job_begun(view, figures[0], mark)
        if meant is not None and (view.phase == "here" or meant is not view.departures[-1]):
            _note_gone(view, meant, mark, figures)
            return
        is_its_own = meant is not None and meant.is_of_job(figures[0])
        if meant is not None and view.phase == "copying" and meant.began_before(figures[0], mark):
            do.close_departure(view, mark)
            view.phase = "here"
    found = transition(view.phase, event_type)
    if found is None:
        return
    phase, actions = found
    if not is_its_own:
        _split_where_unseen(view, mark, actions)
    for action in actions:
        action(view, mark, figures)
    if event_type == "job_failed":
        do.note_beginning(view.departures[-1], figures)
    view.phase = phase
    if phase == "leaving" and view.departures[-1].stage == "resumed":
        view.phase = "here"


def _meant(view: HostView, event_type: EventType, mark: Mark, figures: Figures) -> EventType:
    """What it is for `TABLE` by what was seen before; what it shows to have happened unseen is applied."""
    if event_type == "switching" and _was_just_resumed(view, mark):
        return "paused_after_resume"
    if event_type == "iteration" and _counts_anew(view, figures[0]):
        return "first_iteration"
    if event_type == "first_iteration" and _may_be_the_next_job(view):
        do.reopen(view)
    return event_type


@exception_to("TABLE", "`job_failed` is about the last job")
def _is_of_the_last_job(view: HostView, mark: Mark) -> bool:
    """When the job began isn't known, and the last one is over, seen all the time, and not reported gone."""
    last = view.departures[-1] if view.departures else None
    if view.phase != "here" or last is None or last.job_gone is not None:
        return False
    return last.is_over and not was_unseen(last, mark)


def _note_gone(view: HostView, departure: Departure, mark: Mark, figures: Figures) -> None:
    """A departure's job is gone which was over already. A post-copy that goes on is of another job."""
    do.note_beginning(departure, figures)
    do.note_job_gone(departure, mark)
    for each in view.departures:
        each.continues = each.continues and not (each.postcopy and each.key > departure.key)


def _split_where_unseen(view: HostView, mark: Mark, actions: tuple[Action, ...]) -> None:
    """If the host was blind since a leg's last event, that leg may have ended and another one begun."""
    does = set(actions)
    if do.open_departure in does:
        return
    if does & _OF_A_DEPARTURE and view.departures:
        departure = view.departures[-1]
        # A job that is gone does nothing any more: that is the next one's doing. A post-copy has no next one.
        is_next = departure.stage == "job_lost" and does & _ONLY_UNDER_WAY
        may_be_next = not (departure.is_over or departure.postcopy) and was_unseen(departure, mark)
        if is_next or may_be_next:
            begin_segment(view, departure, mark)
    is_of_an_arrival = does & _OF_AN_ARRIVAL and do.open_arrival not in does and view.arrivals
    if is_of_an_arrival and was_unseen(view.arrivals[-1], mark):
        begin_segment(view, view.arrivals[-1], mark)


_OF_A_DEPARTURE: Final[frozenset[Action]] = frozenset(
    {
        do.mark_iteration, do.split_job, do.suspend, do.unpause, do.lose_job, do.postcopy_out,
        do.leave, do.resume, do.leave_paused, do.stop, do.vanish,
    }
)  # fmt: skip
_ONLY_UNDER_WAY: Final[frozenset[Action]] = frozenset(
    {do.resume, do.leave, do.leave_paused, do.postcopy_out, do.lose_job}
)
_OF_AN_ARRIVAL: Final[frozenset[Action]] = frozenset(
    {do.arrive, do.arrive_paused, do.fail, do.start_postcopy, do.break_in}
)


def _job_begun(view: HostView, began_us: int, gone: Mark) -> Departure | None:
    """The departure whose job began then, by the host's own clock: a job begins before its first event, and
    after the last event of the one before. None: it has no other event.
    """
    known = view.departures
    may_be_it = (
        n
        for n, each in enumerate(known)
        if each.job_gone is None and (not each.is_over or each.is_of_job(began_us))
    )
    n = next(may_be_it, None)
    if n is None:
        return None
    for each in known[n + 1 :]:
        is_gone_too = gone.at > each.opened.at + ASKED_S or each.opened == each.ended
        if not (each.continues and is_gone_too) or is_found(each.opened) or each.postcopy:
            break
        n += 1  # the agent saw that happen, and the job was still there: it is that job's, too
    return known[n]


@exception_to("TABLE", "`iteration` is `first_iteration`")
def _counts_anew(view: HostView, iteration: int | None) -> bool:
    """Iterations count up within a job; that of the next one whose first wasn't seen is no higher."""
    return view.phase == "copying" and iteration is not None and iteration <= view.departures[-1].iteration


@exception_to("TABLE", "the last job goes on as the next one, suspended before it iterated")
def _may_be_the_next_job(view: HostView) -> bool:
    """A job goes on, the last one was taken for one that failed to resume, and nothing happened since."""
    last = view.departures[-1] if view.departures else None
    if last is None or last.returned is None or last.ended is None:
        return False
    return view.phase == "here" and view.run_states[-1].at == last.ended.at


@exception_to("TABLE", "`switching` is `paused_after_resume`")
def _was_just_resumed(view: HostView, mark: Mark) -> bool:
    """A source that fails to resume after a failure emits resumed and at once suspended. The next attempt
    emits suspended, too, and then what only a job under way emits.
    """
    if view.phase != "here" or not view.was_resumed_last:
        return False
    last = view.departures[-1]
    return not is_found(last.ended) and not was_unseen(last, mark) and last.job_gone is None


def list_state(view: HostView, observation: Observation) -> None:
    """Notes a listed or cleared state, for `apply_listed_state`."""
    if observation.received - observation.at > LIVE_S:
        view.late = observation.received
    what = CLEARED if observation.kind == "cleared" else observation.what
    view.listed = Listed(observation.key, what, _mark(view, observation))
    if view.phase == "leaving" and what == "paused/migration":
        view.departures[-1].listed_suspended = view.listed.mark
    if view.phase == "incoming" and what == "paused/migration":
        arrival = view.arrivals[-1]
        if not is_found(arrival.first) and arrival.first.since != observation.since:
            arrival.relisted = arrival.relisted or view.listed.mark
    view.driver = view.driver or observation.driver
    view.name = observation.name or view.name
    if observation.persistent is not None:
        view.persistent = observation.persistent


_ACTIVE_STATES: Final[dict[str, GuestHere]] = {
    "running": "running",
    "blocked": "running",
    "pmsuspended": "running",
    "paused": "paused",
}


def apply_listed_state(view: HostView) -> None:
    """Lets the listed state replace the events that led to it, and won't come."""
    apply_listed_presence(view)
    event_type = event_type_of_state(view)
    if event_type is not None and view.listed is not None:
        apply(view, event_type, view.listed.mark)


def apply_listed_presence(view: HostView) -> None:
    """Takes from the listed state whether the domain is here, unless an event came after it. A state that
    only a migration has is left to `apply_listed_state`, except a post-copy's: only that shows the host's
    role.
    """
    listed = view.listed
    if listed is None or listed.key < view.moved:
        return
    if listed.key[0] > view.key[0] >= 0:
        _begin_epoch(view, listed.mark)
    view.key = max(view.key, (listed.key[0], 0))
    what = listed.what
    if view.unclassified_resume is not None and what in ("running/migrated", "running/migration_canceled"):
        _classify_resume(view, what, view.unclassified_resume)
    guest = _ACTIVE_STATES.get(what.partition("/")[0])
    if view.phase == "here" and guest is not None and what not in PART_IN_A_MIGRATION:
        view.set_run_state(guest, listed.mark)
    if view.phase != "away":
        return
    if guest is not None and what not in PART_IN_A_MIGRATION:
        do.begin(view, listed.mark)
        view.phase = "here"
        view.set_run_state(guest, listed.mark)
        if what == "running/migrated":
            _apply_listed_arrival(view, listed.mark)
    elif "postcopy" in what:  # that it broke is told once an event shows it, or none comes
        apply(view, "destination_postcopy" if guest == "running" else "source_postcopy", listed.mark)
    elif what == "gone":
        view.present = view.present and bool(view.persistent)
    elif what not in PART_IN_A_MIGRATION:
        view.present = True


def _apply_listed_arrival(view: HostView, mark: Mark) -> None:
    """It came by a migration: by the one that was over, or under way, when the host became blind; else by an
    unknown one, which counts if a source is known to have sent it.
    """
    last = view.arrivals[-1] if view.arrivals else None
    if last is not None and last.stage == "arrived":
        return
    if last is not None and last.over is not None and last.stage in ("open", "postcopy", "broken"):
        _arrived(last, mark)
        return
    arrival = Arrival(
        key=mark.key, first=mark, tentative=True, stage="arrived", guest="running", switched=mark
    )
    view.arrivals = [*view.arrivals, arrival][-KEPT:]


def _arrived(arrival: Arrival, mark: Mark) -> None:
    arrival.stage, arrival.guest, arrival.switched, arrival.over = "arrived", "running", mark, None


def _classify_resume(view: HostView, what: str, resumed: Mark) -> None:
    """The listed state's reason shows the role of a `resumed/migrated`."""
    view.unclassified_resume = None
    last = view.arrivals[-1] if view.arrivals else None
    if last is not None and last.switched == resumed:
        if what == "running/migrated":
            return
        if last.continues:  # it had arrived before that, unseen
            view.arrivals = view.arrivals[:-1]
            _arrived(view.arrivals[-1], resumed)
    if what == "running/migrated":
        arrival = Arrival(key=resumed.key, first=resumed, stage="arrived", guest="running", switched=resumed)
        view.arrivals = [*view.arrivals, arrival][-KEPT:]
        if view.residency is not None:
            view.residency.arrived = True
    else:
        departure = Departure(
            key=resumed.key, opened=resumed, stage="resumed", guest="running", ended=resumed
        )
        view.departures = [*view.departures, departure][-KEPT:]
        if view.residency is not None:
            view.residency.cancelled = True
