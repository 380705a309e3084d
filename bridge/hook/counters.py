"""What a runner counts: plain numbers that one thread changes and any may read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Counters:
    """Since the start of the process. ended: programs, by how they ended; see `metrics`."""

    messages: int = 0
    too_old: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    lost_sequences: int = 0
    broker_connections: int = 0
    broker_connected: bool = False
    store_troubles: int = 0
    running: int = 0
    waiting: int = 0
    parked: int = 0
