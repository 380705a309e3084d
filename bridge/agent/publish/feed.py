"""The committed rows in order, from memory where they are there, else from the file."""

from bridge.agent.outbox import Outbox, Row
from bridge.agent.publish.handover import HandOver


class Feed:
    """What is to be sent next, for the sender's thread. No row is skipped and none comes out of order.

    Both methods raise outbox.DamagedError where the file doesn't hold what was written.
    """

    def __init__(self, outbox: Outbox, handover: HandOver) -> None:
        self._outbox = outbox
        self._handover = handover
        self._reader = outbox.reader()
        self.generation = outbox.generation
        """Of which of the outbox's files the sequences are that are asked for; set by who asks."""

    def after(self, sequence: int, limit: int) -> tuple[list[Row], int]:
        """Up to `limit` rows that follow `sequence`, and the sequence up to which there are no others.

        While a file is being replaced there are none.
        """
        last = self._outbox.last_sequence
        taken = self._handover.take(self.generation, sequence, limit)
        if taken is not None and (taken[0] or taken[1] >= last):
            return taken
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

    @property
    def _is_current(self) -> bool:
        return self._reader.answered and (
            self._reader.generation == self.generation == self._outbox.generation
        )

    def close(self) -> None:
        """Closes the file."""
        self._reader.close()
