"""What an agent published, validated. Plain values."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from bridge.consumer.shapes import Message, ObjectMessage
from bridge.wire.messages import Job
from bridge.wire.topics import Address


class HostMessage(msgspec.Struct, frozen=True, gc=False):
    """An event or a state of a domain, or an event of another object, at its place in the host's stream.

    address: what its topic names. For a state, `sequence` is its `as_of`, and the message is no part of the
    event stream. at: its stamp in seconds.
    """

    address: Address
    epoch: str
    sequence: int
    at: float
    message: Message | ObjectMessage


@dataclass(frozen=True, slots=True)
class Cleared:
    """A host no longer has the domain: its retained state was emptied."""

    host: str
    uuid: str


@dataclass(frozen=True, slots=True)
class JobOf:
    """The job of a domain that is under way on a host, with its progress; None: there is none."""

    host: str
    uuid: str
    job: Job | None


@dataclass(frozen=True, slots=True)
class Status:
    """An agent's status. `lost` are spans (epoch, first, last) that it can't send any more, `states` how many
    states of domains the broker keeps, `sees_since` when the connection to libvirt began, by its own clock.
    """

    host: str
    online: bool
    sees_libvirt: bool
    epoch: str | None
    last_sequence: int
    lost: tuple[tuple[str, int, int], ...]
    at: float
    states: int | None = None
    sees_since: str | None = None


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A host's retained status was emptied: somebody took the host out of service."""

    host: str


Input = HostMessage | Cleared | JobOf | Status | Forgotten
