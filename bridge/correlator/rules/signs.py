"""What each thing that a host says is a sign of: a lifecycle event, a job, a state that it lists.

The tables' source is libvirt's event and state enumerations, and which of them its drivers emit in a
migration (`qemu_migration.c`, `libxl_migration.c`).
"""

from __future__ import annotations

from typing import Final, Literal

from bridge.correlator.rules.exceptions import exception_to
from bridge.correlator.rules.facts import Fact, Mark
from bridge.correlator.rules.track import Phase, Track

Sign = Literal[
    "incoming",
    "restored",
    "booted",
    "switching",
    "stuck",
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
    "stuck_again",
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

SIGNS: Final[dict[str, Sign]] = {
    "started/migrated": "incoming",
    "started/*": "booted",
    "suspended/migrated": "switching",
    "suspended/api_error": "stuck",
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
        "stuck",
        "stopped",
        "crashed",
        "defined",
        "updated",
        "undefined",
    }
)
"""Signs of a domain's ordinary life on one host."""

SIGNS_BY_DRIVER: Final[dict[str, dict[str, Sign]]] = {
    # libxl announces an incoming migration as a restore (libxl_migration.c), and a restore is one too.
    "Xen": {"started/restored": "restored"},
}

STATE_SIGNS: Final[dict[Phase, dict[str, Sign]]] = {
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
_KNOWN: Final[dict[Phase, str]] = {
    "leaving": "paused/migration",
    "leaving_postcopy": "paused/postcopy",
    "leaving_broken": "paused/postcopy_failed",
}
for _phase, _known in _KNOWN.items():
    STATE_SIGNS[_phase] = {what: s for what, s in STATE_SIGNS["copying"].items() if what != _known}
STATE_SIGNS["leaving"]["running/unpaused"] = "resumed"
"""What a listed state is a sign of when no event came for it: what an agent that was blind finds."""

POSTCOPY_SIGNS: Final[dict[str, Sign]] = {
    "running/postcopy": "destination_postcopy",
    "running/postcopy_failed": "destination_postcopy",
    "paused/postcopy": "source_postcopy",
    "paused/postcopy_failed": "source_postcopy",
}
"""What a listed state says of a host that nothing else is known of: only a post-copy tells the host's part.
That it broke is left to `STATE_SIGNS`."""


_SIGN_OF_JOB: Final[dict[str, Sign | None]] = {"migration_out": "job_completed", "migration_in": None}
"""What a completed job is a sign of, by its operation. An arrival's is no news: it comes after its end."""


def sign_of(fact: Fact) -> Sign | None:
    """What a fact is a sign of; None for one that proves nothing. States are read by `sign_of_state`."""
    if fact.kind == "lifecycle":
        event = fact.what.partition("/")[0]
        sign = (
            SIGNS_BY_DRIVER.get(fact.driver, {}).get(fact.what)
            or SIGNS.get(fact.what)
            or SIGNS.get(f"{event}/*")
        )
        return "undefined_silently" if sign == "undefined" and _went_silently(fact) else sign
    if fact.kind == "iteration":
        return "first_iteration" if fact.figures[0] == 1 else "iteration"
    if fact.kind == "job_completed":
        return _SIGN_OF_JOB.get(fact.what, "other_job")
    if fact.kind == "job_failed":
        return "job_failed" if fact.what == "migration_out" else None
    return None


@exception_to("SIGNS", "`undefined` is `undefined_silently`")
def _went_silently(fact: Fact) -> bool:
    """No event told that the definition went: an agent that had been blind found it gone."""
    return fact.origin == "resync"


def end_of(mark: Mark) -> Literal["crashed", "stopped"] | None:
    """How a guest ended where nothing but its end was seen; None where it left, or nobody saw the end."""
    sign = SIGNS.get(mark.what) or SIGNS.get(f"{mark.what.partition('/')[0]}/*")
    return sign if sign in ("crashed", "stopped") else None


def sign_of_state(track: Track) -> Sign | None:
    """What the listed state says in this phase beyond what is known already; None for nothing."""
    listed = track.listed
    if listed is None or listed.key < track.moved:
        return None
    what = listed.what
    if track.phase == "away":
        was_here = what == "gone" and track.persistent and track.present
        return "undefined_silently" if was_here else None
    if _tells_of_an_earlier_job(track, what):
        return None
    row = STATE_SIGNS.get(track.phase, {})
    sign = row.get(what) or row.get(f"{what.partition('/')[0]}/*")
    return None if sign == "resumed" and track.departures[-1].stage == "unpaused" else sign


@exception_to("STATE_SIGNS", "the state is no sign")
def _tells_of_an_earlier_job(track: Track, what: str) -> bool:
    """A copy runs, and the reason was listed before it began, or is a cancellation's in the same stay."""
    if track.phase != "copying":
        return False
    was_cancelled = track.stay is not None and track.stay.cancelled
    return what == track.departures[-1].state_before or (
        was_cancelled and what == "running/migration_canceled"
    )
