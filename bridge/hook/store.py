"""The messages that programs are still to run for, those that are done, and those that are parked.

A message is stored before it is acknowledged, under a key made of its CloudEvents source and id: repeated
deliveries are one row. Of a message that is done only the key is kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Row,
    Table,
    Text,
    TextClause,
    bindparam,
    text,
)

from bridge.consumer.reader import Message
from bridge.database import Database, meta_table
from bridge.database.connection import LOCK_PATIENCE_S, keep_meta, lock_member_name, read_meta, try_lock
from bridge.errors import StateInUseError
from bridge.hook.verdicts import NewestVerdicts
from bridge.wire.topics import decode_level, encode_level

VERSION: Final = 1
REMEMBERED: Final = 100_000
"""Keys of processed messages that are kept: one that is delivered again after so many others runs again."""
MAX_PARKED: Final = 10_000
"""Parked messages that are kept; beyond that the oldest is deleted."""
CANDIDATES: Final = 20
"""Domains that a member of a group looks at for one that no other works on."""

_TABLES: Final = MetaData()
_BIG: Final = BigInteger().with_variant(Integer, "sqlite")
meta_table(_TABLES)
_messages = Table(
    "messages",
    _TABLES,
    Column("n", _BIG, primary_key=True, autoincrement=True),
    Column("key", Text, nullable=False, unique=True),
    Column("state", Text, nullable=False),  # waiting, parked, done
    Column("domain", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("programs", Text, nullable=False),  # that ended well, as a JSON list
    Column("tries", Integer, nullable=False),
    Column("due", Double, nullable=False),
    Column("why", Text, nullable=False),  # the last failure, and what the program wrote
    sqlite_autoincrement=True,
)
for _state in ("waiting", "parked", "done"):
    Index(
        f"messages_{_state}",
        *((_messages.c.domain, _messages.c.n) if _state == "waiting" else (_messages.c.n,)),
        sqlite_where=_messages.c.state == _state,
        postgresql_where=_messages.c.state == _state,
    )
Table(
    "streams",  # how far each agent's event stream was read
    _TABLES,
    Column("host", Text, primary_key=True),  # as a topic level: no character that a database refuses
    Column("data", LargeBinary, nullable=False),
)
Table(
    "verdicts",  # the newest of each domain that was dealt with: see NewestVerdicts
    _TABLES,
    Column("domain", Text, primary_key=True),
    Column("time", Text, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Job:
    """A message that programs are to run for. programs: those that have succeeded for it."""

    n: int
    domain: str
    topic: str
    payload: bytes
    programs: tuple[str, ...]
    tries: int
    why: str


# ruff: noqa: S608 - what is put together is put together from what stands here
_COLUMNS: Final = "n, domain, topic, payload, programs, tries, why"
_FIRST_OF_DOMAINS: Final = (
    "FROM messages m WHERE state = 'waiting' AND NOT EXISTS (SELECT 1 FROM messages e"
    " WHERE e.state = 'waiting' AND e.domain = m.domain AND e.n < m.n)"
)
_OF_WAITING: Final = "WHERE n = :n AND state = 'waiting'"
_ADD = text(
    "INSERT INTO messages (key, state, domain, topic, payload, programs, tries, due, why)"
    " VALUES (:key, 'waiting', :domain, :topic, :payload, '[]', 0, 0, '') ON CONFLICT (key) DO NOTHING"
)
_NEXT = text(
    f"SELECT {_COLUMNS} {_FIRST_OF_DOMAINS} AND due <= :now AND domain NOT IN :busy ORDER BY n LIMIT :limit"
).bindparams(bindparam("busy", expanding=True, type_=Text))
_NEXT_DUE = text(f"SELECT min(due) {_FIRST_OF_DOMAINS} AND due > :now")
_FIRST_OF_DOMAIN = text(
    f"SELECT {_COLUMNS}, due FROM messages WHERE state = 'waiting' AND domain = :domain ORDER BY n LIMIT 1"
)
_KEEP_PROGRAM = text(f"UPDATE messages SET programs = :programs, tries = 0, due = 0, why = '' {_OF_WAITING}")
_RETRY = text(f"UPDATE messages SET tries = :tries, due = :due, why = :why {_OF_WAITING}")
_PARK = text(f"UPDATE messages SET state = 'parked', tries = :tries, why = :why {_OF_WAITING}")
_DONE = text(
    "UPDATE messages SET state = 'done', topic = '', payload = :nothing, programs = '[]', why = ''"
    f" {_OF_WAITING}"
)
_TRIM = text(
    "DELETE FROM messages WHERE state = :state AND n <= (SELECT n FROM messages WHERE state = :state"
    " ORDER BY n DESC LIMIT 1 OFFSET :kept)"
)
_PARKED = text(f"SELECT {_COLUMNS} FROM messages WHERE state = 'parked' ORDER BY n")
_AGAIN = text("UPDATE messages SET state = 'waiting', tries = 0, due = 0 WHERE n = :n AND state = 'parked'")
_COUNT = text("SELECT count(*) FROM messages WHERE state = :state")
_STREAMS = text("SELECT host, data FROM streams")
_KEEP_STREAM = text(
    "INSERT INTO streams (host, data) VALUES (:host, :data)"
    " ON CONFLICT (host) DO UPDATE SET data = excluded.data"
)
_VERDICTS = text("SELECT domain, time FROM verdicts")
_KEEP_VERDICT = text(
    "INSERT INTO verdicts (domain, time) VALUES (:domain, :time)"
    " ON CONFLICT (domain) DO UPDATE SET time = excluded.time WHERE excluded.time > verdicts.time"
)
_NAMED: Final = "(hashtext('libvirt-mqtt'), hashtext(current_schema() || '.' || :name))"
_LOCK = text(f"SELECT pg_try_advisory_lock{_NAMED}")
_UNLOCK = text(f"SELECT pg_advisory_unlock{_NAMED}")


class Store(Database):
    """The store of one runner, by its id."""

    _shared_by = ", or --group for all that share it"

    def __init__(self, url: str, *, owner: str) -> None:
        super().__init__(url, owner=owner, tables=_TABLES, version=VERSION)

    def streams(self) -> dict[str, bytes]:
        """How far each agent's event stream was read."""
        with self.begin_on_connection() as connection:
            return {decode_level(row.host): row.data for row in connection.execute(_STREAMS)}

    def verdicts(self, now: str) -> NewestVerdicts:
        """The newest that were dealt with. now: where this is the first call ever, its stamp."""
        with self.begin_on_connection() as connection:
            began = read_meta(connection, "began")
            if began is None:
                keep_meta(connection, "began", began := now)
            times = {row.domain: row.time for row in connection.execute(_VERDICTS)}
        return NewestVerdicts(times, began)

    def add(
        self, messages: Sequence[Message], streams: Mapping[str, bytes], verdicts: Mapping[str, str]
    ) -> int:
        """Takes messages in, in their order, with how far the streams were read and the newest verdicts;
        returns how many are new.
        """
        new = 0
        with self.begin_on_connection() as connection:
            for message in messages:
                event = message.event
                assert event is not None
                row = {
                    "key": _key(event.source, event.id),
                    "domain": message.address.uuid,
                    "topic": message.topic,
                    "payload": message.payload,
                }
                new += connection.execute(_ADD, row).rowcount
            if streams:
                rows = [{"host": encode_level(host), "data": data} for host, data in streams.items()]
                connection.execute(_KEEP_STREAM, rows)
            if verdicts:
                newest = [{"domain": uuid, "time": time} for uuid, time in sorted(verdicts.items())]
                connection.execute(_KEEP_VERDICT, newest)
        return new

    def claim(self, now: float, busy: Collection[str]) -> Job | None:
        """The next message to be worked on: the first of its domain, which isn't among the busy."""
        with self.begin_on_connection() as connection:
            row = connection.execute(_NEXT, {"now": now, "busy": list(busy), "limit": 1}).one_or_none()
        return None if row is None else _job(row)

    def release(self, job: Job) -> None:
        """Nobody works on the message any more."""

    def next_due(self, now: float) -> float | None:
        """When the next message is to be tried again."""
        with self.begin_on_connection() as connection:
            due: float | None = connection.execute(_NEXT_DUE, {"now": now}).scalar()
        return due

    def keep_program(self, job: Job, program: str) -> None:
        """A program ended well for the message."""
        self._change(_KEEP_PROGRAM, job, programs=json.dumps([*job.programs, program]))

    def done(self, job: Job) -> None:
        """All ended well that was to be run for the message."""
        self._change(_DONE, job, nothing=b"")
        if job.n % 1000 == 0:
            self._trim("done", REMEMBERED)

    def retry(self, job: Job, due: float, why: str) -> None:
        """A program failed; the message is retried at `due`."""
        self._change(_RETRY, job, tries=job.tries + 1, due=due, why=_storable(why))

    def park(self, job: Job, why: str) -> None:
        """A program failed for the last time: the message is parked, and the domain's next one is due."""
        self._change(_PARK, job, tries=job.tries + 1, why=_storable(why))
        self._trim("parked", MAX_PARKED)

    def parked(self) -> list[Job]:
        """The parked messages, the oldest first."""
        with self.begin_on_connection() as connection:
            return [_job(row) for row in connection.execute(_PARKED)]

    def again(self, job: Job) -> None:
        """A parked message is due again, for the programs that haven't succeeded for it."""
        self._change(_AGAIN, job)

    def count(self, state: Literal["waiting", "parked"]) -> int:
        """The number of messages that wait or are parked."""
        with self.begin_on_connection() as connection:
            return int(connection.execute(_COUNT, {"state": state}).scalar_one())

    def _change(self, statement: TextClause, job: Job, **values: object) -> None:
        with self.begin_on_connection() as connection:
            connection.execute(statement, {"n": job.n, **values})

    def _trim(self, state: str, kept: int) -> None:
        with self.begin_on_connection() as connection:
            connection.execute(_TRIM, {"state": state, "kept": kept})


class SharedStore(Store):
    """One member's connection to the store of a group: each member works on domains that no other works on.

    wish: see `lock_member_name`. A claim lasts as long as the member's connection.
    """

    def __init__(self, url: str, *, owner: str, wish: str) -> None:
        super().__init__(url, owner=owner)
        self._wish = wish
        self.member_name: str | None = None
        """What this member is called within its group, once connected."""

    def claim(self, now: float, busy: Collection[str]) -> Job | None:
        """As for one runner; what another member works on is passed over."""
        with self.begin_on_connection() as connection:
            rows = connection.execute(_NEXT, {"now": now, "busy": list(busy), "limit": CANDIDATES}).all()
        for job in map(_job, rows):
            with self.begin_on_connection() as connection:
                if not connection.execute(_LOCK, {"name": _lock_of(job)}).scalar_one():
                    continue
            with self.begin_on_connection() as connection:  # as it is now that nobody else changes it
                row = connection.execute(_FIRST_OF_DOMAIN, {"domain": job.domain}).one_or_none()
            if row is not None and row.due <= now:
                return _job(row)
            self.release(job)
        return None

    def release(self, job: Job) -> None:
        """Another member may have the domain."""
        with self.begin_on_connection() as connection:
            connection.execute(_UNLOCK, {"name": _lock_of(job)})

    def _lock_postgresql(self, connection: Connection) -> None:
        if not try_lock(connection, "pg_try_advisory_lock_shared", "store", patience_s=LOCK_PATIENCE_S):
            why = f"store: {self} is in use by a runner without a group"
            raise StateInUseError(f"{why}; accepted: one of its own{self._shared_by}")
        self.member_name = lock_member_name(connection, str(self), self._wish, self.member_name)


class OpenedBeside(Store):
    """The store of a runner or group that may be running: opened without its lock."""

    def _lock_sqlite(self) -> None:
        """None."""

    def _lock_postgresql(self, connection: Connection) -> None:
        """None."""


def _key(source: str, id: str) -> str:  # noqa: A002 - CloudEvents' name
    return hashlib.sha256(f"{source}\0{id}".encode("utf-8", "surrogatepass")).hexdigest()


def _storable(why: str) -> str:
    """The text without what PostgreSQL can't store: NUL and lone surrogates."""
    return why.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


def _lock_of(job: Job) -> str:
    return f"domain {job.domain}"


def _job(row: Row[Any]) -> Job:
    programs = tuple(json.loads(row.programs))
    return Job(row.n, row.domain, row.topic, row.payload, programs, row.tries, row.why)
