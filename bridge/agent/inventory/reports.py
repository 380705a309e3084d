"""What the hypervisor connection reports to the thread that writes the outbox, in the order it happened."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from bridge.agent.inventory.domains import Seen
from bridge.wire.events import Object


class Occurrence(msgspec.Struct, frozen=True, gc=False):
    """One event as the callback received it.

    `received_ns` is the host's clock on receipt, nanoseconds since the epoch, `received_s` the monotonic one.
    `kind` is `lifecycle` or a name of `events.EVENTS`; `code` and `detail` are a lifecycle event's two
    numbers, `arguments` what the callback of another kind got. `id` is None when libvirt says -1.
    """

    received_ns: int
    received_s: float
    kind: str
    driver: str
    uuid: str
    name: str
    id: int | None
    code: int = -1
    detail: int = -1
    arguments: tuple[Any, ...] = ()


class ObjectOccurrence(msgspec.Struct, frozen=True, gc=False):
    """One event of another object than a domain, as the callback received it.

    `event` is its name in `events.CHOICES`, `key` the object's UUID, or its name where it has none.
    """

    received_ns: int
    received_s: float
    object: Object
    event: str
    driver: str
    key: str
    name: str
    arguments: tuple[Any, ...]


class SeenObject(msgspec.Struct, frozen=True, gc=False):
    """One network or pool of a complete list. `state` is a pool's, and its figures are in bytes."""

    key: str
    name: str
    active: bool
    persistent: bool
    autostart: bool
    state: int | None = None
    capacity: int | None = None
    allocation: int | None = None
    available: int | None = None


class ObjectsAsked(msgspec.Struct, frozen=True):
    """A list of one class is about to be read."""

    object: Object


class ObjectsListed(msgspec.Struct, frozen=True):
    """A list of one class that was read in full. `touched` are the keys of those that had an event since."""

    object: Object
    driver: str
    seen: Mapping[str, SeenObject]
    at_ns: int
    touched: Collection[str] = frozenset()


class Opened(msgspec.Struct, frozen=True):
    """A connection is about to register for events: what comes from now on belongs to it."""

    generation: int
    driver: str


class LookBegan(msgspec.Struct, frozen=True):
    """A list is about to be read."""

    look: int


class Looked(msgspec.Struct, frozen=True):
    """A list that was read in full, between `LookBegan` of the same number and now."""

    look: int
    driver: str
    seen: Mapping[str, Seen]
    first: bool
    at_ns: int


class IoError(msgspec.Struct, frozen=True):
    """The last I/O error of one disk's source, as libvirt keeps it: `disk` is its target, as `vda`."""

    disk: str
    path: str | None
    at_ns: int
    message: str


class IoErrors(msgspec.Struct, frozen=True):
    """What libvirt keeps of domains' I/O errors, by UUID. Of those since `heard_ns` events came."""

    driver: str
    heard_ns: int
    at_ns: int
    found: Mapping[str, Sequence[IoError]]


class Lost(msgspec.Struct, frozen=True):
    """The connection is gone."""

    generation: int
    reason: str


class JobGone(msgspec.Struct, frozen=True):
    """An outgoing migration job was there and is no longer, while the domain still is on this host.

    `params` holds the last figures that libvirt gave of the job, under its own names; `there_s` is when it
    was last known to be there (monotonic).
    """

    at_ns: int
    there_s: float
    driver: str
    uuid: str
    name: str
    id: int | None
    params: dict[str, Any]


class Arrived(msgspec.Struct, frozen=True):
    """An incoming migration completed: `params` are libvirt's figures of it, under its own names."""

    at_ns: int
    driver: str
    uuid: str
    name: str
    id: int | None
    params: dict[str, Any]


class JobSeen(msgspec.Struct, frozen=True):
    """An outgoing migration job was found by asking; `since_ns` is when it began, by libvirt's figures."""

    uuid: str
    since_ns: int


class Cleared(msgspec.Struct, frozen=True, gc=False):
    """The broker has the empty state of a domain that is gone."""

    uuid: str


class Held(msgspec.Struct, frozen=True):
    """The broker holds a state of this domain that this process hasn't told."""

    uuid: str


Report = (
    Occurrence
    | ObjectOccurrence
    | ObjectsAsked
    | ObjectsListed
    | Opened
    | LookBegan
    | Looked
    | IoErrors
    | Lost
    | JobGone
    | Arrived
    | JobSeen
    | Cleared
    | Held
)
