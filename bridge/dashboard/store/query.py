"""From a filter to the SQL of one page: which index's ranges hold all its rows, in the order of the page.

SQLite is told which index to take: without statistics it can't know that a domain has fewer rows than a day.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

MOST_DOMAINS: Final = 100
"""Domains of one name that are looked up one by one; with more, rows are looked through by time."""
LONGEST_CLASS: Final = 32
"""The class of the longest downtimes, seven weeks and more."""


class Cursor(NamedTuple):
    """The place of a row: when it happened, and its number in the order of arrival."""

    at: int
    n: int

    def __str__(self) -> str:
        return f"{self.at}-{self.n}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError for what isn't one."""
        at, dash, n = text.partition("-")
        if not (dash and at.isdecimal() and n.isdecimal() and text.isascii() and len(text) <= 40):
            raise ValueError("no cursor")
        return cls(int(at), int(n))


class Stored(NamedTuple):
    """A row as it was stored."""

    n: int
    at: int
    attempt: str | None
    payload: bytes

    @property
    def cursor(self) -> Cursor:
        """The row's cursor."""
        return Cursor(self.at, self.n)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows. latest: only the newest of each attempt. uuids None: any domain. since, until: in µs, until
    is left out.
    """

    latest: bool = False
    uuids: tuple[str, ...] | None = None
    host: str | None = None
    outcomes: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    min_downtime_ms: int | None = None
    since: int | None = None
    until: int | None = None
    attention: bool = False


def downtime_class(downtime_ms: int) -> int:
    """The number of bits: downtimes from a minimum on are in few classes, each indexed in a page's order."""
    return min(downtime_ms.bit_length(), LONGEST_CLASS)


@dataclass(frozen=True, slots=True)
class _Range:
    """A range of one index, and further conditions on its rows."""

    index: str
    conditions: tuple[str, ...]


class Query:
    """A page's SQL and its parameters. after: the last row of the page before."""

    def __init__(
        self, wanted: Filter, *, limit: int, after: Cursor | None, newest_first: bool, names_indexes: bool
    ) -> None:
        self.values: dict[str, Any] = {"limit": limit}
        self._newest_first = newest_first
        self._names_indexes = names_indexes
        self._wanted = wanted
        order = "DESC" if newest_first else "ASC"
        bounds = tuple(self._bounds(after))
        parts = [self._part((*one.conditions, *bounds), one.index, order) for one in self._ranges()]
        found = " UNION ALL ".join(parts) if parts else "SELECT n, at FROM rows WHERE false"
        self.sql = (
            f"SELECT rows.n, rows.at, rows.attempt, rows.payload FROM"  # noqa: S608 - no value is in it
            f" (SELECT n, at FROM ({found}) AS every ORDER BY at {order}, n {order} LIMIT :limit) AS page"
            f" JOIN rows ON rows.n = page.n ORDER BY page.at {order}, page.n {order}"
        )

    def _part(self, conditions: Sequence[str], index: str, order: str) -> str:
        indexed = f" INDEXED BY {index}" if self._names_indexes else ""
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        return (
            f"SELECT n, at FROM (SELECT n, at FROM rows{indexed}{where}"  # noqa: S608
            f" ORDER BY at {order}, n {order} LIMIT :limit) AS part"
        )

    def _bounds(self, after: Cursor | None) -> Iterator[str]:
        """At most one bound on each side: with two of them SQLite would begin the range at the wrong one."""
        wanted = self._wanted
        low = None if wanted.since is None else Cursor(wanted.since, 0)
        high = None if wanted.until is None else Cursor(wanted.until, 0)
        if after is not None and self._newest_first:
            high = after if high is None else min(high, after)
        elif after is not None:
            low = after if low is None else max(low, after)
        if low is not None:
            yield f"(at, n) > ({self._value('low_at', low.at)}, {self._value('low_n', low.n)})"
        if high is not None:
            yield f"(at, n) < ({self._value('high_at', high.at)}, {self._value('high_n', high.n)})"

    def _ranges(self) -> Iterator[_Range]:
        """The first filter of these leads: the one with the fewest rows. The others are tried row by row."""
        wanted = self._wanted
        latest = ("latest",) if wanted.latest else ()
        rest = {
            "uuid": self._domain(),
            "downtime": self._downtime(),
            "reason": self._one_of("reason", wanted.reasons),
            "host": self._host(),
            "outcome": self._one_of("outcome", wanted.outcomes),
        }
        few = wanted.uuids is None or len(wanted.uuids) <= MOST_DOMAINS
        leads = (name for name, condition in rest.items() if condition and (name != "uuid" or few))
        lead = "attention" if wanted.attention else next(leads, "at")
        others = tuple(condition for name, condition in rest.items() if condition and name != lead) + latest
        head = "latest" if wanted.latest else "rows"
        match lead:
            case "attention":
                yield _Range("latest_attention", (*others, "attention IS NOT NULL"))
            case "uuid":
                for number, uuid in enumerate(wanted.uuids or ()):
                    yield _Range(f"{head}_uuid", (f"uuid = {self._value(f'uuid{number}', uuid)}", *others))
            case "host":
                host = self._value("host", wanted.host)
                yield _Range(f"{head}_host", (f"host = {host}", *others))
                yield _Range("rows_peer", (f"peer = {host}", f"(host IS NULL OR host <> {host})", *others))
            case "downtime":
                least = wanted.min_downtime_ms or 0
                first = downtime_class(least)
                for number in range(first, LONGEST_CLASS + 1):
                    exact = (rest["downtime"],) if number == first else ()
                    yield _Range("rows_downtime", (f"downtime_class = {number}", *exact, *others))
            case "reason" | "outcome":
                for number, word in enumerate(wanted.reasons if lead == "reason" else wanted.outcomes):
                    value = self._value(f"{lead}{number}", word)
                    yield _Range(f"rows_{lead}", (f"{lead} = {value}", *others))
            case _:
                yield _Range(f"{head}_at", others)

    def _domain(self) -> str:
        uuids = self._wanted.uuids
        if uuids is None:
            return ""
        if not uuids:
            return "false"
        return self._one_of("uuid", uuids)

    def _downtime(self) -> str:
        least = self._wanted.min_downtime_ms
        return "" if least is None else f"downtime_ms >= {self._value('downtime', least)}"

    def _host(self) -> str:
        host = self._wanted.host
        if host is None:
            return ""
        value = self._value("host", host)
        return f"(host = {value} OR peer = {value})"

    def _one_of(self, column: str, values: Sequence[str]) -> str:
        if not values:
            return ""
        names = [self._value(f"{column}{number}", value) for number, value in enumerate(values)]
        return f"{column} IN ({', '.join(names)})"

    def _value(self, name: str, value: Any) -> str:  # noqa: ANN401 - whatever a column holds
        self.values[name] = value
        return f":{name}"
