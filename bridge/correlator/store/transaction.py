"""What can be read and changed in one transaction, and the statements for it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from sqlalchemy import Connection, TextClause, bindparam, text

from bridge.database import keep_meta, read_meta
from bridge.wire.topics import decode_level, encode_level

MAX_PARKED: Final = 1000


@dataclass(frozen=True, slots=True)
class DomainRow:
    """One domain's case. `due` in seconds, None: nothing to wait for; `hosts`: whose silence would matter;
    `attention`: what of it a person has to see to.
    """

    uuid: str
    data: bytes
    due: float | None
    is_open: bool
    hosts: Collection[str] = ()
    attention: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class HostRow:
    """One host. suspect: there may be a hole in its stream."""

    name: str
    data: bytes
    suspect: bool


@dataclass(frozen=True, slots=True)
class Draft:
    """A message to be sent. The same `id` is queued once only while it waits."""

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


# The statements that run for every message go to the driver as they are: SQLAlchemy's way of handing over
# parameters by name costs more than the insertion.
_SELECT_CASES = "SELECT uuid, data FROM cases WHERE uuid IN (SELECT value FROM json_each(?))"
_SELECT_CASES_POSTGRESQL = "SELECT uuid, data FROM cases WHERE uuid = ANY(%s)"
_KEEP_CASE = (
    "INSERT INTO cases (uuid, data, due, is_open, hosts, attention) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (uuid) DO UPDATE SET data = excluded.data, due = excluded.due,"
    " is_open = excluded.is_open, hosts = excluded.hosts, attention = excluded.attention"
)
_ATTENTION = text("SELECT attention, count(*) AS domains FROM cases WHERE attention <> '' GROUP BY attention")
_SELECT_DUE = text(
    "SELECT uuid FROM cases WHERE due IS NOT NULL AND due <= :now ORDER BY due, uuid LIMIT :limit"
)
_NEXT_DUE = text("SELECT min(due) FROM cases WHERE due IS NOT NULL")
_SELECT_OPEN = text("SELECT uuid, data, hosts FROM cases WHERE is_open ORDER BY uuid")
_SELECT_HOSTS = text("SELECT host, data FROM hosts")
_KEEP_HOST = (
    "INSERT INTO hosts (host, data, suspect) VALUES (?, ?, ?)"
    " ON CONFLICT (host) DO UPDATE SET data = excluded.data, suspect = excluded.suspect"
)
_KEEP_RETAINED = (
    "INSERT INTO retained (topic, id, uuid, payload) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (topic) DO UPDATE SET id = excluded.id, uuid = excluded.uuid, payload = excluded.payload"
)
_RETAINED = text(
    "SELECT topic, id, uuid, payload FROM retained WHERE topic > :after ORDER BY topic LIMIT :limit"
)
_RETAINED_ON = text(
    "SELECT topic, id, uuid, payload FROM retained WHERE topic IN :topics ORDER BY topic"
).bindparams(bindparam("topics", expanding=True))
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


_by_uuid = attrgetter("uuid")
_by_name = attrgetter("name")
_by_topic = attrgetter("topic")


class Transaction:
    """What can be read and changed in one piece."""

    def __init__(self, connection: Connection, member: str) -> None:
        self._connection = connection
        self._member = member

    def records(self, uuids: Collection[str]) -> dict[str, bytes]:
        """The cases that there are of these domains."""
        if not uuids:
            return {}
        if self._connection.dialect.name == "postgresql":
            rows = self._connection.exec_driver_sql(_SELECT_CASES_POSTGRESQL, (list(uuids),))
        else:
            rows = self._connection.exec_driver_sql(_SELECT_CASES, (json.dumps(list(uuids)),))
        return {uuid: data for uuid, data in rows}  # noqa: C416 - dict() doesn't know that a row is a pair

    def keep_records(self, rows: Collection[DomainRow]) -> None:
        """Writes cases, new or changed."""
        self._many(
            _KEEP_CASE,
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
        """Domains whose cases are to be judged again by now, the longest overdue first."""
        return [row.uuid for row in self._connection.execute(_SELECT_DUE, {"now": now, "limit": limit})]

    def next_due(self) -> float | None:
        """When the next case is due."""
        found: float | None = self._connection.execute(_NEXT_DUE).scalar()
        return found

    def attention(self) -> Counter[str]:
        """What a person has to see to, each with the number of domains."""
        found: Counter[str] = Counter()
        for row in self._connection.execute(_ATTENTION):
            found.update(dict.fromkeys(row.attention.split(), row.domains))
        return found

    def pending_records(self) -> Iterator[tuple[str, bytes, list[str]]]:
        """The cases with something still to come: domain, case, hosts whose silence would matter."""
        for row in self._connection.execute(_SELECT_OPEN):
            yield row.uuid, row.data, json.loads(row.hosts)

    def hosts(self) -> dict[str, bytes]:
        """All hosts."""
        return {decode_level(row.host): row.data for row in self._connection.execute(_SELECT_HOSTS)}

    def keep_hosts(self, rows: Collection[HostRow]) -> None:
        """Writes hosts, new or changed."""
        self._many(
            _KEEP_HOST,
            [(encode_level(row.name), row.data, row.suspect) for row in sorted(rows, key=_by_name)],
        )

    def _many(self, statement: str, rows: list[tuple[object, ...]]) -> None:
        if rows:
            if self._connection.dialect.paramstyle != "qmark":
                statement = statement.replace("?", "%s")
            self._connection.exec_driver_sql(statement, rows)

    _queue = _QUEUE
    _retained_on = _RETAINED_ON

    def queue(self, drafts: Sequence[Draft]) -> None:
        """Takes tellings in, to be sent in this order; of a retained topic the last is kept."""
        if drafts:
            # First: who restores a topic locks its row, and is then seen to have still to send it.
            self._many(
                _KEEP_RETAINED,
                [
                    (draft.topic, draft.id, draft.uuid, draft.payload)
                    for draft in sorted(drafts, key=_by_topic)
                    if draft.retain
                ],
            )
            self._connection.execute(self._queue, _draft_values(drafts, self._member))

    def retained(self, after: str, limit: int) -> list[Draft]:
        """What the topics that follow `after` should hold, in their order; empty: nothing."""
        return self._drafts(_RETAINED, {"after": after, "limit": limit})

    def retained_on(self, topics: Collection[str]) -> list[Draft]:
        """The same of these topics, kept as it is to the end of the transaction."""
        return self._drafts(self._retained_on, {"topics": list(topics)}) if topics else []

    def _drafts(self, query: TextClause, values: dict[str, object]) -> list[Draft]:
        rows = self._connection.execute(query, values)
        return [Draft(row.id, row.uuid, row.topic, row.payload, retain=True) for row in rows]

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
        return read_meta(self._connection, key)

    def keep_meta(self, key: str, value: str) -> None:
        """Keeps a word of the store's own."""
        keep_meta(self._connection, key, value)


def _draft_values(drafts: Sequence[Draft], owner: str) -> list[dict[str, object]]:
    """Tellings as the parameters of an INSERT."""
    return [
        {
            "id": draft.id,
            "uuid": draft.uuid,
            "topic": draft.topic,
            "payload": draft.payload,
            "retain": draft.retain,
            "owner": owner,
        }
        for draft in drafts
    ]
