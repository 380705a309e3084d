"""What a correlator counts: plain numbers that one thread changes and any may read."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Final

LATENCY_BOUNDS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Up to which latency each class of `latency_counts` goes; the last class has no bound."""


@dataclass(slots=True)
class Counters:
    """Since the start of the process.

    verdicts: by outcome and reason (empty where there is none). latencies_s: of the latest verdicts, from the
    receipt of the message that decided to the commit; those that a timer decided aren't in it. attention:
    domains that a person has to see to, by what it is; of the store, and so not only of this process.
    """

    messages: int = 0
    duplicates: int = 0
    batches: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    latencies_s: deque[float] = field(default_factory=lambda: deque(maxlen=1024), repr=False)
    latency_sum_s: float = 0.0
    latency_counts: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BOUNDS_S) + 1))
    broker_connected: bool = False
    broker_connections: int = 0
    id_conflicts: int = 0
    holes: int = 0
    lost_sequences: int = 0
    replays_asked: int = 0
    tellings_sent: int = 0
    tellings_refused: int = 0
    store_troubles: int = 0
    open_migrations: int = 0
    attention: Counter[str] = field(default_factory=Counter)
    hosts: int = 0
    blind_hosts: int = 0

    def note_latency(self, latency_s: float) -> None:
        """A verdict was stored so long after the message that decided it came."""
        self.latencies_s.append(latency_s)
        self.latency_sum_s += latency_s
        self.latency_counts[bisect_left(LATENCY_BOUNDS_S, latency_s)] += 1
