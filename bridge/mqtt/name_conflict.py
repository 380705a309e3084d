"""Detects another program with our name, by the status that the broker retains of us. Sans-I/O.

Both have the same client id, so the broker ends the connection of one when the other connects, and each finds
the other's status. An earlier run of this program may have left one, too: whose status came last decides
between the two.
"""

from __future__ import annotations

from typing import Final

from bridge.mqtt.backoff import LONGEST_S
from bridge.mqtt.link import CONNECT_TIMEOUT_S

BACK_S: Final = LONGEST_S + CONNECT_TIMEOUT_S
"""A client whose session was taken over reconnects within the longest wait and one attempt (`BackOff`)."""


class NameConflict:
    """Follows one connection after the other. The identity distinguishes two programs of one name."""

    def __init__(self) -> None:
        self.found: str | None = None
        """The identity of the other one, until a connection has lasted long enough to be ours alone."""
        self.times = 0
        """The number of connections at which another one was found."""
        self._ours: str | None = None
        self._is_foreign = False
        self._since_s = 0.0
        self._waiting: list[str] = []

    def begin(self, now_s: float) -> None:
        """A new connection."""
        self._is_foreign = False
        self._since_s = now_s
        self._waiting.clear()

    def published(self, ours: str) -> None:
        """The broker has our status."""
        self._ours = ours

    def holds(self, theirs: str, ours: str) -> bool:
        """The broker retained this status before ours. Whether it is another program's: ours was last."""
        self._is_foreign = theirs != ours
        if not self._is_foreign or self._ours != ours:
            return False
        self.found = theirs
        self.times += 1
        return True

    def wait(self, topic: str) -> None:
        """The broker retains what isn't ours, on a topic that only we write to: it may be the other one's."""
        self._waiting.append(topic)

    def due(self, now_s: float) -> list[str]:
        """The topics from `wait`, once they can't be another program's."""
        if self._is_foreign and now_s < self._since_s + BACK_S:
            return []
        self._is_foreign, self.found = False, None
        waited, self._waiting = self._waiting, []
        return waited
