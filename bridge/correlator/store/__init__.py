"""Where the correlator keeps what it knows and what it has still to say: SQLite, or PostgreSQL.

The store decides nothing: it keeps cases and hosts as bytes, and tellings
until the broker has them. One transaction takes a batch of messages in: marks, cases and tellings together.
"""

from bridge.correlator.store.connection import Store
from bridge.correlator.store.group import GroupStore, GroupTransaction, InboxRow
from bridge.correlator.store.transaction import DomainRow, Draft, HostRow, Outgoing, Transaction

__all__ = [
    "DomainRow",
    "Draft",
    "GroupStore",
    "GroupTransaction",
    "HostRow",
    "InboxRow",
    "Outgoing",
    "Store",
    "Transaction",
]
