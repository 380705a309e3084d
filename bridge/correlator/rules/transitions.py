"""What each event type does to one host's view of one domain, by its phase. Values only.

A detail means nothing without the host's role, so the phase is the role: `resumed/migrated` ends an arrival
well in `incoming` and a departure badly in `leaving`. A pair for which `transition` finds nothing changes
nothing: an event that proves nothing is normal.
"""

from __future__ import annotations

from typing import Final, Literal

from bridge.correlator.rules import actions as do
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

Transition = tuple[HostPhase, tuple[do.Action, ...]]

TABLE: Final[dict[HostPhase, dict[EventType, Transition]]] = {
    "away": {
        "came": ("here", (do.begin,)),
        "incoming": ("incoming", (do.open_arrival,)),
        "restored": ("incoming", (do.open_tentative,)),
        "booted": ("here", (do.begin, do.run)),
        "resumed_migrated": ("here", (do.begin, do.run, do.note_resume)),
        "destination_postcopy": ("incoming_postcopy", (do.open_arrival, do.start_postcopy)),
        "resumed": ("here", (do.begin, do.run)),
        "paused": ("here", (do.begin, do.pause)),
        "job_completed": ("away", (do.measure,)),
        "defined": ("away", (do.define,)),
        "undefined_silently": ("away", (do.lose,)),
    },
    "here": {
        "resumed": ("here", (do.run,)),
        "resumed_migrated": ("here", (do.run, do.note_resume)),
        "paused": ("here", (do.pause,)),
        "paused_after_resume": ("here", (do.leave_paused_again,)),
        "iteration": ("copying", (do.open_departure, do.mark_iteration)),
        "switching": ("leaving", (do.open_departure, do.suspend)),
        "source_postcopy": ("leaving_postcopy", (do.open_departure, do.postcopy_out)),
        "job_failed": ("here", (do.open_departure, do.job_end)),
        "left": ("away", (do.open_departure, do.leave, do.end)),
        "stopped": ("away", (do.end,)),
    },
    "copying": {
        "iteration": ("copying", (do.mark_iteration,)),
        "first_iteration": ("copying", (do.close_departure, do.open_departure, do.mark_iteration)),
        "paused": ("copying", (do.pause,)),
        "resumed": ("copying", (do.run,)),
        "paused_by_error": ("here", (do.leave_paused,)),
        "switching": ("leaving", (do.suspend,)),
        "source_postcopy": ("leaving_postcopy", (do.postcopy_out,)),
        "resumed_migrated": ("here", (do.resume,)),
        "other_job": ("here", (do.discard_job,)),
        "saved": ("away", (do.discard_job, do.end)),
        "job_failed": ("here", (do.job_end,)),
    },
    "leaving": {
        "iteration": ("leaving", (do.next_job,)),
        "first_iteration": ("leaving", (do.split_job,)),
        "resumed_migrated": ("here", (do.resume,)),
        "resumed": ("leaving", (do.unpause,)),
        "switching": ("leaving", (do.suspend,)),
        "paused": ("here", (do.close_departure, do.pause)),  # it was resumed since, unseen
        "restored_paused": ("here", (do.discard_found, do.pause)),
        "restored_running": ("here", (do.discard_found, do.run)),
        "paused_by_error": ("here", (do.leave_paused,)),
        "job_failed": ("leaving", (do.lose_job,)),
        "source_postcopy": ("leaving_postcopy", (do.postcopy_out,)),
    },
    "leaving_postcopy": {
        "iteration": ("leaving_postcopy", (do.mark_iteration,)),
        "source_broke": ("leaving_broken", (do.break_out,)),
    },
    "leaving_broken": {
        "source_postcopy": ("leaving_postcopy", (do.postcopy_out,)),
    },
    "incoming": {
        "resumed_migrated": ("here", (do.arrive, do.note_resume)),
        "resumed": ("here", (do.arrive,)),
        "paused": ("here", (do.arrive_paused,)),
        "destination_postcopy": ("incoming_postcopy", (do.start_postcopy,)),
    },
    "incoming_postcopy": {
        "destination_broke": ("incoming_broken", (do.break_in,)),
        "source_broke": ("incoming_broken", (do.break_in,)),  # libvirt before 8.5
        "paused": ("incoming_postcopy", (do.pause,)),
        "resumed": ("incoming_postcopy", (do.run,)),
    },
    "incoming_broken": {
        "destination_postcopy": ("incoming_postcopy", (do.start_postcopy,)),
        "source_broke": ("incoming_broken", ()),  # listed until it goes on
    },
}
"""(phase, event type) -> (next phase, actions). What each kind of migration emits: `docs/migrations.md`."""

WITH_A_JOB: Final[dict[EventType, Transition]] = {
    "left": ("away", (do.leave, do.end)),
    "crashed": ("away", (do.crash, do.end)),
    "stopped": ("away", (do.stop, do.end)),
    "vanished": ("away", (do.vanish, do.end)),
}
"""What happens in every phase of a source."""

ARRIVING: Final[dict[EventType, Transition]] = {
    "came": ("here", (do.arrive,)),
    "stopped": ("away", (do.fail, do.end)),
}
"""What happens in every phase of a destination."""

IN_ANY_PHASE: Final[dict[EventType, tuple[do.Action, ...]]] = {
    "announced": (do.announce,),
    "updated": (do.persist,),
    "undefined": (do.undefine,),
}
"""What changes no phase."""

SHOWS: Final[dict[EventType, EventType]] = {
    "incoming": "vanished",
    "booted": "vanished",
    "iteration": "came",
    "switching": "came",
    "source_postcopy": "came",
    "left": "came",
    "saved": "came",  # libvirt saves no guest that arrives, nor has it to resume one there
    "paused_by_error": "came",
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
