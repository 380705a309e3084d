"""One open outbox file: everything written to it, each time in one transaction."""

import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final
from uuid import uuid4

import structlog

from bridge.agent.inventory.drafts import FORGET, Draft
from bridge.agent.outbox import file, retention, spans
from bridge.agent.outbox.answers import Answers
from bridge.agent.outbox.retention import CHUNK, Meta
from bridge.agent.outbox.rows import Gap, Limits, Row
from bridge.errors import ConfigError
from bridge.identity import Identity
from bridge.wire.messages import Span

log = structlog.get_logger()

COMMITS_A_FOLD: Final = 100

SPARE_PAGES: Final = 4_096
"""The file keeps this many free pages (16 MiB) for new rows."""


class Ledger:
    """A file, its connection and its figures. Raises sqlite3.Error and file.DamagedError; a failed commit
    changes nothing.
    """

    def __init__(self, path: Path, limits: Limits) -> None:
        self.path = path
        self._limits = limits
        self.created = False
        self._db = file.connect(path)
        try:
            self._prepare()
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                self._db.close()
            if file.is_transient(error):
                raise
            raise file.DamagedError(str(error)) from error
        except BaseException:
            with suppress(sqlite3.Error):
                self._db.close()
            raise

    def _prepare(self) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version == 0 and not self._db.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall():
            file.create(self._db, uuid4().hex)
            self.created = True
        elif file.SCHEMA_VERSION < version < file.LATEST_THINKABLE_VERSION:
            raise ConfigError(
                f"state_dir: {self.path} was written by a later version "
                f"(schema {version}, this one knows {file.SCHEMA_VERSION})"
            )
        elif version != file.SCHEMA_VERSION:
            raise file.DamagedError("its schema is not an outbox's")
        file.check(self._db, self.path)
        row = self._db.execute(
            "SELECT epoch, last_sequence, settled, rows, bytes, clock_s, wall_s, crc FROM meta"
        ).fetchone()
        if row is None or file.checksum_of_figures(*row[:-1]) != row[-1]:
            raise file.DamagedError("its figures are not what was written")
        (parked,) = self._db.execute("SELECT count(*) FROM parked").fetchone()
        epoch, last_sequence, acknowledged, rows, stored_bytes, clock_s, wall_s, _ = row
        self.meta = Meta(epoch, last_sequence, acknowledged, rows, stored_bytes, parked)
        self.clock = file.Clock(clock_s, wall_s)
        self.known: dict[str, bytes] = dict(self._db.execute("SELECT uuid, snapshot FROM known"))
        self.dropped = [
            Span(epoch=epoch, first=first, last=last)
            for epoch, first, last in self._db.execute(
                "SELECT epoch, first, last FROM dropped ORDER BY position"
            )
        ]
        self._oldest_at_s: float | None = None
        self._commits = 0
        file.lengthen_log(self.path)
        self._identity = Identity(self.path)
        self._is_open = True

    @property
    def is_there(self) -> bool:
        """Whether it is open, and its path still leads to it."""
        return self._is_open and self._identity.holds

    def fold_log(self) -> None:
        """Checkpoints the write-ahead log, if it is worth it, so that no commit has to."""
        if self._commits >= COMMITS_A_FOLD:
            self._commits = 0
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def close(self) -> None:
        """Closes the file; SQLite checkpoints the log if nobody else reads."""
        self._is_open = False
        with suppress(sqlite3.Error):
            self._db.close()

    def commit(
        self,
        batch: Sequence[Draft | Gap],
        answers: Answers,
        known: Mapping[str, bytes],
        holes: Sequence[Span] = (),
    ) -> tuple[list[Row], int]:
        """Stores all of it in one transaction. Returns the rows stored, and how many of the batch were
        dropped.
        """
        meta = self.meta.copy()
        rows, unborn, snapshots = self._number(batch, meta)
        snapshots = {**known, **snapshots}
        gone: list[tuple[int, int]] = unborn
        now_s = self.clock()
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            if answers:
                answers.store(db, meta)
            if meta.rows + len(rows) > self._limits.rows or (
                meta.bytes + sum(row.size for row in rows) > self._limits.bytes
            ):
                rows, dropped = retention.make_room(db, self._limits, meta, rows)
                gone = gone + dropped
            if rows:
                at_s = int(now_s)
                db.executemany(
                    "INSERT INTO rows VALUES (?, ?, ?, ?, ?)",
                    [
                        (
                            row.sequence,
                            row.topic,
                            row.payload,
                            file.checksum(row.sequence, row.topic, row.payload),
                            at_s,
                        )
                        for row in rows
                    ],
                )
                meta.rows += len(rows)
                meta.bytes += sum(row.size for row in rows)
            if snapshots:
                self._store_known(snapshots)
            oldest_at_s = retention.expire(db, self._limits, meta, now_s, self._oldest_at_s)
            total = self.dropped
            if gone or holes:
                for hole in holes:
                    total = spans.add(total, hole.epoch or "", [(hole.first, hole.last)])
                total = spans.add(total, meta.epoch, gone)
                self._store_dropped(total)
            figures = (meta.last_sequence, meta.acknowledged, meta.rows, meta.bytes, now_s, time.time())
            db.execute(
                "UPDATE meta SET last_sequence = ?, settled = ?, rows = ?, bytes = ?, "
                "clock_s = ?, wall_s = ?, crc = ?",
                (*figures, file.checksum_of_figures(meta.epoch, *figures)),
            )
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                with suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
            raise
        self._commits += 1
        self.meta, self.dropped, self._oldest_at_s = meta, total, oldest_at_s
        for uuid, snapshot in snapshots.items():
            if snapshot == FORGET:
                self.known.pop(uuid, None)
            else:
                self.known[uuid] = snapshot
        return rows, sum(last - first + 1 for first, last in gone)

    def _number(
        self, batch: Sequence[Draft | Gap], meta: Meta
    ) -> tuple[list[Row], list[tuple[int, int]], dict[str, bytes]]:
        """Assigns sequences and builds the payloads."""
        rows: list[Row] = []
        unborn: list[tuple[int, int]] = []
        snapshots: dict[str, bytes] = {}
        sequence, epoch = meta.last_sequence, meta.epoch
        for item in batch:
            if isinstance(item, Gap):
                unborn.append((sequence + 1, sequence + item.count))
                sequence += item.count
                continue
            sequence += 1
            if item.known is not None:
                snapshots[item.uuid] = item.known
            try:
                payload = item.build(epoch, sequence)
            except Exception:
                log.exception("outbox.message_not_built", topic=item.topic)
                unborn.append((sequence, sequence))
                continue
            rows.append(Row(sequence, item.topic, payload, item.received_s))
        meta.last_sequence = sequence
        return rows, unborn, snapshots

    def _store_known(self, snapshots: Mapping[str, bytes]) -> None:
        kept = [(uuid, snapshot) for uuid, snapshot in snapshots.items() if snapshot != FORGET]
        self._db.executemany(
            "INSERT INTO known VALUES (?, ?) ON CONFLICT (uuid) DO UPDATE SET snapshot = excluded.snapshot",
            kept,
        )
        if len(kept) < len(snapshots):
            self._db.executemany(
                "DELETE FROM known WHERE uuid = ?",
                [(uuid,) for uuid, snapshot in snapshots.items() if snapshot == FORGET],
            )

    def _store_dropped(self, total: Sequence[Span]) -> None:
        self._db.execute("DELETE FROM dropped")
        self._db.executemany(
            "INSERT INTO dropped (epoch, first, last) VALUES (?, ?, ?)",
            [(span.epoch, span.first, span.last) for span in total],
        )

    @property
    def has_expired(self) -> bool:
        """Whether more acknowledged rows have expired than one transaction may delete."""
        limits, meta = self._limits, self.meta
        if meta.acknowledged == 0 or meta.rows == meta.parked:
            return False
        oldest = self._oldest_at_s
        due = meta.bytes > limits.keep_bytes or (
            oldest is not None and self.clock() - oldest >= limits.keep_hours * 3600
        )
        if not due and oldest is not None:
            return False
        row = self._db.execute(
            "SELECT at_s FROM rows WHERE sequence <= ? ORDER BY sequence LIMIT 1", (meta.acknowledged,)
        ).fetchone()
        if row is None:
            return False
        self._oldest_at_s = row[0]
        return meta.bytes > limits.keep_bytes or self.clock() - float(row[0]) >= limits.keep_hours * 3600

    def oldest_unsent_age_s(self) -> float | None:
        """How long the first unacknowledged row has been stored; None if there is none."""
        row = self._db.execute(
            "SELECT at_s FROM rows WHERE sequence > ? ORDER BY sequence LIMIT 1", (self.meta.acknowledged,)
        ).fetchone()
        return None if row is None else max(0.0, self.clock() - float(row[0]))

    def shrink(self) -> None:
        """Returns some of the file's free pages to the disk, if they are a large part of it."""
        (free,) = self._db.execute("PRAGMA freelist_count").fetchone()
        (pages,) = self._db.execute("PRAGMA page_count").fetchone()
        if free > SPARE_PAGES and free * 2 > pages:
            self._db.execute(f"PRAGMA incremental_vacuum({CHUNK})").fetchall()
