"""What a message costs the correlator, and how much memory it takes, by how many domains it knows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.bench.correlator import HOSTS, consume
from tests.bench.figure import Figure, Target, at_most
from tests.bench.place import Child, Place, peak_mb
from tests.bench.traffic import Publisher, Traffic, uuid_of


def measure(place: Place) -> Iterator[Figure]:
    """The same traffic over ever more domains, each as likely as any other to have news."""
    scale = place.scale
    costs: dict[int, list[float]] = {domains: [] for domains in scale.known}
    case = _a_case(place)
    with ExitStack() as stack:
        sides = {domains: stack.enter_context(_knowing(place, case, domains)) for domains in scale.known}
        for number in range(scale.rounds + 1):
            for domains in scale.known[:: 1 if number % 2 else -1]:
                traffic, publisher, ours = sides[domains]
                answer = consume(publisher, ours, traffic.take(scale.messages))
                if number:  # the first round fills caches
                    costs[domains].append(answer["cpu_us"])
        peaks = {domains: peak_mb(ours.pid) for domains, (_, _, ours) in sides.items()}
    first = costs[scale.known[0]]
    for domains in scale.known[1:]:
        yield Figure(
            f"correlator: CPU a message, {domains:,} domains known",
            "µs",
            costs[domains],
            f"itself with {scale.known[0]:,}",
            first,
            at_most(1.2),
        )
    yield Figure(
        f"correlator: peak memory, {scale.known[-1]:,} domains known",
        "MB",
        [peaks[scale.known[-1]]],
        f"itself with {scale.known[0]:,}",
        [peaks[scale.known[0]]],
        Target("≤", 200, "value"),
        ", ".join(f"{domains:,}: {peak:.0f} MB" for domains, peak in peaks.items()),
    )


@contextmanager
def _knowing(place: Place, case: bytes, domains: int) -> Iterator[tuple[Traffic, Publisher, Child]]:
    """A correlator that knows so many domains, and who tells it of them."""
    folder = place.state_dir("known")
    traffic = Traffic(HOSTS, domains, placed=False)
    with place.broker() as broker:
        with Child("correlator", broker.port, folder):
            pass
        _fill(folder / "correlator-main.db", case, domains)
        with Child("correlator", broker.port, folder) as ours:
            publisher = Publisher(broker)
            publisher.publish(traffic.statuses())
            yield traffic, publisher, ours
            publisher.close()


def _a_case(place: Place) -> bytes:
    """What the store has of a domain that has been there for a while."""
    folder = place.state_dir("case")
    traffic = Traffic(HOSTS, 100)
    with place.broker() as broker, Child("correlator", broker.port, folder) as ours:
        publisher = Publisher(broker)
        consume(publisher, ours, traffic.take(300) + traffic.take_rest())
        publisher.close()
    with sqlite3.connect(folder / "correlator-main.db") as store:
        found: tuple[bytes] = store.execute("SELECT data FROM cases WHERE uuid = ?", (uuid_of(7),)).fetchone()
    store.close()
    return found[0]


def _fill(path: Path, case: bytes, domains: int) -> None:
    """Puts domains into a store that nobody uses: all with the same past."""
    original = uuid_of(7).encode()
    store = sqlite3.connect(path)
    with store:
        store.executemany(
            "INSERT OR REPLACE INTO cases (uuid, data, due, is_open, hosts) VALUES (?, ?, NULL, 0, '[]')",
            (
                (uuid_of(number), case.replace(original, uuid_of(number).encode()))
                for number in range(domains)
            ),
        )
    store.close()
