"""What each observation means for a migration: a lifecycle event, a job, a listed state. Pure.

The tables' source is libvirt's event and state enumerations, and which of them its drivers emit in a
migration (`qemu_migration.c`, `libxl_migration.c`).
"""

from __future__ import annotations

from typing import Final, Literal

from bridge.correlator.rules.exceptions import exception_to
from bridge.correlator.rules.host_view import HostPhase, HostView
from bridge.correlator.rules.observations import Mark, Observation

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
]

EVENT_TYPES: Final[dict[str, EventType]] = {
    "started/migrated": "incoming",
    "started/wakeup": "resumed",
    "started/*": "booted",
    "suspended/migrated": "switching",
    "suspended/api_error": "paused_by_error",
    "suspended/postcopy": "source_postcopy",
    "suspended/postcopy_failed": "source_broke",
    "suspended/restored": "restored_paused",
    "suspended/*": "paused",
    "resumed/migrated": "resumed_migrated",
    "resumed/postcopy": "destination_postcopy",
    "resumed/postcopy_failed": "destination_broke",
    "resumed/from_snapshot": "restored_running",
    "resumed/*": "resumed",
    "pmsuspended/*": "resumed",  # only a guest that runs goes to sleep
    "stopped/migrated": "left",
    "stopped/failed": "crashed",
    "stopped/crashed": "crashed",
    "stopped/unknown": "vanished",
    "stopped/saved": "saved",
    "stopped/*": "stopped",
    "defined/added": "defined",
    "defined/*": "updated",
    "undefined/renamed": "updated",
    "undefined/*": "undefined",
    "shutdown/*": "announced",
}
"""Lifecycle events. `shutdown/*` shows when an end began, not of which kind it is; an event that isn't named
proves nothing."""

ORDINARY: Final = frozenset(
    {
        None,
        "announced",
        "booted",
        "paused",
        "resumed",
        "paused_by_error",
        "stopped",
        "saved",
        "crashed",
        "defined",
        "updated",
        "undefined",
    }
)
"""Event types of a domain that has no part in a migration."""

EVENT_TYPES_BY_DRIVER: Final[dict[str, dict[str, EventType]]] = {
    # libxl announces an incoming migration as a restore (libxl_migration.c), and a restore is one too.
    "Xen": {"started/restored": "restored"},
}

STATE_EVENT_TYPES: Final[dict[HostPhase, dict[str, EventType]]] = {
    "here": {
        "paused/migration": "switching",
        "shutoff/migrated": "left",
        "shutoff/crashed": "crashed",
        "shutoff/failed": "crashed",
        "shutoff/unknown": "vanished",
        "shutoff/*": "stopped",
        "gone": "vanished",
    },
    "incoming": {
        "running/postcopy": "destination_postcopy",
        "running/postcopy_failed": "destination_broke",
        "running/*": "resumed_migrated",
        "paused/user": "paused",
        "paused/postcopy": "source_postcopy",
        "paused/postcopy_failed": "source_broke",
        "shutoff/failed": "crashed",
        "shutoff/*": "vanished",
        "gone": "vanished",
    },
    "incoming_postcopy": {
        "running/migrated": "resumed_migrated",
        "running/postcopy_failed": "destination_broke",
        "shutoff/*": "vanished",
        "gone": "vanished",
    },
    "incoming_broken": {
        "running/migrated": "resumed_migrated",
        "running/postcopy": "destination_postcopy",
        "shutoff/*": "vanished",
        "gone": "vanished",
    },
    "copying": {
        "running/migration_canceled": "resumed_migrated",
        "paused/migration": "switching",
        "paused/postcopy": "source_postcopy",
        "paused/postcopy_failed": "source_broke",
        "shutoff/migrated": "left",
        "shutoff/crashed": "crashed",
        "shutoff/failed": "crashed",
        "shutoff/unknown": "vanished",
        "shutoff/saved": "saved",
        "shutoff/*": "stopped",
        "gone": "vanished",
    },
}
_KNOWN: Final[dict[HostPhase, str]] = {
    "leaving": "paused/migration",
    "leaving_postcopy": "paused/postcopy",
    "leaving_broken": "paused/postcopy_failed",
}
for _phase, _known in _KNOWN.items():
    STATE_EVENT_TYPES[_phase] = {
        what: s for what, s in STATE_EVENT_TYPES["copying"].items() if what != _known
    }
STATE_EVENT_TYPES["leaving"] |= {
    "running/unpaused": "resumed",
    "running/wakeup": "resumed",
    "pmsuspended/*": "resumed",
}
"""Listed states without an event that explains them, by phase: what an agent finds that was blind."""

POSTCOPY_EVENT_TYPES: Final[dict[str, EventType]] = {
    "running/postcopy": "destination_postcopy",
    "running/postcopy_failed": "destination_postcopy",
    "paused/postcopy": "source_postcopy",
    "paused/postcopy_failed": "source_postcopy",
}
"""Listed states of a host of which nothing else is known: only a post-copy's states show the host's role.
That it broke is left to `STATE_EVENT_TYPES`."""


_EVENT_TYPE_OF_JOB: Final[dict[str, EventType | None]] = {
    "migration_out": "job_completed",
    "migration_in": None,
}
"""Completed jobs, by operation. That of an arrival proves nothing: it comes after the arrival's end."""


def event_type_of(observation: Observation) -> EventType | None:
    """What an observation means; None for one that proves nothing. Of states: `event_type_of_state`."""
    if observation.kind == "lifecycle":
        event = observation.what.partition("/")[0]
        event_type = (
            EVENT_TYPES_BY_DRIVER.get(observation.driver, {}).get(observation.what)
            or EVENT_TYPES.get(observation.what)
            or EVENT_TYPES.get(f"{event}/*")
        )
        return (
            "undefined_silently" if event_type == "undefined" and _went_silently(observation) else event_type
        )
    if observation.kind == "iteration":
        return "first_iteration" if observation.figures[0] == 1 else "iteration"
    if observation.kind == "job_completed":
        return _EVENT_TYPE_OF_JOB.get(observation.what, "other_job")
    if observation.kind == "job_failed":
        return "job_failed" if observation.what == "migration_out" else None
    return None


@exception_to("EVENT_TYPES", "`undefined` is `undefined_silently`")
def _went_silently(observation: Observation) -> bool:
    """No event reported that the definition was removed: an agent that had been blind found it gone."""
    return observation.origin == "resync"


def end_of(mark: Mark) -> Literal["crashed", "stopped"] | None:
    """How a guest ended of which only the end was seen; None if it left, the end wasn't seen, or no migration
    was under way any more: libvirt saves no guest that it migrates.
    """
    event_type = EVENT_TYPES.get(mark.what) or EVENT_TYPES.get(f"{mark.what.partition('/')[0]}/*")
    return event_type if event_type in ("crashed", "stopped") else None


def event_type_of_state(view: HostView) -> EventType | None:
    """What the listed state shows in this phase that isn't known already; None: nothing."""
    listed = view.listed
    if listed is None or listed.key < view.moved:
        return None
    what = listed.what
    if view.phase == "away":
        was_here = what == "gone" and view.persistent and view.present
        return "undefined_silently" if was_here else None
    if _is_of_an_earlier_job(view, what):
        return None
    row = STATE_EVENT_TYPES.get(view.phase, {})
    event_type = row.get(what) or row.get(f"{what.partition('/')[0]}/*")
    return None if event_type == "resumed" and view.departures[-1].stage == "unpaused" else event_type


@exception_to("STATE_EVENT_TYPES", "nothing")
def _is_of_an_earlier_job(view: HostView, what: str) -> bool:
    """A copy runs, and the reason was listed before it began, or is a cancellation's in the same stay; or no
    job does, and the last change was no resume by one that failed.
    """
    if view.phase == "here":
        return what == "paused/migration" and not view.was_resumed_last
    if view.phase != "copying":
        return False
    if what == "paused/migration" and not _was_left_paused(view):
        return False
    was_cancelled = view.residency is not None and view.residency.cancelled
    return what == view.departures[-1].state_before or (
        was_cancelled and what == "running/migration_canceled"
    )


def _was_left_paused(view: HostView) -> bool:
    """Whether the job before the last left the guest paused."""
    before = view.departures[-2] if len(view.departures) > 1 else None
    return before is not None and before.suspended is not None and before.guest == "paused"
