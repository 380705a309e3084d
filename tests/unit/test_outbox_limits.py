"""The outbox's bounds: what goes first, and that no loss is silent."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.agent.inventory.drafts import Draft
from bridge.agent.outbox import Limits, Outbox, Row
from tests.unit.test_outbox import draft, drafts, stored, unsent

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Thousands of commits need no disk to be right."""

UUID = "c7a5fdbd-edaf-9455-926a-d65c16db1809"


def holes(outbox: Outbox) -> set[int]:
    return {
        sequence
        for span in outbox.dropped
        if span.epoch == outbox.epoch
        for sequence in range(span.first, span.last + 1)
    }


def test_at_the_limit_the_oldest_acknowledged_rows_go_first(tmp_path: Path) -> None:
    outbox = Outbox.open(tmp_path, Limits(rows=10))
    outbox.append(drafts(10))
    outbox.acknowledge(6)
    outbox.append(drafts(4))
    assert [row.sequence for row in stored(outbox)] == list(range(5, 15))
    assert outbox.dropped == []
    outbox.close()


def test_then_the_oldest_parked_ones(tmp_path: Path) -> None:
    outbox = Outbox.open(tmp_path, Limits(rows=10))
    outbox.append(drafts(10))
    outbox.park(3, "refused")
    outbox.park(5, "refused")
    outbox.append(drafts(1))
    assert [row.sequence for row in stored(outbox)] == [1, 2, *range(4, 12)]
    assert holes(outbox) == {3}
    assert outbox.parked == 1
    outbox.close()


def test_then_newest_wins_drops_the_oldest_unsent(tmp_path: Path) -> None:
    outbox = Outbox.open(tmp_path, Limits(rows=10, when_full="newest-wins"))
    outbox.append(drafts(10))
    rows = outbox.append(drafts(3))
    assert [row.sequence for row in rows] == [11, 12, 13]
    assert unsent(outbox) == list(range(4, 14))
    assert [(span.first, span.last) for span in outbox.dropped] == [(1, 3)]
    assert outbox.acknowledged == 3
    assert outbox.dropped_rows == 3
    outbox.close()


def test_or_oldest_wins_drops_the_new(tmp_path: Path) -> None:
    outbox = Outbox.open(tmp_path, Limits(rows=10, when_full="oldest-wins"))
    outbox.append(drafts(8))
    rows = outbox.append(drafts(5))
    assert [row.sequence for row in rows] == [9, 10]
    assert outbox.append(drafts(2)) == []
    assert unsent(outbox) == list(range(1, 11))
    assert [(span.first, span.last) for span in outbox.dropped] == [(11, 15)]
    outbox.acknowledge(4)
    assert [row.sequence for row in outbox.append(drafts(2))] == [16, 17]
    outbox.close()


def test_bytes_count_as_well(tmp_path: Path) -> None:
    size = Row(1, "topic", b"x" * 1000).size
    outbox = Outbox.open(tmp_path, Limits(bytes=5 * size))
    for _ in range(8):
        outbox.append([Draft("topic", lambda _e, _s: b"x" * 1000, UUID)])
    assert unsent(outbox) == [4, 5, 6, 7, 8]
    assert outbox.stored_bytes == 5 * size
    outbox.close()


def test_what_was_dropped_is_still_named_after_a_restart(tmp_path: Path) -> None:
    outbox = Outbox.open(tmp_path, Limits(rows=5))
    outbox.append(drafts(9))
    before = outbox.dropped
    outbox.close()
    outbox = Outbox.open(tmp_path, Limits(rows=5))
    assert outbox.dropped == before != []
    outbox.close()


def sized(length: int) -> Draft:
    return Draft("t", lambda epoch, sequence: f"{epoch}-{sequence}-".encode() + b"x" * length, UUID)


operations = st.one_of(
    st.tuples(st.just("append"), st.lists(st.integers(0, 400), min_size=1, max_size=12)),
    st.tuples(st.just("acknowledge"), st.integers(0, 20)),
    st.tuples(st.just("park"), st.integers(0, 20)),
    st.tuples(st.just("reopen"), st.booleans()),
)


@pytest.mark.slow
@settings(max_examples=150)
@given(
    steps=st.lists(operations, max_size=25),
    rows=st.integers(1, 25),
    size=st.integers(300, 8_000),
    when_full=st.sampled_from(["newest-wins", "oldest-wins"]),
)
def test_every_message_is_stored_or_acknowledged_or_named_as_dropped(
    steps: list[tuple[str, object]], rows: int, size: int, when_full: str
) -> None:
    """Whatever is appended, answered and reopened, the bounds hold and no loss is silent."""
    limits = Limits(rows=rows, bytes=size, when_full=when_full)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        outbox = Outbox.open(Path(folder), limits)
        content: dict[int, bytes] = {}
        acknowledged = 0
        parked: set[int] = set()
        try:
            for step, value in steps:
                before = outbox.last_sequence
                if step == "append":
                    assert isinstance(value, list)
                    new = [sized(length) for length in value]
                    for row in outbox.append(new):
                        assert row.sequence not in content
                        content[row.sequence] = row.payload
                    assert outbox.last_sequence == before + len(value)
                elif step == "acknowledge":
                    acknowledged = min(acknowledged + int(str(value)), outbox.last_sequence)
                    outbox.acknowledge(acknowledged)
                    outbox.flush()
                elif step == "park":
                    sequence = acknowledged + int(str(value))
                    if sequence in unsent(outbox):
                        outbox.park(sequence, "refused")
                        outbox.flush()
                        parked.add(sequence)
                else:
                    outbox.close()
                    outbox = Outbox.open(Path(folder), limits)
                there = stored(outbox)
                names = {row.sequence for row in there}
                named = holes(outbox)
                assert len(there) == outbox.stored_rows <= rows
                assert sum(row.size for row in there) == outbox.stored_bytes <= size
                assert all(content[row.sequence] == row.payload for row in there)
                assert not names & named
                for sequence in range(1, outbox.last_sequence + 1):
                    must_be_there = sequence > acknowledged or sequence in parked
                    assert not must_be_there or sequence in names or sequence in named, sequence
                waiting = unsent(outbox)
                refused_ahead = sum(sequence > acknowledged for sequence in parked & names)
                assert outbox.depth == len(waiting) + refused_ahead
                assert waiting == sorted(sequence for sequence in names - parked if sequence > acknowledged)
                if when_full == "newest-wins" and waiting:
                    assert not any(waiting[0] < hole for hole in (named & content.keys()) - parked)
        finally:
            outbox.close()


def test_a_message_larger_than_the_whole_bound_is_dropped_alone(tmp_path: Path) -> None:
    outbox = Outbox.open(tmp_path, Limits(bytes=1_000))
    outbox.append([Draft("t", lambda _e, _s: b"x" * 2_000, UUID)])
    assert [(span.first, span.last) for span in outbox.dropped] == [(1, 1)]
    assert outbox.append([draft("fits")])[0].sequence == 2
    outbox.close()
