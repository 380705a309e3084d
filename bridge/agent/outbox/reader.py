"""Reads the outbox in another thread than the one that writes it."""

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from bridge.agent.outbox import file
from bridge.agent.outbox.rows import Row


class Reader:
    """A read-only connection, for one thread. It follows when the file is replaced: see `generation`."""

    def __init__(self, path: Path, current_generation: Callable[[], int]) -> None:
        self._path = path
        self._current_generation = current_generation
        self._db: sqlite3.Connection | None = None
        self.generation = current_generation()
        """The generation of the file that the last answer came from."""
        self.answered = False
        """Whether the last read succeeded."""

    def unsent(self, after: int, limit: int) -> list[Row]:
        """The first `limit` rows after sequence `after` that the broker hasn't refused.

        Raises file.DamagedError where the file doesn't hold what was written. While it can't be read for
        another reason (it is being replaced) the result is empty.
        """
        return self._read(
            "SELECT sequence, topic, payload, crc, 0 FROM rows WHERE sequence > ? ORDER BY sequence LIMIT ?",
            (after, limit),
        )

    def replay(self, first: int, last: int, limit: int) -> list[Row]:
        """The first `limit` rows of `first`..`last` that are still there, parked ones included. Raises as
        `unsent`.
        """
        return self._read(
            "SELECT sequence, topic, payload, crc, 0 FROM rows WHERE sequence BETWEEN ?1 AND ?2 UNION ALL "
            "SELECT sequence, topic, payload, crc, 1 FROM parked WHERE sequence BETWEEN ?1 AND ?2 "
            "ORDER BY sequence LIMIT ?3",
            (first, last, limit),
        )

    def _read(self, query: str, values: tuple[int, ...]) -> list[Row]:
        self.answered = False
        generation = self._current_generation()
        if generation != self.generation:
            self.close()
            self.generation = generation
        try:
            if self._db is None:
                self._db = file.connect(self._path, read_only=True)
            found = self._db.execute(query, values).fetchall()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            self.close()
            if file.is_damage(error):
                raise file.DamagedError(str(error)) from error
            if file.is_transient(error):
                return []
            raise
        rows = []
        for sequence, topic, payload, crc, parked in found:
            file.verify(sequence, topic, payload, crc)
            rows.append(Row(sequence, topic, payload, None, parked == 1))
        self.answered = True
        return rows

    def close(self) -> None:
        """Closes the connection; the next read opens it again."""
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._db.close()
            self._db = None
