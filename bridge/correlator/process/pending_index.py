"""The pending domains by host: those to evaluate when a host is lost, comes back or fills a gap. Sans-I/O."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from collections.abc import Set as AbstractSet


class PendingIndex:
    """The domains of which a migration is under way, or its verdict may still change."""

    def __init__(self) -> None:
        self._hosts: dict[str, frozenset[str]] = {}
        self._on: defaultdict[str, set[str]] = defaultdict(set)
        self._waiting: defaultdict[str, set[str]] = defaultdict(set)

    def __len__(self) -> int:
        return len(self._hosts)

    def on(self, host: str) -> AbstractSet[str]:
        """The pending domains that depend on the host."""
        return self._on.get(host, frozenset())

    def waiting_on(self, host: str) -> AbstractSet[str]:
        """The domains with observations of the host that wait for missing ones."""
        return self._waiting.get(host, frozenset())

    def note(self, uuid: str, hosts: frozenset[str], waits: Iterable[str]) -> None:
        """A domain was evaluated. hosts: those it depends on; none if it isn't pending any more. waits: those
        of them whose observations wait for missing ones.
        """
        before = self._hosts.get(uuid, frozenset())
        for host in before - hosts:
            self._on[host].discard(uuid)
        for host in before:
            self._waiting[host].discard(uuid)
        for host in hosts - before:
            self._on[host].add(uuid)
        for host in waits:
            self._waiting[host].add(uuid)
        if hosts:
            self._hosts[uuid] = hosts
        else:
            self._hosts.pop(uuid, None)
