"""What is counted and logged of a batch once it is stored."""

from __future__ import annotations

import logging
from typing import Final

from bridge.correlator.counters import ENDS, Counters
from bridge.correlator.process.batch import Batch
from bridge.correlator.rules.record import OutboundMessage
from bridge.log import get_logger
from bridge.wire.messages import Migration

VERDICTS: Final = ("completed", "failed", "conflict", "unresolved", "interrupted")

_log = get_logger()


def count_batch(batch: Batch, counters: Counters) -> None:
    """Counts the batch, and counts and logs what it publishes and which messages of its hosts were lost."""
    for message, received in batch.messages:
        _count_published(message, received, batch.now, counters)
    for host in batch.hosts.values():
        for loss in host.losses:
            counters.lost_sequences += loss.last - loss.first + 1
            _log.error(
                "host.messages_lost",
                host=loss.host, epoch=loss.epoch, first=loss.first, last=loss.last, why=loss.why,
            )  # fmt: skip
        host.losses.clear()
    counters.batches += 1
    counters.duplicates += batch.duplicates
    if batch.not_evaluated:
        counters.rejected["not_judged"] += batch.not_evaluated


def _count_published(
    message: OutboundMessage, received: float | None, now: float, counters: Counters
) -> None:
    if message.name not in VERDICTS or message.data is None:
        return
    data = message.data
    counters.verdicts[message.name, getattr(data, "reason", None) or ""] += 1
    if received is not None and message.name != "unresolved":
        counters.latency_s.note(max(0.0, now - received))
    if isinstance(data, Migration):
        _count_times(data, counters)
        _log.log(
            logging.DEBUG if message.name == "completed" and data.attention is None else logging.WARNING,
            "migration.told",
            outcome=message.name, reason=data.reason, attention=data.attention,
            domain=data.domain.uuid, name=data.domain.name,
            source=data.source.host, destination=data.destination.host, guest_host=data.guest.host,
            migration=data.migration, revision=data.revision,
        )  # fmt: skip


def _count_times(data: Migration, counters: Counters) -> None:
    if data.outcome in ENDS and data.revision == 0:
        for histograms, ms in (
            (counters.downtime_s, data.downtime_ms),
            (counters.duration_s, data.duration_ms),
        ):
            if ms is not None:
                histograms[data.outcome].note(ms / 1000)
