"""The correlator's store in memory: the same contract as `bridge.correlator.store`, for tests that are
many.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

from bridge.correlator.store import DomainRow, Draft, HostRow, Outgoing, Store, Transaction, transaction

_ABSENT = object()


class MemoryStore(Store):
    """A store that lives as long as the object. What a transaction that fails has changed is put back."""

    def __init__(self) -> None:
        self.records: dict[str, DomainRow] = {}
        self.hosts: dict[str, bytes] = {}
        self.meta: dict[str, str] = {}
        self.outgoing: dict[int, tuple[Draft, str | None]] = {}
        self.waiting: dict[str, int] = {}
        self.topics: dict[str, Draft] = {}
        self.count = 0

    def __str__(self) -> str:
        return "memory"

    @contextmanager
    def begin(self) -> Iterator[Transaction]:
        """One transaction: all of it happens when the block ends well, nothing of it otherwise."""
        work = MemoryTransaction(self)
        try:
            yield work
        except BaseException:
            work.undo()
            raise

    def look(self) -> None:
        """Nobody can remove it."""

    def close(self) -> None:
        """Nothing to let go of: opened again, it is what it was."""

    def take(self) -> list[Draft]:
        """What is to be sent, as sent: it is no longer here."""
        if not self.outgoing:
            return []
        taken = [draft for draft, parked in self.outgoing.values() if parked is None]
        self.outgoing = {n: one for n, one in self.outgoing.items() if one[1] is not None}
        self.waiting = {draft.id: n for n, (draft, _) in self.outgoing.items()}
        return taken


class MemoryTransaction(Transaction):
    """What can be read and changed in one piece."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._undo: list[tuple[dict[object, object], object, object]] = []

    def undo(self) -> None:
        """Puts back what was changed, the latest change first."""
        for table, key, before in reversed(self._undo):
            if before is _ABSENT:
                del table[key]
            else:
                table[key] = before

    def _set(self, table: dict[object, object], key: object, value: object) -> None:
        self._undo.append((table, key, table.get(key, _ABSENT)))
        table[key] = value

    def _delete(self, table: dict[object, object], key: object) -> None:
        if key in table:
            self._undo.append((table, key, table.pop(key)))

    def records(self, uuids: Collection[str]) -> dict[str, bytes]:
        rows = self._store.records
        return {uuid: rows[uuid].data for uuid in uuids if uuid in rows}

    def keep_records(self, rows: Collection[DomainRow]) -> None:
        for row in rows:
            self._set(self._store.records, row.uuid, row)  # type: ignore[arg-type]

    def due(self, now: float, limit: int) -> list[str]:
        due = [
            (row.due, row.uuid)
            for row in self._store.records.values()
            if row.due is not None and row.due <= now
        ]
        return [uuid for _, uuid in sorted(due)[:limit]]

    def next_due(self) -> float | None:
        return min((row.due for row in self._store.records.values() if row.due is not None), default=None)

    def attention(self) -> Counter[str]:
        return Counter(kind for row in self._store.records.values() for kind in row.attention)

    def pending_records(self) -> Iterator[tuple[str, bytes, list[str]]]:
        for uuid, row in sorted(self._store.records.items()):
            if row.is_open:
                yield uuid, row.data, sorted(row.hosts)

    def hosts(self) -> dict[str, bytes]:
        return dict(self._store.hosts)

    def keep_hosts(self, rows: Collection[HostRow]) -> None:
        for row in rows:
            self._set(self._store.hosts, row.name, row.data)  # type: ignore[arg-type]

    def queue(self, drafts: Sequence[Draft]) -> None:
        store = self._store
        for draft in drafts:
            if draft.retain:
                self._set(store.topics, draft.topic, draft)  # type: ignore[arg-type]
            if draft.id not in store.waiting:
                store.count += 1
                self._set(store.outgoing, store.count, (draft, None))  # type: ignore[arg-type]
                self._set(store.waiting, draft.id, store.count)  # type: ignore[arg-type]

    def retained(self, after: str, limit: int) -> list[Draft]:
        held = sorted(topic for topic in self._store.topics if topic > after)
        return [self._store.topics[topic] for topic in held[:limit]]

    def retained_on(self, topics: Collection[str]) -> list[Draft]:
        held = sorted(topic for topic in topics if topic in self._store.topics)
        return [self._store.topics[topic] for topic in held]

    def unsent(self, after: int, limit: int) -> list[Outgoing]:
        rows = [
            Outgoing(n, draft.topic, draft.payload, draft.retain)
            for n, (draft, parked) in self._store.outgoing.items()
            if parked is None and n > after
        ]
        return rows[:limit]

    def sent(self, numbers: Collection[int]) -> None:
        for n in numbers:
            found = self._store.outgoing.get(n)
            if found is not None:
                self._delete(self._store.outgoing, n)  # type: ignore[arg-type]
                self._delete(self._store.waiting, found[0].id)  # type: ignore[arg-type]

    def park(self, n: int, reason: str) -> None:
        outgoing = self._store.outgoing
        self._set(outgoing, n, (outgoing[n][0], reason))  # type: ignore[arg-type]
        parked = [number for number, (_, why) in outgoing.items() if why is not None]
        for number in parked[: -transaction.MAX_PARKED]:
            self._delete(outgoing, number)  # type: ignore[arg-type]

    def parked(self) -> int:
        return sum(parked is not None for _, parked in self._store.outgoing.values())

    def meta(self, key: str) -> str | None:
        return self._store.meta.get(key)

    def keep_meta(self, key: str, value: str) -> None:
        self._set(self._store.meta, key, value)  # type: ignore[arg-type]
