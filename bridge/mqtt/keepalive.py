"""Whether the other side is still alive. Sans-I/O: `now` is any monotonic clock, in seconds.

paho's own check finds a dead connection after two keep alive intervals, and counts a PINGREQ of its own as a
sign of life. Here a PINGREQ is due when nothing was received, or nothing sent, for 0.6 of an interval, and
the connection is lost when nothing at all was received for as long again: 12 s for an interval of 10 s.
"""

PATIENCE = 0.6


class KeepAlive:
    """The times of one connection. The broker may shorten the interval (Server Keep Alive), not extend it."""

    __slots__ = ("_patience_s", "_pinged", "_received_at", "_sent_at")

    def __init__(self, interval_s: float, now: float) -> None:
        self._patience_s = PATIENCE * interval_s
        self._received_at = self._sent_at = self._pinged = now

    def limit(self, interval_s: float) -> None:
        """The broker's interval is `interval_s`; 0 means that it doesn't check."""
        if interval_s:
            self._patience_s = min(self._patience_s, PATIENCE * interval_s)

    def received(self, now: float) -> None:
        """Something was received."""
        self._received_at = now

    def sent(self, now: float) -> None:
        """Something was sent."""
        self._sent_at = now

    def pinged(self, now: float) -> None:
        """A PINGREQ was sent."""
        self._pinged = self._sent_at = now

    def silent_s(self, now: float) -> float:
        """How long nothing was received."""
        return now - self._received_at

    def ping_due(self, now: float) -> bool:
        """Whether to send a PINGREQ. Only one at a time is."""
        return (
            self._pinged <= self._received_at
            and now - min(self._received_at, self._sent_at) >= self._patience_s
        )

    def lost(self, now: float) -> bool:
        """Whether a PINGREQ has gone unanswered for too long."""
        return self._pinged > self._received_at and now - self._pinged >= self._patience_s

    def next_due(self) -> float:
        """When to check again."""
        since = self._pinged if self._pinged > self._received_at else min(self._received_at, self._sent_at)
        return since + self._patience_s
