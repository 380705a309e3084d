"""What a host said, as the correlator takes it in. Plain values: their messages were found good."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from bridge.correlator.facts import FactKind


class Said(msgspec.Struct, frozen=True, gc=False):
    """What a host said of one domain. Fields as in `facts.Fact`, before the host's order and clock apply.

    `kind` None: a message of the event stream that tells nothing of migrations; its sequence counts.
    For a state, `sequence` is its `as_of` and the message is no part of the event stream.
    """

    host: str
    uuid: str
    epoch: str
    sequence: int
    kind: FactKind | None
    what: str
    origin: str
    driver: str
    name: str | None
    at: float
    stamp: str
    id: str
    persistent: bool | None = None
    figures: tuple[int | None, int | None] = (None, None)


@dataclass(frozen=True, slots=True)
class Cleared:
    """A host no longer has the domain: its retained state was emptied."""

    host: str
    uuid: str


@dataclass(frozen=True, slots=True)
class Status:
    """An agent's word about itself. `lost` are spans (epoch, first, last) that it can't send any more,
    `states` how many of domains it keeps at the broker.
    """

    host: str
    online: bool
    sees_libvirt: bool
    epoch: str | None
    last_sequence: int
    lost: tuple[tuple[str, int, int], ...]
    at: float
    states: int | None = None


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A host's retained status was emptied: somebody took the host out of service."""

    host: str


Word = Said | Cleared | Status | Forgotten
