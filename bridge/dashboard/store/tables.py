"""The tables, for SQLite and PostgreSQL alike.

A page is a range of one index, in the order that it is shown: each index begins with what is filtered by and
goes on with (at, n). `migrations` has the rows that are `latest`, by indexes of their own, since there are
a hundred times as many events. Those of migrations hold all that is filtered by, so that a row is only read
when it is shown.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from bridge.database import meta_table

VERSION: Final = 1

_BIG = BigInteger().with_variant(Integer, "sqlite")
TABLES: Final = MetaData()

meta_table(TABLES)
_rows = Table(
    "rows",
    TABLES,
    Column("n", _BIG, primary_key=True, autoincrement=False),  # in the order of arrival
    Column("at", _BIG, nullable=False),  # when it happened, in µs
    Column("came", _BIG, nullable=False),  # when it came, in µs
    Column("source", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("host", Text),  # of a migration: the source
    Column("uuid", Text),
    Column("payload", LargeBinary, nullable=False),
    Column("peer", Text),  # of a migration: the destination
    Column("attempt", Text),  # the migration, or the first message of a conflict without one
    Column("outcome", Text),
    Column("reason", Text),
    Column("downtime_ms", _BIG),
    Column("downtime_class", SmallInteger),
    Column("attention", Text),
    Column("latest", Boolean, nullable=False),  # the newest message about its attempt
    UniqueConstraint("source", "id"),
)


_FILTERED: Final = ("host", "peer", "outcome", "reason", "downtime_ms", "latest")


def _index(name: str, *columns: str, where: str = "", covers: tuple[str, ...] = ()) -> None:
    condition = text(where) if where else None
    Index(
        name,
        *(_rows.c[column] for column in (*columns, "at", "n", *covers)),
        sqlite_where=condition,
        postgresql_where=condition,
    )


_index("rows_at")
_index("rows_host", "host")
_index("rows_uuid", "uuid", where="uuid IS NOT NULL")
_index("rows_peer", "peer", where="peer IS NOT NULL")
_index("rows_outcome", "outcome", where="outcome IS NOT NULL", covers=_FILTERED)
_index("rows_reason", "reason", where="reason IS NOT NULL", covers=_FILTERED)
_index("rows_downtime", "downtime_class", where="downtime_class IS NOT NULL", covers=_FILTERED)
_index("rows_attempt", "attempt", where="attempt IS NOT NULL")
_index("latest_at", where="latest")
_index("latest_host", "host", where="latest")
_index("latest_uuid", "uuid", where="latest")
_index("latest_attention", where="latest AND attention IS NOT NULL")

Table(
    "names",  # what domains were ever called
    TABLES,
    Column("name", Text, primary_key=True),  # as a topic level: no character that a database refuses
    Column("uuid", Text, primary_key=True),
    sqlite_with_rowid=False,
)
Table(
    "hosts",
    TABLES,
    Column("host", Text, primary_key=True),  # as a topic level
    Column("data", LargeBinary, nullable=False),  # which sequences came
)
