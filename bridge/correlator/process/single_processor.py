"""The processor of a correlator without a group.

Everything in memory here is a copy of what the store has. If a transaction fails its changes are undone, so
that the same batch can be tried again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from bridge.consumer.inputs import Forgotten, Status
from bridge.correlator.counters import Counters
from bridge.correlator.input.messages import Inbound
from bridge.correlator.process.batch import Batch, of_domain, take_domain_message
from bridge.correlator.process.evaluator import Evaluator
from bridge.correlator.process.pending_index import MemoryIndex
from bridge.correlator.process.sight import Sight, SightBefore
from bridge.correlator.rules.record import DomainRecord, OutboundMessage, Times
from bridge.correlator.steady_clock import SteadyClock
from bridge.correlator.store import Draft, Store

CACHED_RECORDS: Final = 4096
"""Domain records kept in memory: some thirty megabytes, however many domains there are."""


class SingleProcessor:
    """See `Processor`. draft: see `Evaluator`."""

    def __init__(
        self,
        store: Store,
        times: Times,
        draft: Callable[[OutboundMessage, str, float], Draft],
        counters: Counters,
    ) -> None:
        self._store = store
        self._counters = counters
        self.sight = Sight(times.settle_s)
        self._index = MemoryIndex(self.sight.hosts)
        self._evaluator = Evaluator(times, draft, counters, self.sight, cached=CACHED_RECORDS)
        self.retry_at: float | None = None
        self.stored_until: float | None = None
        self.was_complete = False

    @property
    def next_due(self) -> float | None:
        """When the next domain is to be evaluated without a new message."""
        return self._evaluator.next_due

    def load(self, clock: SteadyClock | None = None) -> None:
        """Reads the hosts, the pending domains, and the former process's `clock`."""
        with self._store.begin() as tx:
            if clock is not None:
                tx.keep_meta("clock", clock.resume(tx.meta("clock")))
            self.sight.load(tx.hosts())
            for uuid, data, hosts in tx.pending_records():
                self._index.note(uuid, frozenset(hosts), DomainRecord.load(data).reordering)
            self._evaluator.read_due(tx)
            stored_until = tx.meta("heard_until")
        self.stored_until = None if stored_until is None else float(stored_until)
        self.was_complete = stored_until is not None
        self.sight.count(self._counters)
        self._counters.open_migrations = len(self._index)

    def take(self, messages: Sequence[Inbound], now: float, evaluated_at: float) -> int:
        """Processes and stores a batch; returns how many messages are to be published."""
        batch, before = Batch(now, evaluated_at), SightBefore(self.sight)
        for inbound in messages:
            self._take_message(batch, before, inbound)
        for host in batch.hosts.values():
            self.sight.note(host)
        self._note_filled(batch)
        return self._finish(batch, before)

    def catch_up(self, now: float, evaluated_at: float) -> int:
        """Nothing: no message waits."""
        del now, evaluated_at
        return 0

    def evaluate_due(self, now: float, limit: int = 500) -> int:
        """Evaluates the domains that are due, and those of hosts that have been back for `settle`."""
        back = self.sight.settled(now)
        if not back and (self.next_due is None or self.next_due > now):
            return 0
        batch, before = Batch(now, now), SightBefore(self.sight)
        self.sight.note_settled(back)
        batch.sight_changed.update(back)
        return self._finish(batch, before, due_limit=limit)

    def look_around(self, now: float, *, received_until: float | None) -> None:
        """Nothing: the store has no other user."""

    def tend_hosts(self, now: float, evaluated_at: float) -> list[tuple[str, str, int, int]]:
        """Looks at the hosts with gaps: gives up what can't be replayed, and returns what to request."""
        asks = []
        batch, before = Batch(now, evaluated_at), SightBefore(self.sight)
        for host in [host for host in self.sight.hosts.values() if host.suspect]:
            before.remember(host.name)
            ask = host.tend(now)
            if ask is not None:
                asks.append((host.name, *ask))
            if host.losses:
                batch.hosts[host.name] = host
        if batch.hosts:
            self._note_filled(batch)
            self._finish(batch, before)
        return asks

    def _take_message(self, batch: Batch, before: SightBefore, inbound: Inbound) -> None:
        message = inbound.message
        host = batch.hosts.get(message.host)
        if host is None:
            before.remember(message.host)
            host = batch.hosts[message.host] = self.sight.host(message.host, from_start=self.was_complete)
        if not isinstance(message, Status | Forgotten):
            take_domain_message(batch, self.sight, host, of_domain(message), inbound.received)
        elif self.sight.take_status(host, message, inbound):
            batch.sight_changed.add(host.name)

    def _note_filled(self, batch: Batch) -> None:
        batch.gaps_filled.update(name for name in batch.hosts if self._index.waiting_on([name]))

    def _finish(self, batch: Batch, before: SightBefore, due_limit: int = 0) -> int:
        try:
            with self._store.begin() as tx:
                found = self._evaluator.process(batch, tx, self._index, due_limit)
                tx.keep_meta("heard_until", repr(batch.now))
                attention = tx.attention()
        except BaseException:
            before.restore()
            raise
        self._counters.attention = attention
        for row, waits in batch.rows:
            self._index.note(row.uuid, frozenset(row.hosts) if row.is_open else frozenset(), waits)
        self._evaluator.committed(batch)
        self._counters.open_migrations = len(self._index)
        return found
