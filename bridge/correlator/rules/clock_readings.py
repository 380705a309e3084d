"""How the stamps of different hosts can be compared: by every reading of a clock that may be the right one.

A host's clock may be right though its messages come late; it may be wrong by what its messages show; or it
was set while they came at once. Which of them holds isn't known of one message. But a reading holds for a
host's whole part in an attempt, and most of them contradict what libvirt's protocol has happen in order. So
a question about two hosts is put under each pair of readings that doesn't.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from bridge.correlator.rules.observations import AS_IT_HAPPENED, Instant, Mark

ClockReading = Callable[[Mark | Instant], float]
FOREVER: Final = float("inf")
ORDER_S: Final = 0.3
"""Two hosts' events that follow one another at once may be stamped, or come, the other way round by this."""
AFTER_S: Final = 1.0
"""One end leads to the other's within a fraction of a second."""


def by_correction(moment: Mark | Instant) -> float:
    """By the host's clock, corrected by what its messages say of it."""
    return moment.at


def by_stamp(moment: Mark | Instant) -> float:
    """By the host's own clock: its messages are late."""
    return moment.stamped


def by_receipt(moment: Mark | Instant) -> float:
    """By when it came: its clock was set."""
    return moment.received


READINGS: Final[tuple[ClockReading, ...]] = (by_correction, by_stamp, by_receipt)


class Interval(NamedTuple):
    """When something lasted, at most, under one reading of its host's clock."""

    begins: float
    ends: float
    read: ClockReading


def intervals(first: Mark, after: Instant | None, last: Mark | None) -> list[Interval]:
    """When it lasted, by each reading that makes a difference. When something that was found afterwards
    happened, nobody knows: after what the host had told as it happened, and before it was found.
    """
    marks = [first] if last is None else [first, last]
    found: list[Interval] = []
    for read in READINGS:
        if read is by_receipt and any(mark.late for mark in marks):
            continue
        begins_at = first if first.origin in AS_IT_HAPPENED else after
        begins = -FOREVER if begins_at is None else read(begins_at)
        ends = FOREVER if last is None else read(last)
        if all(abs(begins - s.begins) > ORDER_S or abs(ends - s.ends) > ORDER_S for s in found):
            found.append(Interval(begins, ends, read))
    return found


Overlap = tuple[Interval, Interval]
"""When the destination and the source took part, under one reading of each clock."""
