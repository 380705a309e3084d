"""What each thing that a host says is a sign of: a lifecycle event, a job, a state that it lists.

The tables' source is libvirt's event and state enumerations, and which of them its drivers emit in a
migration (`qemu_migration.c`, `libxl_migration.c`).
"""

from __future__ import annotations

from typing import Final, Literal

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
    "destination_postcopy",
    "destination_broke",
    "left",
    "crashed",
    "stopped",
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
    "started/*": "booted",
    "suspended/migrated": "switching",
    "suspended/api_error": "paused_by_error",
    "suspended/postcopy": "source_postcopy",
    "suspended/postcopy_failed": "source_broke",
    "suspended/*": "paused",
    "resumed/migrated": "resumed_migrated",
    "resumed/postcopy": "destination_postcopy",
    "resumed/postcopy_failed": "destination_broke",
    "resumed/*": "resumed",
    "stopped/migrated": "left",
    "stopped/failed": "crashed",
    "stopped/crashed": "crashed",
    "stopped/unknown": "vanished",
    "stopped/*": "stopped",
    "defined/added": "defined",
    "defined/*": "updated",
    "undefined/renamed": "updated",
    "undefined/*": "undefined",
    "shutdown/*": "announced",
}
"""What a lifecycle event is a sign of. `shutdown/*` says when an end began and nothing of its kind; events
that aren't named prove nothing."""

ORDINARY: Final = frozenset(
    {
        None,
        "announced",
        "booted",
        "paused",
        "resumed",
        "paused_by_error",
        "stopped",
        "crashed",
        "defined",
        "updated",
        "undefined",
    }
)
"""Signs of a domain's ordinary life on one host."""

EVENT_TYPES_BY_DRIVER: Final[dict[str, dict[str, EventType]]] = {
    # libxl announces an incoming migration as a restore (libxl_migration.c), and a restore is one too.
    "Xen": {"started/restored": "restored"},
}

STATE_EVENT_TYPES: Final[dict[HostPhase, dict[str, EventType]]] = {
    "here": {
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
STATE_EVENT_TYPES["leaving"]["running/unpaused"] = "resumed"
"""What a listed state is a sign of when no event came for it: what an agent that was blind finds."""

POSTCOPY_EVENT_TYPES: Final[dict[str, EventType]] = {
    "running/postcopy": "destination_postcopy",
    "running/postcopy_failed": "destination_postcopy",
    "paused/postcopy": "source_postcopy",
    "paused/postcopy_failed": "source_postcopy",
}
"""What a listed state says of a host that nothing else is known of: only a post-copy tells the host's part.
That it broke is left to `STATE_EVENT_TYPES`."""


_EVENT_TYPE_OF_JOB: Final[dict[str, EventType | None]] = {
    "migration_out": "job_completed",
    "migration_in": None,
}
"""What a completed job is a sign of, by its operation. An arrival's is no news: it comes after its end."""


def event_type_of(observation: Observation) -> EventType | None:
    """What an observation means; None for one that proves nothing. Of states: `event_type_of_state`."""
    if observation.kind == "lifecycle":
        event = observation.what.partition("/")[0]
        event_type = (
            EVENT_TYPES_BY_DRIVER.get(observation.driver, {}).get(observation.what)
            or EVENT_TYPES.get(observation.what)
            or EVENT_TYPES.get(f"{event}/*")
        )
        if event_type == "undefined" and observation.origin == "resync":
            return "undefined_silently"
        return event_type
    if observation.kind == "iteration":
        return "first_iteration" if observation.figures[0] == 1 else "iteration"
    if observation.kind == "job_completed":
        return _EVENT_TYPE_OF_JOB.get(observation.what, "other_job")
    if observation.kind == "job_failed":
        return "job_failed" if observation.what == "migration_out" else None
    return None


def end_of(mark: Mark) -> Literal["crashed", "stopped"] | None:
    """How a guest ended where nothing but its end was seen; None where it left, or nobody saw the end."""
    event_type = EVENT_TYPES.get(mark.what) or EVENT_TYPES.get(f"{mark.what.partition('/')[0]}/*")
    return event_type if event_type in ("crashed", "stopped") else None


def event_type_of_state(view: HostView) -> EventType | None:
    """What the listed state says in this phase beyond what is known already; None for nothing."""
    listed = view.listed
    if listed is None or listed.key < view.moved:
        return None
    what = listed.what
    if view.phase == "away":
        was_here = what == "gone" and view.persistent and view.present
        return "undefined_silently" if was_here else None
    if view.phase == "copying":
        was_cancelled = view.residency is not None and view.residency.cancelled
        if what == view.departures[-1].state_before or (
            was_cancelled and what == "running/migration_canceled"
        ):
            return None  # the reason is an earlier one's
    row = STATE_EVENT_TYPES.get(view.phase, {})
    event_type = row.get(what) or row.get(f"{what.partition('/')[0]}/*")
    return None if event_type == "resumed" and view.departures[-1].stage == "unpaused" else event_type
