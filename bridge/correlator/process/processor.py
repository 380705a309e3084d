"""From hosts' messages to what is stored and published: one batch, one transaction.

Everything in memory here is a copy of what the store has. If a transaction fails its changes are undone, so
that the same batch can be tried again.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec
from msgspec import structs

from bridge.consumer.inputs import Cleared, Forgotten, Status
from bridge.consumer.streams import Loss
from bridge.correlator.counters import ENDS, Counters
from bridge.correlator.input.hosts import GONE, Host
from bridge.correlator.input.messages import DomainMessage, Inbound
from bridge.correlator.process.batch import Batch, observation_of, take_cleared, take_job
from bridge.correlator.process.pending_index import PendingIndex
from bridge.correlator.rules.evaluate import evaluate
from bridge.correlator.rules.record import DomainRecord, Evaluation, Hosts, OutboundMessage, Times
from bridge.correlator.steady_clock import SteadyClock
from bridge.correlator.store import DomainRow, Draft, HostRow, Store, Transaction
from bridge.log import get_logger
from bridge.wire.messages import Migration

CACHED_RECORDS: Final = 4096
"""Domain records kept in memory: some thirty megabytes, however many domains there are."""
VERDICTS: Final = ("completed", "failed", "conflict", "unresolved", "interrupted")

_log = get_logger()


class Processor:
    """The hosts, and a cache of the domains' records.

    draft: builds a message from an outbound message, the domain and the moment of the decision.
    """

    def __init__(
        self,
        store: Store,
        times: Times,
        draft: Callable[[OutboundMessage, str, float], Draft],
        counters: Counters,
    ) -> None:
        self._store = store
        self._times = times
        self._draft = draft
        self._counters = counters
        self._records: OrderedDict[str, DomainRecord] = OrderedDict()
        self._pending = PendingIndex()
        self.hosts: dict[str, Host] = {}
        self.blind: dict[str, float] = {}
        self.gone: set[str] = set()
        """Blind hosts that were taken out of service."""
        self.epochs: dict[str, int] = {}
        self.returning: dict[str, float] = {}
        self.next_due: float | None = None
        """When the next domain is to be evaluated without a new message."""
        self.retry_at: float | None = None
        """When `catch_up` has something to do; None for a correlator without a group."""
        self.stored_until: float | None = None
        """When the correlator's last batch was stored, before this process started."""
        self.was_complete = False
        """Whether everything was received once: a host that is new after that is new to the broker, too, so
        its event stream is expected from its first message on.
        """

    def load(self, clock: SteadyClock | None = None) -> None:
        """Reads what has to be in memory: the hosts, the pending domains, and the former process's `clock`.
        Raises StoreTroubleError.
        """
        with self._store.begin() as tx:
            if clock is not None:
                tx.keep_meta("clock", clock.resume(tx.meta("clock")))
            for name, data in tx.hosts().items():
                self.hosts[name] = Host.load(name, data) if data else Host(name)
            for uuid, data, hosts in tx.pending_records():
                self._index(uuid, frozenset(hosts), DomainRecord.load(data).reordering)
            self.next_due = tx.next_due()
            stored_until = tx.meta("heard_until")
            self._counters.attention = tx.attention()
        self.stored_until = None if stored_until is None else float(stored_until)
        self.was_complete = stored_until is not None
        for host in self.hosts.values():
            self._mirror(host)
            if host.blind_since is None:
                self.returning[host.name] = 0.0  # what waited for it may not have been evaluated again
        self._count()

    # What comes

    def take(self, messages: Sequence[Inbound], now: float, evaluated_at: float) -> int:
        """Processes and stores a batch; returns how many messages are to be published.

        Raises StoreTroubleError: then nothing has changed.

        evaluated_at: the moment that timers are compared with; earlier than now while messages may be
        missing.
        """
        batch = self._new_batch()
        for inbound in messages:
            self._take_message(batch, inbound)
        for host in batch.hosts.values():
            self._mirror(host)
            if self._pending.waiting_on(host.name):
                batch.gaps_filled.add(host.name)
        return self._finish(batch, now, evaluated_at)

    def catch_up(self, now: float, evaluated_at: float) -> int:
        """Processes what had to wait; returns how many messages are to be published."""
        del now, evaluated_at
        return 0

    def evaluate_due(self, now: float, limit: int = 500) -> int:
        """Evaluates the domains that are due, and those of hosts that have been back for `settle`.

        Raises StoreTroubleError.
        """
        back = [name for name, until in self.returning.items() if until <= now]
        if not back and (self.next_due is None or self.next_due > now):
            return 0
        batch = self._new_batch()
        for name in back:
            del self.returning[name]
            self.blind.pop(name, None)
            batch.sight_changed.add(name)
        return self._finish(batch, now, now, due_limit=limit)

    def tend_hosts(self, now: float, evaluated_at: float) -> list[tuple[str, str, int, int]]:
        """Looks at the hosts with gaps: gives up what can't be replayed, and returns what to request.

        As host, epoch, first and last sequence. Raises StoreTroubleError.
        """
        asks = []
        batch = self._new_batch()
        for host in [host for host in self.hosts.values() if host.suspect]:
            batch.remember(host)
            ask = host.tend(now)
            if ask is not None:
                asks.append((host.name, *ask))
            if not host.losses:
                batch.forget(host)
            elif self._pending.waiting_on(host.name):
                batch.gaps_filled.add(host.name)
        if batch.hosts:
            self._finish(batch, now, evaluated_at)
        return asks

    # How a batch is processed

    def _take_message(self, batch: Batch, inbound: Inbound) -> None:
        message = inbound.message
        host = self.hosts.get(message.host)
        if host is None:
            host = self.hosts[message.host] = Host(message.host, from_start=self.was_complete)
            batch.new_hosts.append(message.host)
        batch.remember(host)
        if isinstance(message, DomainMessage):
            self._take_domain_message(batch, host, message, inbound.received)
        elif isinstance(message, Cleared):
            if not host.is_absent:
                take_cleared(batch, host, message.uuid, inbound.received)
        else:
            self._take_host_status(batch, host, message, inbound)

    def _take_host_status(
        self, batch: Batch, host: Host, message: Status | Forgotten, inbound: Inbound
    ) -> None:
        if isinstance(message, Forgotten):
            changed = host.note_sight(GONE, since=inbound.received)
        else:
            if not inbound.retained:
                host.note_clock(inbound.received, message.at, is_status=not inbound.late)
                if message.online and message.sees_libvirt:
                    host.note_saw(message.at + min(0.0, host.offset_s))
            changed = host.note_agent(
                message, received=inbound.received, retained=inbound.retained, after=inbound.after
            )
        self._note_gone(host)
        if changed:
            self._note_sight_change(batch, host, inbound.received)

    def _take_domain_message(self, batch: Batch, host: Host, message: DomainMessage, received: float) -> None:
        if message.kind == "job":
            take_job(batch, message)
            return
        if message.kind == "state":
            batch.observations[message.uuid].append(
                (
                    observation_of(message, host, host.note_as_of(message.epoch, message.sequence), received),
                    True,
                )
            )
            return
        position = host.see(message.epoch, message.sequence, received)
        if not position.is_new:
            batch.duplicates += 1
            return
        is_next = host.place == (position.ordinal, message.sequence)
        host.note_clock(received, message.at, is_status=False, is_next=is_next)
        if not is_next:
            message = structs.replace(message, late=True)
        if host.blind_since is not None and host.note_alive(message.at + host.offset_s):
            self._note_sight_change(batch, host, received)
        if message.kind is not None:
            batch.observations[message.uuid].append(
                (observation_of(message, host, position.ordinal, received), position.contiguous)
            )

    def _note_sight_change(self, batch: Batch, host: Host, now: float) -> None:
        """A host that comes back counts as blind until it has had `settle` to publish what it found; if it is
        lost before that, it is blind since the first time.
        """
        if (since := host.dark_since) is not None:
            self.blind.setdefault(host.name, since)
            self.returning.pop(host.name, None)
            _log.info("host.blind", host=host.name, lacks=host.kept.blind_why)
        else:
            self.gone.discard(host.name)
            self.returning[host.name] = now + self._times.settle_s
            _log.info("host.sees", host=host.name)
        batch.sight_changed.add(host.name)

    def _new_batch(self) -> Batch:
        return Batch(self.blind, self.returning)

    def _finish(self, batch: Batch, now: float, evaluated_at: float, due_limit: int = 0) -> int:
        try:
            with self._store.begin() as tx:
                if due_limit:
                    batch.uuids.update(tx.due(now, due_limit))
                drafts = self._evaluate_and_keep(batch, tx, now, evaluated_at)
                self._note_stored(tx, now)
                attention = tx.attention()
                if due_limit:
                    self.next_due = tx.next_due()
        except BaseException:
            self._take_back(batch)
            raise
        self._counters.attention = attention
        self._keep(batch, now)
        return len(drafts)

    def _note_stored(self, tx: Transaction, now: float) -> None:
        tx.keep_meta("heard_until", repr(now))

    def _evaluate_and_keep(
        self, batch: Batch, tx: Transaction, now: float, evaluated_at: float
    ) -> list[Draft]:
        drafts = self._evaluate(batch, tx, now, evaluated_at)
        tx.keep_records([row for row, _ in batch.rows])
        tx.keep_hosts([_host_row(host) for host in batch.hosts.values()])
        tx.queue(drafts)
        return drafts

    def _touched(self, batch: Batch, tx: Transaction) -> set[str]:
        """Adds the domains that depend on a host which was lost, came back or filled a gap; returns those
        that only wait for missing messages.
        """
        del tx
        for name in batch.sight_changed:
            batch.uuids.update(self._pending.on(name))
        for name in batch.gaps_filled:
            if not batch.hosts[name].has_gap:
                batch.uuids.update(self._pending.waiting_on(name))
        return {uuid for name in batch.gaps_filled for uuid in self._pending.waiting_on(name)}

    def _evaluate(self, batch: Batch, tx: Transaction, now: float, evaluated_at: float) -> list[Draft]:
        waiting = self._touched(batch, tx)
        records = self._load_records(
            batch, tx, batch.observations.keys() | batch.jobs.keys() | batch.uuids | waiting
        )
        gaps = self._gaps(batch, tx)
        batch.known_hosts = Hosts(self.epochs, frozenset(self.gone), gaps, self._came_back())
        drafts: list[Draft] = []
        for uuid in sorted(records):
            try:
                drafts += self._evaluate_one(batch, records[uuid], now, evaluated_at)
            except Exception:  # noqa: BLE001 - logged with its traceback
                # A defect that one domain shows must not stop all others; its messages are dropped.
                _log.exception("case.failed", domain=uuid)
                batch.not_evaluated += 1
                self._records.pop(uuid, None)
                del records[uuid]
                stored = tx.records([uuid]).get(uuid)
                if stored is not None:
                    row = DomainRow(uuid, stored, None, is_open=False)
                    batch.rows.append((row, ()))
        return drafts

    def _evaluate_one(
        self, batch: Batch, record: DomainRecord, now: float, evaluated_at: float
    ) -> list[Draft]:
        uuid = record.uuid
        observations = batch.observations.get(uuid, ())
        changed = record.note_jobs(batch.jobs.get(uuid, {})) or uuid in batch.uuids
        for observation, contiguous in observations:
            changed = record.add(observation, contiguous=contiguous) or changed
        for name in batch.gaps_filled:
            changed = record.note_contiguous(name, batch.hosts[name].contiguous_to) or changed
        if not changed:
            batch.duplicates += len(observations)
            return []
        evaluation = evaluate(record, evaluated_at, self.blind, self._times, batch.known_hosts)
        drafts = [self._draft(message, uuid, now) for message in evaluation.messages]
        batch.rows.append((_row(record, evaluation, self._due(evaluation, batch, now)), evaluation.waits))
        if evaluation.messages:
            received = max((observation.received for observation, _ in observations), default=None)
            batch.messages += [(message, received) for message in evaluation.messages]
        return drafts

    def _came_back(self) -> dict[str, float]:
        """The hosts that still publish what they found, and when they came back."""
        return {name: until - self._times.settle_s for name, until in self.returning.items()}

    def _due(self, evaluation: Evaluation, batch: Batch, now: float) -> float | None:
        """When to evaluate again without a new message."""
        del batch, now
        return evaluation.due

    def _gaps(self, batch: Batch, tx: Transaction) -> frozenset[str]:
        del batch, tx
        return frozenset(name for name, host in self.hosts.items() if host.has_gap)

    def _load_records(self, batch: Batch, tx: Transaction, uuids: Iterable[str]) -> dict[str, DomainRecord]:
        records = batch.records
        absent = []
        for uuid in uuids:
            record = self._records.get(uuid)
            if record is None:
                absent.append(uuid)
            else:
                self._records.move_to_end(uuid)
                records[uuid] = record
        stored = tx.records(absent)
        for uuid in absent:
            data = stored.get(uuid)
            if data is not None:
                try:
                    records[uuid] = DomainRecord.load(data)
                except msgspec.MsgspecError as error:
                    _log.error("case.unreadable", domain=uuid, error=str(error), now="begun anew")
                    records[uuid] = DomainRecord.new(uuid)
            elif uuid in batch.observations or uuid in batch.jobs:
                records[uuid] = DomainRecord.new(uuid)
        return records

    # After the transaction

    def _keep(self, batch: Batch, now: float) -> None:
        for row, reordering in batch.rows:
            self._index(row.uuid, frozenset(row.hosts) if row.is_open else frozenset(), reordering)
            if row.due is not None and (self.next_due is None or row.due < self.next_due):
                self.next_due = row.due
        self._records.update(batch.records)
        while len(self._records) > CACHED_RECORDS:
            self._records.popitem(last=False)
        for message, received in batch.messages:
            self._note_published(message, received, now)
        for host in batch.hosts.values():
            for loss in host.losses:
                self._note_loss(loss)
            host.losses.clear()
        self._counters.batches += 1
        self._counters.duplicates += batch.duplicates
        if batch.not_evaluated:
            self._counters.rejected["not_judged"] += batch.not_evaluated
        self._count()

    def _take_back(self, batch: Batch) -> None:
        for uuid in batch.records:
            self._records.pop(uuid, None)
        for name, data in batch.hosts_before.items():
            former = Host.load(name, data)
            former.ask = batch.hosts[name].ask
            self.hosts[name] = former
        for name in batch.new_hosts:
            del self.hosts[name]
            self.gone.discard(name)
            self.epochs.pop(name, None)
        self.blind, self.returning = batch.blind_before, batch.returning_before
        for name in batch.hosts_before:
            if name in self.hosts:
                self._mirror(self.hosts[name])

    def _index(self, uuid: str, hosts: frozenset[str], reordering: Iterable[str]) -> None:
        self._pending.note(uuid, hosts, reordering)

    def _mirror(self, host: Host) -> None:
        self.epochs[host.name] = max(0, host.kept.current)
        if (since := host.dark_since) is not None:
            self.blind.setdefault(host.name, since)
        self._note_gone(host)

    def _note_gone(self, host: Host) -> None:
        if host.is_gone:
            self.gone.add(host.name)
        else:
            self.gone.discard(host.name)

    def _count(self) -> None:
        self._counters.open_migrations = len(self._pending)
        self._counters.hosts = len(self.hosts)
        self._counters.blind_hosts = len(self.blind) - len(self.gone)

    def _note_published(self, message: OutboundMessage, received: float | None, now: float) -> None:
        if message.name not in VERDICTS or message.data is None:
            return
        data = message.data
        self._counters.verdicts[message.name, getattr(data, "reason", None) or ""] += 1
        if received is not None and message.name != "unresolved":
            self._counters.latency_s.note(max(0.0, now - received))
        if isinstance(data, Migration):
            self._note_times(data)
            _log.log(
                logging.DEBUG if message.name == "completed" and data.attention is None else logging.WARNING,
                "migration.told",
                outcome=message.name, reason=data.reason, attention=data.attention,
                domain=data.domain.uuid, name=data.domain.name,
                source=data.source.host, destination=data.destination.host, guest_host=data.guest.host,
                migration=data.migration, revision=data.revision,
            )  # fmt: skip

    def _note_times(self, data: Migration) -> None:
        if data.outcome in ENDS and data.revision == 0:
            for histograms, ms in (
                (self._counters.downtime_s, data.downtime_ms),
                (self._counters.duration_s, data.duration_ms),
            ):
                if ms is not None:
                    histograms[data.outcome].note(ms / 1000)

    def _note_loss(self, loss: Loss) -> None:
        self._counters.lost_sequences += loss.last - loss.first + 1
        _log.error(
            "host.messages_lost",
            host=loss.host, epoch=loss.epoch, first=loss.first, last=loss.last, why=loss.why,
        )  # fmt: skip


def _host_row(host: Host) -> HostRow:
    return HostRow(host.name, host.dump(), host.suspect)


def _row(record: DomainRecord, evaluation: Evaluation, due: float | None) -> DomainRow:
    return DomainRow(
        record.uuid, record.dump(), due, evaluation.is_open, evaluation.hosts, evaluation.attention
    )
