"""Server-sent events (HTML Living Standard, 9.2) for any number of open streams.

An event is made once, however many streams there are, and only while there are some. What comes within
`GATHERED_S` leaves in one piece. All in the web server's loop but for `put`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from bridge.dashboard.counters import Counters
from bridge.dashboard.items import Items, encoded
from bridge.dashboard.present import Change
from bridge.dashboard.store import Archive, Cursor, CursorGoneError, Stored

GATHERED_S: Final = 0.25
"""A quarter of the second in which a row has to be on the page. Each time wakes every stream, and 100 of them
may cost a tenth of a core (`make bench`).
"""
SUMMARY_EVERY_S: Final = 10.0
"""So that a page can distinguish a quiet fleet from a lost connection."""
MOST_AT_ONCE: Final = 10_000
"""The most rows that a stream is sent to catch up, or that wait; more is a `reset`: pages read again."""
MOST_WAITING_BYTES: Final = 8 << 20
"""The most bytes that may wait for a browser that doesn't read."""
READ_AT_ONCE: Final = 500
NAMES: Final = ("event", "migration", "progress", "host", "domain", "summary", "reset")


class Entry(NamedTuple):
    """One event, ready to be sent. n: the row's number, 0 for what is no row."""

    n: int
    name: str
    uuid: str | None
    hosts: tuple[str, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one stream is sent. uuids, host None: of any."""

    names: frozenset[str] = frozenset(NAMES)
    uuids: frozenset[str] | None = None
    host: str | None = None

    def has(self, entry: Entry) -> bool:
        """Whether this is sent."""
        if entry.name not in self.names:
            return False
        if entry.name in ("summary", "reset"):
            return True
        return (self.uuids is None or entry.uuid in self.uuids) and (
            self.host is None or self.host in entry.hosts
        )

    @property
    def everything(self) -> bool:
        """Whether nothing is left out."""
        return self == _EVERYTHING


_EVERYTHING: Final = Wanted()


class _Stream:
    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.waiting: list[Sequence[Entry]] = []
        self.waiting_bytes = 0
        self.news = asyncio.Event()
        self.reset = False


class Feed:
    """All open streams. summary: makes that item; `run` has to be running for as long as streams are open."""

    def __init__(
        self, items: Items, archive: Archive, summary: Callable[[], Mapping[str, Any]], counters: Counters
    ) -> None:
        self._items = items
        self._archive = archive
        self._summary = summary
        self._counters = counters
        self._streams: set[_Stream] = set()
        self._rows: list[Stored] = []
        self._changes: dict[Change, None] = {}
        self._too_many = False
        self._flush_due: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = False

    async def run(self) -> None:
        """Sends the summary now and then, until `close`."""
        self._loop = asyncio.get_running_loop()
        while not self._closing:
            await asyncio.sleep(SUMMARY_EVERY_S)
            self._gather((), (_SUMMARY,))

    def close(self) -> None:
        """Ends all streams."""
        self._closing = True
        for stream in self._streams:
            stream.news.set()

    def put(self, rows: Sequence[Stored], changes: Sequence[Change]) -> None:
        """Takes news in, from any thread."""
        loop = self._loop
        if loop is not None and self._streams and not self._closing:
            loop.call_soon_threadsafe(self._gather, rows, changes)

    def _gather(self, rows: Sequence[Stored], changes: Sequence[Change]) -> None:
        if len(self._rows) + len(rows) > MOST_AT_ONCE:
            self._too_many = True
        else:
            self._rows += rows
        self._changes.update(dict.fromkeys(changes))
        self._too_many = self._too_many or len(self._changes) > MOST_AT_ONCE
        if self._flush_due is None and (rows or changes):
            self._flush_due = asyncio.get_running_loop().call_later(GATHERED_S, self._flush)

    def _flush(self) -> None:
        self._flush_due = None
        rows, self._rows = self._rows, []
        changes, self._changes = list(self._changes), {}
        if not self._streams:
            self._too_many = False
            return
        entries = [] if self._too_many else [self._row(row) for row in rows]
        entries += [] if self._too_many else [self._change(change) for change in changes]
        size = sum(len(entry.data) for entry in entries)
        for stream in self._streams:
            if self._too_many or stream.waiting_bytes > MOST_WAITING_BYTES:
                stream.reset = True
                stream.waiting = []
                stream.waiting_bytes = 0
            stream.waiting.append(entries)
            stream.waiting_bytes += size
            stream.news.set()
        self._too_many = False

    def _row(self, row: Stored) -> Entry:
        item = self._items.moment(row)
        name = "migration" if item["kind"] == "migration" else "event"
        data = item["data"]
        hosts = (data["host"],) if name == "event" else tuple(_hosts_of(data))
        uuid = item["domain"] and item["domain"]["uuid"]
        return Entry(row.n, name, uuid, hosts, _event(name, item, str(row.cursor)))

    def _change(self, change: Change) -> Entry:
        present, key = self._items.present, change.key
        if change.kind in ("broker", "summary"):
            return Entry(0, "summary", None, (), _event("summary", self._summary()))
        if change.kind == "host":
            known = key in present.statuses.values or present.hosts.get(key)
            item = self._items.host(key) if known else {"host": key, "gone": True}
            return Entry(0, "host", None, (key,), _event("host", item))
        hosts = tuple(place.host for place in present.domains.get(key, ()))
        if change.kind == "progress":
            published = present.currents.values.get(key)
            item = {"uuid": key, "migration": None if published is None else published.data}
            return Entry(0, "progress", key, hosts, _event("progress", item))
        item = self._items.domain(key) if hosts else {"uuid": key, "gone": True}
        return Entry(0, "domain", key, hosts, _event("domain", item))

    async def stream(
        self, wanted: Wanted, after: Cursor | None, read: Callable[..., Awaitable[Any]]
    ) -> AsyncIterator[bytes]:
        """One stream's events: those after `after`, then those that come. read: calls in another thread."""
        stream = _Stream(wanted)
        self._streams.add(stream)
        self._counters.streams = len(self._streams)
        try:
            yield _event("summary", self._summary())
            sent = 0
            if after is not None:
                async for chunk, last in self._catch_up(wanted, after, read):
                    yield chunk
                    sent = last
            while not self._closing:
                await stream.news.wait()
                stream.news.clear()
                waiting, stream.waiting = stream.waiting, []
                stream.waiting_bytes = 0
                if stream.reset:
                    stream.reset = False
                    self._counters.streams_reset += 1
                    yield await self._reset(read)
                chunk = b"".join(
                    entry.data
                    for entries in waiting
                    for entry in entries
                    if (not entry.n or entry.n > sent) and (wanted.everything or wanted.has(entry))
                )
                if chunk:
                    yield chunk
        finally:
            self._streams.discard(stream)
            self._counters.streams = len(self._streams)

    async def _catch_up(
        self, wanted: Wanted, after: Cursor, read: Callable[..., Awaitable[Any]]
    ) -> AsyncIterator[tuple[bytes, int]]:
        """What was stored after `after`, with the number of the last row of it."""
        at, left = after, MOST_AT_ONCE
        while left > 0:
            try:
                rows = await read(self._archive.since, at, READ_AT_ONCE)
            except CursorGoneError:
                break
            entries = [self._row(row) for row in rows]
            at = rows[-1].cursor if rows else at
            yield b"".join(entry.data for entry in entries if wanted.has(entry)), at.n
            if len(rows) < READ_AT_ONCE:
                return
            left -= len(rows)
        newest = await read(self._archive.ends)
        self._counters.streams_reset += 1
        yield await self._reset(read), newest[1].n if newest[1] is not None else 0

    async def _reset(self, read: Callable[..., Awaitable[Any]]) -> bytes:
        oldest, newest = await read(self._archive.ends)
        return _event(
            "reset",
            {"oldest": oldest and str(oldest), "newest": newest and str(newest)},
            newest and str(newest),
        )


_SUMMARY: Final = Change("summary", "")


def _hosts_of(data: Mapping[str, Any]) -> list[str]:
    return [host for side in ("source", "destination") if (host := (data.get(side) or {}).get("host"))]


def _event(name: str, item: object, cursor: str | None = None) -> bytes:
    """One event. JSON has no newline in it, so one line of data holds it."""
    head = f"id: {cursor}\n" if cursor else ""
    return f"{head}event: {name}\ndata: ".encode() + encoded(item) + b"\n\n"
