"""The tables, for SQLite and PostgreSQL alike."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)

from bridge.database import meta_table

VERSION: Final = 3

_BIG = BigInteger().with_variant(Integer, "sqlite")
TABLES: Final = MetaData()

meta_table(TABLES)
_cases = Table(
    "cases",
    TABLES,
    Column("uuid", Text, primary_key=True),
    Column("data", LargeBinary, nullable=False),
    Column("due", Double),  # when to evaluate again without a new message, in seconds
    Column("is_open", Boolean, nullable=False),
    Column("hosts", Text, nullable=False),  # those it depends on, as a JSON list
    Column("attention", Text, nullable=False, server_default=""),  # what needs attention, separated by spaces
    sqlite_with_rowid=False,
)
Index(
    "cases_due",
    _cases.c.due,
    sqlite_where=_cases.c.due.isnot(None),
    postgresql_where=_cases.c.due.isnot(None),
)
cases_attention: Final = Index(
    "cases_attention",
    _cases.c.attention,
    sqlite_where=_cases.c.attention != "",
    postgresql_where=_cases.c.attention != "",
)
Index("cases_open", _cases.c.uuid, sqlite_where=_cases.c.is_open, postgresql_where=_cases.c.is_open)
Table(
    "hosts",
    TABLES,
    Column("host", Text, primary_key=True),  # encoded as a topic level: no character that a database refuses
    Column("data", LargeBinary, nullable=False),
    Column("suspect", Boolean, nullable=False),  # its event stream may have a gap
)
_outgoing = Table(
    "outgoing",
    TABLES,
    Column("n", _BIG, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("uuid", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("retain", Boolean, nullable=False),
    Column("owner", Text, nullable=False),  # the member that sends it
    Column("parked", Text),  # why the broker refused it
    sqlite_autoincrement=True,
)
Index("outgoing_uuid", _outgoing.c.uuid)
Table(
    "retained",  # what should be retained on each topic, whether the broker has it yet or not
    TABLES,
    Column("topic", Text, primary_key=True),
    Column("id", Text, nullable=False),
    Column("uuid", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),  # empty: nothing
    sqlite_with_rowid=False,
)

_inbox = Table(
    "inbox",  # of a group: messages that members received, to be processed in each host's order
    TABLES,
    Column("n", _BIG, primary_key=True, autoincrement=True),
    Column("host", Text, nullable=False),
    Column("received", Double, nullable=False),
    Column("said", LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)
Index("inbox_host", _inbox.c.host)

Table(
    "members",  # of a group, by the database's clock: when each was seen, and had caught up
    TABLES,
    Column("name", Text, primary_key=True),
    Column("seen", Double, nullable=False),
    Column("caught_up", Double),
    sqlite_with_rowid=False,
)

ATTENTION_SINCE: Final = 3
ADD_ATTENTION: Final = text("ALTER TABLE cases ADD COLUMN attention TEXT NOT NULL DEFAULT ''")
"""What a store of an older version lacks."""
