"""What the hypervisor room reports to the thread `outbox`, in the order in which it happened."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from bridge.agent.inventory.domains import ListedDomain
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


class ListedObject(msgspec.Struct, frozen=True, gc=False):
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


class ObjectsRequested(msgspec.Struct, frozen=True):
    """A list of one class is about to be read."""

    object: Object


class ObjectsListed(msgspec.Struct, frozen=True):
    """A list of one class that was read in full. `touched` are the keys of those that had an event since."""

    object: Object
    driver: str
    seen: Mapping[str, ListedObject]
    at_ns: int
    touched: Collection[str] = frozenset()


class ConnectionOpened(msgspec.Struct, frozen=True):
    """A connection is about to register for events: what follows belongs to it."""

    generation: int
    driver: str


class DomainsRequested(msgspec.Struct, frozen=True):
    """A list is about to be read."""

    number: int


class DomainsListed(msgspec.Struct, frozen=True):
    """A list that was read in full, between `DomainsRequested` of the same number and now."""

    number: int
    driver: str
    seen: Mapping[str, ListedDomain]
    first: bool
    at_ns: int


class IoError(msgspec.Struct, frozen=True):
    """The last I/O error of one disk's source, as libvirt keeps it: `disk` is its target, as `vda`."""

    disk: str
    path: str | None
    at_ns: int
    message: str


class IoErrors(msgspec.Struct, frozen=True):
    """The I/O errors that libvirt keeps, by UUID. Since `listening_since_ns` they came as events, too."""

    driver: str
    listening_since_ns: int
    at_ns: int
    found: Mapping[str, Sequence[IoError]]


class ConnectionLost(msgspec.Struct, frozen=True):
    """The connection ended."""

    generation: int
    reason: str


class JobEnded(msgspec.Struct, frozen=True):
    """An outgoing migration job ended while the domain is still on this host.

    `params` are libvirt's last figures of the job, under its own names; `there_s` is when the job was last
    seen (monotonic).
    """

    at_ns: int
    there_s: float
    driver: str
    uuid: str
    name: str
    id: int | None
    params: dict[str, Any]


class IncomingCompleted(msgspec.Struct, frozen=True):
    """An incoming migration completed: `params` are libvirt's figures of it, under its own names."""

    at_ns: int
    driver: str
    uuid: str
    name: str
    id: int | None
    params: dict[str, Any]


class JobFound(msgspec.Struct, frozen=True):
    """An outgoing migration job was found by asking; it began between `earliest_ns` and `since_ns`, if
    libvirt says so. `former` is the end of the one before, to be published if another one was known.
    """

    uuid: str
    since_ns: int | None
    earliest_ns: int | None = None
    former: JobEnded | None = None


class StateCleared(msgspec.Struct, frozen=True, gc=False):
    """The broker accepted the empty state of a domain that is gone."""

    uuid: str


class StateRetained(msgspec.Struct, frozen=True):
    """The broker retains a state of this domain that this process hasn't published."""

    uuid: str


Report = (
    Occurrence
    | ObjectOccurrence
    | ObjectsRequested
    | ObjectsListed
    | ConnectionOpened
    | DomainsRequested
    | DomainsListed
    | IoErrors
    | ConnectionLost
    | JobEnded
    | IncomingCompleted
    | JobFound
    | StateCleared
    | StateRetained
)
