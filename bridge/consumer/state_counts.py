"""Whether the broker sent as many retained states of each host as its status counts. Sans-I/O.

NATS 2.10 omits some for a late subscriber, without any error.
"""

from __future__ import annotations

from collections.abc import Callable

from bridge.consumer.inputs import Status


class StateCounts:
    """Counts from `begin` on. settle_s: how long after a status its states may still arrive; came: how many
    states of a host have been received.
    """

    def __init__(self, settle_s: float, came: Callable[[str], int]) -> None:
        self.came = came
        self._settle_s = settle_s
        self._status: dict[str, Status] = {}
        self._since: dict[str, float] = {}
        self._reported: set[str] = set()

    def begin(self) -> None:
        """A new connection: the broker sends all retained messages again."""
        self._status.clear()
        self._since.clear()
        self._reported.clear()

    def note_status(self, host: str, status: Status | None) -> None:
        """A host's status; None where that was emptied."""
        if status is not None and status.online and status.states is not None:
            self._status[host] = status
        else:
            self._status.pop(host, None)
            self._reported.discard(host)

    def missing(self, now: float) -> list[Status]:
        """The statuses of hosts that have lacked states for `settle_s` by now."""
        few = [host for host, status in self._status.items() if self.came(host) < (status.states or 0)]
        self._since = {host: self._since.get(host, now) for host in few}
        return [self._status[host] for host in few if now - self._since[host] >= self._settle_s]

    def news(self, now: float, most: int) -> list[Status]:
        """At most so many of the same, each host once while its agent is online and this connection lasts."""
        found = [status for status in self.missing(now) if status.host not in self._reported][:most]
        self._reported.update(status.host for status in found)
        return found
