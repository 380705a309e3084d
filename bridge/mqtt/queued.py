"""Whether the broker has more for a session than it has sent. Sans-I/O; no limit of the broker is assumed.

A broker sends QoS 1 messages ahead of their acknowledgement up to a limit, its own or the client's Receive
Maximum, and queues the rest. It answers in order: what it has sent comes before its answer to a PINGREQ, and
the acknowledgements before the PINGREQ have made room by then. So with fewer messages on their way than once
were, the limit isn't reached, and nothing is queued.
"""

from collections import deque


class Queued:
    """The queue of one connection. Every PINGREQ and PINGRESP counts: they answer each other in order.

    received_until: all that the broker had for the session at that moment has come; None: no such moment is
    known.
    """

    __slots__ = ("_asked", "_came", "_most", "_waiting", "received_until")

    def __init__(self) -> None:
        self.received_until: float | None = None
        self._came = 0
        self._waiting = 0
        self._most = 0
        self._asked: deque[tuple[float, int]] = deque()

    @property
    def is_asked(self) -> bool:
        """Whether an answer is awaited."""
        return bool(self._asked)

    def began(self, now: float) -> None:
        """The session is new, so the broker has nothing for it yet."""
        self.received_until = now

    def came(self) -> None:
        """A QoS 1 message came."""
        self._came += 1
        self._waiting += 1

    def acknowledged(self) -> None:
        """One was acknowledged."""
        self._waiting -= 1

    def asked(self, now: float) -> None:
        """A PINGREQ was sent."""
        self._asked.append((now, self._came - self._waiting))

    def answered(self) -> None:
        """A PINGRESP came."""
        if not self._asked:
            return
        at, acknowledged = self._asked.popleft()
        ahead = self._came - acknowledged
        if ahead == 0 or ahead < self._most:
            self.received_until = at
        self._most = max(self._most, ahead)
