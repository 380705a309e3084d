"""The side of the store that is written: one batch of messages, one transaction."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection, Row, text

from bridge.dashboard.moments import Moment
from bridge.dashboard.store.query import downtime_class
from bridge.dashboard.store.tables import TABLES, VERSION
from bridge.database import Database, keep_meta, read_meta
from bridge.wire.topics import decode_level, encode_level

HORIZON: Final = "horizon"
"""The key of the last row that is no longer kept."""
PRUNED_AT_ONCE: Final = 5000
BYTES: Final = "bytes"
"""The key of how many bytes the rows take up."""
ROW_BYTES: Final = 500
"""What a row takes up beside its payload, with its part of the indexes (504 of an event's in SQLite)."""

_ADD = (
    "INSERT INTO rows (n, at, came, source, id, host, uuid, payload, latest)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, false) ON CONFLICT (source, id) DO NOTHING"
)
_ADD_MIGRATION = (
    "INSERT INTO rows (n, at, came, source, id, host, uuid, payload, peer, attempt, outcome, reason,"
    " downtime_ms, downtime_class, attention, latest)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_KNOWN = {
    "sqlite": "SELECT source, id FROM rows"
    " WHERE (source, id) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?))",
    "postgresql": "SELECT source, id FROM rows"
    " WHERE (source, id) IN (SELECT * FROM unnest(%s::text[], %s::text[]))",
}
_STORED_FROM = text("SELECT n FROM rows WHERE n >= :n")
_LAST = text("SELECT max(n) FROM rows")
_ATTEMPT_OF = text("SELECT attempt FROM rows WHERE id = :id AND source = :source")
_LATEST = text("SELECT n, outcome FROM rows WHERE attempt = :attempt AND latest")
_NOT_LATEST = text("UPDATE rows SET latest = false WHERE n = :n")
_KEEP_NAME = text("INSERT INTO names (name, uuid) VALUES (:name, :uuid) ON CONFLICT DO NOTHING")
_HOSTS = text("SELECT host, data FROM hosts")
_KEEP_HOST = text(
    "INSERT INTO hosts (host, data) VALUES (:host, :data)"
    " ON CONFLICT (host) DO UPDATE SET data = excluded.data"
)
_OLDEST = text("SELECT n, came, length(payload) AS bytes FROM rows ORDER BY n LIMIT :limit")
_PRUNE = text("DELETE FROM rows WHERE n <= :n")
_SIZE = text("SELECT coalesce(sum(length(payload) + :row), 0) FROM rows")


class Store(Database):
    """The store of one dashboard."""

    def __init__(self, url: str, *, id: str) -> None:  # noqa: A002 - the setting's name
        super().__init__(url, owner=f"dashboard {id}", tables=TABLES, version=VERSION)

    @contextmanager
    def begin(self) -> Iterator[Transaction]:
        """One transaction: committed when the block ends, rolled back when it raises."""
        with self.begin_on_connection() as connection:
            yield Transaction(connection)


class Transaction:
    """What can be read and changed in one piece."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._dialect = connection.dialect.name

    def last(self) -> int:
        """The number of the last row ever stored; 0 before the first."""
        found = self._connection.execute(_LAST).scalar()
        return int(found or read_meta(self._connection, HORIZON) or 0)

    def known(self, moments: Collection[Moment]) -> set[tuple[str, str]]:
        """Of these messages those that are stored, as source and id."""
        if not moments:
            return set()
        if self._dialect == "postgresql":
            values: tuple[Any, ...] = ([m.source for m in moments], [m.id for m in moments])
        else:
            values = (json.dumps([(m.source, m.id) for m in moments]),)
        return {tuple(row) for row in self._connection.exec_driver_sql(_KNOWN[self._dialect], values)}

    def add(self, n: int, came: int, moments: Sequence[Moment]) -> dict[int, str]:
        """Stores messages that aren't known, the first as row `n`; came: when, in µs. Returns what names the
        attempts of those about migrations, by row.
        """
        self._grow(sum(len(moment.payload) + ROW_BYTES for moment in moments))
        plain: list[tuple[object, ...]] = []
        attempts: dict[int, str] = {}
        for number, moment in enumerate(moments, n):
            if moment.outcome is not None:
                attempts[number] = self._add_migration(number, came, moment)
            else:
                plain.append((number, moment.at, came, *moment[1:6]))
        if plain:
            self._execute(_ADD, plain)
        return attempts

    def _add_migration(self, n: int, came: int, moment: Moment) -> str:
        """A message about an attempt takes the place of the one before it; only a late `started` doesn't."""
        attempt = moment.attempt or self._conflict_of(moment)
        before = self._connection.execute(_LATEST, {"attempt": attempt}).first()
        latest = before is None or moment.outcome != "started"
        if before is not None and latest:
            self._connection.execute(_NOT_LATEST, {"n": before.n})
        bits = None if moment.downtime_ms is None else downtime_class(moment.downtime_ms)
        self._execute(
            _ADD_MIGRATION,
            [
                (
                    n, moment.at, came, *moment[1:6], moment.peer, attempt, moment.outcome, moment.reason,
                    moment.downtime_ms, bits, moment.attention, latest,
                )
            ],
        )  # fmt: skip
        return attempt

    def _conflict_of(self, moment: Moment) -> str:
        """What names a conflict without a migration: its first message."""
        if moment.supersedes is None:
            return moment.id
        former = {"id": moment.supersedes, "source": moment.source}
        return self._connection.execute(_ATTEMPT_OF, former).scalar() or moment.supersedes

    def keep_names(self, names: Collection[tuple[str, str]]) -> None:
        """Stores names of domains, as name and UUID."""
        if names:
            rows = [{"name": encode_level(name), "uuid": uuid} for name, uuid in sorted(names)]
            self._connection.execute(_KEEP_NAME, rows)

    def hosts(self) -> dict[str, bytes]:
        """The received sequences of each host."""
        return {decode_level(row.host): row.data for row in self._connection.execute(_HOSTS)}

    def keep_hosts(self, hosts: Collection[tuple[str, bytes]]) -> None:
        """Stores those of these hosts."""
        if hosts:
            rows = [{"host": encode_level(name), "data": data} for name, data in hosts]
            self._connection.execute(_KEEP_HOST, rows)

    def prune(self, before: int, keep_bytes: int) -> int:
        """Removes the oldest rows, some at a time, that came before this moment (µs) or are more than so many
        bytes; returns how many.
        """
        over, old = self.size() - keep_bytes, 0
        removed: list[Row[Any]] = []
        for row in self._connection.execute(_OLDEST, {"limit": PRUNED_AT_ONCE}):
            if row.came >= before and old >= over:
                break
            removed.append(row)
            old += row.bytes + ROW_BYTES
        if removed:
            self._grow(-old)
            self._connection.execute(_PRUNE, {"n": removed[-1].n})
            keep_meta(self._connection, HORIZON, str(removed[-1].n))
        return len(removed)

    def size(self) -> int:
        """How many bytes the rows take up. It is counted: a database's files don't shrink as rows go."""
        kept = read_meta(self._connection, BYTES)
        if kept is None:  # a store of the version before
            kept = str(self._connection.execute(_SIZE, {"row": ROW_BYTES}).scalar_one())
            keep_meta(self._connection, BYTES, kept)
        return int(kept)

    def _grow(self, by: int) -> None:
        """To be called before the rows change, as rows that weren't counted are by then."""
        keep_meta(self._connection, BYTES, str(self.size() + by))

    def _execute(self, statement: str, rows: list[tuple[object, ...]]) -> None:
        if self._dialect == "postgresql":
            statement = statement.replace("?", "%s")
        self._connection.exec_driver_sql(statement, rows)
