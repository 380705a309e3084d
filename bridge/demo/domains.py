"""What a domain is after each event, as libvirt's QEMU driver has it: enough for a played host's states."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from bridge.agent.inventory import domains as agent
from bridge.agent.inventory import resync
from bridge.wire.vocabulary import LIFECYCLE, STATES, state_codes


@dataclass(frozen=True, slots=True)
class Known:
    """What an agent knows of a domain. `incoming`: a migration brings it and hasn't ended."""

    name: str
    id: int | None
    state: str
    reason: str
    persistent: bool = False
    incoming: bool = False

    @property
    def active(self) -> bool:
        """Whether a QEMU runs for it here."""
        return self.state not in ("nostate", "shutoff", "crashed")


@dataclass(frozen=True, slots=True)
class Missed:
    """An event that nobody heard: the domain's name and id then, the event's and the detail's number."""

    name: str
    id: int | None
    codes: tuple[int, int]


Pair = tuple[str, str]

AFTER: Final[dict[Pair, Pair]] = {
    ("started", "booted"): ("running", "booted"),
    ("started", "migrated"): ("paused", "migration"),
    ("started", "restored"): ("paused", "migration"),
    ("started", "from_snapshot"): ("running", "from_snapshot"),
    ("started", "wakeup"): ("running", "wakeup"),
    ("suspended", "paused"): ("paused", "user"),
    ("suspended", "migrated"): ("paused", "migration"),
    ("suspended", "ioerror"): ("paused", "ioerror"),
    ("suspended", "watchdog"): ("paused", "watchdog"),
    ("suspended", "restored"): ("paused", "migration"),
    ("suspended", "from_snapshot"): ("paused", "from_snapshot"),
    ("suspended", "api_error"): ("paused", "api_error"),
    ("suspended", "postcopy"): ("paused", "postcopy"),
    ("suspended", "postcopy_failed"): ("paused", "postcopy_failed"),
    ("resumed", "unpaused"): ("running", "unpaused"),
    ("resumed", "migrated"): ("running", "migration_canceled"),
    ("resumed", "from_snapshot"): ("running", "restored"),
    ("resumed", "postcopy"): ("running", "postcopy"),
    ("resumed", "postcopy_failed"): ("running", "postcopy_failed"),
    ("stopped", "shutdown"): ("shutoff", "shutdown"),
    ("stopped", "destroyed"): ("shutoff", "destroyed"),
    ("stopped", "crashed"): ("shutoff", "crashed"),
    ("stopped", "migrated"): ("shutoff", "migrated"),
    ("stopped", "saved"): ("shutoff", "saved"),
    ("stopped", "failed"): ("shutoff", "crashed"),
    ("stopped", "from_snapshot"): ("shutoff", "from_snapshot"),
}
"""State and reason after an event and its detail. What isn't here changes nothing."""

AFTER_ON_ARRIVAL: Final[dict[Pair, Pair]] = {
    ("resumed", "migrated"): ("running", "migrated"),
    ("stopped", "failed"): ("shutoff", "failed"),
}
"""The same where a domain that is arriving differs."""

_ARRIVED: Final = (("resumed", "migrated"), ("suspended", "paused"))


def after(known: Known | None, event: str, detail: str, name: str, domain_id: int | None) -> Known | None:
    """What is known of a domain after one more event; None when the host no longer has it."""
    if event == "undefined":
        return replace(known, persistent=False) if known and known.active else None
    before = known or Known(name, domain_id, "shutoff", "unknown")
    if event == "defined":
        return replace(before, name=name, persistent=True)
    if event == "stopped" and not before.persistent:
        return None
    if event == "resumed" and not before.active:  # a boot is resumed first, then started
        state, reason = "running", "booted"
    else:
        rules = AFTER | AFTER_ON_ARRIVAL if before.incoming else AFTER
        state, reason = rules.get((event, detail), (before.state, before.reason))
    ended = event == "stopped" or (event, detail) in _ARRIVED
    return replace(
        before,
        name=name,
        id=None if event == "stopped" else domain_id,
        state=state,
        reason=reason,
        incoming=(event, detail) == ("started", "migrated") or (before.incoming and not ended),
    )


def named(name: str, domain_id: int | None, state_code: int, reason_code: int, *, persistent: bool) -> Known:
    """A domain from a host's list, its codes by name. Raises IndexError for codes that libvirt has not."""
    state = tuple(STATES)[state_code]
    return Known(name, domain_id, state, STATES[state][reason_code], persistent)


def missed(uuid: str, was: Known | None, now: Known | None) -> list[Missed]:
    """The events that an agent concludes from two looks at a domain, as `inventory.resync` decides it."""
    verdict = resync.compare(
        None if was is None else _known(was), None if now is None else _seen(uuid, now), uuid
    )
    if verdict is None:
        return []
    return [Missed(change.name, change.id, _codes(change.event, change.detail)) for change in verdict.changes]


def _codes(event: str, detail: str) -> tuple[int, int]:
    details = LIFECYCLE[event]
    return tuple(LIFECYCLE).index(event), details.index(detail) if detail in details else -1


def _known(known: Known) -> agent.Known:
    state, reason = state_codes(known.state, known.reason)
    return agent.Known(
        known.name, known.id, state, reason, known.persistent, incoming=known.incoming, exact=True
    )


def _seen(uuid: str, known: Known) -> agent.ListedDomain:
    state, reason = state_codes(known.state, known.reason)
    return agent.ListedDomain(uuid, known.name, known.id, state, reason, known.persistent, known.incoming)
