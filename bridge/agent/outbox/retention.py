"""Retention: what the outbox deletes, and in which order, to stay within its limits.

All functions run inside a transaction of the ledger's, and update the figures they are given.
"""

import sqlite3
from dataclasses import dataclass
from typing import Final

from bridge.agent.outbox import spans
from bridge.agent.outbox.rows import OVERHEAD_BYTES, Limits, Row

CHUNK: Final = 512
"""Rows that one statement examines."""

EXPIRED_A_COMMIT: Final = 1_000
"""Expired rows that one transaction deletes at most: no append waits for more."""

_SIZE: Final = f"length(topic) + length(payload) + {OVERHEAD_BYTES}"


@dataclass(slots=True)
class Meta:
    """The outbox's figures."""

    epoch: str
    last_sequence: int
    acknowledged: int
    rows: int
    bytes: int
    parked: int

    def copy(self) -> "Meta":
        """A copy, to be changed while this one stays valid."""
        return Meta(self.epoch, self.last_sequence, self.acknowledged, self.rows, self.bytes, self.parked)


def make_room(
    db: sqlite3.Connection, limits: Limits, meta: Meta, rows: list[Row]
) -> tuple[list[Row], list[tuple[int, int]]]:
    """Deletes what exceeds the limits. Returns the new rows that may stay, and the dropped ranges."""
    gone: list[tuple[int, int]] = []
    bytes_new = sum(row.size for row in rows)

    def excess() -> tuple[int, int]:
        return meta.rows + len(rows) - limits.rows, meta.bytes + bytes_new - limits.bytes

    _delete_oldest(db, meta, "rows", meta.acknowledged, excess())
    gone += _delete_oldest(db, meta, "parked", meta.last_sequence, excess())
    if limits.when_full == "newest-wins":
        unsent = _delete_oldest(db, meta, "rows", meta.last_sequence, excess())
        if unsent:
            meta.acknowledged = max(meta.acknowledged, unsent[-1][1])
            gone += unsent
    kept = list(rows)
    lost: list[int] = []
    from_front = limits.when_full == "newest-wins"
    while kept and (meta.rows + len(kept) > limits.rows or meta.bytes + bytes_new > limits.bytes):
        row = kept.pop(0 if from_front else -1)
        bytes_new -= row.size
        lost.append(row.sequence)
    gone += spans.runs(sorted(lost))
    return kept, gone


def _delete_oldest(
    db: sqlite3.Connection, meta: Meta, table: str, ceiling: int, excess: tuple[int, int]
) -> list[tuple[int, int]]:
    """Deletes the oldest rows up to sequence `ceiling` until this excess of rows and bytes is gone."""
    rows, bytes_ = excess
    deleted: list[int] = []
    while rows > 0 or bytes_ > 0:
        found = db.execute(
            f"SELECT sequence, {_SIZE} FROM {table} WHERE sequence <= ? ORDER BY sequence LIMIT ?",  # noqa: S608 - a name of ours
            (ceiling, CHUNK),
        ).fetchall()
        if not found:
            break
        last = 0
        for sequence, size in found:
            if rows <= 0 and bytes_ <= 0:
                break
            rows, bytes_, last = rows - 1, bytes_ - size, sequence
            meta.rows, meta.bytes = meta.rows - 1, meta.bytes - size
            deleted.append(sequence)
        removed = db.execute(f"DELETE FROM {table} WHERE sequence <= ?", (last,)).rowcount  # noqa: S608 - a name of ours
        if table == "parked":
            meta.parked -= removed
    return spans.runs(deleted)


def expire(
    db: sqlite3.Connection, limits: Limits, meta: Meta, now_s: float, oldest: float | None
) -> float | None:
    """Deletes acknowledged rows that have expired. Returns when the oldest remaining one was stored.

    `oldest` is what the last call returned; None is unknown.
    """
    keep_s, keep_bytes = limits.keep_hours * 3600, limits.keep_bytes
    if oldest is not None and now_s - oldest < keep_s and meta.bytes <= keep_bytes:
        return oldest
    found = db.execute(
        f"SELECT sequence, at_s, {_SIZE} FROM rows WHERE sequence <= ? ORDER BY sequence LIMIT ?",  # noqa: S608
        (meta.acknowledged, EXPIRED_A_COMMIT),
    ).fetchall()
    last = 0
    for sequence, at_s, size in found:
        if now_s - at_s < keep_s and meta.bytes <= keep_bytes:
            oldest = at_s
            break
        meta.rows, meta.bytes, last = meta.rows - 1, meta.bytes - size, sequence
    else:
        oldest = None
    if last:
        db.execute("DELETE FROM rows WHERE sequence <= ?", (last,))
    return oldest
