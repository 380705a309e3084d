"""The programs' stores, by SQLAlchemy: SQLite or PostgreSQL."""

from bridge.database.connection import (
    Database,
    StoreConflictError,
    StoreTroubleError,
    keep_meta,
    meta_table,
    postgresql_engine,
    read_meta,
)
from bridge.database.trouble import StoreTrouble

__all__ = [
    "Database",
    "StoreConflictError",
    "StoreTrouble",
    "StoreTroubleError",
    "keep_meta",
    "meta_table",
    "postgresql_engine",
    "read_meta",
]
