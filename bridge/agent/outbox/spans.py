"""Ranges of sequences, kept sorted, merged and few. Pure."""

from collections.abc import Iterable, Sequence

from bridge.wire.messages import Span

MOST_SPANS = 64
"""A status names at most this many ranges of one kind; the oldest are forgotten first."""


def runs(sequences: Iterable[int]) -> list[tuple[int, int]]:
    """Ascending sequences as ranges, both ends included."""
    found: list[tuple[int, int]] = []
    for sequence in sequences:
        if found and sequence == found[-1][1] + 1:
            found[-1] = (found[-1][0], sequence)
        else:
            found.append((sequence, sequence))
    return found


def missing(first: int, last: int, present: Sequence[int]) -> list[tuple[int, int]]:
    """The ranges of `first`..`last` that ascending `present` lacks."""
    holes: list[tuple[int, int]] = []
    expected = first
    for sequence in present:
        if sequence > expected:
            holes.append((expected, sequence - 1))
        expected = sequence + 1
    if expected <= last:
        holes.append((expected, last))
    return holes


def add(
    spans: Sequence[Span], epoch: str, ranges: Iterable[tuple[int, int]], most: int = MOST_SPANS
) -> list[Span]:
    """`spans` and the new `ranges` of `epoch`, with adjacent and overlapping ones merged.

    Epochs keep their order. Of more than `most` ranges the first are left out.
    """
    by_epoch: dict[str | None, list[tuple[int, int]]] = {}
    for span in spans:
        by_epoch.setdefault(span.epoch, []).append((span.first, span.last))
    by_epoch.setdefault(epoch, []).extend(ranges)
    merged: list[Span] = []
    for name, pairs in by_epoch.items():
        joined: list[tuple[int, int]] = []
        for first, last in sorted(pairs):
            if joined and first <= joined[-1][1] + 1:
                joined[-1] = (joined[-1][0], max(joined[-1][1], last))
            else:
                joined.append((first, last))
        merged += [Span(epoch=name, first=first, last=last) for first, last in joined]
    return merged[-most:]


def overlap(spans: Iterable[Span], epoch: str, first: int, last: int) -> int:
    """How many sequences of `first`..`last` of `epoch` the spans cover."""
    return sum(
        max(0, min(span.last, last) - max(span.first, first) + 1) for span in spans if span.epoch == epoch
    )
