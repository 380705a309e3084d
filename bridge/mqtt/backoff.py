"""When to try to connect again. Sans-I/O."""

from collections.abc import Callable
from random import random

SHORTEST_S = 0.2
LONGEST_S = 10.0
STEADY_S = 5.0


class BackOff:
    """Waits that double from `SHORTEST_S` to `LONGEST_S`, with jitter, so that a fleet doesn't reconnect at
    once.

    A connection that lasted `STEADY_S` counts as good and resets the waits: a broker that accepts a client
    and disconnects it at once is not hammered. Of a broker with several nodes all are tried in one such wait.
    """

    __slots__ = ("_failures", "_nodes", "_random")

    def __init__(self, nodes: int = 1, random: Callable[[], float] = random) -> None:
        self._failures = 0
        self._nodes = nodes
        self._random = random

    def failed(self) -> float:
        """An attempt failed: returns the wait until the next, in seconds."""
        ceiling_s = min(LONGEST_S, SHORTEST_S * 2.0 ** (self._failures // self._nodes + 1))
        self._failures = min(self._failures + 1, 10 * self._nodes)
        return float(max(SHORTEST_S, ceiling_s / 2 + self._random() * ceiling_s / 2)) / self._nodes

    def lost(self, held_s: float, *, taken_over: bool = False) -> float:
        """A connection that lasted `held_s` ended: returns the wait until the next attempt, in seconds.

        One that another client of the same id took over never counts as good: the two would disconnect each
        other for ever, several times a second.
        """
        if held_s >= STEADY_S and not taken_over:
            self._failures = 0
        return self.failed()
