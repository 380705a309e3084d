"""The dashboard's figures: what it takes in, how soon a page of a long history comes, what readers cost."""

from __future__ import annotations

import http.client
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median
from typing import Final, Self
from urllib.parse import urlencode, urlsplit

from sqlalchemy import Connection, create_engine, text

from bridge.dashboard.store.tables import TABLES
from bridge.wire.examples import examples
from bridge.wire.messages import LIFECYCLE, MIGRATION
from tests.bench.correlator import HOSTS, intake
from tests.bench.figure import Figure, Target, at_least
from tests.bench.place import Broker, Child, Place, cpu_s
from tests.bench.traffic import Publisher, Traffic

STREAMS: Final = 100
RATE: Final = 100
ASKED: Final = 15
"""Pages asked for of each kind."""


def measure(place: Place) -> Iterator[Figure]:
    """All of them."""
    yield from _intake(place)
    yield from _pages(place)
    yield from _streams(place)


def _intake(place: Place) -> Iterator[Figure]:
    with (
        place.broker() as one,
        place.broker() as other,
        Child("dashboard", one.port, place.state_dir("dashboard")) as ours,
        Child("correlator", other.port, place.state_dir("correlator")) as base,
    ):
        found = intake(place, (one, ours), (other, base))
    yield Figure(
        "dashboard: messages/s stored and acknowledged",
        "/s",
        [answer["rate"] for answer in found["dashboard"]],
        "the correlator",
        [answer["rate"] for answer in found["correlator"]],
        at_least(0.8),
    )


def _pages(place: Place) -> Iterator[Figure]:
    folder, rows = place.state_dir("dashboard"), place.scale.rows
    fill(folder / "dashboard-main.db", rows)
    rng = random.Random(1)
    asked: dict[str, Callable[[], tuple[str, dict[str, str]]]] = {
        "domain": lambda: ("events", {"domain": _uuid(rng.randrange(DOMAINS))}),
        "name": lambda: ("migrations", {"domain": f"web{rng.randrange(DOMAINS)}"}),
        "host": lambda: ("events", {"host": f"host{rng.randrange(1000)}"}),
        "migrations of a host": lambda: ("migrations", {"host": f"host{rng.randrange(1000)}"}),
        "since, until": lambda: ("events", {"since": f"{rng.randrange(5, 29)}d", "until": "4d"}),
        "host, until": lambda: ("events", {"host": f"host{rng.randrange(1000)}", "until": "20d"}),
        "outcome": lambda: ("migrations", {"outcome": "failed", "until": f"{rng.randrange(1, 20)}d"}),
        "reason, host": lambda: (
            "migrations",
            {"reason": "source_crashed", "host": f"host{rng.randrange(1000)}"},
        ),
        "min_downtime_ms": lambda: ("migrations", {"min_downtime_ms": "500"}),
        "longest downtimes": lambda: ("migrations", {"min_downtime_ms": "2400", "since": "7d"}),
        "failed, host": lambda: ("migrations", {"outcome": "failed", "host": f"host{rng.randrange(1000)}"}),
    }
    with (
        place.broker() as broker,
        Child("dashboard", broker.port, folder) as ours,
        closing(_Reader(str(ours.first["url"]))) as reader,
    ):
        found = {name: [reader.page_ms(*ask()) for _ in range(ASKED)] for name, ask in asked.items()}
    slowest = max(found, key=lambda name: median(found[name]))
    yield Figure(
        f"dashboard: a filtered page of 100 of {rows:,} rows, by HTTP, the slowest filter",
        "ms",
        found[slowest],
        target=Target("≤", 50, of="value"),
        note="; ".join(f"{name} {median(times):.1f}" for name, times in found.items()),
    )


class _Reader:
    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc)

    def close(self) -> None:
        """Ends the connection."""
        self._connection.close()

    def page_ms(self, path: str, parameters: dict[str, str]) -> float:
        """How long an answer takes."""
        began = time.perf_counter()
        self._connection.request("GET", f"/api/v1/{path}?{urlencode(parameters)}")
        answer = self._connection.getresponse()
        body = answer.read()
        took_ms = (time.perf_counter() - began) * 1000
        assert answer.status == 200, body
        return took_ms


DOMAINS: Final = 100_000
_DAYS: Final = 30


def _uuid(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-000000000000"


def fill(path: Path, rows: int) -> None:
    """A store with so many rows of a month: 1,000 hosts, 100,000 domains, a migration's message in twenty."""
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -262144"):
            connection.exec_driver_sql(f"PRAGMA {pragma}")
        TABLES.create_all(connection)
        indexes = [index for table in TABLES.sorted_tables for index in table.indexes]
        for index in indexes:
            index.drop(connection)
        _insert(connection, rows)
        for index in indexes:
            index.create(connection)
        connection.execute(
            text(
                "INSERT INTO names WITH RECURSIVE c(k) AS"
                " (SELECT 0 UNION ALL SELECT k + 1 FROM c WHERE k < :last)"
                " SELECT 'web' || k, printf('%08x-0000-4000-8000-000000000000', k) FROM c"
            ),
            {"last": DOMAINS - 1},
        )
        connection.commit()
    engine.dispose()


def _insert(connection: Connection, rows: int) -> None:
    """Row n has its own place in the month. Attempts begin and end in turn; one in twenty fails, one in a
    hundred takes a downtime of more than half a second.
    """
    now = round(time.time() * 1e6)
    values = {
        "rows": rows,
        "now": now,
        "step": _DAYS * 86_400_000_000 // (rows + 1),
        "event": examples()[LIFECYCLE.type],
        "started": examples()[MIGRATION["started"].type],
        "completed": examples()[MIGRATION["completed"].type],
    }
    connection.execute(
        text(
            "INSERT INTO rows (n, at, came, source, id, host, uuid, payload, peer, attempt, outcome, reason,"
            " downtime_ms, downtime_class, attention, latest)"
            " WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < :rows),"
            " d AS (SELECT n, n % 20 = 0 AS told, n % 40 = 0 AS over, n / 40 AS k, (n * 7919) % 1000 AS h,"
            " (n * 104729) % 100000 AS u FROM c),"
            " e AS (SELECT *, CASE WHEN over AND k % 20 <> 0 THEN"
            " CASE WHEN k % 100 = 1 THEN 500 + k % 2000 ELSE 20 + k % 60 END END AS down FROM d)"
            " SELECT n, :now - (:rows - n) * :step, :now - (:rows - n) * :step,"
            " CASE WHEN told THEN '/correlators/main' ELSE '/hosts/host' || h END,"
            " '8f14e45fceea467d9a3c5b0e7d21f684-' || n, 'host' || h,"
            " printf('%08x-0000-4000-8000-000000000000', u),"
            " CASE WHEN over THEN :completed WHEN told THEN :started ELSE :event END,"
            " CASE WHEN told THEN 'host' || ((h + 1) % 1000) END,"
            " CASE WHEN told THEN 'attempt' || ((n + 20) / 40) END,"
            " CASE WHEN over THEN iif(k % 20 = 0, 'failed', 'completed') WHEN told THEN 'started' END,"
            " CASE WHEN over AND k % 20 = 0 THEN iif(k % 60 = 0, 'source_crashed', 'destination_failed') END,"
            " down, CASE WHEN down IS NOT NULL THEN CAST(log2(down) AS INTEGER) + 1 END, NULL, over FROM e"
        ),
        values,
    )


def _streams(place: Place) -> Iterator[Figure]:
    traffic, seconds = Traffic(HOSTS, 200), place.scale.paced_s * 5
    with place.broker() as broker, Child("dashboard", broker.port, place.state_dir("dashboard")) as ours:
        shares: list[float] = []
        alone: list[float] = []
        for _ in range(place.scale.rounds):
            alone.append(_share(ours, broker, traffic, seconds))
            with ExitStack() as stack:
                readers = [stack.enter_context(_Stream(str(ours.first["url"]))) for _ in range(STREAMS)]
                while ours.ask("count")["streams"] < STREAMS:
                    time.sleep(0.05)
                shares.append(_share(ours, broker, traffic, seconds))
                time.sleep(0.5)
                counts = [reader.events for reader in readers]
            assert min(counts) >= int(RATE * seconds) * 0.9, f"a stream had {min(counts)} events"
    yield Figure(
        f"dashboard: {STREAMS} open streams at {RATE} messages/s",
        "% of a core",
        [max(0.0, one - other) for one, other in zip(shares, alone, strict=True)],
        target=Target("≤", 10, of="value"),
        note=f"without streams {median(alone):.1f} %",
    )


def _share(ours: Child, broker: Broker, traffic: Traffic, seconds: float) -> float:
    """How much of a core it takes, in percent, while so many messages a second come."""
    count = int(RATE * seconds)
    messages = [each for each in traffic.take(count * 2) if not each.topic.endswith("/state")][:count]
    publisher = Publisher(broker)
    began, before = time.monotonic(), cpu_s(ours.pid)
    for number, message in enumerate(messages):
        if (early := began + number / RATE - time.monotonic()) > 0:
            time.sleep(early)
        publisher.publish([message])
    publisher.close()
    return (cpu_s(ours.pid) - before) / (time.monotonic() - began) * 100


class _Stream:
    """A reader that only counts."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.events = 0
        self._socket = socket.create_connection((parts.hostname or "", parts.port or 0))
        self._socket.sendall(f"GET /api/v1/stream HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _read(self) -> None:
        while chunk := self._socket.recv(1 << 16):
            self.events += chunk.count(b"event: event\n")
