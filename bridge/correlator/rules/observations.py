"""What the decision is made from: one host's observations of one domain, in that host's order.

An observation is a validated message of an agent; a mark is what the decision keeps of one that mattered.
Both are plain values.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from msgspec import Struct, convert, structs

from bridge.wire.messages import Evidence, host_source, seconds, stamp

ObservationKind = Literal["lifecycle", "iteration", "job_completed", "job_failed", "state", "cleared"]
Copied = tuple[int, ...]
Key = tuple[int, int]
"""A place in one host's order: the epoch's ordinal on that host, and the sequence."""
SKEW_S: Final = 5.0
"""How far apart the clocks of two hosts may be without their messages showing it."""
UNNOTICED_S: Final = 30.0
"""How long an agent or its libvirtd may have been dead before that is noticed: 1.5 keepalives of 10 s until
the broker sends the Will (MQTT 5, 3.1.2.10), 20 s until libvirt's keepalive gives up (interval 5 s, count 3).
"""
CLOCK_EXACT: Final = (-0.5, 2.0)
"""Offsets of a host's clock in between come from the messages' latency, not from the clock."""
ASKED_S: Final = 2.5
"""Agents poll an outgoing job every second or two."""
LIVE_S: Final = 4.0
"""A message received later than this after its stamp was waiting somewhere."""


_seconds = lru_cache(4096)(seconds)  # each mark is compared with many

CLEARED: Final = "gone"
"""A cleared state: it has no id, and its stamp is ours."""
AS_IT_HAPPENED: Final = ("event", "poll")
"""Origins of what was published as it happened; all else was found afterwards."""


class Observation(Struct, frozen=True, gc=False):
    """One message of a host about one domain.

    epoch: the epoch's ordinal on this host, in order of first appearance.
    sequence: the place in the event stream; for a state, its `as_of`.
    what: `stopped/migrated` for a lifecycle event, `running/migrated` for a state, the operation's name
        for a job, else empty.
    at: the host's stamp in seconds, corrected by what is known of the host's clock.
    received: the time of receipt, in seconds of the correlator's clock.
    stamp: the host's stamp as the message has it.
    since: of what was found afterwards, the moment after which it happened, where that is known; in seconds
        of our clock.
    figures: of a job that completed, `time_elapsed` and `downtime` in ms; of one that failed, when it began
        in µs of the host's clock, if the agent knows it; of an iteration, its number.
    copied: of a job that completed, the figures that are equal on both hosts, if all are there.
    late: whether it is known to have waited on its way, so that its time of receipt shows nothing.
    """

    host: str
    epoch: int
    sequence: int
    kind: ObservationKind
    what: str
    origin: str
    driver: str
    name: str | None
    at: float
    received: float
    stamp: str
    id: str
    persistent: bool | None = None
    figures: tuple[int | None, int | None] = (None, None)
    since: float | None = None
    copied: Copied | None = None
    late: bool = False

    @property
    def key(self) -> Key:
        """The place in the host's order."""
        return (self.epoch, self.sequence)


class Mark(Struct, frozen=True, gc=False):
    """What is kept of an observation that mattered; fields as in `Observation`."""

    key: Key
    what: str
    origin: str
    at: float
    received: float
    stamp: str
    id: str
    since: float | None = None
    late: bool = False

    @classmethod
    def of(cls, observation: Observation) -> Mark:
        """The mark of an observation."""
        return convert(observation, cls, from_attributes=True)

    def evidence(self, host: str) -> Evidence:
        """It as the evidence for a verdict."""
        return Evidence(source=host_source(host), id=self.id)

    @property
    def stamped(self) -> float:
        """By the host's own clock."""
        return _seconds(self.stamp)

    def moved_to(self, stamped: float) -> Mark:
        """The same at another moment of the host's own clock."""
        by_s = stamped - self.stamped
        return structs.replace(self, at=self.at + by_s, received=self.received + by_s, stamp=stamp(stamped))

    @property
    def earliest(self) -> float:
        """The moment before which it can't have happened."""
        if self.origin in AS_IT_HAPPENED:
            return self.at
        return float("-inf") if self.since is None else self.since


class Blind(NamedTuple):
    """A host is blind: since when it may be, and since when that is known."""

    since: float = float("inf")
    noticed: float = float("inf")


class Return(NamedTuple):
    """When a host that was blind came back: by our clock, and by its own, since when it lists its domains."""

    at: float
    stamped: float = float("inf")

    def is_before(self, mark: Mark | Instant) -> bool:
        """Whether the host said this after it had come back. Messages may overtake the status."""
        return mark.received >= self.at or mark.stamped >= self.stamped


class Instant(Struct, frozen=True, gc=False):
    """The moment of a host's last live message: by its corrected clock, by the time of receipt, and by its
    own clock.
    """

    at: float
    received: float
    stamped_at: float | None = None

    @property
    def stamped(self) -> float:
        """By the host's own clock."""
        return self.at if self.stamped_at is None else self.stamped_at


def is_between(spans: Sequence[tuple[Key, Key]], place: Key) -> bool:
    """Whether a place is after the first and not after the second one of any of these."""
    return any(since < place <= until for since, until in spans)


def is_found(mark: Mark | None) -> bool:
    """Whether this was found afterwards, not seen as it happened."""
    return mark is not None and mark.origin not in AS_IT_HAPPENED


def is_reported(end: Mark) -> bool:
    """Whether an event reported this end; else a state showed it, or a later event."""
    return end.origin != "state" and end.what.startswith("stopped/")


def was_blind(last: Mark, mark: Mark) -> bool:
    """Whether the host was blind for a while between two marks."""
    if is_found(mark):
        return not is_found(last) or last.since != mark.since
    if is_found(last):
        return mark.since is not None and mark.since >= last.at
    return mark.since != last.since


def newest(marks: Iterable[Mark | None]) -> Mark | None:
    """The last of these in their host's order."""
    return max((mark for mark in marks if mark is not None), key=lambda mark: mark.key, default=None)


def is_live(*marks: Mark | None) -> bool:
    """Whether these were received as they happened, so that their order of receipt is evidence."""
    return all(mark is None or (mark.received - mark.at < LIVE_S and not mark.late) for mark in marks)
