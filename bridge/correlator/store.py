"""Where the correlator keeps what it knows and what it has still to say: SQLite, or PostgreSQL.

The only import of SQLAlchemy. The store decides nothing: it keeps cases and hosts as bytes, and tellings
until the broker has them. One transaction takes a batch of messages in, marks, cases and tellings together.
SQLite runs with a write-ahead log and synchronous FULL: a commit is on the disk.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import structlog
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Double,
    Engine,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    bindparam,
    create_engine,
    event,
    text,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from bridge.errors import ConfigError, StateInUseError
from bridge.wire.topics import decode_level, encode_level

log = structlog.get_logger(__name__)

VERSION: Final = 1
LOCK_PATIENCE_S: Final = 5.0
"""How long a lock of a process that was killed a moment ago may take to be released."""
MAX_PARKED: Final = 1000

_BIG = BigInteger().with_variant(Integer, "sqlite")
_tables: Final = MetaData()

Table(
    "meta",
    _tables,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
_cases = Table(
    "cases",
    _tables,
    Column("uuid", Text, primary_key=True),
    Column("data", LargeBinary, nullable=False),
    Column("due", Double),  # when to judge again though nothing comes, in seconds
    Column("is_open", Boolean, nullable=False),
    Column("hosts", Text, nullable=False),  # whose silence would matter, as a JSON list
    sqlite_with_rowid=False,
)
Index(
    "cases_due",
    _cases.c.due,
    sqlite_where=_cases.c.due.isnot(None),
    postgresql_where=_cases.c.due.isnot(None),
)
Index("cases_open", _cases.c.uuid, sqlite_where=_cases.c.is_open, postgresql_where=_cases.c.is_open)
Table(
    "hosts",
    _tables,
    Column("host", Text, primary_key=True),  # as a topic level: no character that a database refuses
    Column("data", LargeBinary, nullable=False),
)
_outgoing = Table(
    "outgoing",
    _tables,
    Column("n", _BIG, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("uuid", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("retain", Boolean, nullable=False),
    Column("owner", Text, nullable=False),  # the member that sends it
    Column("parked", Text),  # why the broker refused it
    sqlite_autoincrement=True,
)
Index("outgoing_uuid", _outgoing.c.uuid)


class StoreTroubleError(Exception):
    """The store can't be reached or written now. Nothing of the transaction happened; try it again."""


@dataclass(frozen=True, slots=True)
class CaseRow:
    """One domain's case. `due` in seconds, None: nothing to wait for; `hosts`: whose silence would matter."""

    uuid: str
    data: bytes
    due: float | None
    is_open: bool
    hosts: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Draft:
    """A telling to be sent. The same `id` is queued once only while it waits."""

    id: str
    uuid: str
    topic: str
    payload: bytes
    retain: bool


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A telling in the order of sending, `n`."""

    n: int
    topic: str
    payload: bytes
    retain: bool


_SELECT_CASES = text("SELECT uuid, data FROM cases WHERE uuid IN :uuids ORDER BY uuid").bindparams(
    bindparam("uuids", expanding=True)
)
_KEEP_CASE = text(
    "INSERT INTO cases (uuid, data, due, is_open, hosts) VALUES (:uuid, :data, :due, :is_open, :hosts)"
    " ON CONFLICT (uuid) DO UPDATE SET data = excluded.data, due = excluded.due,"
    " is_open = excluded.is_open, hosts = excluded.hosts"
)
_SELECT_DUE = text(
    "SELECT uuid FROM cases WHERE due IS NOT NULL AND due <= :now ORDER BY due, uuid LIMIT :limit"
)
_NEXT_DUE = text("SELECT min(due) FROM cases WHERE due IS NOT NULL")
_SELECT_OPEN = text("SELECT uuid, data, hosts FROM cases WHERE is_open ORDER BY uuid")
_SELECT_HOSTS = text("SELECT host, data FROM hosts")
_KEEP_HOST = text(
    "INSERT INTO hosts (host, data) VALUES (:host, :data)"
    " ON CONFLICT (host) DO UPDATE SET data = excluded.data"
)
_QUEUE = text(
    "INSERT INTO outgoing (id, uuid, topic, payload, retain, owner)"
    " VALUES (:id, :uuid, :topic, :payload, :retain, :owner) ON CONFLICT (id) DO NOTHING"
)
_UNSENT = text(
    "SELECT n, topic, payload, retain FROM outgoing"
    " WHERE owner = :owner AND parked IS NULL AND n > :after ORDER BY n LIMIT :limit"
)
_SENT = text("DELETE FROM outgoing WHERE n = :n")
_PARK = text("UPDATE outgoing SET parked = :reason WHERE n = :n")
_FORGET_PARKED = text(
    "DELETE FROM outgoing WHERE parked IS NOT NULL AND n < (SELECT min(n) FROM"
    " (SELECT n FROM outgoing WHERE parked IS NOT NULL ORDER BY n DESC LIMIT :kept) AS latest)"
)
_COUNT_PARKED = text("SELECT count(*) FROM outgoing WHERE parked IS NOT NULL")
_READ_META = text("SELECT value FROM meta WHERE key = :key")
_KEEP_META = text(
    "INSERT INTO meta (key, value) VALUES (:key, :value)"
    " ON CONFLICT (key) DO UPDATE SET value = excluded.value"
)


class Transaction:
    """What can be read and changed in one piece."""

    def __init__(self, connection: Connection, member: str) -> None:
        self._connection = connection
        self._member = member

    def cases(self, uuids: Collection[str]) -> dict[str, bytes]:
        """The cases that there are of these domains."""
        if not uuids:
            return {}
        return {row.uuid: row.data for row in self._connection.execute(_SELECT_CASES, {"uuids": list(uuids)})}

    def keep_cases(self, rows: Collection[CaseRow]) -> None:
        """Writes cases, new or changed."""
        if rows:
            self._connection.execute(
                _KEEP_CASE,
                [
                    {
                        "uuid": row.uuid,
                        "data": row.data,
                        "due": row.due,
                        "is_open": row.is_open,
                        "hosts": json.dumps(sorted(row.hosts)) if row.hosts else "[]",
                    }
                    for row in rows
                ],
            )

    def due(self, now: float, limit: int) -> list[str]:
        """Domains whose cases are to be judged again by now, the longest overdue first."""
        return [row.uuid for row in self._connection.execute(_SELECT_DUE, {"now": now, "limit": limit})]

    def next_due(self) -> float | None:
        """When the next case is due."""
        found: float | None = self._connection.execute(_NEXT_DUE).scalar()
        return found

    def open_cases(self) -> Iterator[tuple[str, bytes, list[str]]]:
        """The cases with something still to come: domain, case, hosts whose silence would matter."""
        for row in self._connection.execute(_SELECT_OPEN):
            yield row.uuid, row.data, json.loads(row.hosts)

    def hosts(self) -> dict[str, bytes]:
        """All hosts."""
        return {decode_level(row.host): row.data for row in self._connection.execute(_SELECT_HOSTS)}

    def keep_hosts(self, hosts: dict[str, bytes]) -> None:
        """Writes hosts, new or changed."""
        if hosts:
            self._connection.execute(
                _KEEP_HOST, [{"host": encode_level(name), "data": hosts[name]} for name in sorted(hosts)]
            )

    def queue(self, drafts: Sequence[Draft]) -> None:
        """Takes tellings in, to be sent in this order."""
        if drafts:
            self._connection.execute(
                _QUEUE,
                [
                    {
                        "id": draft.id,
                        "uuid": draft.uuid,
                        "topic": draft.topic,
                        "payload": draft.payload,
                        "retain": draft.retain,
                        "owner": self._member,
                    }
                    for draft in drafts
                ],
            )

    def unsent(self, after: int, limit: int) -> list[Outgoing]:
        """Tellings that the broker doesn't have yet, in order, from the one after `after`."""
        rows = self._connection.execute(_UNSENT, {"owner": self._member, "after": after, "limit": limit})
        return [Outgoing(row.n, row.topic, row.payload, bool(row.retain)) for row in rows]

    def sent(self, numbers: Collection[int]) -> None:
        """The broker has these."""
        if numbers:
            self._connection.execute(_SENT, [{"n": n} for n in numbers])

    def park(self, n: int, reason: str) -> None:
        """The broker refused this one: it is kept for a person to look at, with the latest thousand."""
        self._connection.execute(_PARK, {"n": n, "reason": reason})
        self._connection.execute(_FORGET_PARKED, {"kept": MAX_PARKED})

    def parked(self) -> int:
        """How many tellings the broker refused."""
        return int(self._connection.execute(_COUNT_PARKED).scalar_one())

    def meta(self, key: str) -> str | None:
        """A word that was kept by `keep_meta`."""
        found: str | None = self._connection.execute(_READ_META, {"key": key}).scalar()
        return found

    def keep_meta(self, key: str, value: str) -> None:
        """Keeps a word of the store's own."""
        self._connection.execute(_KEEP_META, {"key": key, "value": value})


class Store:
    """A store of one owner: a correlator by its id, or a group by its name.

    Connects when first used, and again after trouble. Raises `StateInUseError` when another process has it,
    `ConfigError` when it belongs to somebody else or can't be one, `StoreTroubleError` for what may pass.
    """

    def __init__(self, url: str, *, owner: str, member: str = "") -> None:
        self._url = make_url(url)
        self._owner = owner
        self._member = member
        self._engine: Engine | None = None
        self._connection: Connection | None = None
        self._lock_file: IO[bytes] | None = None

    @property
    def is_postgresql(self) -> bool:
        """Whether it is PostgreSQL; else SQLite."""
        return self._url.get_backend_name() == "postgresql"

    def __str__(self) -> str:
        return self._url.render_as_string(hide_password=True)

    @contextmanager
    def begin(self) -> Iterator[Transaction]:
        """One transaction: all of it happens when the block ends well, nothing of it otherwise."""
        try:
            connection = self._connected()
            with connection.begin():
                yield Transaction(connection, self._member)
        except SQLAlchemyError as error:
            raise self._trouble(error) from error

    def close(self) -> None:
        """Lets go of the store, and of its lock."""
        self._disconnect()
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None
        if self._lock_file is not None:
            self._lock_file.close()
            self._lock_file = None

    def _trouble(self, error: SQLAlchemyError) -> Exception:
        """What may pass is trouble; what is wrong with the statement is a defect, and stays what it is."""
        cause = str(error.orig) if isinstance(error, DBAPIError) else str(error)
        self._disconnect()
        if isinstance(error, OperationalError) or (
            isinstance(error, DBAPIError) and error.connection_invalidated
        ):
            return StoreTroubleError(" ".join(cause.split())[:300])
        return error

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            connection.close()
        except SQLAlchemyError as error:
            log.debug("store.close_failed", error=str(error))

    def _connected(self) -> Connection:
        if self._connection is None:
            connection = self._prepared_engine().connect()
            try:
                if self.is_postgresql:
                    _lock_postgresql(connection, str(self))
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _prepared_engine(self) -> Engine:
        if self._engine is None:
            if self.is_postgresql:
                self._engine = create_engine(self._url, poolclass=NullPool, connect_args=_POSTGRESQL)
            else:
                self._lock_sqlite()
                self._engine = create_engine(self._url, poolclass=NullPool)
                event.listen(self._engine, "connect", _set_up_sqlite)
                event.listen(self._engine, "begin", _begin_sqlite)
        return self._engine

    def _lock_sqlite(self) -> None:
        """A lock beside the file, held for as long as the process lives. A store in memory needs none."""
        database = self._url.database
        if not database or database == ":memory:" or self._lock_file is not None:
            return
        path = Path(database)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            why = f"store: {path} can't be used: {error.strerror}"
            raise ConfigError(f"{why}; accepted: a file in a folder that can be written") from error
        lock_file = os.fdopen(descriptor, "r+b", buffering=0)
        try:
            fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock_file.close()
            why = f"store: {path} is in use by another correlator"
            raise StateInUseError(f"{why}; each needs an id (and a store) of its own") from error
        self._lock_file = lock_file
        _set_aside_if_no_database(path)

    def _prepare(self, connection: Connection) -> None:
        """Tables, version and owner."""
        with connection.begin():
            if self.is_postgresql:
                connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('libvirt-mqtt tables'))"))
            _tables.create_all(connection)
            transaction = Transaction(connection, self._member)
            version, owner = transaction.meta("version"), transaction.meta("owner")
            if version is None:
                transaction.keep_meta("version", str(VERSION))
                transaction.keep_meta("owner", self._owner)
            elif int(version) > VERSION:
                raise ConfigError(f"store: {self} has schema {version}; this version knows {VERSION}")
            elif owner != self._owner:
                why = f"store: {self} belongs to {owner}, not to {self._owner}"
                raise ConfigError(f"{why}; each needs a store of its own")


_POSTGRESQL: Final[dict[str, Any]] = {
    "connect_timeout": 5,
    "application_name": "libvirt-mqtt-correlator",
    # A member's machine that is gone must not hold its locks for two hours.
    "options": "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3"
    " -c idle_in_transaction_session_timeout=60s -c lock_timeout=30s",
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
}


def _lock_postgresql(connection: Connection, name: str) -> None:
    """A lock that lives as long as the connection that all work goes through, and no longer."""
    ask = text("SELECT pg_try_advisory_lock(hashtext('libvirt-mqtt'), hashtext(current_schema()))")
    deadline = time.monotonic() + LOCK_PATIENCE_S
    while True:
        with connection.begin():
            if connection.execute(ask).scalar_one():
                return
        if time.monotonic() >= deadline:
            raise StateInUseError(
                f"store: {name} is in use by another correlator; several share one only with --group"
            )
        time.sleep(0.2)


def _set_up_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's own
    connection.isolation_level = None  # transactions begin where we say so
    cursor = connection.cursor()
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "busy_timeout = 5000", "cache_size = -16384"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _set_aside_if_no_database(path: Path) -> None:
    """A file that isn't SQLite's is kept under another name, and the store begins anew."""
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except FileNotFoundError:
        return
    if head in (b"", b"SQLite format 3\0"):
        return
    aside = path.with_name(f"{path.name}.damaged-{int(time.time())}")
    path.rename(aside)
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    log.error("store.damaged", set_aside=str(aside), now="beginning anew; old migrations may be told again")
