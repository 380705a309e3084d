"""Resync: what changed while the agent saw no events, as lifecycle events.

Pure: from what was known and what a list shows follow the events between, in libvirt's order. Everything that
decides is in the tables of this file. A detail is given only where libvirt keeps it (the reason of a state);
else it is `unknown`.

States and reasons are libvirt's (virDomainState and the reasons beside it), events and details too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from bridge.agent.inventory.domains import Known, ListedDomain, as_known, is_active
from bridge.wire.vocabulary import UNKNOWN, lifecycle_name, reason_name, state_codes, state_name

LifecycleEvent = tuple[str, str]
"""An event and its detail, by libvirt's names."""


class Change(NamedTuple):
    """One event that must have happened. `name` and `id` are the domain's at that moment."""

    uuid: str
    name: str
    id: int | None
    event: str
    detail: str


class Conclusion(NamedTuple):
    """The events that were missed, and what is known after them.

    `known` is None for a domain that doesn't exist.
    """

    changes: tuple[Change, ...]
    known: Known | None


_STOPPED: Final[dict[str, str]] = {
    "shutdown": "shutdown",
    "destroyed": "destroyed",
    "crashed": "crashed",
    "migrated": "migrated",
    "saved": "saved",
    "failed": "failed",
    "from_snapshot": "from_snapshot",
}
"""Reason of `shutoff`: detail of `stopped`. `unknown` and `daemon` (libvirtd was restarted) show nothing."""

_STARTED: Final[dict[tuple[str, str], tuple[LifecycleEvent, ...]]] = {
    ("running", "booted"): (("started", "booted"),),
    ("running", "migrated"): (("started", "migrated"), ("resumed", "migrated")),
    ("running", "restored"): (("started", "restored"), ("resumed", "from_snapshot")),
    ("running", "from_snapshot"): (("started", "from_snapshot"),),
    ("running", "migration_canceled"): (
        ("started", UNKNOWN),
        ("suspended", "migrated"),
        ("resumed", "migrated"),
    ),
    ("running", "wakeup"): (("started", "wakeup"),),
    ("running", "postcopy"): (("started", "migrated"), ("resumed", "postcopy")),
    ("running", "postcopy_failed"): (
        ("started", "migrated"),
        ("resumed", "postcopy"),
        ("resumed", "postcopy_failed"),
    ),
    ("paused", "user"): (("started", UNKNOWN), ("suspended", "paused")),
    ("paused", "save"): (("started", UNKNOWN), ("suspended", "paused")),
    ("paused", "dump"): (("started", UNKNOWN), ("suspended", "paused")),
    ("paused", "snapshot"): (("started", UNKNOWN), ("suspended", "paused")),
    ("paused", "migration"): (("started", UNKNOWN),),
    ("paused", "ioerror"): (("started", UNKNOWN), ("suspended", "ioerror")),
    ("paused", "watchdog"): (("started", UNKNOWN), ("suspended", "watchdog")),
    ("paused", "from_snapshot"): (("started", "from_snapshot"), ("suspended", "from_snapshot")),
    ("paused", "postcopy"): (("started", UNKNOWN), ("suspended", "postcopy")),
    ("paused", "postcopy_failed"): (("started", UNKNOWN), ("suspended", "postcopy_failed")),
    ("paused", "api_error"): (("started", UNKNOWN), ("suspended", "api_error")),
    ("paused", "unknown"): (("started", UNKNOWN), ("suspended", UNKNOWN)),
    ("crashed", "panicked"): (("started", UNKNOWN), ("crashed", "panicked")),
    ("crashed", "unknown"): (("started", UNKNOWN), ("crashed", UNKNOWN)),
    ("pmsuspended", "unknown"): (("started", UNKNOWN), ("pmsuspended", UNKNOWN)),
}
"""State and reason of a domain that wasn't active: what brought it there. Else `started`/`unknown`."""

_STARTED_FOR_MIGRATION: Final[dict[bool, tuple[LifecycleEvent, ...]]] = {
    True: (("started", "migrated"),),
    False: (("started", UNKNOWN), ("suspended", "migrated")),
}
"""A domain that wasn't active and is paused/migration: by whether it is the destination."""

_RESUMED: Final[dict[str, tuple[LifecycleEvent, ...]]] = {
    "booted": (("resumed", "unpaused"),),
    "unpaused": (("resumed", "unpaused"),),
    "save_canceled": (("resumed", "unpaused"),),
    "crashed": (("resumed", "unpaused"),),
    "migrated": (("resumed", "migrated"),),
    "migration_canceled": (("resumed", "migrated"),),
    "restored": (("resumed", "from_snapshot"),),
    "from_snapshot": (("resumed", "from_snapshot"),),
    "wakeup": (("started", "wakeup"),),
    "postcopy": (("resumed", "postcopy"),),
    "postcopy_failed": (("resumed", "postcopy"), ("resumed", "postcopy_failed")),
}
"""Reason of `running`: how a paused domain came to run again. Else `resumed`/`unknown`."""

_RAN_ON: Final[dict[str, dict[str, tuple[LifecycleEvent, ...]]]] = {
    # A post-copy that broke may have gone on and completed meanwhile; each step is events once.
    "migrated": {
        "postcopy": (("resumed", "migrated"),),
        "postcopy_failed": (("resumed", "migrated"),),
    },
    "postcopy": {"*": (("resumed", "postcopy"),)},
    "postcopy_failed": {"*": (("resumed", "postcopy_failed"),)},
    # Paused for the switch-over and resumed by the failure, both unseen.
    "migration_canceled": {"*": (("suspended", "migrated"), ("resumed", "migrated"))},
}
"""Reason of `running` now: reason of `running` before (`*`: any other): what happened between."""

_SUSPENDED: Final[dict[str, str]] = {
    "unknown": UNKNOWN,
    "user": "paused",
    "migration": "migrated",
    "save": "paused",
    "dump": "paused",
    "snapshot": "paused",
    "ioerror": "ioerror",
    "watchdog": "watchdog",
    "from_snapshot": "from_snapshot",
    "postcopy": "postcopy",
    "postcopy_failed": "postcopy_failed",
    "api_error": "api_error",
}
"""Reason of `paused`: detail of `suspended`."""

_STOOD_ON: Final = frozenset({"ioerror", "watchdog", "postcopy", "postcopy_failed", "api_error"})
"""Details of `suspended` that are published of a domain that already was paused for another reason."""

_PASSING: Final = frozenset({("paused", "starting_up"), ("paused", "shutting_down"), ("paused", "crashed")})
"""States that libvirt is about to leave, with an event: nothing is concluded from them."""

_STANDING: Final = frozenset({"paused", "pmsuspended", "crashed", "shutdown"})
_FIRST: Final = {"gone": 0, "changed": 1, "new": 2}


def compare(before: Known | None, seen: ListedDomain | None, uuid: str) -> Conclusion | None:
    """What happened to one domain since it was known.

    None where nothing can be concluded yet, because libvirt is in the middle of a change that an event will
    announce. For a run that began meanwhile that is so; the end of the former run is concluded.
    """
    if before is not None and before.gone:
        before = None
    if seen is None:
        return Conclusion(tuple(_vanished(uuid, before)) if before else (), None)
    state, reason = state_name(seen.state), reason_name(seen.state, seen.reason)
    was_active = before is not None and before.active
    same_run = was_active and before is not None and _same_run(before, seen)
    if _is_passing(state, reason):
        return None if before is None or same_run else _ended_before(before, seen)
    changes: list[Change] = []
    if was_active and not same_run and before is not None and seen_active(seen):
        changes.append(Change(uuid, before.name, None, "stopped", UNKNOWN))
    changes.extend(_definition(uuid, before, seen))
    if not seen_active(seen):
        events = _ended(before, seen, reason)
    elif before is not None and same_run:
        events = _went_on(before, seen, state, reason)
    else:
        events = _arrived(seen, state, reason)
    changes.extend(Change(uuid, seen.name, seen.id, event, detail) for event, detail in events)
    return Conclusion(tuple(changes), as_known(seen, before))


def difference(known: Mapping[str, Known], seen: Mapping[str, ListedDomain]) -> dict[str, Conclusion]:
    """What happened to each domain, for those where something did or is newly known.

    In the order of publishing: first what is gone, then what changed, then what is new. `seen` has to be a
    complete list.
    """
    verdicts: list[tuple[int, str, Conclusion]] = []
    for uuid in known.keys() | seen.keys():
        before = known.get(uuid)
        verdict = compare(before, seen.get(uuid), uuid)
        if verdict is None or (not verdict.changes and verdict.known == before):
            continue
        rank = _FIRST["gone" if verdict.known is None else "new" if before is None else "changed"]
        verdicts.append((rank, uuid, verdict))
    verdicts.sort(key=lambda entry: entry[:2])
    return {uuid: verdict for _, uuid, verdict in verdicts}


def is_passing(seen: ListedDomain) -> bool:
    """Whether libvirt is in the middle of changing this domain, so that nothing is concluded yet."""
    return _is_passing(state_name(seen.state), reason_name(seen.state, seen.reason))


def seen_active(seen: ListedDomain) -> bool:
    """Whether a listed domain has a hypervisor process."""
    return is_active(seen.state, seen.id)


def _is_passing(state: str, reason: str) -> bool:
    """Whether libvirt is in the middle of a change that an event will announce."""
    return state == "shutdown" or (state, reason) in _PASSING


def _same_run(before: Known, seen: ListedDomain) -> bool:
    return before.id is None or seen.id is None or before.id == seen.id


def _ended_before(before: Known, seen: ListedDomain) -> Conclusion | None:
    """The end of a run, where another is about to begin."""
    if not before.active:
        return None
    state, reason = state_codes("shutoff", UNKNOWN)
    then = ListedDomain(seen.uuid, before.name, None, state, reason, before.persistent)
    return compare(before, then if before.persistent else None, seen.uuid)


def _vanished(uuid: str, before: Known) -> Iterator[Change]:
    if before.active:
        yield Change(uuid, before.name, None, "stopped", UNKNOWN)
    if before.persistent:
        yield Change(uuid, before.name, None, "undefined", "removed")


def _definition(uuid: str, before: Known | None, seen: ListedDomain) -> Iterator[Change]:
    if before is None:
        if seen.persistent or not seen_active(seen):
            yield Change(uuid, seen.name, None, "defined", "added")
        return
    if before.name != seen.name:
        yield Change(uuid, before.name, before.id, "undefined", "renamed")
        yield Change(uuid, seen.name, seen.id, "defined", "renamed")
    if before.persistent is False and seen.persistent:
        yield Change(uuid, seen.name, seen.id, "defined", "added")
    if before.persistent and seen.persistent is False:
        yield Change(uuid, seen.name, seen.id, "undefined", "removed")


def _ended(before: Known | None, seen: ListedDomain, reason: str) -> Sequence[LifecycleEvent]:
    detail = _STOPPED.get(reason, UNKNOWN)
    if before is not None and before.active:
        return (("stopped", detail),)
    if detail == UNKNOWN or (before is not None and (not before.exact or before.reason == seen.reason)):
        return ()
    # It wasn't active then and isn't now, and yet it ended: it ran in between.
    return (("started", UNKNOWN), ("stopped", detail))


def _arrived(seen: ListedDomain, state: str, reason: str) -> Sequence[LifecycleEvent]:
    if (state, reason) == ("paused", "migration") and seen.incoming is not None:
        return _STARTED_FOR_MIGRATION[seen.incoming]
    return _STARTED.get((state, reason), (("started", UNKNOWN),))


def _went_on(before: Known, seen: ListedDomain, state: str, reason: str) -> Sequence[LifecycleEvent]:
    state_before, reason_before = state_name(before.state), reason_name(before.state, before.reason)
    if state in ("crashed", "pmsuspended"):
        return () if state == state_before else ((state, reason if state == "crashed" else UNKNOWN),)
    if state != "paused":
        return _runs(state_before, reason_before, reason)
    detail = _SUSPENDED.get(reason, UNKNOWN)
    if seen.incoming and detail == "migrated":
        return ()
    if state_before != "paused":
        return (("suspended", detail),)
    if detail == _SUSPENDED.get(reason_before, UNKNOWN):
        return ()
    # A guest that came and was left paused is `suspended`/`paused`: the end of its arrival.
    ended_arrival = detail == "paused" and reason_before == "migration"
    return (("suspended", detail),) if detail in _STOOD_ON or ended_arrival else ()


def _runs(state_before: str, reason_before: str, reason: str) -> Sequence[LifecycleEvent]:
    if state_before in _STANDING:
        return _RESUMED.get(reason, (("resumed", UNKNOWN),))
    if reason == reason_before:
        return ()
    between = _RAN_ON.get(reason, {})
    return between.get(reason_before, between.get("*", ()))


_BEFORE: Final[dict[str, frozenset[str]]] = {
    "started": frozenset({"shutoff"}),
    "suspended": frozenset({"running"}),
    "resumed": frozenset({"paused"}),
    "stopped": frozenset({"running", "paused", "pmsuspended", "crashed"}),
    "shutdown": frozenset({"running", "paused"}),
    "pmsuspended": frozenset({"running"}),
    "crashed": frozenset({"running"}),
}
"""The states in which an event can happen to a domain."""


def missed_before(
    before: Known | None,
    seen: ListedDomain | None,
    *,
    uuid: str,
    name: str,
    domain_id: int | None,
    event_code: int,
) -> Conclusion:
    """What was missed before an event that came while the list was being read.

    The list may have been read before or after the event. Where it fits the time before, it counts; else what
    was known stands, and only what must have preceded the event is concluded.
    """
    if before is not None and before.gone:
        before = None
    event = lifecycle_name(event_code)
    needed = _BEFORE.get(event)
    if needed is None:
        return Conclusion((), before)
    if seen is not None and state_name(seen.state) in needed and _is_run_of(seen, event, domain_id):
        return compare(before, seen, uuid) or Conclusion((), before)
    if _can_follow(before, event, domain_id):
        return Conclusion((), before)
    persistent = None if before is None else before.persistent
    if event == "started":
        state, reason = state_codes("shutoff", UNKNOWN)
        then = ListedDomain(uuid, name, None, state, reason, persistent) if persistent else None
    else:
        state, reason = state_codes("running", UNKNOWN)
        then = ListedDomain(uuid, name, domain_id, state, reason, persistent)
    return compare(before, then, uuid) or Conclusion((), before)


def _can_follow(before: Known | None, event: str, domain_id: int | None) -> bool:
    if before is None or not before.active:
        # libvirt emits `resumed`, then `started` for a boot.
        return event in ("started", "resumed")
    if event == "started":
        return state_name(before.state) == "pmsuspended"
    return event == "stopped" or before.id is None or before.id == domain_id


def _is_run_of(seen: ListedDomain, event: str, domain_id: int | None) -> bool:
    return event in ("started", "stopped") or seen.id == domain_id
