"""The outbox's file: its schema, its clock, detection of damage, and setting a damaged file aside."""

import os
import sqlite3
import time
import zlib
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from bridge.agent.outbox.lock import Mark

NAME: Final = "outbox.sqlite3"
SCHEMA_VERSION: Final = 1
LATEST_THINKABLE_VERSION: Final = 1_000
"""A higher version can't exist: the file is damaged."""

CHECKED_BYTES: Final = 256 * 1024**2
"""A file up to this size is checked in full at the start. In a larger one damage is detected on access."""

PAGE_BYTES: Final = 4_096
CHECKPOINT_PAGES: Final = 2_000
"""A write-ahead log of this length is checkpointed and overwritten from its beginning."""

SCHEMA: Final = """
CREATE TABLE meta (
    id INTEGER PRIMARY KEY CHECK (id = 0),
    epoch TEXT NOT NULL,
    last_sequence INTEGER NOT NULL,  -- the last that was given out
    settled INTEGER NOT NULL,        -- all up to here are acknowledged, parked or dropped
    rows INTEGER NOT NULL,           -- of `rows` and `parked` together
    bytes INTEGER NOT NULL,
    clock_s REAL NOT NULL,           -- see Clock
    wall_s REAL NOT NULL,
    crc INTEGER NOT NULL
);
CREATE TABLE rows (
    sequence INTEGER PRIMARY KEY,
    topic TEXT NOT NULL,
    payload BLOB NOT NULL,
    crc INTEGER NOT NULL,
    at_s INTEGER NOT NULL            -- by `clock_s`
);
CREATE TABLE parked (
    sequence INTEGER PRIMARY KEY,
    topic TEXT NOT NULL,
    payload BLOB NOT NULL,
    crc INTEGER NOT NULL,
    at_s INTEGER NOT NULL,
    reason TEXT NOT NULL
);
CREATE TABLE known (uuid TEXT PRIMARY KEY, snapshot BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE dropped (
    position INTEGER PRIMARY KEY,
    epoch TEXT,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL
);
PRAGMA user_version = 1;
"""


class DamagedError(Exception):
    """The outbox's file doesn't hold what was written to it."""


_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_TRANSIENT = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
}


def is_damage(error: Exception) -> bool:
    """Whether SQLite found the file damaged or removed. Source: sqlite.org/rescode.html.

    Where its message quotes the file's garbage, Python can't even decode that.
    """
    if isinstance(error, UnicodeDecodeError | DamagedError):
        return True
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF in _DAMAGE or code == sqlite3.SQLITE_READONLY_DBMOVED


def is_transient(error: Exception) -> bool:
    """Whether the write failed now and may succeed later."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _TRANSIENT


def checksum(sequence: int, topic: str, payload: bytes) -> int:
    """A row's checksum: SQLite keeps none of its content."""
    return zlib.crc32(payload, zlib.crc32(topic.encode("utf-8", "surrogateescape"), sequence & 0xFFFFFFFF))


def checksum_of_figures(*figures: object) -> int:
    """The checksum of the row of `meta`."""
    return zlib.crc32(repr(figures).encode("utf-8", "surrogateescape"))


def verify(sequence: int, topic: object, payload: object, crc: object) -> None:
    """Raises DamagedError for a row that isn't what was written."""
    if (
        not isinstance(topic, str)
        or not isinstance(payload, bytes)
        or checksum(sequence, topic, payload) != crc
    ):
        raise DamagedError(f"the content of row {sequence} is not what was written")


def _decode(text: bytes) -> str:
    """Damaged text must not raise here, but in `verify`."""
    return text.decode("utf-8", "surrogateescape")


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """One connection with the outbox's settings. Transactions are explicit."""
    if not read_only:
        path.touch(mode=0o600)
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=5.0,
        cached_statements=64,
    )
    connection.text_factory = _decode
    try:
        if not read_only:
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
            connection.execute(f"PRAGMA journal_size_limit = {64 * 1024**2}")
    except (sqlite3.Error, UnicodeDecodeError):
        connection.close()
        raise
    return connection


def create(connection: sqlite3.Connection, epoch: str) -> None:
    """Creates the tables of a new outbox, in one transaction."""
    wall_s = time.time()
    crc = checksum_of_figures(epoch, 0, 0, 0, 0, 0.0, wall_s)
    first = f"INSERT INTO meta VALUES (0, '{epoch}', 0, 0, 0, 0, 0.0, {wall_s!r}, {crc});"  # noqa: S608 - our own
    connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA} {first} COMMIT;")


def lengthen_log(path: Path) -> None:
    """Allocates the write-ahead log's full length at once, in zeros, which SQLite takes for the remains of an
    earlier round and overwrites.

    A commit that extends the log also writes the file system's journal; one that overwrites takes about a
    third less time (measured on ext4). Skipped where the disk has little space.
    """
    log = path.with_name(f"{path.name}-wal")
    length = CHECKPOINT_PAGES * (PAGE_BYTES + 24) + 32
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        there = os.fstat(descriptor).st_size
        disk = os.fstatvfs(descriptor)
        if there < length and disk.f_bavail * disk.f_frsize > 10 * length:
            os.pwrite(descriptor, bytes(length - there), there)
            os.fsync(descriptor)
    except OSError:
        return
    finally:
        os.close(descriptor)


def check(connection: sqlite3.Connection, path: Path) -> None:
    """Checks the whole file. Raises DamagedError or sqlite3.Error."""
    if path.stat().st_size > CHECKED_BYTES:
        return
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise DamagedError(str(verdict).replace("\n", " "))
    (expected,) = connection.execute("SELECT rows FROM meta").fetchone() or (0,)
    found = 0
    for sequence, topic, payload, crc in connection.execute(
        "SELECT sequence, topic, payload, crc FROM rows UNION ALL "
        "SELECT sequence, topic, payload, crc FROM parked"
    ):
        verify(sequence, topic, payload, crc)
        found += 1
    if found != expected:
        raise DamagedError(f"it holds {found} rows where {expected} were stored")


def set_aside(path: Path) -> Path:
    """Renames the file and what belongs to it, for a person to inspect. Returns the new name."""
    stem = f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    aside = path.with_name(stem)
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{stem}-{number}")
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    return aside


class Clock:
    """Seconds that never step back, so that rows age whatever happens to the machine's clock.

    Within a process it follows the monotonic clock. The time between two processes is taken from the wall
    clock, and counts as nothing if that went backwards.
    """

    def __init__(self, clock_s: float, wall_s: float) -> None:
        self._base = clock_s + max(0.0, time.time() - wall_s) - time.monotonic()

    def __call__(self) -> float:
        """Now."""
        return self._base + time.monotonic()


def salvage(path: Path) -> Mark | None:
    """The last position that a damaged file still shows; None where it shows none."""
    try:
        with closing(connect(path, read_only=True)) as connection:
            row = connection.execute("SELECT epoch, last_sequence, settled FROM meta").fetchone()
    except sqlite3.Error:
        return None
    if (
        row is None
        or not isinstance(row[0], str)
        or not isinstance(row[1], int)
        or not isinstance(row[2], int)
    ):
        return None
    return Mark(*row)
