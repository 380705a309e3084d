"""The processor of a group's member.

A shared subscription delivers one domain's messages to several members in any order. So a host's messages are
processed by whichever member claims the host, in the host's order: a message that arrives while another
member has claimed the host, or before its turn, waits in the store's inbox. A message is acknowledged when
it is processed or waits there.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from typing import Final

import msgspec

from bridge.consumer.inputs import Cleared, Forgotten, Status
from bridge.consumer.streams import Ask
from bridge.correlator.counters import Counters
from bridge.correlator.input.hosts import Host
from bridge.correlator.input.messages import DomainMessage, Inbound
from bridge.correlator.process.batch import Batch, observation_of, take_cleared, take_job
from bridge.correlator.process.processor import Processor
from bridge.correlator.rules.record import Evaluation, OutboundMessage, Times
from bridge.correlator.steady_clock import SteadyClock
from bridge.correlator.store import Draft, GroupStore, GroupTransaction, InboxRow, Transaction
from bridge.log import get_logger

PROCESSING_S: Final = 20.0
"""How long another member may be processing a message: if that member died, the agent's status shows within
seconds that something is missing, and it is requested. Until then no state replaces a lost event: which
events came before a state, or before it was cleared, isn't known while others process them.
"""
ROWS: Final = 2000
HOSTS: Final = 500
RETRY_S: Final = 0.02
HELD_RETRY_S: Final = 0.1

_log = get_logger()
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(DomainMessage)


class GroupProcessor(Processor):
    """One member's processor.

    It keeps in memory only what every member receives by itself: each host's status, and so whether it is
    blind and its clock's offset.
    """

    def __init__(
        self,
        store: GroupStore,
        times: Times,
        draft: Callable[[OutboundMessage, str, float], Draft],
        counters: Counters,
    ) -> None:
        super().__init__(store, times, draft, counters)
        self._group_store = store
        self._statuses: defaultdict[str, list[Inbound]] = defaultdict(list)
        self._sight_changed_on: set[str] = set()
        self._left: set[str] = set()
        self._in_store: set[str] = set()
        self._asks: dict[str, Ask] = {}
        self._caught_up_by_all = 0.0
        """The moment that timers are compared with: what another member is processing is late for all."""

    def load(self, clock: SteadyClock | None = None) -> None:
        """As for a single correlator, except for the clock: members run on different machines.

        Raises StoreTroubleError.
        """
        del clock
        super().load()
        self._in_store |= self.hosts.keys()

    # What comes

    def take(self, messages: Sequence[Inbound], now: float, evaluated_at: float) -> int:
        """As for a single correlator; what can't be processed at once waits in the store."""
        rows = []
        for inbound in messages:
            message = inbound.message
            if isinstance(message, DomainMessage):
                rows.append(InboxRow(None, message.host, inbound.received, _ENCODER.encode(message)))
            elif isinstance(message, Cleared):
                rows.append(
                    InboxRow(None, message.host, inbound.received, _ENCODER.encode(_cleared(message)))
                )
            elif inbound not in self._statuses[message.host]:
                self._note_status(message, inbound)
        return self._process(rows, self._statuses.keys() | self._left, now, evaluated_at)

    def catch_up(self, now: float, evaluated_at: float) -> int:
        """Processes what waits and has its turn."""
        if self.retry_at is None or now < self.retry_at:
            return 0
        return self._process([], self._statuses.keys() | self._left, now, evaluated_at)

    def look_around(self, now: float, *, is_complete: bool) -> None:
        """Finds messages in the inbox that no member processes, and the moment up to which all members have
        received everything; notes whether this one has. Raises StoreTroubleError.
        """
        with self._group_store.begin_shared() as tx:
            self._caught_up_by_all = now - tx.note_member(
                self._group_store.member_name or "", is_complete=is_complete
            )
            waiting = tx.waiting_hosts(HOSTS)
            self._counters.open_migrations = tx.count_open()
            self._counters.attention = tx.attention()
            self.next_due = tx.next_due()
            tx.keep_meta("heard_until", repr(now))
        if waiting:
            self._left.update(waiting)
            self.retry_at = self.retry_at or 0.0

    def evaluate_due(self, now: float, limit: int = 500) -> int:
        """As for one correlator, by the moment up to which all members had caught up: that of the last
        `look_around`.
        """
        found = super().evaluate_due(min(now, self._caught_up_by_all), limit)
        if self.next_due is not None and self.next_due > self._caught_up_by_all:
            self.next_due = None
        return found

    def tend_hosts(self, now: float, evaluated_at: float) -> list[tuple[str, str, int, int]]:
        """As for a single correlator; the leader does it for all."""
        if not self._group_store.try_to_lead():
            return []
        batch = self._new_batch()
        asks = []
        try:
            with self._group_store.begin_shared() as tx:
                for name, data in tx.claim_suspects().items():
                    host = self._loaded(name, data)
                    host.ask = self._asks.pop(name, None)
                    ask = host.tend(now)
                    if ask is not None:
                        asks.append((name, *ask))
                    if host.ask is not None:
                        self._asks[name] = host.ask
                    batch.hosts[name] = host
                    batch.gaps_filled.add(name)
                self._evaluate_and_keep(batch, tx, now, evaluated_at)
        except BaseException:
            self._take_back(batch)
            raise
        self._keep(batch, now)
        return asks

    # How it is worked through

    def _note_status(self, message: Status | Forgotten, inbound: Inbound) -> None:
        """Every member receives every status: blindness counts at once, the rest when the host is claimed."""
        host = self.hosts.get(message.host)
        if host is None:
            host = self.hosts[message.host] = Host(message.host)
        batch = self._new_batch()
        self._take_host_status(batch, host, message, inbound)
        self._sight_changed_on |= batch.sight_changed
        self._statuses[message.host].append(inbound)

    def _process(
        self, fresh: Sequence[InboxRow], others: Collection[str], now: float, evaluated_at: float
    ) -> int:
        batch = self._new_batch()
        batch.sight_changed |= self._sight_changed_on
        names = {row.host for row in fresh} | set(sorted(others)[:HOSTS])
        new = names - self._in_store
        left: set[str] = set()
        try:
            with self._group_store.begin_shared() as tx:
                claimed = tx.claim(names, new)
                for name, (data, suspect) in claimed.items():
                    batch.hosts[name] = self._loaded(name, data)
                    if suspect:
                        batch.gaps_filled.add(name)
                left = names - claimed.keys()
                self._take_in(batch, tx, fresh, now, left)
                drafts = self._evaluate_and_keep(batch, tx, now, evaluated_at)
        except BaseException:
            self._take_back(batch)
            raise
        for name, host in batch.hosts.items():
            self.hosts.setdefault(name, host).share_sight(host)
            self.epochs[name] = max(0, host.kept.current)
            self._statuses.pop(name, None)
        self._sight_changed_on.clear()
        self._in_store |= names
        self._left = (self._left - batch.hosts.keys()) | left
        if self._left or self._statuses:
            busy_elsewhere = not self._left <= batch.hosts.keys()
            self.retry_at = now + (RETRY_S if busy_elsewhere else HELD_RETRY_S)
        else:
            self.retry_at = None
        self._keep(batch, now)
        return len(drafts)

    def _take_in(
        self, batch: Batch, tx: GroupTransaction, fresh: Sequence[InboxRow], now: float, left: set[str]
    ) -> None:
        """Processes what has its turn; the rest waits, and its hosts are added to `left`."""
        rows = tx.inbox(batch.hosts.keys(), ROWS)
        if len(rows) == ROWS:
            left |= batch.hosts.keys()
        by_host: defaultdict[str, list[InboxRow]] = defaultdict(list)
        waits: list[InboxRow] = []
        for row in (*rows, *fresh):
            if row.host in batch.hosts:
                by_host[row.host].append(row)
            else:
                waits.append(row)
        taken: list[int] = []
        for name, host in batch.hosts.items():
            for inbound in self._statuses.get(name, ()):
                self._take_status(host, inbound)
            held = self._take_in_host(batch, host, by_host.get(name, ()), now)
            if held:
                left.add(name)
            waits += [row for row in held if row.n is None]
            held_numbers = {row.n for row in held}
            taken += [
                row.n for row in by_host.get(name, ()) if row.n is not None and row.n not in held_numbers
            ]
        tx.deliver(waits)
        tx.taken(taken)

    def _take_in_host(self, batch: Batch, host: Host, rows: Sequence[InboxRow], now: float) -> list[InboxRow]:
        """Processes one host's messages in its order; returns those that wait for others before them, until
        every member has stored what it had received when these came.
        """
        events = []
        for row in rows:
            message = _DECODER.decode(row.said)
            if message.kind == "cleared":
                if not host.is_absent:
                    take_cleared(batch, host, message.uuid, row.received)
            elif message.kind == "job":
                take_job(batch, message)
            elif message.kind == "state":
                observation = observation_of(
                    message, host, host.note_as_of(message.epoch, message.sequence), row.received
                )
                batch.observations[message.uuid].append((observation, True))
            else:
                events.append((host.ordinal_of(message.epoch), message.sequence, row, message))
        events.sort(key=lambda event: event[:2])
        held = []
        for ordinal, sequence, row, message in events:
            may_come = self._caught_up_by_all <= row.received and row.received + PROCESSING_S > now
            if may_come and not host.has_turn(ordinal, sequence):
                held.append(row)
                continue
            self._take_domain_message(batch, host, message, row.received)
        return held

    def _take_status(self, host: Host, inbound: Inbound) -> None:
        message = inbound.message
        if isinstance(message, Status):
            host.note_agent(message, received=inbound.received, retained=inbound.retained)

    def _loaded(self, name: str, data: bytes) -> Host:
        """The stored host, with what this member knows of its blindness and clock."""
        host = Host.load(name, data) if data else Host(name, from_start=self.was_complete)
        mine = self.hosts.get(name)
        if mine is not None:
            host.share_sight(mine)
        return host

    def _evaluate(self, batch: Batch, tx: Transaction, now: float, evaluated_at: float) -> list[Draft]:
        return super()._evaluate(batch, tx, now, min(evaluated_at, self._caught_up_by_all))

    def _touched(self, batch: Batch, tx: Transaction) -> set[str]:
        assert isinstance(tx, GroupTransaction)
        complete = {name for name in batch.gaps_filled & batch.hosts.keys() if not batch.hosts[name].has_gap}
        batch.uuids.update(tx.open_on(batch.sight_changed | complete))
        return set(tx.open_on(batch.gaps_filled))

    def _gaps(self, batch: Batch, tx: Transaction) -> frozenset[str]:
        assert isinstance(tx, GroupTransaction)
        hosts = {name: batch.hosts.get(name) for record in batch.records.values() for name in record.logs}
        others = tx.suspects([name for name, host in hosts.items() if host is None])
        found = [*batch.hosts.values(), *(Host.load(name, data) for name, data in others.items())]
        return frozenset(host.name for host in found if host.has_gap)

    def _due(self, evaluation: Evaluation, batch: Batch, now: float) -> float | None:
        """Where a gap counts that another member may be filling at this moment: as soon as all members have
        caught up with it.
        """
        if evaluation.waits <= batch.hosts.keys():
            return evaluation.due
        return min(math.nextafter(now, math.inf), evaluation.due or math.inf)

    def _keep(self, batch: Batch, now: float) -> None:
        super()._keep(batch, now)
        self._records.clear()

    def _take_back(self, batch: Batch) -> None:
        """Nothing: the statuses that this member received stay valid when a transaction fails."""

    def _note_stored(self, tx: Transaction, now: float) -> None:
        """Nothing: `look_around` does it; here members would wait for each other's locks."""

    def _index(self, *_: object) -> None:
        """Nothing: every member changes which domains are pending; the store has the index."""

    def _count(self) -> None:
        self._counters.hosts = len(self.hosts)
        self._counters.blind_hosts = len(self.blind) - len(self.gone)


def _cleared(message: Cleared) -> DomainMessage:
    return DomainMessage(message.host, message.uuid, "", 0, "cleared", "gone", "state", "", None, 0.0, "", "")
