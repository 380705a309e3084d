"""The dashboard's store: a row for each event and each migration's message, and each agent's sequences."""

from bridge.dashboard.store.archive import Archive, CursorGoneError, Page
from bridge.dashboard.store.query import Cursor, Filter, Stored
from bridge.dashboard.store.store import Store, Transaction

__all__ = ["Archive", "Cursor", "CursorGoneError", "Filter", "Page", "Store", "Stored", "Transaction"]
