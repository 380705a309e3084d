"""The side of the store that is read: pages, beside whoever writes and without waiting for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from bridge.dashboard.store.query import Cursor, Filter, Query, Stored
from bridge.dashboard.store.store import HORIZON
from bridge.database import StoreTroubleError, postgresql_engine, read_meta
from bridge.wire.topics import encode_level

_ENDS = text(
    "SELECT at, n FROM rows WHERE n IN (SELECT min(n) FROM rows UNION ALL SELECT max(n) FROM rows) ORDER BY n"
)
_UUIDS = text("SELECT uuid FROM names WHERE name = :name ORDER BY uuid")
_SINCE = text("SELECT n, at, attempt, payload FROM rows WHERE n > :n ORDER BY n LIMIT :limit")
_OF_ATTEMPT = text("SELECT n, at, attempt, payload FROM rows WHERE attempt = :attempt ORDER BY n")
_AT_OF = text("SELECT at FROM rows WHERE source = :source AND id = :id")
_HOLDS = text("SELECT EXISTS (SELECT 1 FROM rows WHERE attempt = :attempt)")
_COUNT = text("SELECT max(n) - min(n) + 1 FROM rows")


_POOL: Final[dict[str, Any]] = {"pool_size": 8, "max_overflow": 32}
"""Connections that stay, and those for as many requests as the web server answers at once (40 threads)."""


class CursorGoneError(Exception):
    """The row that a cursor names is no longer kept. `oldest` is the oldest one that is."""

    def __init__(self, oldest: Cursor | None) -> None:
        self.oldest = oldest
        super().__init__("what this cursor names is no longer kept")


@dataclass(frozen=True, slots=True)
class Page:
    """Rows, and between which ends of the store. next: the last of the rows, where more follow."""

    rows: Sequence[Stored]
    next: Cursor | None
    oldest: Cursor | None
    newest: Cursor | None


class Archive:
    """Reads a store, from any thread. Raises StoreTroubleError where that can't be done now."""

    def __init__(self, url: str) -> None:
        found = make_url(url)
        self._on_sqlite = found.get_backend_name() == "sqlite"
        if self._on_sqlite:  # a file that isn't there must not be made
            found = found.set(
                database=f"file:{quote(found.database or '')}", query={"mode": "ro", "uri": "true"}
            )
            self._engine = create_engine(found, **_POOL)
            event.listen(self._engine, "connect", _set_up_sqlite)
        else:
            self._engine = postgresql_engine(found, "dashboard", pool_pre_ping=True, **_POOL)

    def __str__(self) -> str:
        return self._engine.url.render_as_string(hide_password=True)

    def close(self) -> None:
        """Closes the store."""
        self._engine.dispose()

    def page(
        self, wanted: Filter, *, limit: int, after: Cursor | None = None, newest_first: bool = True
    ) -> Page:
        """The rows that follow `after`, in the order of when they happened. Raises CursorGoneError."""
        query = Query(
            wanted, limit=limit + 1, after=after, newest_first=newest_first, names_indexes=self._on_sqlite
        )
        with self._begin() as connection:
            oldest, newest = _ends(connection)
            if after is not None and after.n <= _horizon(connection):
                raise CursorGoneError(oldest)
            rows = [Stored(*row) for row in connection.execute(text(query.sql), query.values)]
        more = len(rows) > limit
        return Page(rows[:limit], rows[limit - 1].cursor if more else None, oldest, newest)

    def since(self, after: Cursor, limit: int) -> list[Stored]:
        """What came after this row, in the order of arrival. Raises CursorGoneError."""
        with self._begin() as connection:
            if after.n < _horizon(connection):
                raise CursorGoneError(_ends(connection)[0])
            return [Stored(*row) for row in connection.execute(_SINCE, {"n": after.n, "limit": limit})]

    def ends(self) -> tuple[Cursor | None, Cursor | None]:
        """The oldest and the newest row, in the order of arrival."""
        with self._begin() as connection:
            return _ends(connection)

    def count(self) -> int:
        """The number of rows: rows are deleted at the old end only, so their numbers have no gaps."""
        with self._begin() as connection:
            return int(connection.execute(_COUNT).scalar() or 0)

    def uuids(self, name: str) -> tuple[str, ...]:
        """The domains that ever had this name."""
        with self._begin() as connection:
            return tuple(connection.execute(_UUIDS, {"name": encode_level(name)}).scalars())

    def attempt(self, attempt: str) -> list[Stored]:
        """All messages about an attempt, in the order of arrival."""
        with self._begin() as connection:
            return [Stored(*row) for row in connection.execute(_OF_ATTEMPT, {"attempt": attempt})]

    def holds(self, attempt: str) -> bool:
        """Whether there is a message about this attempt."""
        with self._begin() as connection:
            return bool(connection.execute(_HOLDS, {"attempt": attempt}).scalar())

    def time_of(self, source: str, id: str) -> int | None:  # noqa: A002 - CloudEvents' word
        """When the message with this source and id happened, in µs; None if it isn't there."""
        with self._begin() as connection:
            found: int | None = connection.execute(_AT_OF, {"source": source, "id": id}).scalar()
            return found

    @contextmanager
    def _begin(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            cause = str(error.orig) if isinstance(error, DBAPIError) else str(error)
            raise StoreTroubleError(" ".join(cause.split())[:300]) from error


def _ends(connection: Connection) -> tuple[Cursor | None, Cursor | None]:
    found = [Cursor(row.at, row.n) for row in connection.execute(_ENDS)]
    return (found[0], found[-1]) if found else (None, None)


def _horizon(connection: Connection) -> int:
    return int(read_meta(connection, HORIZON) or 0)


def _set_up_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's own
    cursor = connection.cursor()
    for pragma in ("query_only = ON", "busy_timeout = 5000", "cache_size = -16384"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
