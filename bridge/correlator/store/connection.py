"""The store of a correlator, or of a group."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

from bridge.correlator.store.tables import ADD_ATTENTION, ATTENTION_SINCE, TABLES, VERSION, cases_attention
from bridge.correlator.store.transaction import Transaction
from bridge.database import Database


class Store(Database):
    """A store of one owner: a correlator by its id, or a group by its name."""

    _shared_by = ", or --group for all that share it"

    def __init__(self, url: str, *, owner: str, member: str = "") -> None:
        super().__init__(url, owner=owner, tables=TABLES, version=VERSION)
        self._member = member

    @contextmanager
    def begin(self) -> Iterator[Transaction]:
        """One transaction: committed when the block ends, rolled back when it raises."""
        with self.begin_on_connection() as connection:
            yield self._transaction(connection)

    def try_to_lead(self) -> bool:
        """Whether this correlator leads: a leader does what one member does for all."""
        return True

    def _upgrade(self, connection: Connection, version: int) -> None:
        if version < ATTENTION_SINCE:
            connection.execute(ADD_ATTENTION)
            cases_attention.create(connection)

    def _transaction(self, connection: Connection) -> Transaction:
        return Transaction(connection, self._member)
