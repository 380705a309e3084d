"""A store that the members of a group share, on PostgreSQL: claims, locks and the inbox.

The locks of a member that dies end with its connection. Locks are taken in one order: hosts, for which no
member waits (`SKIP LOCKED`), then domains by UUID; so two members can't deadlock.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import cast

import msgspec
from sqlalchemy import Connection, text

from bridge.correlator.input.messages import DomainMessage
from bridge.correlator.store.connection import Store
from bridge.correlator.store.transaction import DRAFT, Insert, Transaction
from bridge.database.connection import LOCK_PATIENCE_S, lock_member_name, try_lock
from bridge.errors import StateInUseError
from bridge.wire.topics import decode_level, encode_level


@dataclass(frozen=True, slots=True)
class InboxRow:
    """A message of a host, waiting for its turn; `n` None: not in the store yet."""

    n: int | None
    received: float
    message: DomainMessage


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(DomainMessage)
_MAKE_CASES = text(
    "INSERT INTO cases (uuid, data, due, is_open, hosts)"
    " SELECT uuid, '', NULL, false, '[]' FROM unnest(CAST(:uuids AS text[])) AS uuid"
    " ON CONFLICT (uuid) DO NOTHING"
)
_LOCK_CASES = text("SELECT uuid, data FROM cases WHERE uuid = ANY(:uuids) ORDER BY uuid FOR UPDATE")
_CLAIM_DUE = text(
    "SELECT uuid FROM cases WHERE due IS NOT NULL AND due <= :now"
    " ORDER BY due, uuid LIMIT :limit FOR UPDATE SKIP LOCKED"
)
_OPEN_ON = text(
    "SELECT uuid FROM cases WHERE is_open AND EXISTS"
    " (SELECT FROM unnest(CAST(:needles AS text[])) AS needle WHERE strpos(hosts, needle) > 0) ORDER BY uuid"
)
_COUNT_OPEN = text("SELECT count(*) FROM cases WHERE is_open")
_MAKE_HOSTS = text(
    "INSERT INTO hosts (host, data, suspect)"
    " SELECT host, '', false FROM unnest(CAST(:hosts AS text[])) AS host ON CONFLICT (host) DO NOTHING"
)
_CLAIM_HOSTS = text(
    "SELECT host, data FROM hosts WHERE host = ANY(:hosts) ORDER BY host FOR UPDATE SKIP LOCKED"
)
_CLAIM_SUSPECTS = text("SELECT host, data FROM hosts WHERE suspect ORDER BY host FOR UPDATE SKIP LOCKED")
_SUSPECTS = text("SELECT host, data FROM hosts WHERE suspect AND host = ANY(:hosts)")
_NOTE_MEMBER = text(
    "INSERT INTO members (name, seen, caught_up)"
    " SELECT :name, now, now - CAST(:behind_s AS float8)"
    " FROM (SELECT extract(epoch FROM clock_timestamp()) AS now) AS clock"
    " ON CONFLICT (name) DO UPDATE"
    " SET seen = excluded.seen, caught_up = coalesce(excluded.caught_up, members.caught_up)"
)
_LAG = text("SELECT extract(epoch FROM clock_timestamp())::float8 - min(caught_up) FROM members")
_IS_GONE = (
    "name <> :own AND (seen < extract(epoch FROM clock_timestamp()) - :expiry_s OR pg_try_advisory_xact_lock("
    "hashtext('libvirt-mqtt'), hashtext(current_schema() || '.member ' || name)))"
)
_GONE = text(f"SELECT name FROM members WHERE {_IS_GONE} ORDER BY name")  # noqa: S608
_FORGET = text(f"DELETE FROM members WHERE name = :name AND {_IS_GONE}")  # noqa: S608
_OLDEST_WAITING = text("SELECT coalesce(min(received), 'infinity') FROM inbox")
_WAITING_HOSTS = text("SELECT DISTINCT host FROM inbox LIMIT :limit")
_DELIVER = Insert("inbox", "host text, received float8, said bytea", "")
_INBOX = text(
    "SELECT n, received, said FROM inbox JOIN (SELECT host, min(n) AS oldest FROM inbox"
    " WHERE host = ANY(:hosts) GROUP BY host) AS waiting USING (host) ORDER BY oldest, n LIMIT :limit"
)
_TAKEN = text("DELETE FROM inbox WHERE n = ANY(:numbers)")
_QUEUE_BEHIND = Insert(
    "outgoing",
    DRAFT,
    "ON CONFLICT (id) DO NOTHING",
    "id, uuid, topic, payload, retain, coalesce((SELECT before.owner FROM outgoing AS before"
    " WHERE before.uuid = given.uuid AND parked IS NULL ORDER BY n LIMIT 1), owner)",
)
_LOCK_RETAINED_ON = text(
    "SELECT topic, id, uuid, payload FROM retained WHERE topic = ANY(:topics) ORDER BY topic FOR UPDATE"
)
_OWNERS = text("SELECT DISTINCT owner FROM outgoing WHERE parked IS NULL AND owner <> :owner")
_TAKE_OVER = text("UPDATE outgoing SET owner = :owner WHERE owner = :former AND parked IS NULL")


class GroupTransaction(Transaction):
    """A transaction beside those of other members: it locks what it reads to change, and one member publishes
    all that is due of a domain.
    """

    _queue = _QUEUE_BEHIND
    _retained_on = _LOCK_RETAINED_ON

    def records(self, uuids: Collection[str]) -> dict[str, bytes]:
        """The records of these domains, locked to the end of the transaction, new ones too."""
        if not uuids:
            return {}
        wanted = sorted(uuids)
        found = {row.uuid: row.data for row in self._connection.execute(_LOCK_CASES, {"uuids": wanted})}
        absent = [uuid for uuid in wanted if uuid not in found]
        if absent:
            self._connection.execute(_MAKE_CASES, {"uuids": absent})
            found |= {row.uuid: row.data for row in self._connection.execute(_LOCK_CASES, {"uuids": absent})}
        return {uuid: data for uuid, data in found.items() if data}

    def due(self, now: float, limit: int) -> list[str]:
        """As for one correlator, without those that another member is processing."""
        return [row.uuid for row in self._connection.execute(_CLAIM_DUE, {"now": now, "limit": limit})]

    def open_on(self, hosts: Collection[str]) -> list[str]:
        """The pending domains that depend on one of these hosts."""
        if not hosts:
            return []
        needles = [json.dumps(host) for host in hosts]
        return [row.uuid for row in self._connection.execute(_OPEN_ON, {"needles": needles})]

    def count_open(self) -> int:
        """The number of pending domains."""
        return int(self._connection.execute(_COUNT_OPEN).scalar_one())

    def claim(self, hosts: Collection[str], new: Collection[str]) -> dict[str, bytes]:
        """Claims those of these hosts that no other member is processing. new: those of them that may not be
        in the store yet; their bytes are empty.
        """
        if new:
            self._connection.execute(_MAKE_HOSTS, {"hosts": [encode_level(name) for name in sorted(new)]})
        if not hosts:
            return {}
        wanted = {"hosts": [encode_level(name) for name in hosts]}
        rows = self._connection.execute(_CLAIM_HOSTS, wanted)
        return {decode_level(row.host): row.data for row in rows}

    def claim_suspects(self) -> dict[str, bytes]:
        """Claims the hosts with holes that no other member is processing."""
        return {decode_level(row.host): row.data for row in self._connection.execute(_CLAIM_SUSPECTS)}

    def suspects(self, hosts: Collection[str]) -> dict[str, bytes]:
        """Those of these hosts that may have holes, whichever member is processing them."""
        if not hosts:
            return {}
        rows = self._connection.execute(_SUSPECTS, {"hosts": [encode_level(name) for name in hosts]})
        return {decode_level(row.host): row.data for row in rows}

    def note_member(self, name: str, *, behind_s: float | None) -> float:
        """Notes that a member is alive, and how many seconds ago it had received everything, if known.
        Returns how many seconds ago all members had, by the database's clock: theirs may differ. A member
        that never had doesn't count.
        """
        self._connection.execute(_NOTE_MEMBER, {"name": name, "behind_s": behind_s})
        return float(self._connection.execute(_LAG).scalar() or 0.0)

    def waiting_hosts(self, limit: int) -> list[str]:
        """Hosts with messages in the inbox."""
        rows = self._connection.execute(_WAITING_HOSTS, {"limit": limit})
        return [decode_level(row.host) for row in rows]

    def oldest_waiting(self) -> float:
        """When the oldest message in the inbox was received; infinity: there is none."""
        return float(self._connection.execute(_OLDEST_WAITING).scalar_one())

    def inbox(self, hosts: Collection[str], limit: int) -> list[InboxRow]:
        """The messages of these hosts in the inbox, the oldest first, host after host."""
        if not hosts:
            return []
        wanted = {"hosts": [encode_level(name) for name in hosts], "limit": limit}
        rows = self._connection.execute(_INBOX, wanted)
        return [InboxRow(n, received, _DECODER.decode(said)) for n, received, said in rows.all()]

    def deliver(self, rows: Sequence[InboxRow]) -> None:
        """Adds messages to the inbox."""
        said = [(encode_level(row.message.host), row.received, _ENCODER.encode(row.message)) for row in rows]
        self._many(_DELIVER, said)

    def taken(self, numbers: Collection[int]) -> None:
        """Deletes processed messages from the inbox."""
        if numbers:
            self._connection.execute(_TAKEN, {"numbers": list(numbers)})

    def other_owners(self) -> list[str]:
        """Members with messages to publish, other than this one."""
        return [row.owner for row in self._connection.execute(_OWNERS, {"owner": self._member})]


class GroupStore(Store):
    """One member's connection to the store of its group.

    name: the group's; wish: the preferred name of this member, `wish-2` and so on if others have it.
    """

    def __init__(self, url: str, *, name: str, wish: str, instance: str) -> None:
        super().__init__(url, owner=f"group {name}", member=instance)
        self._wish = wish
        self.member_name: str | None = None
        """What this member is called within its group, once connected."""

    def begin_shared(self) -> AbstractContextManager[GroupTransaction]:
        """`begin`, with what only a group does."""
        return cast("AbstractContextManager[GroupTransaction]", self.begin())

    def take_over_from_the_dead(self) -> int:
        """Takes over the queued messages of members that are gone; returns how many."""
        with self.begin_shared() as tx:
            owners = tx.other_owners()
        taken = 0
        for former in owners:
            taken += self._take_over(former)
        return taken

    def gone(self, expiry_s: float) -> list[str]:
        """The members that ended, or weren't seen for this long, and whose session may have messages."""
        with self.begin_on_connection() as connection:
            rows = connection.execute(_GONE, {"own": self.member_name, "expiry_s": expiry_s})
            return [row.name for row in rows]

    def forget(self, name: str, expiry_s: float) -> None:
        """Forgets a member whose messages were taken over, unless it is back."""
        with self.begin_on_connection() as connection:
            connection.execute(_FORGET, {"name": name, "own": self.member_name, "expiry_s": expiry_s})

    def try_to_lead(self) -> bool:
        """As for one correlator; a leader keeps its lock until it dies."""
        if not self._leads:
            with self.begin():
                pass
            assert self._connection is not None
            self._leads = try_lock(self._connection, "pg_try_advisory_lock", "lead")
        return self._leads

    _leads = False

    def _disconnect(self) -> None:
        self._leads = False
        super()._disconnect()

    def _transaction(self, connection: Connection) -> Transaction:
        return GroupTransaction(connection, self._member)

    def _take_over(self, former: str) -> int:
        """A member lives while its connection holds the lock of its name."""
        with self.begin():
            connection = self._connection
            assert connection is not None
            lock = {"name": f"instance {former}"}
            if not connection.execute(_TRY_INSTANCE, lock).scalar_one():
                return 0
            names = {"owner": self._member, "former": former}
            return int(connection.execute(_TAKE_OVER, names).rowcount)

    def _lock_postgresql(self, connection: Connection) -> None:
        if not try_lock(connection, "pg_try_advisory_lock_shared", "store", patience_s=LOCK_PATIENCE_S):
            why = f"store: {self} is in use by a correlator without a group"
            raise StateInUseError(f"{why}; accepted: one of its own, or --group for all that share it")
        if not try_lock(
            connection, "pg_try_advisory_lock", f"instance {self._member}", patience_s=LOCK_PATIENCE_S
        ):
            raise StateInUseError(f"store: {self} still holds a former connection of this member")
        self.member_name = lock_member_name(connection, str(self), self._wish, self.member_name)


_TRY_INSTANCE = text(
    "SELECT pg_try_advisory_xact_lock(hashtext('libvirt-mqtt'), hashtext(current_schema() || '.' || :name))"
)
