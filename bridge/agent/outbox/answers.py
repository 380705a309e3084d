"""What the broker answered, from the sender's report to the transaction that stores it."""

import sqlite3
from collections import deque
from collections.abc import Sequence

from bridge.agent.outbox.retention import Meta
from bridge.agent.outbox.rows import Refused


class Answers:
    """Answers that no commit holds yet. `add` may be called from any thread, the rest by the writing one."""

    def __init__(self) -> None:
        self._inbox: deque[tuple[int, int, Sequence[Refused], Sequence[int]]] = deque()
        self._through = 0
        self._refused: list[Refused] = []
        self._accepted_late: list[int] = []

    def __bool__(self) -> bool:
        return bool(self._through or self._refused or self._accepted_late)

    def add(
        self, generation: int, through: int, refused: Sequence[Refused], accepted_late: Sequence[int]
    ) -> None:
        """As `Outbox.acknowledge`, about the file of this generation."""
        self._inbox.append((generation, through, refused, accepted_late))

    def take(self, generation: int) -> None:
        """Takes in what was added since. Answers about another file are ignored."""
        while self._inbox:
            of, through, refused, accepted_late = self._inbox.popleft()
            if of == generation:
                self._through = max(self._through, through)
                self._refused += refused
                self._accepted_late += accepted_late

    def store(self, db: sqlite3.Connection, meta: Meta) -> None:
        """Writes them inside a transaction of the ledger's, and updates its figures."""
        for refused in self._refused:
            moved = db.execute(
                "INSERT OR IGNORE INTO parked "
                "SELECT sequence, topic, payload, crc, at_s, ? FROM rows WHERE sequence = ?",
                (refused.reason, refused.sequence),
            ).rowcount
            if moved:
                db.execute("DELETE FROM rows WHERE sequence = ?", (refused.sequence,))
                meta.parked += 1
        for sequence in self._accepted_late:
            moved = db.execute(
                "INSERT OR IGNORE INTO rows "
                "SELECT sequence, topic, payload, crc, at_s FROM parked WHERE sequence = ?",
                (sequence,),
            ).rowcount
            if moved:
                db.execute("DELETE FROM parked WHERE sequence = ?", (sequence,))
                meta.parked -= 1
        meta.acknowledged = min(max(meta.acknowledged, self._through), meta.last_sequence)

    def clear(self) -> None:
        """They are stored, or their file is gone."""
        self._through, self._refused, self._accepted_late = 0, [], []
