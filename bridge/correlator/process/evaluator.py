"""Evaluates the domains that a batch concerns, and stores what became of them."""

from __future__ import annotations

from collections.abc import Callable

from bridge.correlator.counters import Counters
from bridge.correlator.process.batch import Batch
from bridge.correlator.process.counting import count_batch
from bridge.correlator.process.pending_index import PendingIndex
from bridge.correlator.process.records import Records
from bridge.correlator.process.sight import Sight
from bridge.correlator.rules.evaluate import evaluate
from bridge.correlator.rules.record import DomainRecord, Evaluation, Hosts, OutboundMessage, Times
from bridge.correlator.store import DomainRow, Draft, HostRow, Transaction
from bridge.log import get_logger

_log = get_logger()


class Evaluator:
    """Evaluates batches, each within its transaction, after which `committed` is to be called.

    draft: builds a message from an outbound message, the domain and the moment of the decision. cached: of
    how many domains it keeps the records in memory.
    """

    def __init__(
        self,
        times: Times,
        draft: Callable[[OutboundMessage, str, float], Draft],
        counters: Counters,
        sight: Sight,
        *,
        cached: int,
    ) -> None:
        self._times = times
        self._draft = draft
        self._counters = counters
        self._sight = sight
        self._records = Records(cached)
        self.next_due: float | None = None
        """When the next domain is to be evaluated without a new message."""

    def process(self, batch: Batch, tx: Transaction, index: PendingIndex, due_limit: int = 0) -> int:
        """Evaluates the batch's domains and so many of those that are due, and stores them, the batch's hosts
        and the messages to publish; returns how many messages these are.
        """
        if due_limit:
            batch.uuids.update(tx.due(batch.now, due_limit))
        drafts = self._evaluate(batch, tx, index)
        tx.keep_records([row for row, _ in batch.rows])
        tx.keep_hosts([HostRow(host.name, host.dump(), host.suspect) for host in batch.hosts.values()])
        tx.queue(drafts)
        if due_limit:
            self.next_due = tx.next_due()
        return len(drafts)

    def read_due(self, tx: Transaction) -> None:
        """Reads from the store when the next domain is due, and what needs attention."""
        self.next_due = tx.next_due()
        self._counters.attention = tx.attention()

    def committed(self, batch: Batch) -> None:
        """The batch is stored."""
        self._records.keep(batch.records)
        for row, _ in batch.rows:
            if row.due is not None and (self.next_due is None or row.due < self.next_due):
                self.next_due = row.due
        count_batch(batch, self._counters)
        self._sight.count(self._counters)

    def _evaluate(self, batch: Batch, tx: Transaction, index: PendingIndex) -> list[Draft]:
        complete = {name for name in batch.gaps_filled if not batch.hosts[name].has_gap}
        batch.uuids |= index.on(batch.sight_changed) | index.waiting_on(complete)
        new = batch.observations.keys() | batch.jobs.keys()
        waiting = index.waiting_on(batch.gaps_filled)
        batch.records = self._records.take(tx, new | batch.uuids | waiting, new)
        hosts = self._sight.known(index.gaps(batch.records.values()))
        drafts: list[Draft] = []
        for uuid in sorted(batch.records):
            record = batch.records[uuid]
            try:
                evaluation = self._evaluate_one(batch, record, hosts)
                if evaluation is not None:
                    drafts += self._note(batch, record, evaluation, index.due(evaluation, batch.now))
            except Exception:  # noqa: BLE001 - logged with its traceback
                # A defect that one domain shows must not stop all others; its messages are dropped.
                _log.exception("case.failed", domain=uuid)
                batch.not_evaluated += 1
                del batch.records[uuid]
                stored = tx.records([uuid]).get(uuid)
                if stored is not None:
                    batch.rows.append((DomainRow(uuid, stored, None, is_open=False), ()))
        return drafts

    def _evaluate_one(self, batch: Batch, record: DomainRecord, hosts: Hosts) -> Evaluation | None:
        """None: nothing is new."""
        observations = batch.observations.get(record.uuid, ())
        changed = record.note_jobs(batch.jobs.get(record.uuid, {})) or record.uuid in batch.uuids
        for observation, contiguous in observations:
            changed = record.add(observation, contiguous=contiguous) or changed
        for name in batch.gaps_filled & record.logs.keys():
            changed = record.note_contiguous(name, batch.hosts[name].contiguous_to) or changed
        if not changed:
            batch.duplicates += len(observations)
            return None
        return evaluate(record, batch.evaluated_at, self._sight.blind, self._times, hosts)

    def _note(
        self, batch: Batch, record: DomainRecord, evaluation: Evaluation, due: float | None
    ) -> list[Draft]:
        uuid = record.uuid
        drafts = [self._draft(message, uuid, batch.now) for message in evaluation.messages]
        row = DomainRow(uuid, record.dump(), due, evaluation.is_open, evaluation.hosts, evaluation.attention)
        batch.rows.append((row, evaluation.waits))
        if evaluation.messages:
            received = max(
                (observation.received for observation, _ in batch.observations.get(uuid, ())), default=None
            )
            batch.messages += [(message, received) for message in evaluation.messages]
        return drafts
