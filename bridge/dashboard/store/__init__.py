"""What the dashboard keeps: a row for each message that tells of a moment, and each agent's sequences."""

from bridge.dashboard.store.archive import Archive, CursorGoneError, Page
from bridge.dashboard.store.query import Cursor, Filter, Stored
from bridge.dashboard.store.store import Store, Transaction

__all__ = ["Archive", "Cursor", "CursorGoneError", "Filter", "Page", "Store", "Stored", "Transaction"]
