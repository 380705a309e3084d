"""How much of the outbox the events of one domain may take while they wait for the broker. Sans-I/O.

A guest can cause some events at will: connect to its screen, set its clock, move its balloon. Half of the
outbox is divided among the host's domains for these; the other half is for lifecycle events and jobs, which a
guest can't cause without end. Once a domain's unsent events fill its quota, further ones are left out and
counted. Only unsent events count, so nothing is left out while the broker keeps up.
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import Final

TYPICAL_BYTES: Final = 1024
"""What an event takes in the outbox; converts a limit in bytes to rows."""


class Quotas:
    """The unsent events of each domain, counted in two generations: those up to a sequence, and those after.

    Once the first are all sent, the second take their place; once all are, nothing counts. So a count is
    never too low for what this process stored, and takes no memory for each event.
    """

    def __init__(self, rows: int = sys.maxsize, bytes_: int = sys.maxsize) -> None:
        """`rows` and `bytes_` are the outbox's limits."""
        self._most = min(rows, bytes_ // TYPICAL_BYTES) // 2
        self._earlier: Counter[str] = Counter()
        self._later: Counter[str] = Counter()
        self._mark = 0
        self._newest: int | None = 0

    def sent(self, acknowledged: int, last_sequence: int) -> bool:
        """No message up to `acknowledged` waits, of all that were taken, with sequences up to
        `last_sequence`. Whether that freed anything.
        """
        if self._newest is None:
            self._newest = last_sequence
        if acknowledged < self._mark <= last_sequence:
            return False
        freed = bool(self._earlier)
        self._earlier, self._later, self._mark = self._later, Counter(), last_sequence
        if acknowledged >= self._newest or last_sequence < self._newest:
            freed = freed or bool(self._earlier)
            self._earlier.clear()
            self._newest = last_sequence
        return freed

    def has_room(self, uuid: str, domains: int) -> bool:
        """Whether a domain, one of `domains`, may store one more event."""
        return self._earlier[uuid] + self._later[uuid] < self._most // max(1, domains)

    def take(self, uuid: str) -> None:
        """A domain stores one more event."""
        self._later[uuid] += 1
        self._newest = None
