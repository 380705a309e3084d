"""What each observation means for a migration: a lifecycle event, a job, a listed state. Pure.

The tables' source is libvirt's event and state enumerations, and which of them its drivers emit in a
migration (`qemu_migration.c`, `libxl_migration.c`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from bridge.correlator.rules.exceptions import exception_to
from bridge.correlator.rules.host_view import HostPhase, HostView
from bridge.correlator.rules.observations import Mark, Observation
from bridge.correlator.rules.transitions import EventType, transition

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
    "pmsuspended/*": "resumed",  # only a guest that runs goes to sleep, or panics
    "crashed/*": "resumed",
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

STATE_EVENT_TYPES: Final[dict[str, EventType]] = {
    "running/postcopy": "destination_postcopy",
    "running/postcopy_failed": "destination_broke",
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
}
"""Listed states without an event that explains them: what an agent finds that was blind."""

STATE_EVENT_TYPES_BY_PHASE: Final[dict[HostPhase, dict[str, EventType | None]]] = {
    "here": {"paused/postcopy": None, "paused/postcopy_failed": None},
    "incoming": {"running/*": "resumed_migrated", "paused/user": "paused", "paused/migration": None},
    "incoming_postcopy": {"running/migrated": "resumed_migrated"},
    "incoming_broken": {"running/migrated": "resumed_migrated"},
    "leaving": {"running/unpaused": "resumed", "running/wakeup": "resumed", "pmsuspended/*": "resumed"},
}
"""What a state means in a phase, where that differs."""

_EVENT_TYPE_OF_JOB: Final[dict[str, EventType | None]] = {
    "migration_out": "job_completed",
    "migration_in": None,
}
"""Completed jobs, by operation. That of an arrival proves nothing: it comes after the arrival's end."""


def event_type_of(observation: Observation) -> EventType | None:
    """What an observation means; None for one that proves nothing. Of states: `event_type_of_state`."""
    if observation.kind == "lifecycle":
        of_its_driver = EVENT_TYPES_BY_DRIVER.get(observation.driver, {})
        found = _look_up(observation.what, of_its_driver, EVENT_TYPES)
        return "undefined_silently" if found == "undefined" and _went_silently(observation) else found
    if observation.kind == "iteration":
        return "first_iteration" if observation.figures[0] == 1 else "iteration"
    if observation.kind == "job_completed":
        return _EVENT_TYPE_OF_JOB.get(observation.what, "other_job")
    if observation.kind == "job_failed":
        return "job_failed" if observation.what == "migration_out" else None
    return None


def _look_up(what: str, *tables: Mapping[str, EventType | None]) -> EventType | None:
    """By its detail or reason in the first table that has it, else without."""
    names = (what, f"{what.partition('/')[0]}/*")
    return next((table[name] for name in names for table in tables if name in table), None)


@exception_to("EVENT_TYPES", "`undefined` is `undefined_silently`")
def _went_silently(observation: Observation) -> bool:
    """No event reported that the definition was removed: an agent that had been blind found it gone."""
    return observation.origin == "resync"


def end_of(mark: Mark) -> Literal["crashed", "stopped"] | None:
    """How a guest ended of which only the end was seen; None if it left, the end wasn't seen, or no migration
    was under way any more: libvirt saves no guest that it migrates.
    """
    event_type = _look_up(mark.what, EVENT_TYPES)
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
    event_type = _look_up(what, STATE_EVENT_TYPES_BY_PHASE.get(view.phase, {}), STATE_EVENT_TYPES)
    if event_type == "resumed":
        return None if view.departures[-1].stage == "unpaused" else event_type
    found = transition(view.phase, event_type) if event_type is not None else None
    return None if found is None or found[0] == view.phase else event_type


@exception_to("STATE_EVENT_TYPES", "nothing")
def _is_of_an_earlier_job(view: HostView, what: str) -> bool:
    """A copy runs, and the reason was listed before it began, or is a cancellation's in the same stay; or no
    job does, and the last change was no resume by one that failed.
    """
    if view.phase == "here":
        return what == "paused/migration" and not view.was_resumed_last
    if view.phase != "copying" or what == "paused/migration":
        return False
    was_cancelled = view.residency is not None and view.residency.cancelled
    return what == view.departures[-1].state_before or (
        was_cancelled and what == "running/migration_canceled"
    )
