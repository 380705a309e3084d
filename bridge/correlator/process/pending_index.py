"""Which pending domains to evaluate when a host is lost, comes back or fills a gap."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

from bridge.correlator.input.hosts import Host
from bridge.correlator.rules.record import DomainRecord, Evaluation
from bridge.correlator.store import GroupTransaction


class PendingIndex(Protocol):
    """The domains of which a migration is under way, or its verdict may still change, and what they wait for.

    A single correlator has it in memory; of a group every member changes it, so it is in the store.
    """

    def on(self, hosts: Collection[str]) -> set[str]:
        """The pending domains that depend on one of these hosts."""

    def waiting_on(self, hosts: Collection[str]) -> set[str]:
        """At least the domains with observations of these hosts that wait for missing ones."""

    def gaps(self, records: Iterable[DomainRecord]) -> frozenset[str]:
        """At least those hosts of these domains that have a gap."""

    def due(self, evaluation: Evaluation, now: float) -> float | None:
        """When to evaluate the domain again without a new message."""


class MemoryIndex:
    """The index of a single correlator."""

    def __init__(self, hosts: Mapping[str, Host]) -> None:
        self._known = hosts
        self._hosts: dict[str, frozenset[str]] = {}
        self._on: defaultdict[str, set[str]] = defaultdict(set)
        self._waiting: defaultdict[str, set[str]] = defaultdict(set)

    def __len__(self) -> int:
        return len(self._hosts)

    def on(self, hosts: Collection[str]) -> set[str]:
        """The pending domains that depend on one of these hosts."""
        return _united(self._on, hosts)

    def waiting_on(self, hosts: Collection[str]) -> set[str]:
        """The domains with observations of these hosts that wait for missing ones."""
        return _united(self._waiting, hosts)

    def gaps(self, records: Iterable[DomainRecord]) -> frozenset[str]:
        """All hosts that have a gap."""
        del records
        return frozenset(name for name, host in self._known.items() if host.has_gap)

    def due(self, evaluation: Evaluation, now: float) -> float | None:
        """Just as the evaluation has it."""
        del now
        return evaluation.due

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


class StoreIndex:
    """The index of a group, as one transaction finds it. claimed: the hosts that no other member processes
    meanwhile.
    """

    def __init__(self, tx: GroupTransaction, claimed: Mapping[str, Host]) -> None:
        self._tx = tx
        self._claimed = claimed

    def on(self, hosts: Collection[str]) -> set[str]:
        """The pending domains that depend on one of these hosts."""
        return set(self._tx.open_on(hosts))

    def waiting_on(self, hosts: Collection[str]) -> set[str]:
        """All pending domains that depend on one of them: the store has no more."""
        return self.on(hosts)

    def gaps(self, records: Iterable[DomainRecord]) -> frozenset[str]:
        """Those of these domains, and the claimed ones, that have a gap."""
        others = {name for record in records for name in record.logs} - self._claimed.keys()
        stored = self._tx.suspects(others)
        found = [*self._claimed.values(), *(Host.load(name, data) for name, data in stored.items())]
        return frozenset(host.name for host in found if host.has_gap)

    def due(self, evaluation: Evaluation, now: float) -> float | None:
        """Where a gap counts that another member may be filling at this moment: as soon as all members have
        caught up with it.
        """
        if evaluation.waits <= self._claimed.keys():
            return evaluation.due
        return min(math.nextafter(now, math.inf), evaluation.due or math.inf)


def _united(by_host: Mapping[str, set[str]], hosts: Collection[str]) -> set[str]:
    return set().union(*(by_host[host] for host in hosts if host in by_host))
