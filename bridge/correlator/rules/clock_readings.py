"""Compares stamps of different hosts by every reading of their clocks that may be right. Pure.

A host's clock may be right and its messages late; it may be wrong by the offset that its messages show; or it
was set while its messages arrived at once. One message doesn't show which. But a reading applies to a host's
whole part in an attempt, and most readings contradict the order of libvirt's migration protocol. So two hosts
are compared under each pair of readings that doesn't.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from bridge.correlator.rules.observations import AS_IT_HAPPENED, CLOCK_EXACT, Instant, Mark

ClockReading = Callable[[Mark | Instant], float]
FOREVER: Final = float("inf")
ORDER_S: Final = 0.3
"""Immediately successive events of two hosts may be stamped, or received, in the wrong order by this much."""
AFTER_S: Final = 1.0
"""The end on one host leads to the end on the other within a fraction of a second."""


def by_correction(moment: Mark | Instant) -> float:
    """By the host's clock, corrected by the offset that its messages show."""
    return moment.at


def by_stamp(moment: Mark | Instant) -> float:
    """By the host's own clock: its messages are late."""
    return moment.stamped


def by_receipt(moment: Mark | Instant) -> float:
    """By the time of receipt: its clock was set."""
    return moment.received


def earliest(moment: Mark, read: ClockReading) -> float:
    """Before which it can't have happened, by this reading of its host's clock."""
    return moment.earliest - moment.at + read(moment)


def is_exact(mark: Mark) -> bool:
    """Whether it was received when it was stamped: the clock is right, and nothing waited."""
    return abs(mark.received - mark.stamped) < AFTER_S


READINGS: Final[tuple[ClockReading, ...]] = (by_correction, by_stamp, by_receipt)


def readings(marks: Sequence[Mark]) -> Iterator[ClockReading]:
    """Those that these marks allow: the receipt of what waited on its way shows nothing, and the receipt of
    what didn't shows how the clock was set.
    """
    yield by_correction
    if all(mark.received - mark.stamped > CLOCK_EXACT[0] for mark in marks):  # no message is early
        yield by_stamp
    live = [mark for mark in marks if not mark.late]
    if len(live) == len(marks):
        yield by_receipt
    elif live:
        offset_s = live[0].received - live[0].stamped
        yield lambda moment: moment.stamped + offset_s


class Interval(NamedTuple):
    """The longest time that something may have lasted, by one reading of its host's clock."""

    begins: float
    ends: float
    read: ClockReading

    def shifted(self, by_s: float) -> Interval:
        """It by a clock that is off by so much more."""
        return Interval(self.begins + by_s, self.ends + by_s, lambda moment: self.read(moment) + by_s)


def intervals(first: Mark, after: Instant | None, last: Mark | None) -> list[Interval]:
    """When it lasted, by each reading that makes a difference. What was found afterwards happened after the
    host's last live message, and before it was found.
    """
    marks = [first] if last is None else [first, last]
    found: list[Interval] = []
    for read in readings(marks):
        begins_at = first if first.origin in AS_IT_HAPPENED else after
        begins = -FOREVER if begins_at is None else read(begins_at)
        ends = FOREVER if last is None else read(last)
        if all(abs(read(first) - s.read(first)) > ORDER_S or abs(ends - s.ends) > ORDER_S for s in found):
            found.append(Interval(begins, ends, read))
    return found


Overlap = tuple[Interval, Interval]
"""The times of the destination's and the source's legs, by one reading of each clock."""
