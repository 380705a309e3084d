"""Networks and pools as the agent knows them, and the messages about objects other than domains.

Sans-I/O: `Inventory` passes reports on. What is known is stored beside the events, so an unseen change is
published with origin `resync`: where two lists show it and no event came between, or where an event can't
have happened without it. A list that couldn't be read in full never gets here. Node devices and secrets
aren't listed; their events are passed on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from bridge.agent.inventory.drafts import FORGET, Draft
from bridge.agent.inventory.encoder import Encoder
from bridge.agent.inventory.reports import ListedObject, ObjectOccurrence, ObjectsListed
from bridge.wire.events import EVENTS, LIFECYCLES, OBJECTS
from bridge.wire.vocabulary import name_at


class KnownObject(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What was last known of a network or pool; `persistent` is None until a list or an event showed it."""

    name: str
    active: bool
    persistent: bool | None


Snapshots = dict[str, bytes | None]
"""Stored beside the events, by `{class}/{key}`; None forgets one."""

_ENCODE: Final = msgspec.json.Encoder().encode
_DECODE: Final = msgspec.json.Decoder(KnownObject).decode
_BASELINE: Final = ""
"""The key of a class that was listed once: distinguishes a host without networks from one never seen."""

_NEEDS: Final[dict[str, tuple[str, Any, str]]] = {
    "started": ("active", False, "stopped"),
    "stopped": ("active", True, "started"),
    "undefined": ("persistent", True, "defined"),
}
"""An event, the condition before it, and the event that must have been missed where it wasn't met."""


def is_of_objects(key: str) -> bool:
    """Whether a stored key is of an object other than a domain."""
    return "/" in key


def after_event(known: KnownObject, event: str) -> KnownObject | None:
    """What is known of an object after one lifecycle event; None when it no longer exists."""
    match event:
        case "defined":
            return msgspec.structs.replace(known, persistent=True)
        case "started":
            return msgspec.structs.replace(known, active=True)
        case "stopped":
            return None if known.persistent is False else msgspec.structs.replace(known, active=False)
        case "undefined":
            return msgspec.structs.replace(known, persistent=False) if known.active else None
    return known


def difference(before: KnownObject | None, seen: ListedObject | None) -> Iterator[str]:
    """The lifecycle events from what was known to what a list shows, in libvirt's order."""
    was_active = before is not None and before.active
    was_persistent = before is not None and before.persistent
    if was_active and (seen is None or not seen.active):
        yield "stopped"
    if was_persistent and (seen is None or not seen.persistent):
        yield "undefined"
    if seen is not None and seen.persistent and not was_persistent and not _is_open(before):
        yield "defined"
    if seen is not None and seen.active and not was_active:
        yield "started"


def _is_open(before: KnownObject | None) -> bool:
    return before is not None and before.persistent is None


class Objects:
    """All networks and pools of one host as the agent knows them; see the module. For one thread."""

    def __init__(self, encoder: Encoder, stored: Mapping[str, bytes]) -> None:
        self._encoder = encoder
        self._known: dict[str, dict[str, KnownObject]] = {plural: {} for plural in OBJECTS}
        self._listed: set[str] = set()
        for place, snapshot in stored.items():
            plural, _, key = place.partition("/")
            if key == _BASELINE:
                self._listed.add(plural)
            else:
                self._known[plural][key] = _DECODE(snapshot)
        self._touched: dict[str, set[str]] = {}
        self._unconfirmed: dict[str, dict[str, ListedObject | None]] = {}

    def opened(self) -> None:
        """A new connection: lists of an earlier one confirm nothing."""
        self._unconfirmed.clear()

    def asked(self, plural: str) -> None:
        """A list of this class is about to be read."""
        self._touched[plural] = set()

    def occurred(self, occurrence: ObjectOccurrence) -> Iterator[Draft]:
        """The messages of one event, preceded by what was missed."""
        if occurrence.event in LIFECYCLES:
            yield from self._lifecycle(occurrence)
        else:
            yield self._encoder.object_event(EVENTS[occurrence.event], occurrence)

    def listed(self, listed: ObjectsListed, snapshots: Snapshots) -> tuple[list[Draft], ObjectsListed, bool]:
        """The result of a list: messages, the list without what events have overtaken, and whether another
        list has to confirm it. What is known without a message goes into `snapshots`.
        """
        plural = listed.object.plural
        touched = self._touched.pop(plural, set())
        if plural not in self._listed:
            self._listed.add(plural)
            snapshots[f"{plural}/{_BASELINE}"] = b"1"
            for key in listed.seen.keys() - touched:
                self._remember(plural, key, _as_known(listed.seen[key]), snapshots)
        known = self._known[plural]
        unconfirmed, self._unconfirmed[plural] = self._unconfirmed.get(plural, {}), {}
        drafts: list[Draft] = []
        for key in sorted((known.keys() | listed.seen.keys()) - touched):
            before, seen = known.get(key), listed.seen.get(key)
            missed = list(difference(before, seen))
            if missed and (key not in unconfirmed or unconfirmed[key] != seen):
                self._unconfirmed[plural][key] = seen
                continue
            name = seen.name if seen else before.name if before else ""
            after = _as_known(seen) if seen else None
            if not missed:
                self._remember(plural, key, after, snapshots)
                continue
            snapshot = self._store(plural, key, after)
            concluded = ObjectOccurrence(listed.at_ns, 0.0, listed.object, "", listed.driver, key, name, ())
            drafts += [self._encoder.object_change(concluded, event, snapshot) for event in missed]
        standing = msgspec.structs.replace(
            listed,
            seen={key: seen for key, seen in listed.seen.items() if key not in touched},
            touched=touched,
        )
        return drafts, standing, bool(self._unconfirmed[plural])

    def _lifecycle(self, occurrence: ObjectOccurrence) -> Iterator[Draft]:
        each, key = occurrence.object, occurrence.key
        plural = each.plural
        event = name_at(each.lifecycle, occurrence.arguments[0])
        if not each.keeps_state:
            yield self._encoder.object_lifecycle(occurrence, event, None)
            return
        self._touched.setdefault(plural, set()).add(key)
        self._unconfirmed.get(plural, {}).pop(key, None)
        # Of a class that was listed, what isn't known isn't there.
        nothing = KnownObject(
            occurrence.name, active=False, persistent=False if plural in self._listed else None
        )
        before = self._known[plural].get(key, nothing)
        missed = self._missed_before(plural, before, event)
        if missed is not None:
            before = after_event(before, missed) or nothing
            yield self._encoder.object_change(occurrence, missed, None)
        after = after_event(before, event)
        snapshot = self._store(plural, key, after)
        yield self._encoder.object_lifecycle(occurrence, event, snapshot)

    def _missed_before(self, plural: str, before: KnownObject, event: str) -> str | None:
        """The event that must have happened before this one, where the class was listed before."""
        if event not in _NEEDS or plural not in self._listed:
            return None
        what, needed, missed = _NEEDS[event]
        is_so = getattr(before, what)
        return None if is_so is None or is_so == needed else missed

    def _store(self, plural: str, key: str, after: KnownObject | None) -> bytes:
        known = self._known[plural]
        if after is None:
            known.pop(key, None)
            return FORGET
        known[key] = after
        return _ENCODE(after)

    def _remember(self, plural: str, key: str, after: KnownObject | None, snapshots: Snapshots) -> None:
        if self._known[plural].get(key) != after:
            snapshots[f"{plural}/{key}"] = self._store(plural, key, after) or None


def _as_known(seen: ListedObject) -> KnownObject:
    return KnownObject(seen.name, seen.active, seen.persistent)
