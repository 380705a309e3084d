"""The outbox as whoever uses it sees it: numbering, answers, replay, snapshots, who may open it."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from bridge.agent.inventory.drafts import FORGET, Draft
from bridge.agent.outbox import Gap, Limits, Outbox, Row
from bridge.agent.outbox.file import NAME
from bridge.agent.outbox.lock import LOCK_NAME
from bridge.errors import ConfigError, StateInUseError
from bridge.wire.messages import Span

UUID = "c7a5fdbd-edaf-9455-926a-d65c16db1809"


def draft(text: str = "", known: bytes | None = None, uuid: str = UUID) -> Draft:
    """A draft whose payload names its epoch and sequence."""
    return Draft(f"topic/{text}", lambda epoch, sequence: f"{epoch}-{sequence}-{text}".encode(), uuid, known)


def drafts(count: int) -> list[Draft]:
    return [draft(str(number)) for number in range(count)]


def stored(outbox: Outbox) -> list[Row]:
    """Everything that is in the file."""
    reader = outbox.reader()
    try:
        return reader.replay(1, outbox.last_sequence, 1_000_000)
    finally:
        reader.close()


def unsent(outbox: Outbox) -> list[int]:
    reader = outbox.reader()
    try:
        return [row.sequence for row in reader.unsent(outbox.acknowledged, 1_000_000)]
    finally:
        reader.close()


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    opened = Outbox.open(tmp_path)
    yield opened
    opened.close()


def test_sequences_begin_at_one_and_have_no_hole(outbox: Outbox) -> None:
    rows = outbox.append(drafts(3)) + outbox.append(drafts(1200))
    assert [row.sequence for row in rows] == list(range(1, 1204))
    assert rows[0].payload == f"{outbox.epoch}-1-0".encode()
    assert outbox.last_sequence == outbox.depth == outbox.stored_rows == 1203
    assert stored(outbox) == rows


def test_what_was_stored_is_there_after_closing(tmp_path: Path) -> None:
    first = Outbox.open(tmp_path)
    rows = first.append(drafts(5))
    first.acknowledge(2)
    first.close()
    second = Outbox.open(tmp_path)
    assert (second.epoch, second.last_sequence, second.acknowledged) == (first.epoch, 5, 2)
    assert stored(second) == rows
    assert unsent(second) == [3, 4, 5]
    assert second.append([draft()])[0].sequence == 6
    second.close()


def test_a_sequence_is_not_used_again_when_all_rows_are_gone(tmp_path: Path) -> None:
    limits = Limits(keep_hours=0)
    outbox = Outbox.open(tmp_path, limits)
    outbox.append(drafts(7))
    outbox.acknowledge(7)
    outbox.flush()
    outbox.tidy()
    assert stored(outbox) == []
    outbox.close()
    outbox = Outbox.open(tmp_path, limits)
    assert outbox.append([draft()])[0].sequence == 8
    outbox.close()


def test_an_acknowledgement_counts_with_the_next_commit(outbox: Outbox) -> None:
    outbox.append(drafts(4))
    outbox.acknowledge(3)
    outbox.flush()
    assert (outbox.acknowledged, outbox.depth, unsent(outbox)) == (3, 1, [4])


def test_an_acknowledgement_never_goes_back(outbox: Outbox) -> None:
    outbox.append(drafts(4))
    outbox.acknowledge(3)
    outbox.acknowledge(1)
    outbox.flush()
    assert outbox.acknowledged == 3


def test_what_is_said_of_another_file_is_ignored(outbox: Outbox) -> None:
    outbox.append(drafts(4))
    outbox.acknowledge(3, generation=outbox.generation + 1)
    outbox.flush()
    assert outbox.acknowledged == 0


def test_a_parked_message_is_kept_and_not_sent(outbox: Outbox) -> None:
    rows = outbox.append(drafts(3))
    outbox.park(2, "not authorized")
    outbox.flush()
    assert outbox.parked == 1
    assert unsent(outbox) == [1, 3]
    again = stored(outbox)
    assert [(row.sequence, row.payload) for row in again] == [(row.sequence, row.payload) for row in rows]
    assert [row.parked for row in again] == [False, True, False]


def test_a_parked_message_that_went_through_later_is_parked_no_more(outbox: Outbox) -> None:
    rows = outbox.append(drafts(3))
    outbox.park(2, "not authorized")
    outbox.acknowledge(3)
    outbox.flush()
    outbox.acknowledge(3, accepted_late=[2])
    outbox.flush()
    assert outbox.parked == 0
    assert stored(outbox) == rows


def test_parked_messages_survive_a_restart(tmp_path: Path) -> None:
    first = Outbox.open(tmp_path)
    first.append(drafts(3))
    first.park(2, "not authorized")
    first.close()
    second = Outbox.open(tmp_path)
    assert second.parked == 1
    second.close()


def test_snapshots_go_in_with_their_events(tmp_path: Path) -> None:
    outbox = Outbox.open(tmp_path)
    outbox.append([draft(known=b"one"), draft(known=b"two"), draft(uuid="other", known=b"x"), draft()])
    assert outbox.known() == {UUID: b"two", "other": b"x"}
    outbox.append([draft(uuid="other", known=FORGET)])
    outbox.remember({"third": b"3", UUID: None})
    expected = {"third": b"3"}
    assert outbox.known() == expected
    outbox.close()
    outbox = Outbox.open(tmp_path)
    assert outbox.known() == expected
    outbox.close()


def test_a_message_that_can_not_be_built_leaves_a_hole_that_is_named(outbox: Outbox) -> None:
    def fail(_epoch: str, _sequence: int) -> bytes:
        raise ValueError("no such message")

    rows = outbox.append([draft("a"), Draft("topic", fail, UUID), draft("b")])
    assert [row.sequence for row in rows] == [1, 3]
    assert outbox.dropped == [Span(epoch=outbox.epoch, first=2, last=2)]
    assert outbox.dropped_rows == 1
    assert outbox.depth == 2
    assert [row.sequence for row in outbox.append([draft("c"), Draft("topic", fail, UUID)])] == [4]
    assert outbox.append([draft("d")])[0].sequence == 6


def test_a_gap_uses_its_sequences_up(outbox: Outbox) -> None:
    rows = outbox.append([draft(), Gap(3), draft()])
    assert [row.sequence for row in rows] == [1, 5]
    assert outbox.dropped == [Span(epoch=outbox.epoch, first=2, last=4)]


def test_a_second_agent_is_refused_with_the_reason(tmp_path: Path, outbox: Outbox) -> None:
    with pytest.raises(StateInUseError, match=r"in use by another agent \(process \d+\); accepted: .*own$"):
        Outbox.open(tmp_path)
    assert outbox.append([draft()])


def test_the_directory_is_free_again_after_closing(tmp_path: Path) -> None:
    Outbox.open(tmp_path).close()
    Outbox.open(tmp_path).close()


def test_a_directory_that_can_not_be_made_is_a_matter_of_configuration(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError) as refused:
        Outbox.open(tmp_path / "file" / "state")
    assert str(refused.value) == (
        f"state_dir: {tmp_path}/file/state can't be used: Not a directory; "
        "accepted: a directory that can be made or written"
    )


def test_a_file_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    import sqlite3

    Outbox.open(tmp_path).close()
    with sqlite3.connect(tmp_path / NAME) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ConfigError, match="later version"):
        Outbox.open(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [LOCK_NAME, NAME]


def test_the_outbox_commits_as_durably_as_it_promises(tmp_path: Path, outbox: Outbox) -> None:
    """WAL with synchronous=FULL: a commit is on the disk before `append` returns."""
    connection = outbox._ledger._db
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_a_clock_that_steps_back_changes_neither_order_nor_ages(tmp_path: Path) -> None:
    outbox = Outbox.open(tmp_path)
    outbox.append(drafts(2))
    outbox.close()
    day_s = 86_400
    ten_days_ago = time.time() - 10 * day_s
    with patch("time.time", lambda: ten_days_ago):
        outbox = Outbox.open(tmp_path)
        outbox.append(drafts(2))
        assert unsent(outbox) == [1, 2, 3, 4]
        outbox.acknowledge(4)
        outbox.flush()
        outbox.tidy()
        assert len(stored(outbox)) == 4
        outbox.close()
    with patch("time.time", lambda: ten_days_ago + day_s + 60):
        outbox = Outbox.open(tmp_path)
        outbox.tidy()
        assert stored(outbox) == [], "a day has passed since"
        outbox.close()


def test_time_that_passed_while_closed_counts(tmp_path: Path) -> None:
    outbox = Outbox.open(tmp_path, Limits(keep_hours=24))
    outbox.append(drafts(3))
    outbox.acknowledge(2)
    outbox.close()
    later = time.time() + 25 * 3600
    with patch("time.time", lambda: later):
        outbox = Outbox.open(tmp_path, Limits(keep_hours=24))
        age_s = outbox.oldest_unsent_age_s()
        assert age_s is not None
        assert age_s > 24 * 3600
        while outbox.tidy():
            pass
        assert [row.sequence for row in stored(outbox)] == [3]
        outbox.close()


def test_expired_rows_go_in_small_transactions(tmp_path: Path) -> None:
    """A day's rows that expire at once don't hold up the next append."""
    outbox = Outbox.open(tmp_path, Limits(keep_hours=0))
    outbox.append(drafts(5_000))
    outbox.acknowledge(5_000)
    outbox.append([draft()])
    assert 3_000 < outbox.stored_rows < 5_000
    while outbox.tidy():
        pass
    assert outbox.stored_rows == 1
    outbox.close()


def test_acknowledged_rows_go_when_all_together_take_too_much(tmp_path: Path) -> None:
    outbox = Outbox.open(tmp_path, Limits(keep_bytes=10_000))
    outbox.append(drafts(500))
    outbox.acknowledge(400)
    outbox.flush()
    while outbox.tidy():
        pass
    assert unsent(outbox) == list(range(401, 501))
    assert [row.sequence for row in stored(outbox)] == list(range(401, 501))
    outbox.close()


def test_an_epoch_is_random(tmp_path: Path) -> None:
    epochs = set()
    for name in "ab":
        outbox = Outbox.open(tmp_path / name)
        epochs.add(outbox.epoch)
        outbox.close()
    assert len(epochs) == 2
    assert all(re.fullmatch("[0-9a-f]{32}", epoch) for epoch in epochs)
