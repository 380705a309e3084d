"""A damaged file, a full disk, a missing one: nothing stops, and what is lost is named."""

import os
import random
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from bridge.agent.outbox import DamagedError, Limits, Outbox
from bridge.agent.outbox.file import NAME
from bridge.agent.outbox.lock import LOCK_NAME
from bridge.errors import BridgeError, StateInUseError
from bridge.wire.messages import Span
from tests.support.small_disk import fill_up, small_disk
from tests.unit.test_outbox import draft, drafts, stored, unsent

MANY = Limits(keep_hours=24)


def filled(folder: Path, rows: int = 400, acknowledged: int = 100) -> tuple[str, int, int]:
    """A closed outbox with this much in it: its epoch, last sequence and what is acknowledged."""
    outbox = Outbox.open(folder)
    outbox.append(drafts(rows))
    outbox.acknowledge(acknowledged)
    outbox.flush()
    outbox.remember({"u": b"known"})
    outbox.close()
    return outbox.epoch, rows, acknowledged


def scribble(path: Path, seed: int, spots: int = 40, length: int = 64) -> None:
    """Random bytes all over the file."""
    chance = random.Random(seed)
    with path.open("r+b") as file:
        size = path.stat().st_size
        for _ in range(spots):
            file.seek(chance.randrange(size))
            file.write(chance.randbytes(length))


def damaged_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if ".damaged-" in path.name)


@pytest.mark.parametrize("seed", range(6))
def test_random_bytes_over_the_file_begin_a_new_epoch(tmp_path: Path, seed: int) -> None:
    epoch, last, acknowledged = filled(tmp_path)
    scribble(tmp_path / NAME, seed)
    outbox = Outbox.open(tmp_path)
    assert outbox.epoch != epoch
    assert outbox.set_aside in damaged_files(tmp_path)
    outbox.append([draft()])
    assert outbox.last_sequence == 1
    assert outbox.dropped == [Span(epoch=epoch, first=acknowledged + 1, last=last)]
    assert outbox.dropped_rows == last - acknowledged
    outbox.close()


def test_one_changed_byte_in_a_message_is_noticed(tmp_path: Path) -> None:
    """SQLite has no checksums of its own: what is sent would not be what was stored."""
    filled(tmp_path)
    path = tmp_path / NAME
    content = path.read_bytes()
    assert content.count(b"-77-76") == 1
    path.write_bytes(content.replace(b"-77-76", b"-77-75"))
    outbox = Outbox.open(tmp_path)
    assert outbox.set_aside is not None
    outbox.close()


def test_what_is_no_database_at_all_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"this is a shopping list " * 400)
    outbox = Outbox.open(tmp_path)
    assert [path.name for path in damaged_files(tmp_path)] == [outbox.set_aside and outbox.set_aside.name]
    assert outbox.append([draft()])
    outbox.close()


def test_a_database_of_something_else_is_set_aside(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / NAME) as connection:
        connection.execute("CREATE TABLE shopping (item)")
    connection.close()
    outbox = Outbox.open(tmp_path)
    assert outbox.set_aside is not None
    outbox.close()


def test_an_empty_file_is_a_new_outbox(tmp_path: Path) -> None:
    (tmp_path / NAME).touch()
    outbox = Outbox.open(tmp_path)
    assert outbox.set_aside is None
    outbox.close()


def test_two_damages_within_a_second_keep_both_files(tmp_path: Path) -> None:
    for _ in range(2):
        filled(tmp_path, 10, 0)
        (tmp_path / NAME).write_bytes(b"no database" * 100)
    Outbox.open(tmp_path).close()
    assert len([path for path in damaged_files(tmp_path) if not path.name.endswith(("-wal", "-shm"))]) == 2


def test_a_log_that_lost_its_end_does_not_lead_to_sequences_used_twice(tmp_path: Path) -> None:
    """As after a kill, when the last commits are only in the write-ahead log, and that is damaged."""
    outbox = Outbox.open(tmp_path)
    epoch = outbox.epoch
    for _ in range(20):
        outbox.append(drafts(10))
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in tmp_path.glob("outbox.*"):
        (copy / path.name).write_bytes(path.read_bytes())
    outbox.close()
    log = copy / f"{NAME}-wal"
    with log.open("r+b") as file:
        file.seek(len(log.read_bytes().rstrip(b"\0")) // 2)
        file.write(os.urandom(8192))
    outbox = Outbox.open(copy)
    assert outbox.epoch != epoch
    outbox.append([draft()])
    assert outbox.dropped == [Span(epoch=epoch, first=1, last=200)]
    outbox.close()


def test_damage_that_shows_while_running_begins_a_new_epoch(tmp_path: Path) -> None:
    outbox = Outbox.open(tmp_path)
    outbox.append(drafts(3_000))
    outbox.acknowledge(1_000)
    outbox.remember({"u": b"known"})
    outbox._ledger._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    outbox._ledger._db.execute("PRAGMA cache_size = 1")
    outbox._ledger._db.execute("PRAGMA shrink_memory")
    epoch, generation = outbox.epoch, outbox.generation
    path = tmp_path / NAME
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))
    rows = outbox.append(drafts(5))
    assert outbox.epoch != epoch
    assert outbox.generation == generation + 1
    assert [row.sequence for row in rows] == [1, 2, 3, 4, 5]
    assert all(row.payload.startswith(outbox.epoch.encode()) for row in rows)
    assert outbox.known() == {"u": b"known"}
    assert outbox.dropped == [Span(epoch=epoch, first=1_001, last=3_000)]
    assert stored(outbox) == rows
    outbox.close()
    outbox = Outbox.open(tmp_path)
    assert outbox.known() == {"u": b"known"}
    assert unsent(outbox) == [1, 2, 3, 4, 5]
    outbox.close()


def test_a_reader_tells_damage_and_follows_to_the_new_file(tmp_path: Path) -> None:
    outbox = Outbox.open(tmp_path)
    outbox.append(drafts(500))
    outbox._ledger._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    path = tmp_path / NAME
    content = path.read_bytes()
    path.write_bytes(content.replace(b"-77-76", b"-77-75"))
    reader = outbox.reader()
    with pytest.raises(DamagedError, match="row 77"):
        reader.unsent(0, 500)
    outbox.report_damage(reader.generation, "row 77")
    outbox.report_damage(reader.generation, "said twice")
    assert outbox.generation == 1
    rows = outbox.append(drafts(2))
    assert reader.unsent(0, 500) == rows
    assert reader.generation == 1
    reader.close()
    outbox.close()


def test_of_a_file_that_was_removed_it_is_named_what_it_had_not_sent(tmp_path: Path) -> None:
    epoch, last, acknowledged = filled(tmp_path)
    (tmp_path / NAME).unlink()
    outbox = Outbox.open(tmp_path)
    assert outbox.append([draft()])[0].sequence == 1
    assert outbox.dropped == [Span(epoch=epoch, first=acknowledged + 1, last=last)]
    outbox.close()


def remove(folder: Path, what: str) -> None:
    if what == "the directory":
        shutil.rmtree(folder)
    else:
        (folder / {"the file": NAME, "the lock": LOCK_NAME}[what]).unlink()


@pytest.mark.parametrize("busy", [True, False], ids=["busy", "quiet"])
@pytest.mark.parametrize("what", ["the directory", "the file"])
def test_what_is_removed_while_running_begins_a_new_epoch(tmp_path: Path, what: str, busy: bool) -> None:
    """At the next commit, or the next look while there is nothing to do."""
    folder = tmp_path / "state"
    outbox = Outbox.open(folder)
    outbox.append(drafts(30))
    outbox.acknowledge(10)
    outbox.remember({"u": b"known"})
    epoch, generation = outbox.epoch, outbox.generation
    remove(folder, what)
    rows = outbox.append(drafts(2 if busy else 0))
    outbox.flush()
    assert outbox.epoch != epoch
    assert outbox.generation == generation + 1
    assert outbox.was_removed
    rows += outbox.append(drafts(3))
    assert [row.sequence for row in rows] == list(range(1, len(rows) + 1))
    assert stored(outbox) == rows
    assert outbox.dropped == [Span(epoch=epoch, first=11, last=30)]
    with pytest.raises(StateInUseError):
        Outbox.open(folder)
    outbox.close()
    outbox = Outbox.open(folder)
    assert outbox.known() == {"u": b"known"}
    assert unsent(outbox) == [row.sequence for row in rows]
    outbox.close()


def test_a_lock_that_is_removed_is_taken_again_and_changes_nothing_else(tmp_path: Path) -> None:
    outbox = Outbox.open(tmp_path)
    outbox.append(drafts(3))
    epoch = outbox.epoch
    remove(tmp_path, "the lock")
    outbox.flush()
    with pytest.raises(StateInUseError):
        Outbox.open(tmp_path)
    outbox.append(drafts(1))
    assert outbox.position == (epoch, 4)
    assert not outbox.was_removed
    outbox.close()


def test_a_directory_that_another_agent_took_meanwhile_is_its_own(tmp_path: Path) -> None:
    outbox = Outbox.open(tmp_path / "state")
    remove(tmp_path / "state", "the directory")
    other = Outbox.open(tmp_path / "state")
    with pytest.raises(StateInUseError):
        outbox.flush()
    other.append(drafts(1))
    assert unsent(other) == [1]
    other.close()


def test_while_there_can_be_no_new_file_messages_wait_in_memory(tmp_path: Path) -> None:
    folder = tmp_path / "parent" / "state"
    outbox = Outbox.open(folder)
    outbox.append(drafts(3))
    epoch = outbox.epoch
    shutil.rmtree(folder.parent)
    folder.parent.write_text("in the way")
    with capture_logs() as lines:
        for _ in range(3):
            assert outbox.append(drafts(2)) == []
            outbox.flush()
            outbox.tidy()
            assert outbox.oldest_unsent_age_s() is None
    assert "can't be replaced" in (outbox.write_error or "")
    assert (outbox.buffered, outbox.epoch, outbox.generation) == (6, epoch, 0)
    assert [line["event"] for line in lines] == ["outbox.not_replaced"]
    folder.parent.unlink()
    assert len(outbox.append([])) == 6
    assert outbox.write_error is None
    assert outbox.dropped == [Span(epoch=epoch, first=1, last=3)]
    outbox.close()


def test_an_older_copy_in_its_place_gives_out_no_sequence_twice(tmp_path: Path) -> None:
    outbox = Outbox.open(tmp_path)
    outbox.append(drafts(3))
    outbox._ledger._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    shutil.copy(tmp_path / NAME, tmp_path / "copy")
    outbox.append(drafts(3))
    epoch = outbox.epoch
    remove(tmp_path, "the file")
    (tmp_path / f"{NAME}-wal").unlink()
    (tmp_path / "copy").rename(tmp_path / NAME)
    rows = outbox.append(drafts(1))
    assert outbox.epoch != epoch
    assert [row.sequence for row in rows] == [1]
    assert outbox.dropped == [Span(epoch=epoch, first=1, last=6)]
    outbox.close()


def test_only_its_owner_may_read_the_file(tmp_path: Path) -> None:
    outbox = Outbox.open(tmp_path)
    outbox.append([draft()])
    assert {path.stat().st_mode & 0o077 for path in tmp_path.iterdir()} == {0}
    outbox.close()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    with small_disk(tmp_path / "disk") as folder:
        yield folder


def test_a_file_that_may_not_grow_loses_nothing(tmp_path: Path) -> None:
    """The same as a full disk, by SQLite's own limit, for which nobody needs to be root."""
    outbox = Outbox.open(tmp_path)
    rows = outbox.append(drafts(20))
    outbox._ledger._db.execute("PRAGMA max_page_count = 30").fetchall()
    total = 20
    while not outbox.write_error:
        rows += outbox.append(drafts(100))
        total += 100
    assert "full" in str(outbox.write_error)
    assert outbox.buffered > 0
    outbox._ledger._db.execute("PRAGMA max_page_count = 100000").fetchall()
    rows += outbox.append([])
    assert not outbox.write_error
    assert [row.sequence for row in rows] == list(range(1, total + 1))
    assert stored(outbox) == rows
    outbox.close()


def test_a_disk_that_is_full_at_the_start_is_no_wrong_configuration(disk: Path) -> None:
    """Started again once there is room, the agent runs."""
    ballast = fill_up(disk)
    with pytest.raises(BridgeError, match=r"(can't be used: No space|there can't be an outbox)") as refused:
        Outbox.open(disk / "state")
    assert refused.value.exit_status == 1
    ballast.unlink()
    Outbox.open(disk / "state").close()


def test_a_place_that_is_taken_is_named(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    with pytest.raises(BridgeError, match=f"state_dir: there can't be an outbox in {tmp_path}: "):
        Outbox.open(tmp_path)


def test_a_full_disk_loses_nothing(disk: Path) -> None:
    outbox = Outbox.open(disk)
    rows = outbox.append(drafts(20))
    ballast = fill_up(disk)
    total = 20
    while not outbox.write_error:
        rows += outbox.append(drafts(100))
        total += 100
        assert total < 100_000
    assert "full" in str(outbox.write_error)
    rows += outbox.append(drafts(50))
    total += 50
    assert outbox.buffered >= 50
    assert stored(outbox) == rows
    ballast.unlink()
    rows += outbox.append([])
    assert not outbox.write_error
    assert outbox.buffered == 0
    assert [row.sequence for row in rows] == list(range(1, total + 1))
    assert all(row.payload.startswith(f"{outbox.epoch}-{row.sequence}-".encode()) for row in rows)
    assert outbox.dropped == []
    outbox.close()


@pytest.mark.parametrize("when_full", ["newest-wins", "oldest-wins"])
def test_beyond_its_bound_in_memory_the_loss_is_named(disk: Path, when_full: str) -> None:
    outbox = Outbox.open(disk, Limits(memory_rows=30, when_full=when_full))  # type: ignore[arg-type]
    total = 0
    ballast = fill_up(disk)
    while not outbox.write_error:
        outbox.append(drafts(100))
        total += 100
    before = outbox.last_sequence
    outbox.append(drafts(100))
    total += 100
    assert outbox.buffered == 30
    ballast.unlink()
    rows = outbox.append([])
    assert len(rows) == 30
    assert outbox.last_sequence == total
    lost = total - before - 30
    assert outbox.dropped_rows == lost
    [span] = outbox.dropped
    if when_full == "newest-wins":
        assert (span.first, span.last) == (before + 1, before + lost)
        assert rows[-1].sequence == total
    else:
        assert (span.first, span.last) == (before + 31, total)
        assert rows[0].sequence == before + 1
    outbox.close()


def test_what_was_acknowledged_on_a_full_disk_is_noted_later(disk: Path) -> None:
    outbox = Outbox.open(disk)
    outbox.append(drafts(100))
    ballast = fill_up(disk)
    while not outbox.write_error:
        outbox.append(drafts(100))
    outbox.acknowledge(80)
    outbox.remember({"u": b"known"})
    outbox.flush()
    ballast.unlink()
    outbox.append([])
    assert outbox.acknowledged == 80
    assert outbox.known() == {"u": b"known"}
    outbox.close()
