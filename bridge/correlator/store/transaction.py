"""What can be read and changed in one transaction, and the statements for it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final, cast

from sqlalchemy import Connection, CursorResult, TextClause, bindparam, text

from bridge.database import keep_meta, read_meta
from bridge.wire.topics import decode_level, encode_level

MAX_PARKED: Final = 1000


@dataclass(frozen=True, slots=True)
class DomainRow:
    """One domain's record. `due` in seconds, None: nothing to wait for; `hosts`: those it depends on;
    `attention`: what of it needs attention.
    """

    uuid: str
    data: bytes
    due: float | None
    is_open: bool
    hosts: Collection[str] = ()
    attention: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class HostRow:
    """One host. suspect: its event stream may have a gap."""

    name: str
    data: bytes
    suspect: bool


@dataclass(frozen=True, slots=True)
class Draft:
    """A message to send. An `id` that is queued already isn't queued again."""

    id: str
    uuid: str
    topic: str
    payload: bytes
    retain: bool


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A stored message to send, in the order of `n`."""

    n: int
    topic: str
    payload: bytes
    retain: bool


class Insert:
    """Inserts many rows. PostgreSQL takes each column of them as one array, in one statement."""

    def __init__(self, table: str, columns: str, then: str, values: str = "*") -> None:
        """columns: with PostgreSQL's types; values: what of them is inserted there, in the rows' order."""
        pairs = [column.split(" ") for column in columns.split(", ")]
        names = ", ".join(name for name, _ in pairs)
        arrays = ", ".join(f"%b::{kind}[]" for _, kind in pairs)
        head = f"INSERT INTO {table} ({names})"
        self.sqlite = f"{head} VALUES ({', '.join('?' for _ in pairs)}) {then}"
        self.postgresql = f"{head} SELECT {values} FROM unnest({arrays}) AS given ({names}) {then}"  # noqa: S608


# The statements that run for every message go to the driver as they are: SQLAlchemy's way of handing over
# parameters by name costs more than the insertion.
_SELECT_CASES = "SELECT uuid, data FROM cases WHERE uuid IN (SELECT value FROM json_each(?))"
_SELECT_CASES_POSTGRESQL = "SELECT uuid, data FROM cases WHERE uuid = ANY(%s)"
_KEEP_CASES = Insert(
    "cases",
    "uuid text, data bytea, due float8, is_open bool, hosts text, attention text",
    "ON CONFLICT (uuid) DO UPDATE SET data = excluded.data, due = excluded.due,"
    " is_open = excluded.is_open, hosts = excluded.hosts, attention = excluded.attention",
)
_ATTENTION = text("SELECT attention, count(*) AS domains FROM cases WHERE attention <> '' GROUP BY attention")
_SELECT_DUE = text(
    "SELECT uuid FROM cases WHERE due IS NOT NULL AND due <= :now ORDER BY due, uuid LIMIT :limit"
)
_NEXT_DUE = text("SELECT min(due) FROM cases WHERE due IS NOT NULL")
_SELECT_OPEN = text("SELECT uuid, data, hosts FROM cases WHERE is_open ORDER BY uuid")
_SELECT_HOSTS = text("SELECT host, data FROM hosts")
_KEEP_HOSTS = Insert(
    "hosts",
    "host text, data bytea, suspect bool",
    "ON CONFLICT (host) DO UPDATE SET data = excluded.data, suspect = excluded.suspect",
)
_KEEP_RETAINED = Insert(
    "retained",
    "topic text, id text, uuid text, payload bytea",
    "ON CONFLICT (topic) DO UPDATE SET id = excluded.id, uuid = excluded.uuid, payload = excluded.payload",
)
_RETAINED = text(
    "SELECT topic, id, uuid, payload FROM retained WHERE topic > :after ORDER BY topic LIMIT :limit"
)
_RETAINED_ON = text(
    "SELECT topic, id, uuid, payload FROM retained WHERE topic IN :topics ORDER BY topic"
).bindparams(bindparam("topics", expanding=True))
DRAFT: Final = "id text, uuid text, topic text, payload bytea, retain bool, owner text"
_QUEUE = Insert("outgoing", DRAFT, "ON CONFLICT (id) DO NOTHING")
_UNSENT = text(
    "SELECT n, topic, payload, retain FROM outgoing"
    " WHERE owner = :owner AND parked IS NULL AND n > :after ORDER BY n LIMIT :limit"
)
_SENT = "DELETE FROM outgoing WHERE n IN (SELECT value FROM json_each(?))"
_SENT_POSTGRESQL = "DELETE FROM outgoing WHERE n = ANY(%s::bigint[])"
_PARK = text("UPDATE outgoing SET parked = :reason WHERE n = :n")
_FORGET_PARKED = text(
    "DELETE FROM outgoing WHERE parked IS NOT NULL AND n < (SELECT min(n) FROM"
    " (SELECT n FROM outgoing WHERE parked IS NOT NULL ORDER BY n DESC LIMIT :kept) AS latest)"
)
_COUNT_PARKED = text("SELECT count(*) FROM outgoing WHERE parked IS NOT NULL")


_by_uuid = attrgetter("uuid")
_by_name = attrgetter("name")


class Transaction:
    """What can be read and changed in one piece."""

    def __init__(self, connection: Connection, member: str) -> None:
        self._connection = connection
        self._member = member

    def records(self, uuids: Collection[str]) -> dict[str, bytes]:
        """The stored records of these domains."""
        if not uuids:
            return {}
        found = self._of_these(_SELECT_CASES, _SELECT_CASES_POSTGRESQL, uuids)
        return dict(cast("list[tuple[str, bytes]]", found.all()))

    def keep_records(self, rows: Collection[DomainRow]) -> None:
        """Writes records, new or changed."""
        self._many(
            _KEEP_CASES,
            [
                (
                    row.uuid,
                    row.data,
                    row.due,
                    row.is_open,
                    json.dumps(sorted(row.hosts)) if row.hosts else "[]",
                    " ".join(sorted(row.attention)),
                )
                for row in sorted(rows, key=_by_uuid)
            ],
        )

    def due(self, now: float, limit: int) -> list[str]:
        """Domains that are due for evaluation by now, the longest overdue first."""
        return [row.uuid for row in self._connection.execute(_SELECT_DUE, {"now": now, "limit": limit})]

    def next_due(self) -> float | None:
        """When the next domain is due."""
        found: float | None = self._connection.execute(_NEXT_DUE).scalar()
        return found

    def attention(self) -> Counter[str]:
        """What needs attention: each kind with its number of domains."""
        found: Counter[str] = Counter()
        for row in self._connection.execute(_ATTENTION):
            found.update(dict.fromkeys(row.attention.split(), row.domains))
        return found

    def pending_records(self) -> Iterator[tuple[str, bytes, list[str]]]:
        """The pending domains: UUID, record, the hosts it depends on."""
        for row in self._connection.execute(_SELECT_OPEN):
            yield row.uuid, row.data, json.loads(row.hosts)

    def hosts(self) -> dict[str, bytes]:
        """All hosts."""
        return {decode_level(row.host): row.data for row in self._connection.execute(_SELECT_HOSTS)}

    def keep_hosts(self, rows: Collection[HostRow]) -> None:
        """Writes hosts, new or changed."""
        self._many(
            _KEEP_HOSTS,
            [(encode_level(row.name), row.data, row.suspect) for row in sorted(rows, key=_by_name)],
        )

    def _many(self, insert: Insert, rows: Collection[tuple[object, ...]]) -> None:
        if not rows:
            return
        if self._is_postgresql:
            self._connection.exec_driver_sql(insert.postgresql, tuple(map(list, zip(*rows, strict=True))))
        else:
            self._connection.exec_driver_sql(insert.sqlite, list(rows))

    def _of_these(self, sqlite: str, postgresql: str, these: Collection[object]) -> CursorResult[Any]:
        if self._is_postgresql:
            return self._connection.exec_driver_sql(postgresql, (list(these),))
        return self._connection.exec_driver_sql(sqlite, (json.dumps(list(these)),))

    @property
    def _is_postgresql(self) -> bool:
        return self._connection.dialect.name == "postgresql"

    _queue = _QUEUE
    _retained_on = _RETAINED_ON

    def queue(self, drafts: Sequence[Draft]) -> None:
        """Queues messages, to be sent in this order; of a retained topic the last one is kept."""
        if drafts:
            # First: a member that restores a topic locks its row, so that its queued message is seen here.
            last = {draft.topic: draft for draft in drafts if draft.retain}
            self._many(
                _KEEP_RETAINED,
                [(topic, draft.id, draft.uuid, draft.payload) for topic, draft in sorted(last.items())],
            )
            self._many(
                self._queue,
                [
                    (draft.id, draft.uuid, draft.topic, draft.payload, draft.retain, self._member)
                    for draft in drafts
                ],
            )

    def retained(self, after: str, limit: int) -> list[Draft]:
        """What should be retained on the topics after `after`, in their order; an empty payload: nothing."""
        return self._drafts(_RETAINED, {"after": after, "limit": limit})

    def retained_on(self, topics: Collection[str]) -> list[Draft]:
        """The same of these topics, locked to the end of the transaction."""
        return self._drafts(self._retained_on, {"topics": list(topics)}) if topics else []

    def _drafts(self, query: TextClause, values: dict[str, object]) -> list[Draft]:
        rows = self._connection.execute(query, values)
        return [Draft(row.id, row.uuid, row.topic, row.payload, retain=True) for row in rows]

    def unsent(self, after: int, limit: int) -> list[Outgoing]:
        """Messages that the broker hasn't acknowledged yet, in order, from the one after `after`."""
        rows = self._connection.execute(_UNSENT, {"owner": self._member, "after": after, "limit": limit})
        return [Outgoing(row.n, row.topic, row.payload, bool(row.retain)) for row in rows]

    def sent(self, numbers: Collection[int]) -> None:
        """The broker has acknowledged these."""
        if numbers:
            self._of_these(_SENT, _SENT_POSTGRESQL, numbers)

    def park(self, n: int, reason: str) -> None:
        """The broker refused this one: it is kept with the reason, as the latest thousand are."""
        self._connection.execute(_PARK, {"n": n, "reason": reason})
        self._connection.execute(_FORGET_PARKED, {"kept": MAX_PARKED})

    def parked(self) -> int:
        """The number of parked messages."""
        return int(self._connection.execute(_COUNT_PARKED).scalar_one())

    def meta(self, key: str) -> str | None:
        """A value that `keep_meta` stored."""
        return read_meta(self._connection, key)

    def keep_meta(self, key: str, value: str) -> None:
        """Stores a value of the store's own."""
        keep_meta(self._connection, key, value)
