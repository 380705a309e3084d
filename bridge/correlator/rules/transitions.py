"""What each event type does to one host's view of one domain, by its phase. Values only.

A detail means nothing without the host's role, so the phase is the role: `resumed/migrated` ends an arrival
well in `incoming` and a departure badly in `leaving`. A pair for which `transition` finds nothing changes
nothing: an event that proves nothing is normal.
"""

from __future__ import annotations

from typing import Final, Literal

from bridge.correlator.rules.actions import Action
from bridge.correlator.rules.host_view import HostPhase

EventType = Literal[
    "incoming",
    "restored",
    "booted",
    "switching",
    "paused_by_error",
    "paused",
    "source_postcopy",
    "source_broke",
    "resumed_migrated",
    "resumed",
    "restored_paused",
    "restored_running",
    "destination_postcopy",
    "destination_broke",
    "left",
    "crashed",
    "stopped",
    "saved",
    "vanished",
    "paused_after_resume",
    "defined",
    "updated",
    "undefined",
    "undefined_silently",
    "iteration",
    "first_iteration",
    "job_completed",
    "other_job",
    "job_failed",
    "announced",
    "came",  # no event: what others show to have happened unseen
]

Transition = tuple[HostPhase, tuple[Action, ...]]

TABLE: Final[dict[HostPhase, dict[EventType, Transition]]] = {
    "away": {
        "came": ("here", ("begin",)),
        "incoming": ("incoming", ("open_arrival",)),
        "restored": ("incoming", ("open_tentative",)),
        "booted": ("here", ("begin", "run")),
        "resumed_migrated": ("here", ("begin", "run", "note_resume")),
        "destination_postcopy": ("incoming_postcopy", ("open_arrival", "start_postcopy")),
        "resumed": ("here", ("begin", "run")),
        "paused": ("here", ("begin", "pause")),
        "job_completed": ("away", ("measure",)),
        "defined": ("away", ("define",)),
        "undefined_silently": ("away", ("lose",)),
    },
    "here": {
        "booted": ("here", ("run",)),
        "resumed": ("here", ("run",)),
        "resumed_migrated": ("here", ("run", "note_resume")),
        "paused": ("here", ("pause",)),
        "paused_by_error": ("here", ("pause",)),
        "paused_after_resume": ("here", ("leave_paused_again",)),
        "iteration": ("copying", ("open_departure", "mark_iteration")),
        "switching": ("leaving", ("open_departure", "suspend")),
        "source_postcopy": ("leaving_postcopy", ("open_departure", "postcopy_out")),
        "job_failed": ("here", ("job_gone",)),
        "left": ("away", ("open_departure", "leave", "end")),
        "stopped": ("away", ("end",)),
    },
    "copying": {
        "iteration": ("copying", ("mark_iteration",)),
        "first_iteration": ("copying", ("close_departure", "open_departure", "mark_iteration")),
        "paused": ("copying", ("pause",)),
        "resumed": ("copying", ("run",)),
        "paused_by_error": ("here", ("leave_paused",)),
        "switching": ("leaving", ("suspend",)),
        "source_postcopy": ("leaving_postcopy", ("postcopy_out",)),
        "resumed_migrated": ("here", ("resume",)),
        "other_job": ("here", ("discard_job",)),
        "saved": ("away", ("discard_job", "end")),
        "job_failed": ("here", ("job_end",)),
    },
    "leaving": {
        "iteration": ("leaving", ("next_job",)),
        "first_iteration": ("leaving", ("split_job",)),
        "resumed_migrated": ("here", ("resume",)),
        "resumed": ("leaving", ("unpause",)),
        "switching": ("leaving", ("suspend",)),
        "paused": ("here", ("close_departure", "pause")),  # it was resumed since, unseen
        "restored_paused": ("here", ("discard_found", "pause")),
        "restored_running": ("here", ("discard_found", "run")),
        "paused_by_error": ("here", ("leave_paused",)),
        "job_failed": ("leaving", ("lose_job",)),
        "source_postcopy": ("leaving_postcopy", ("postcopy_out",)),
    },
    "leaving_postcopy": {
        "iteration": ("leaving_postcopy", ("mark_iteration",)),
        "source_broke": ("leaving_broken", ("break_out",)),
    },
    "leaving_broken": {
        "source_postcopy": ("leaving_postcopy", ("postcopy_out",)),
    },
    "incoming": {
        "resumed_migrated": ("here", ("arrive", "note_resume")),
        "resumed": ("here", ("arrive",)),
        "paused": ("here", ("arrive_paused",)),
        "destination_postcopy": ("incoming_postcopy", ("start_postcopy",)),
    },
    "incoming_postcopy": {
        "destination_broke": ("incoming_broken", ("break_in",)),
        "source_broke": ("incoming_broken", ("break_in",)),  # libvirt before 8.5
        "paused": ("incoming_postcopy", ("pause",)),
        "resumed": ("incoming_postcopy", ("run",)),
    },
    "incoming_broken": {
        "destination_postcopy": ("incoming_postcopy", ("start_postcopy",)),
        "source_broke": ("incoming_broken", ("break_in",)),
    },
}
"""(phase, event type) -> (next phase, actions). What each kind of migration emits: `docs/migrations.md`."""

WITH_A_JOB: Final[dict[EventType, Transition]] = {
    "left": ("away", ("leave", "end")),
    "crashed": ("away", ("crash", "end")),
    "stopped": ("away", ("stop", "end")),
    "vanished": ("away", ("vanish", "end")),
}
"""What happens in every phase of a source."""

ARRIVING: Final[dict[EventType, Transition]] = {
    "came": ("here", ("arrive",)),
    "stopped": ("away", ("fail", "end")),
}
"""What happens in every phase of a destination."""

IN_ANY_PHASE: Final[dict[EventType, tuple[Action, ...]]] = {
    "announced": ("announce",),
    "updated": ("persist",),
    "undefined": ("undefine",),
}
"""What changes no phase."""

SHOWS: Final[dict[EventType, EventType]] = {
    "incoming": "vanished",
    "booted": "vanished",
    "iteration": "came",
    "switching": "came",
    "source_postcopy": "came",
    "left": "came",
    "saved": "came",  # libvirt saves no guest that arrives
    "source_broke": "source_postcopy",
    "destination_broke": "destination_postcopy",
}
"""What has happened unseen before an event that a phase doesn't have."""

LIKE: Final[dict[EventType, EventType]] = {
    "first_iteration": "iteration",
    "resumed_migrated": "came",
    "paused_by_error": "paused",
    "restored_paused": "paused",
    "restored_running": "resumed",
    "crashed": "stopped",
    "vanished": "stopped",
    "saved": "stopped",
    "defined": "updated",
    "undefined_silently": "undefined",
}
"""As what an event counts in a phase that makes no difference between them."""


def transition(phase: HostPhase, event_type: EventType) -> Transition | None:
    """The next phase and the actions; None: it changes nothing."""
    is_arriving = phase.startswith("incoming")
    has_job = phase == "copying" or phase.startswith("leaving")
    for row in (TABLE[phase], ARRIVING if is_arriving else WITH_A_JOB if has_job else {}):
        if event_type in row:
            return row[event_type]
    if event_type in IN_ANY_PHASE:
        return phase, IN_ANY_PHASE[event_type]
    if event_type in SHOWS and (unseen := transition(phase, SHOWS[event_type])) is not None:
        then = transition(unseen[0], event_type)
        return None if then is None else (then[0], unseen[1] + then[1])
    return transition(phase, LIKE[event_type]) if event_type in LIKE else None


ACTIVE: Final[frozenset[HostPhase]] = frozenset(TABLE) - {"away", "incoming"}
"""The phases in which a guest is active on the host."""
