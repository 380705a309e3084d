"""The latest committed rows, in memory, on their way from the outbox's thread to the sending one."""

from collections import deque
from collections.abc import Sequence
from threading import Lock
from typing import Final

from bridge.agent.outbox import Row

MOST_ROWS: Final = 4_096
"""Rows that wait in memory at most. Who is further behind reads the file."""


class HandOver:
    """Spares the sender the reading of what was just written.

    Whatever `take` gives is all there is in its range: either every row is here, or it says that the file
    must be read. Thread-safe; no call blocks.
    """

    def __init__(self, generation: int, last_sequence: int, most_rows: int = MOST_ROWS) -> None:
        """Begins empty: everything up to `last_sequence` has to be read from the file of this generation."""
        self._most_rows = most_rows
        self._lock = Lock()
        self._rows: deque[Row] = deque()
        self._generation = generation
        self._after = last_sequence
        self._last = last_sequence

    def offer(self, generation: int, rows: Sequence[Row], last_sequence: int) -> None:
        """Hands over all rows stored since the last call, up to `last_sequence`.

        `generation` is the outbox's after that. If a new file was begun meanwhile, the rows may be of
        either: they are left to the file.
        """
        with self._lock:
            self._last = last_sequence
            self._rows.extend(rows)
            if generation != self._generation or len(self._rows) > self._most_rows:
                self._generation = generation
                self._rows.clear()
                self._after = last_sequence

    def take(self, generation: int, after: int, limit: int) -> tuple[list[Row], int] | None:
        """Up to `limit` rows that follow sequence `after`, and the sequence up to which there are no others.

        None where they aren't all here.
        """
        with self._lock:
            if generation != self._generation or after < self._after:
                return None
            rows = self._rows
            while rows and rows[0].sequence <= after:
                rows.popleft()
            taken = [rows.popleft() for _ in range(min(limit, len(rows)))]
            if not rows:
                self._after = max(after, self._last)
            else:
                self._after = taken[-1].sequence if taken else after
            return taken, self._after
