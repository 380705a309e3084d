"""The sequences of one epoch of a host: received, missing, given up. Bounded; sans-I/O."""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

import msgspec

MAX_RANGES: Final = 64
"""Ranges of sequences kept for one epoch; with more, the oldest hole is given up."""
MAX_LOST: Final = 64

Range = list[int]
"""First and last, both included."""


class Epoch(msgspec.Struct, gc=False):
    """One epoch's sequences: `ranges` are those received, ascending and disjoint; `lost` those given up.

    base: sequences up to here are not expected; they were sent before this consumer subscribed.
    expected: the last sequence that the agent has reported as sent.
    """

    name: str
    base: int = -1
    expected: int = 0
    ranges: list[Range] = []
    lost: list[Range] = []

    @property
    def last(self) -> int:
        """The last sequence that came, or the base."""
        return self.ranges[-1][1] if self.ranges else self.base

    def complete_to(self) -> int:
        """Up to here nothing is missing that may still come."""
        hole = self.first_hole()
        return hole[0] - 1 if hole else max(self.last, self.expected if self.base >= 0 else 0)

    def holds(self, sequence: int) -> bool:
        """Whether this sequence came before."""
        return _holds(self.ranges, sequence)

    def add(self, sequence: int) -> bool:
        """Notes that a sequence came. False: it came before."""
        ranges = self.ranges
        if ranges:
            last = ranges[-1]
            if sequence == last[1] + 1:
                last[1] = sequence
                return True
        if self.base < 0:
            self.base = sequence - 1
        if not _insert(ranges, sequence, sequence):
            return False
        if self.lost and _holds(self.lost, sequence):
            _cut(self.lost, sequence, sequence)
        return True

    def is_whole(self) -> bool:
        """Whether nothing is missing, as far as the fast path shows: the usual case."""
        ranges = self.ranges
        return (
            len(ranges) == 1
            and ranges[0][0] <= self.base + 1
            and ranges[0][1] >= self.expected
            and not self.lost
        )

    def first_hole(self) -> tuple[int, int] | None:
        """The lowest sequences that are missing and may still come, both ends included."""
        if self.base < 0 or self.is_whole():
            return None
        at = self.base + 1
        top = max(self.last, self.expected)
        known = sorted(self.ranges + self.lost) if self.lost else self.ranges
        for first, last in known:
            if first > at:
                return at, first - 1
            at = max(at, last + 1)
        return (at, top) if at <= top else None

    def holes(self) -> list[tuple[int, int, bool]]:
        """What is missing, as first and last, and whether it was given up."""
        found: list[tuple[int, int, bool]] = []
        if self.base < 0:
            return found
        at = self.base + 1
        beyond = max(self.last, self.expected) + 1
        lost = [(first, last, True) for first, last in self.lost]
        for first, last, is_lost in sorted(
            [*((*one, False) for one in self.ranges), *lost, (beyond, beyond, False)]
        ):
            if first > at:
                found.append((at, first - 1, False))
            if is_lost:
                found.append((first, last, True))
            at = max(at, last + 1)
        return found

    def give_up(self, first: int, last: int) -> bool:
        """These will not arrive any more. False: none of them was missing."""
        if self.base < 0:
            return False
        first = max(first, self.base + 1)
        missing = [[first, last]] if first <= last else []
        for one in self.ranges:
            missing = _without(missing, one)
        changed = False
        for one in missing:
            changed = _insert(self.lost, one[0], one[1]) or changed
        del self.lost[: max(0, len(self.lost) - MAX_LOST)]
        return changed

    def bound(self) -> tuple[int, int] | None:
        """Gives up the oldest hole when there are too many ranges; returns it."""
        if len(self.ranges) <= MAX_RANGES:
            return None
        lower, upper = self.ranges[0], self.ranges[1]
        hole = lower[1] + 1, upper[0] - 1
        self.ranges[0:2] = [[lower[0], upper[1]]]
        _insert(self.lost, *hole)
        del self.lost[: max(0, len(self.lost) - MAX_LOST)]
        return hole


def _holds(ranges: list[Range], number: int) -> bool:
    at = bisect_right(ranges, number, key=_first) - 1
    return at >= 0 and number <= ranges[at][1]


def _first(one: Range) -> int:
    return one[0]


def _insert(ranges: list[Range], first: int, last: int) -> bool:
    """Adds a range, joining what touches. False: all of it was there."""
    at = bisect_right(ranges, first, key=_first)
    if at and last <= ranges[at - 1][1]:
        return False
    if at and ranges[at - 1][1] >= first - 1:
        at -= 1
    stop = at
    while stop < len(ranges) and ranges[stop][0] <= last + 1:
        first, last = min(first, ranges[stop][0]), max(last, ranges[stop][1])
        stop += 1
    ranges[at:stop] = [[first, last]]
    return True


def _cut(ranges: list[Range], first: int, last: int) -> None:
    ranges[:] = _without(ranges, [first, last])


def _without(ranges: list[Range], gone: Range) -> list[Range]:
    left = []
    for first, last in ranges:
        if last < gone[0] or first > gone[1]:
            left.append([first, last])
            continue
        if first < gone[0]:
            left.append([first, gone[0] - 1])
        if last > gone[1]:
            left.append([gone[1] + 1, last])
    return left
