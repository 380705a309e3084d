"""What the sender counts. Knows no metrics backend."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Counters:
    """Figures since the process started. Each is written by one thread and may be read by any."""

    answers: Counter[int] = field(default_factory=Counter)
    """What the broker answered to messages of the event stream, by MQTT 5 reason code; 0 is success."""
    retained_answers: Counter[int] = field(default_factory=Counter)
    """The same for statuses and states."""
    connections: int = 0
    """How often the broker accepted the connection; the second and later are reconnects."""
    failures: int = 0
    """Attempts to connect that led to no connection."""
    host_conflicts: int = 0
    """Connections at which another agent of the same name was found."""
    replay_requests: Counter[str] = field(default_factory=Counter)
    """Replay requests, by outcome (`accepted`, `too_many`, `malformed`, …)."""
    replayed: int = 0
    """Messages that were sent again on request."""
    observe_latency_s: Callable[[float], None] | None = None
    """Called with the seconds from callback to PUBACK of each message that has a time of receipt."""
