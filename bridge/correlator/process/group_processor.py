"""The processor of a group's member.

A shared subscription delivers one domain's messages to several members in any order. So a host's messages are
processed by whichever member claims the host, in the host's order: a message that arrives while another
member has claimed the host, or before its turn, waits in the store's inbox. A message is acknowledged when
it is processed or waits there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final

from bridge.consumer.inputs import Forgotten, Status
from bridge.consumer.streams import Ask
from bridge.correlator.counters import Counters
from bridge.correlator.input.hosts import Host
from bridge.correlator.input.messages import Inbound
from bridge.correlator.process.batch import Batch, is_event, of_domain, take_domain_message
from bridge.correlator.process.evaluator import Evaluator
from bridge.correlator.process.pending_index import StoreIndex
from bridge.correlator.process.sight import Sight
from bridge.correlator.rules.record import OutboundMessage, Times
from bridge.correlator.steady_clock import SteadyClock
from bridge.correlator.store import Draft, GroupStore, GroupTransaction, InboxRow

PROCESSING_S: Final = 20.0
"""How long another member may be processing a message: if that member died, the agent's status shows within
seconds that something is missing, and it is requested. Until then no state replaces a lost event: which
events came before a state, or before it was cleared, isn't known while others process them.
"""
ROWS: Final = 10_000
"""Rows of the inbox in one transaction, at most: half a second's work. The more of a domain's messages come
together, the less each costs; and while one member is ahead of another, what it delivered is read again.
"""
HOSTS: Final = 500
RETRY_S: Final = 0.02
HELD_RETRY_S: Final = 0.1


class GroupProcessor:
    """See `Processor`. draft: see `Evaluator`.

    It keeps in memory only what every member receives by itself: each host's status, and so whether it is
    blind and its clock's offset. That stays valid when a transaction fails.
    """

    def __init__(
        self,
        store: GroupStore,
        times: Times,
        draft: Callable[[OutboundMessage, str, float], Draft],
        counters: Counters,
    ) -> None:
        self._store = store
        self._counters = counters
        self.sight = Sight(times.settle_s)
        self._patience_s = times.patience_s
        self._evaluator = Evaluator(times, draft, counters, self.sight, cached=0)
        self.retry_at: float | None = None
        self.stored_until: float | None = None
        self.was_complete = False
        self._statuses: defaultdict[str, list[Inbound]] = defaultdict(list)
        self._sight_changed_on: set[str] = set()
        """Hosts whose sight changed, until what depends on them is stored."""
        self._left: set[str] = set()
        self._in_store: set[str] = set()
        self._asks: dict[str, Ask] = {}
        self._caught_up_by_all = 0.0
        """The moment up to which all members have stored what they received."""
        self._processed_by_all = 0.0
        """The moment that timers are compared with: up to it nothing waits in the inbox either."""

    @property
    def next_due(self) -> float | None:
        """When the next domain is to be evaluated without a new message."""
        return self._evaluator.next_due

    def load(self, clock: SteadyClock | None = None) -> None:
        """Reads the hosts. The clock isn't stored: members run on different machines."""
        del clock
        with self._store.begin() as tx:
            self.sight.load(tx.hosts())
            self._evaluator.read_due(tx)
            stored_until = tx.meta("heard_until")
        self.stored_until = None if stored_until is None else float(stored_until)
        self.was_complete = stored_until is not None
        self.sight.count(self._counters)
        self._in_store |= self.sight.hosts.keys()

    def take(self, messages: Sequence[Inbound], now: float, evaluated_at: float) -> int:
        """Processes what can be processed at once; the rest waits in the store."""
        rows = []
        for inbound in messages:
            message = inbound.message
            if not isinstance(message, Status | Forgotten):
                rows.append(InboxRow(None, inbound.received, of_domain(message)))
            elif inbound not in self._statuses[message.host]:
                self._note_status(message, inbound)
        return self._process(rows, now, evaluated_at)

    def catch_up(self, now: float, evaluated_at: float) -> int:
        """Processes what waits and has its turn."""
        if self.retry_at is None or now < self.retry_at:
            return 0
        return self._process([], now, evaluated_at)

    def look_around(self, now: float, *, received_until: float | None) -> None:
        """Finds messages in the inbox that no member processes, and the moment up to which all members have
        stored everything that the broker had for them; notes that of this one.
        """
        with self._store.begin_shared() as tx:
            self._caught_up_by_all = now - tx.note_member(
                self._store.member_name or "",
                behind_s=None if received_until is None else now - received_until,
            )
            waiting = tx.waiting_hosts(HOSTS)
            self._processed_by_all = min(self._caught_up_by_all, tx.oldest_waiting())
            self._counters.open_migrations = tx.count_open()
            self._evaluator.read_due(tx)
            tx.keep_meta("heard_until", repr(now))
        if waiting:
            self._left.update(waiting)
            self.retry_at = self.retry_at or 0.0

    def evaluate_due(self, now: float, limit: int = 500) -> int:
        """Evaluates what was due at the moment up to which all members had processed everything: that of the
        last `look_around`.
        """
        until = min(now, self._processed_by_all)
        back = self.sight.settled(until)
        self.sight.note_settled(back)
        self._sight_changed_on.update(back)
        found = 0
        if self._sight_changed_on or (self.next_due is not None and self.next_due <= until):
            batch = Batch(until, until, sight_changed=set(self._sight_changed_on))
            with self._store.begin_shared() as tx:
                found = self._evaluator.process(batch, tx, StoreIndex(tx, batch.hosts), limit)
                attention = tx.attention()
            self._sight_changed_on.clear()
            self._counters.attention = attention
            self._evaluator.committed(batch)
        if self.next_due is not None and self.next_due > self._processed_by_all:
            self._evaluator.next_due = None
        return found

    def tend_hosts(self, now: float, evaluated_at: float) -> list[tuple[str, str, int, int]]:
        """Looks at the hosts with gaps; the leader does it for all."""
        if not self._store.try_to_lead():
            return []
        batch = self._new_batch(now, evaluated_at)
        asks = []
        with self._store.begin_shared() as tx:
            for name, data in tx.claim_suspects().items():
                host = batch.hosts[name] = self._loaded(name, data)
                host.ask = self._asks.pop(name, None)
                ask = host.tend(now)
                if ask is not None:
                    asks.append((name, *ask))
                if host.ask is not None:
                    self._asks[name] = host.ask
                if host.losses:
                    batch.gaps_filled.add(name)
            self._evaluator.process(batch, tx, StoreIndex(tx, batch.hosts))
        self._evaluator.committed(batch)
        return asks

    def _new_batch(self, now: float, evaluated_at: float) -> Batch:
        return Batch(now, min(evaluated_at, self._processed_by_all))

    def _note_status(self, message: Status | Forgotten, inbound: Inbound) -> None:
        """Every member receives every status: blindness counts at once, the rest when the host is claimed."""
        host = self.sight.host(message.host)
        if self.sight.take_status(host, message, inbound):
            self._sight_changed_on.add(host.name)
        self._statuses[message.host].append(inbound)

    def _process(self, fresh: Sequence[InboxRow], now: float, evaluated_at: float) -> int:
        batch = self._new_batch(now, evaluated_at)
        batch.sight_changed |= self._sight_changed_on
        names = {row.message.host for row in fresh} | set(sorted(self._statuses.keys() | self._left)[:HOSTS])
        with self._store.begin_shared() as tx:
            claimed = tx.claim(names, names - self._in_store)
            batch.hosts = {name: self._loaded(name, data) for name, data in claimed.items()}
            left = names - claimed.keys()
            self._take_in(batch, tx, fresh, left)
            found = self._evaluator.process(batch, tx, StoreIndex(tx, batch.hosts))
        for name, host in batch.hosts.items():
            self.sight.share(host)
            self._statuses.pop(name, None)
        self._sight_changed_on.clear()
        self._in_store |= names
        self._left = (self._left - batch.hosts.keys()) | left
        if self._left or self._statuses:
            busy_elsewhere = not self._left <= batch.hosts.keys()
            self.retry_at = now + (RETRY_S if busy_elsewhere else HELD_RETRY_S)
        else:
            self.retry_at = None
        self._evaluator.committed(batch)
        return found

    def _take_in(self, batch: Batch, tx: GroupTransaction, fresh: Sequence[InboxRow], left: set[str]) -> None:
        """Processes what has its turn; the rest waits, and its hosts are added to `left`."""
        rows = tx.inbox(batch.hosts.keys(), ROWS)
        if len(rows) == ROWS:
            left |= batch.hosts.keys()
            read = list(dict.fromkeys(row.message.host for row in rows))  # all rows of each, but for the last
            batch.hosts = {name: batch.hosts[name] for name in read[:-1] or read}
            rows = [row for row in rows if row.message.host in batch.hosts]
        # As loaded: they have holes, which may be filled now.
        batch.gaps_filled |= {name for name, host in batch.hosts.items() if host.suspect}
        by_host: defaultdict[str, list[InboxRow]] = defaultdict(list)
        for row in (*rows, *fresh):
            by_host[row.message.host].append(row)
        waits = [row for row in fresh if row.message.host not in batch.hosts]
        for name, host in batch.hosts.items():
            for inbound in self._statuses.get(name, ()):
                if isinstance(inbound.message, Status):
                    host.note_agent(inbound.message, received=inbound.received, retained=inbound.retained)
            held = self._take_in_host(batch, host, by_host.get(name, ()))
            if held:
                left.add(name)
            waits += held
        waiting = {row.n for row in waits}
        tx.deliver([row for row in waits if row.n is None])
        tx.taken([row.n for row in rows if row.n is not None and row.n not in waiting])

    def _take_in_host(self, batch: Batch, host: Host, rows: Sequence[InboxRow]) -> list[InboxRow]:
        """Processes one host's messages in its order; returns those that wait for others before them, until
        every member has stored what the broker had for it when these came, for `patience` at most.
        """
        events = []
        for row in rows:
            message = row.message
            if is_event(message):
                events.append((host.ordinal_of(message.epoch), message.sequence, row, message))
            else:
                take_domain_message(batch, self.sight, host, message, row.received)
        events.sort(key=lambda event: event[:2])
        held = []
        for ordinal, sequence, row, message in events:
            may_come = self._caught_up_by_all <= row.received and row.received + self._patience_s > batch.now
            if may_come and not host.has_turn(ordinal, sequence):
                held.append(row)
            else:
                take_domain_message(batch, self.sight, host, message, row.received)
        return held

    def _loaded(self, name: str, data: bytes) -> Host:
        """The stored host, with what this member knows of its blindness and clock."""
        host = Host.load(name, data) if data else Host(name, from_start=self.was_complete)
        mine = self.sight.hosts.get(name)
        if mine is not None:
            host.share_sight(mine)
        return host
