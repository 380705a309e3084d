"""Whether as many states came of each host as it says that it keeps at the broker. Pure: no clock.

NATS 2.10 leaves some out for a reader that comes late, without a word.
"""

from __future__ import annotations

from bridge.consumer.inputs import Cleared, Status
from bridge.correlator.input.messages import DomainMessage, HostInput


class StateCounts:
    """Counts from `begin` on; settle_s is how long states have to come after the status that counts them."""

    def __init__(self, settle_s: float) -> None:
        self._settle_s = settle_s
        self._came: dict[str, set[str]] = {}
        self._status: dict[str, Status] = {}
        self._since: dict[str, float] = {}
        self._reported: set[str] = set()

    def begin(self) -> None:
        """A new connection: all that the broker retains comes again."""
        self._came.clear()
        self._status.clear()
        self._since.clear()
        self._reported.clear()

    def take(self, message: HostInput) -> None:
        """A host said this."""
        if isinstance(message, DomainMessage):
            if message.kind == "state":
                self._came.setdefault(message.host, set()).add(message.uuid)
        elif isinstance(message, Cleared):
            self._came.get(message.host, set()).discard(message.uuid)
        elif isinstance(message, Status) and message.online and message.states is not None:
            self._status[message.host] = message
        else:
            self._status.pop(message.host, None)

    def came(self, host: str) -> int:
        """How many states the host is known to have."""
        return len(self._came.get(host, ()))

    def missing(self, now: float) -> list[Status]:
        """The statuses of hosts of which fewer came than they keep, for `settle_s` by now."""
        few = [host for host, message in self._status.items() if self.came(host) < (message.states or 0)]
        self._since = {host: self._since.get(host, now) for host in few}
        return [self._status[host] for host in few if now - self._since[host] >= self._settle_s]

    def news(self, now: float) -> list[Status]:
        """The same, each host once a connection."""
        found = [message for message in self.missing(now) if message.host not in self._reported]
        self._reported.update(message.host for message in found)
        return found
