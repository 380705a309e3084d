"""A domain as libvirt lists it, as the agent last knew it, and the effect of an event on it.

Pure. What the agent knows is stored beside its events (`Outbox.remember`), so that after a restart it can
publish what changed meanwhile.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from bridge.wire import vocabulary

PAUSED_FOR_MIGRATION: Final = frozenset(
    vocabulary.state_codes("paused", reason) for reason in ("migration", "starting_up")
)
"""States that a domain has on either side of a migration: libvirt is asked which one it is."""


class ListedDomain(msgspec.Struct, frozen=True, gc=False):
    """One domain of a complete list, as libvirt returned it.

    `id` is None when libvirt says -1. `incoming` is whether a domain that is paused for a migration is its
    destination: True and False come from libvirt (virDomainGetJobStats), None is unknown.
    """

    uuid: str
    name: str
    id: int | None
    state: int
    reason: int
    persistent: bool | None
    incoming: bool | None = None


class Known(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What the agent last knew of a domain: by an event, or by a list (then `exact`).

    `persistent` is None until a list showed it. `incoming` is true from the preparation of an incoming
    migration to its end, `outgoing` while an outgoing migration job was seen and its end wasn't. `gone` marks
    a domain that no longer exists and whose retained state has yet to be cleared. Of the job under way,
    `since_ns` is when it began by libvirt's word, `iterated` whether it had an iteration. I/O errors of this
    run up to `io_errors_ns` are published.
    """

    name: str
    id: int | None
    state: int
    reason: int
    persistent: bool | None
    incoming: bool = False
    outgoing: bool = False
    exact: bool = False
    gone: bool = False
    since_ns: int | None = None
    iterated: bool = False
    io_errors_ns: int | None = None

    @property
    def active(self) -> bool:
        """Whether the domain has a running hypervisor process (which may be paused)."""
        return not self.gone and is_active(self.state, self.id)

    @property
    def defined_only(self) -> bool:
        """Whether the domain exists and isn't active."""
        return not self.gone and not self.active


_ENCODE: Final = msgspec.json.Encoder().encode
_DECODE: Final = msgspec.json.Decoder(Known).decode


def encode(known: Known) -> bytes:
    """The stored form of what is known."""
    return _ENCODE(known)


def decode(stored: bytes) -> Known:
    """Decodes a snapshot. Raises msgspec.MsgspecError for bytes that `encode` can't have made."""
    return _DECODE(stored)


def is_active(state: int, domain_id: int | None) -> bool:
    """Whether a domain in this state has a hypervisor process."""
    name = vocabulary.state_name(state)
    return domain_id is not None if name in ("nostate", "unknown") else name != "shutoff"


def as_known(seen: ListedDomain, before: Known | None = None) -> Known:
    """What is known after a list. An outgoing job stays known as long as the same run goes on."""
    same_run = before is not None and before.active and before.id == seen.id
    return Known(
        name=seen.name,
        id=seen.id,
        state=seen.state,
        reason=seen.reason,
        persistent=seen.persistent,
        incoming=_is_incoming(seen, before if same_run else None),
        outgoing=before is not None and before.outgoing and same_run,
        exact=True,
        since_ns=before.since_ns if before is not None and same_run else None,
        iterated=before is not None and before.iterated and same_run,
        io_errors_ns=before.io_errors_ns if before is not None and same_run else None,
    )


def _is_incoming(seen: ListedDomain, before: Known | None) -> bool:
    where = (vocabulary.state_name(seen.state), vocabulary.reason_name(seen.state, seen.reason))
    if where in (("running", "postcopy"), ("running", "postcopy_failed")):
        return True
    if seen.incoming is not None:
        return seen.incoming
    return before is not None and before.incoming and where == ("paused", "migration")


_AFTER: Final[dict[tuple[str, str], tuple[str, str]]] = {
    ("started", "booted"): ("running", "booted"),
    ("started", "migrated"): ("paused", "migration"),
    ("started", "restored"): ("running", "restored"),
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
    ("suspended", "guest_shutdown"): ("paused", "shutting_down"),
    ("resumed", "unpaused"): ("running", "unpaused"),
    ("resumed", "migrated"): ("running", "migration_canceled"),
    ("resumed", "from_snapshot"): ("running", "from_snapshot"),
    ("resumed", "postcopy"): ("running", "postcopy"),
    ("resumed", "postcopy_failed"): ("running", "postcopy_failed"),
    ("stopped", "shutdown"): ("shutoff", "shutdown"),
    ("stopped", "destroyed"): ("shutoff", "destroyed"),
    ("stopped", "crashed"): ("shutoff", "crashed"),
    ("stopped", "migrated"): ("shutoff", "migrated"),
    ("stopped", "saved"): ("shutoff", "saved"),
    ("stopped", "failed"): ("shutoff", "failed"),
    ("stopped", "from_snapshot"): ("shutoff", "from_snapshot"),
    ("crashed", "panicked"): ("crashed", "panicked"),
}
_AFTER_EVENT: Final[dict[str, str]] = {
    "started": "running",
    "suspended": "paused",
    "resumed": "running",
    "stopped": "shutoff",
    "pmsuspended": "pmsuspended",
    "crashed": "crashed",
}
"""The state after an event whose detail says nothing more specific."""


class _Effect(NamedTuple):
    """The effect of an event: the state and reason after it, None if they don't change."""

    event: str
    detail: str
    left: tuple[int, int] | None
    same_run: bool
    leaving: bool


_SAME_RUN: Final = frozenset({"suspended", "resumed", "pmsuspended", "crashed"})
_LEAVING: Final = frozenset({("suspended", "migrated"), ("suspended", "postcopy")})
"""Only the source of a migration has these."""
_SHUT_OFF: Final = vocabulary.state_codes("shutoff", "unknown")
_CANCELED: Final = vocabulary.state_codes("running", "migration_canceled")
_MIGRATED: Final = vocabulary.state_codes("running", "migrated")


@lru_cache(maxsize=256)
def _effect(event_code: int, detail_code: int) -> _Effect:
    event = vocabulary.lifecycle_name(event_code)
    detail = vocabulary.detail_name(event_code, detail_code)
    state = _AFTER_EVENT.get(event)
    left = _AFTER.get((event, detail)) or (state and (state, vocabulary.UNKNOWN))
    return _Effect(
        event,
        detail,
        vocabulary.state_codes(*left) if left else None,
        same_run=event in _SAME_RUN,
        leaving=(event, detail) in _LEAVING,
    )


def after_event(
    before: Known | None, *, name: str, domain_id: int | None, event_code: int, detail_code: int
) -> Known | None:
    """What is known of a domain after one lifecycle event; None when it no longer exists.

    An active domain without a definition is gone when it stops. Where it is unknown whether it has one, it
    counts as shut off until a list shows it.
    """
    event, detail, left, same_run, leaving = _effect(event_code, detail_code)
    if before is None or before.gone:
        before = Known(name, None, *_SHUT_OFF, persistent=None)
    if event == "undefined":
        return _undefined(before, detail)
    if event == "defined":
        return msgspec.structs.replace(before, name=name, persistent=True)
    if left is None:
        return msgspec.structs.replace(before, name=name, id=domain_id)
    if event == "stopped" and before.persistent is False:
        return None
    if left == _CANCELED and before.incoming:
        left = _MIGRATED
    return Known(
        name,
        domain_id,
        *left,
        persistent=before.persistent,
        incoming=_is_arriving(before, event, detail),
        outgoing=same_run and (before.outgoing or (leaving and not before.incoming)),
        since_ns=before.since_ns if same_run else None,
        iterated=same_run and before.iterated,
        io_errors_ns=before.io_errors_ns if same_run else None,
    )


def _undefined(before: Known, detail: str) -> Known | None:
    if detail == "renamed":
        return before
    return msgspec.structs.replace(before, persistent=False) if before.active else None


def _is_arriving(before: Known, event: str, detail: str) -> bool:
    if event == "started":
        return detail == "migrated"
    return before.incoming and detail in ("postcopy", "postcopy_failed")
