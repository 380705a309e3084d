"""The connection to a store: connecting, locking, and one kind of error for failures that may pass.

SQLite runs with a write-ahead log and synchronous FULL: a commit is on the disk.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, Final

from sqlalchemy import (
    URL,
    Column,
    Connection,
    Engine,
    MetaData,
    Table,
    Text,
    create_engine,
    event,
    text,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from bridge.errors import ConfigError, NotInstalledError, StateInUseError, StoreRemovedError
from bridge.identity import Identity
from bridge.log import get_logger

_CONFLICTS: Final = ("40001", "40P01", "55P03")
"""PostgreSQL's serialization_failure, deadlock_detected and lock_not_available."""
LOCK_PATIENCE_S: Final = 5.0
"""How long a lock of a process that was killed a moment ago may take to be released."""

MAX_MEMBERS: Final = 100

_log = get_logger()


class StoreTroubleError(Exception):
    """The store can't be reached or written now. Nothing of the transaction happened; try it again."""


class StoreConflictError(StoreTroubleError):
    """A conflict with another member of the group. To be retried at once."""


class Database:
    """A store of one owner, by its name: `correlator main`.

    tables: those that it creates; version: of these. Connects when first used, and again after a failure.
    Raises `StateInUseError` if another process uses it, `ConfigError` if it has another owner or can't be a
    store, `StoreTroubleError` for failures that may pass, `StoreRemovedError` if its file was removed.
    """

    def __init__(self, url: str, *, owner: str, tables: MetaData, version: int) -> None:
        self._url = make_url(url)
        self._owner = owner
        self._program = owner.partition(" ")[0]
        self._tables = tables
        self._version = version
        self._engine: Engine | None = None
        self._connection: Connection | None = None
        self._lock_file: IO[bytes] | None = None
        self._identities: list[Identity] = []

    @property
    def is_postgresql(self) -> bool:
        """Whether it is PostgreSQL; else SQLite."""
        return self._url.get_backend_name() == "postgresql"

    def __str__(self) -> str:
        return self._url.render_as_string(hide_password=True)

    @contextmanager
    def begin_on_connection(self) -> Iterator[Connection]:
        """One transaction: committed when the block ends, rolled back when it raises."""
        try:
            connection = self._connected()
            with connection.begin():
                yield connection
                self.look()
        except SQLAlchemyError as error:
            self.look()
            raise self._trouble(error) from error

    def look(self) -> None:
        """Raises `StoreRemovedError` if the path no longer leads to the open file."""
        if not all(identity.holds for identity in self._identities):
            _log.error("store.removed", store=str(self), now="ending")
            why = f"store: {self._url.database} was removed while the {self._program} ran"
            raise StoreRemovedError(f"{why}; what it held is lost, and the next start begins a new one")

    def close(self) -> None:
        """Closes the store and releases its lock."""
        self._disconnect()
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None
        if self._lock_file is not None:
            self._lock_file.close()
            self._lock_file = None

    def _trouble(self, error: SQLAlchemyError) -> Exception:
        """A StoreTroubleError for a failure that may pass; the error itself for a defect."""
        cause = str(error.orig) if isinstance(error, DBAPIError) else str(error)
        if isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) in _CONFLICTS:
            return StoreConflictError(cause)
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
            _log.debug("store.close_failed", error=str(error))

    def _connected(self) -> Connection:
        if self._connection is None:
            connection = self._prepared_engine().connect()
            try:
                if self.is_postgresql:
                    self._lock_postgresql(connection)
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
            if self._lock_file is not None and not self._identities:
                self._identities = [Identity(Path(f"{self._url.database}{end}")) for end in ("", ".lock")]
        return self._connection

    def _prepared_engine(self) -> Engine:
        if self._engine is None:
            if self.is_postgresql:
                self._engine = postgresql_engine(self._url, self._program, poolclass=NullPool)
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
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            why = f"store: {path} can't be used: {error.strerror}{_of_another(error)}"
            raise ConfigError(f"{why}; accepted: a file in a folder that can be written") from error
        lock_file = os.fdopen(descriptor, "r+b", buffering=0)
        try:
            fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock_file.close()
            why = f"store: {path} is in use by another {self._program}"
            raise StateInUseError(f"{why}; accepted: an id (and a store) of its own") from error
        self._lock_file = lock_file
        _set_aside_if_no_database(path)

    def _lock_postgresql(self, connection: Connection) -> None:
        """A lock that lives as long as the connection that all work goes through, and no longer."""
        if not try_lock(connection, "pg_try_advisory_lock", "store", patience_s=LOCK_PATIENCE_S):
            why = f"store: {self} is in use by another {self._program}"
            raise StateInUseError(f"{why}; accepted: one of its own{self._shared_by}")

    _shared_by = ""

    def _prepare(self, connection: Connection) -> None:
        """Tables, version and owner."""
        with connection.begin():
            if self.is_postgresql:
                connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('libvirt-mqtt tables'))"))
            self._tables.create_all(connection)
            version, owner = read_meta(connection, "version"), read_meta(connection, "owner")
            if version is None:
                keep_meta(connection, "owner", self._owner)
            elif int(version) > self._version:
                raise ConfigError(f"store: {self} has schema {version}; this version knows {self._version}")
            elif owner != self._owner:
                why = f"store: {self} belongs to {owner}, not to {self._owner}"
                raise ConfigError(f"{why}; each needs a store of its own")
            else:
                self._upgrade(connection, int(version))
            keep_meta(connection, "version", str(self._version))

    def _upgrade(self, connection: Connection, version: int) -> None:
        """Changes tables that an older version made to what this one knows."""


_READ_META = text("SELECT value FROM meta WHERE key = :key")
_KEEP_META = text(
    "INSERT INTO meta (key, value) VALUES (:key, :value)"
    " ON CONFLICT (key) DO UPDATE SET value = excluded.value"
)


def meta_table(tables: MetaData) -> Table:
    """The table for the store's own values, by key."""
    key, value = Column("key", Text, primary_key=True), Column("value", Text, nullable=False)
    return Table("meta", tables, key, value)


def read_meta(connection: Connection, key: str) -> str | None:
    """A value that `keep_meta` stored."""
    found: str | None = connection.execute(_READ_META, {"key": key}).scalar()
    return found


def keep_meta(connection: Connection, key: str, value: str) -> None:
    """Stores one of the store's own values."""
    connection.execute(_KEEP_META, {"key": key, "value": value})


def _of_another(error: OSError) -> str:
    """The owner of a file that can't be opened: a program that was started as root leaves root's files."""
    try:
        owner = Path(str(error.filename)).stat().st_uid
    except OSError:
        return ""
    return f", {error.filename} belongs to user {owner}, and we are {os.geteuid()}"


def try_lock(connection: Connection, function: str, name: str, *, patience_s: float = 0.0) -> bool:
    """Takes one of PostgreSQL's advisory locks, by a name within the schema, for the connection's lifetime.

    function: `pg_try_advisory_lock`, or the same for a shared one.
    """
    ask = text(f"SELECT {function}(hashtext('libvirt-mqtt'), hashtext(current_schema() || '.' || :name))")
    deadline = time.monotonic() + patience_s
    while True:
        with connection.begin():
            if connection.execute(ask, {"name": name}).scalar_one():
                return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.2)


def lock_member_name(connection: Connection, store: str, wish: str, former: str | None) -> str:
    """The name of a member of a group, while its connection lives: the one that it had, or the first of
    `wish`, `wish-2` … that no other has. Raises StateInUseError where there is none.
    """
    lock = partial(try_lock, connection, "pg_try_advisory_lock")
    if former is not None:
        if not lock(f"member {former}", patience_s=LOCK_PATIENCE_S):
            raise StateInUseError(f"store: another member took the name {former} meanwhile")
        return former
    for number in range(1, MAX_MEMBERS + 1):
        name = wish if number == 1 else f"{wish}-{number}"
        if lock(f"member {name}"):
            return name
    raise StateInUseError(f"store: {store} has {MAX_MEMBERS} members named {wish} already")


_POSTGRESQL: Final[dict[str, Any]] = {
    "connect_timeout": 5,
    # A database created in the locale C has the encoding SQL_ASCII: the driver would return bytes for text.
    "client_encoding": "UTF8",
    # A member's machine that is gone must not hold its locks for two hours.
    "options": "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3"
    " -c idle_in_transaction_session_timeout=60s -c lock_timeout=30s",
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
}


def postgresql_engine(url: URL, program: str, **pool: Any) -> Engine:  # noqa: ANN401 - SQLAlchemy's
    """An engine for PostgreSQL. Raises ConfigError where its driver isn't installed."""
    options = _POSTGRESQL | {"application_name": f"libvirt-mqtt-{program}"}
    try:
        return create_engine(url, connect_args=options, **pool)
    except ModuleNotFoundError as error:
        raise NotInstalledError(
            f"store: {error.name}", pip="psycopg[binary]", apt="python3-psycopg"
        ) from error


def _set_up_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's own
    connection.isolation_level = None  # transactions begin where we say so
    cursor = connection.cursor()
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "busy_timeout = 5000", "cache_size = -16384"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _set_aside_if_no_database(path: Path) -> None:
    """Renames a file that isn't SQLite's; the store starts empty."""
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
    _log.error("store.damaged", set_aside=str(aside), now="starting empty")
