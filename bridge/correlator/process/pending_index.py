"""Which domains' cases are open, by host: those that a host's coming, going or completeness bears on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from collections.abc import Set as AbstractSet


class PendingIndex:
    """The open cases of one correlator. A case is open while something is under way, or may yet change."""

    def __init__(self) -> None:
        self._hosts: dict[str, frozenset[str]] = {}
        self._on: defaultdict[str, set[str]] = defaultdict(set)
        self._waiting: defaultdict[str, set[str]] = defaultdict(set)

    def __len__(self) -> int:
        return len(self._hosts)

    def on(self, host: str) -> AbstractSet[str]:
        """The domains whose open case the host has a part in."""
        return self._on.get(host, frozenset())

    def waiting_on(self, host: str) -> AbstractSet[str]:
        """The domains that have facts of the host that others of it have to come before."""
        return self._waiting.get(host, frozenset())

    def note(self, uuid: str, hosts: frozenset[str], waits: Iterable[str]) -> None:
        """A case was judged. hosts: those that have a part in it; none of a case that isn't open any more.
        waits: those of them whose facts wait.
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
