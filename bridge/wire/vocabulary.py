"""libvirt's vocabulary: every lifecycle event and detail, domain state and reason, job operation.

Names are libvirt's own constant names, lowercased, without their common prefix
(`VIR_DOMAIN_EVENT_STOPPED_FROM_SNAPSHOT` is `stopped`, `from_snapshot`). The position in a tuple is the
number. The library on a machine can be older than the daemon that it talks to, so these tables name
more than a binding may know. Source: libvirt's `include/libvirt/libvirt-domain.h`, up to 11.10.
A number that no table names is `unknown`; the caller keeps the number.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

UNKNOWN: Final = "unknown"

LIFECYCLE: Final[dict[str, tuple[str, ...]]] = {
    "defined": ("added", "updated", "renamed", "from_snapshot"),
    "undefined": ("removed", "renamed"),
    "started": ("booted", "migrated", "restored", "from_snapshot", "wakeup", "recreated"),
    "suspended": (
        "paused",
        "migrated",
        "ioerror",
        "watchdog",
        "restored",
        "from_snapshot",
        "api_error",
        "postcopy",
        "postcopy_failed",
        "guest_shutdown",
    ),
    "resumed": ("unpaused", "migrated", "from_snapshot", "postcopy", "postcopy_failed"),
    "stopped": (
        "shutdown",
        "destroyed",
        "crashed",
        "migrated",
        "saved",
        "failed",
        "from_snapshot",
        "recreated",
    ),
    "shutdown": ("finished", "guest", "host"),
    "pmsuspended": ("memory", "disk"),
    "crashed": ("panicked", "crashloaded"),
}
"""Lifecycle events in the order of their numbers (`virDomainEventType`), each with its details."""

STATES: Final[dict[str, tuple[str, ...]]] = {
    "nostate": ("unknown",),
    "running": (
        "unknown",
        "booted",
        "migrated",
        "restored",
        "from_snapshot",
        "unpaused",
        "migration_canceled",
        "save_canceled",
        "wakeup",
        "crashed",
        "postcopy",
        "postcopy_failed",
    ),
    "blocked": ("unknown",),
    "paused": (
        "unknown",
        "user",
        "migration",
        "save",
        "dump",
        "ioerror",
        "watchdog",
        "from_snapshot",
        "shutting_down",
        "snapshot",
        "crashed",
        "starting_up",
        "postcopy",
        "postcopy_failed",
        "api_error",
    ),
    "shutdown": ("unknown", "user"),
    "shutoff": (
        "unknown",
        "shutdown",
        "destroyed",
        "crashed",
        "migrated",
        "saved",
        "failed",
        "from_snapshot",
        "daemon",
    ),
    "crashed": ("unknown", "panicked"),
    "pmsuspended": ("unknown",),
}
"""Domain states in the order of their numbers (`virDomainState`), each with its reasons."""

JOB_OPERATIONS: Final[tuple[str, ...]] = (
    "unknown",
    "start",
    "save",
    "restore",
    "migration_in",
    "migration_out",
    "snapshot",
    "snapshot_revert",
    "dump",
    "backup",
    "snapshot_delete",
)
"""Job operations in the order of their numbers (`virDomainJobOperation`)."""

_EVENTS = tuple(LIFECYCLE)
_STATES = tuple(STATES)


def name_at(names: tuple[str, ...], code: int) -> str:
    """The name at a number, or `unknown`."""
    return names[code] if 0 <= code < len(names) else UNKNOWN


def lifecycle_name(event_code: int) -> str:
    """The name of a lifecycle event's number, or `unknown`."""
    return name_at(_EVENTS, event_code)


def detail_name(event_code: int, detail_code: int) -> str:
    """The name of a detail's number within its event, or `unknown`."""
    return name_at(LIFECYCLE.get(lifecycle_name(event_code), ()), detail_code)


@lru_cache(maxsize=256)
def state_name(state_code: int) -> str:
    """The name of a domain state's number, or `unknown`."""
    return name_at(_STATES, state_code)


@lru_cache(maxsize=256)
def reason_name(state_code: int, reason_code: int) -> str:
    """The name of a reason's number within its state, or `unknown`."""
    return name_at(STATES.get(state_name(state_code), ()), reason_code)


def operation_name(code: int) -> str:
    """The name of a job operation's number, or `unknown`."""
    return name_at(JOB_OPERATIONS, code)


def lifecycle_codes(event: str, detail: str) -> tuple[int, int]:
    """The two numbers of a named event and detail; the detail of `unknown` is -1.

    Raises KeyError or ValueError for a name that libvirt does not have.
    """
    details = LIFECYCLE[event]
    return _EVENTS.index(event), -1 if detail == UNKNOWN else details.index(detail)


def state_codes(state: str, reason: str) -> tuple[int, int]:
    """The two numbers of a named state and reason.

    Raises KeyError or ValueError for a name that libvirt does not have.
    """
    return _STATES.index(state), STATES[state].index(reason)
