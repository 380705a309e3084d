"""Whether the broker sent as many retained states of each host as its status counts. Sans-I/O.

NATS 2.10 omits some for a late subscriber, without any error.
"""

from __future__ import annotations

from bridge.consumer.inputs import Cleared, Status
from bridge.correlator.input.messages import DomainMessage, HostInput


class StateCounts:
    """Counts from `begin` on. settle_s: how long after a status its states may still arrive."""

    def __init__(self, settle_s: float) -> None:
        self._settle_s = settle_s
        self._came: dict[str, set[str]] = {}
        self._status: dict[str, Status] = {}
        self._since: dict[str, float] = {}
        self._reported: set[str] = set()

    def begin(self) -> None:
        """A new connection: the broker sends all retained messages again."""
        self._came.clear()
        self._status.clear()
        self._since.clear()
        self._reported.clear()

    def take(self, message: HostInput) -> None:
        """A host's message was received."""
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
        """The number of states received from the host."""
        return len(self._came.get(host, ()))

    def missing(self, now: float) -> list[Status]:
        """The statuses of hosts that have lacked states for `settle_s` by now."""
        few = [host for host, message in self._status.items() if self.came(host) < (message.states or 0)]
        self._since = {host: self._since.get(host, now) for host in few}
        return [self._status[host] for host in few if now - self._since[host] >= self._settle_s]

    def news(self, now: float) -> list[Status]:
        """The same, each host once per connection."""
        found = [message for message in self.missing(now) if message.host not in self._reported]
        self._reported.update(message.host for message in found)
        return found
