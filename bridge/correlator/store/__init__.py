"""The correlator's store, on SQLite or PostgreSQL: what is known, and what is still to be published.

The store decides nothing: it keeps domain records and hosts as bytes, and messages until the broker has
acknowledged them. One transaction holds all changes of a batch.
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
