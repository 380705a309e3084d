"""What a correlator counts: plain numbers that one thread changes and any may read."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

LATENCY_BOUNDS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
DOWNTIME_BOUNDS_S: Final = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
DURATION_BOUNDS_S: Final = (1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14400.0)
ENDS: Final = ("completed", "failed")


@dataclass(slots=True)
class Histogram:
    """How many values there were up to each bound, from the one before; the last class has none."""

    bounds: tuple[float, ...]
    counts: list[int] = field(init=False)
    sum: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def note(self, value: float) -> None:
        """Counts one value."""
        self.sum += value
        self.counts[bisect_left(self.bounds, value)] += 1


def _by_outcome(bounds: tuple[float, ...]) -> dict[str, Histogram]:
    return {outcome: Histogram(bounds) for outcome in ENDS}


@dataclass(slots=True)
class Counters:
    """Since the start of the process.

    verdicts: by outcome and reason (empty where there is none). latency_s: from the receipt of the message
    that decided a verdict to its commit, without verdicts that a timer decided. downtime_s, duration_s: of
    migrations whose verdict has it, by outcome; each once, by its first verdict. attention: domains that need
    attention, by kind; read from the store, so not only of this process.
    """

    messages: int = 0
    duplicates: int = 0
    batches: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    latency_s: Histogram = field(default_factory=lambda: Histogram(LATENCY_BOUNDS_S))
    downtime_s: dict[str, Histogram] = field(default_factory=lambda: _by_outcome(DOWNTIME_BOUNDS_S))
    duration_s: dict[str, Histogram] = field(default_factory=lambda: _by_outcome(DURATION_BOUNDS_S))
    broker_connected: bool = False
    broker_connections: int = 0
    id_conflicts: int = 0
    holes: int = 0
    hosts_without_states: int = 0
    lost_sequences: int = 0
    replays_asked: int = 0
    tellings_sent: int = 0
    tellings_refused: int = 0
    store_troubles: int = 0
    open_migrations: int = 0
    attention: Counter[str] = field(default_factory=Counter)
    hosts: int = 0
    blind_hosts: int = 0
