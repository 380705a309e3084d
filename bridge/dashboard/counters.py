"""What a dashboard counts: plain numbers that may be read in any thread."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Counters:
    """Since the start of the process; `rows` and `bytes` of the store as they are."""

    messages: int = 0
    stored: int = 0
    duplicates: int = 0
    pruned: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    broker_connected: bool = False
    broker_connections: int = 0
    store_troubles: int = 0
    store_bytes: int = 0
    streams: int = 0
    hosts_without_states: int = 0
    streams_reset: int = 0
    requests: Counter[str] = field(default_factory=Counter)
