"""A read-through cache of the outbox: the rows in order, the latest from memory, older ones from the file."""

from collections import deque
from collections.abc import Sequence
from threading import Lock
from typing import Final

from bridge.agent.outbox import Outbox, Row

MOST_ROWS: Final = 4_096
"""Rows kept in memory at most. A sender that is further behind reads the file."""


class TailCache:
    """Returns to the sender's thread the rows after a sequence. No row is skipped or out of order.

    `put` belongs to the outbox's thread, everything else to the sender's. Rows leave the memory when they are
    returned. `after` and `again` raise outbox.DamagedError where the file doesn't hold what was written.
    """

    def __init__(self, outbox: Outbox, most_rows: int = MOST_ROWS) -> None:
        self._outbox = outbox
        self._most_rows = most_rows
        self._reader = outbox.reader()
        self.generation = outbox.generation
        """The generation of the file whose sequences are asked for; set by the sender."""
        self._lock = Lock()
        self._rows: deque[Row] = deque()
        self._rows_generation = outbox.generation
        self._begin = self._end = outbox.last_sequence
        """The memory holds all rows after `_begin`, up to `_end`."""

    def put(self, rows: Sequence[Row]) -> None:
        """These rows are durable: all that were stored since the last call. Never blocks.

        If a new file was begun meanwhile, the rows may be of either: they are read from the file.
        """
        generation, last_sequence = self._outbox.generation, self._outbox.last_sequence
        with self._lock:
            self._end = last_sequence
            self._rows.extend(rows)
            if generation != self._rows_generation or len(self._rows) > self._most_rows:
                self._rows_generation = generation
                self._rows.clear()
                self._begin = last_sequence

    def after(self, sequence: int, limit: int) -> tuple[list[Row], int]:
        """Up to `limit` rows that follow `sequence`, and the sequence up to which there are no others.

        While a file is being replaced there are none.
        """
        last = self._outbox.last_sequence
        found = self._in_memory(sequence, limit)
        if found is not None and (found[0] or found[1] >= last):
            return found
        rows = self._reader.unsent(sequence, limit)
        if not self._is_current:
            return [], sequence
        through = rows[-1].sequence if rows else sequence
        return rows, through if len(rows) == limit else max(last, through)

    def again(self, first: int, last: int, limit: int) -> list[Row] | None:
        """The first `limit` rows of `first`..`last` that are still there; None while the file can't be
        read.
        """
        rows = self._reader.replay(first, last, limit)
        return rows if self._is_current else None

    def _in_memory(self, after: int, limit: int) -> tuple[list[Row], int] | None:
        """As `after`; None where the rows aren't all in memory."""
        with self._lock:
            if self.generation != self._rows_generation or after < self._begin:
                return None
            rows = self._rows
            while rows and rows[0].sequence <= after:
                rows.popleft()
            taken = [rows.popleft() for _ in range(min(limit, len(rows)))]
            if not rows:
                self._begin = max(after, self._end)
            else:
                self._begin = taken[-1].sequence if taken else after
            return taken, self._begin

    @property
    def _is_current(self) -> bool:
        return self._reader.answered and (
            self._reader.generation == self.generation == self._outbox.generation
        )

    def close(self) -> None:
        """Closes the file."""
        self._reader.close()
