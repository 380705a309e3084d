"""The retained `current` message: the phase and progress of the attempt under way."""

from __future__ import annotations

import uuid

from bridge.correlator.rules.attempts import Attempt, data_of, is_unresolved
from bridge.correlator.rules.context import EvaluationContext
from bridge.correlator.rules.pairing import Pair
from bridge.correlator.rules.record import NAMESPACE, OutboundMessage
from bridge.wire.messages import Current, HostRef, Migration, Phase


def evaluate_current(context: EvaluationContext, attempts: list[Attempt]) -> None:
    """Publishes the attempt under way if it differs from what is retained; clears it with the verdict."""
    record = context.record
    current = _current(context, attempts)
    if current == record.current:
        return
    record.current = current
    record.currents += 1
    about = (current and current.migration) or record.uuid
    content = "" if current is None else current.model_dump_json()
    made_of = uuid.uuid5(NAMESPACE, content).hex[:12]
    context.messages.append(
        OutboundMessage("current", f"{about}-current-{record.currents}-{made_of}", current)
    )


def _current(context: EvaluationContext, attempts: list[Attempt]) -> Current | None:
    """A lasting conflict without a migration, else the newest attempt unless it is decided. Older ones are
    over: a domain has one migration at a time.
    """
    record = context.record
    if record.conflicts:
        return _retained(record.conflicts[-1].data, "conflict")
    evident = [each for each in attempts if each.is_evident or _job_host(context, each.pair) is not None]
    newest = max(evident, key=lambda each: each.began, default=None)
    if newest is None or newest.is_decided or newest.began < record.decided:
        return None
    if newest.published.last is not None:
        return _retained(newest.published.last, "conflict")
    source = newest.pair.source or _job_host(context, newest.pair)
    progress = record.jobs.get(source) if source is not None else None
    phase = _phase(context, newest, has_job=progress is not None)
    update = {
        "migration": newest.published.id if newest.published in record.published else None,
        "source": HostRef(host=source),
        "mode": None if phase == "preparing" else newest.verdict.mode,
        "progress": progress,
    }
    return _retained(data_of(context, newest, "started"), phase, **update)


def _retained(data: Migration, phase: Phase, **update: object) -> Current:
    open_yet = dict.fromkeys(("outcome", "ended_at", "duration_ms", "downtime_ms", "reason", "progress"))
    return Current.model_validate({**dict(data), **open_yet, "phase": phase, **update})


def _job_host(context: EvaluationContext, pair: Pair) -> str | None:
    """The host with the outgoing job: while disks are copied no event names the source."""
    if pair.source is not None:
        return pair.source if pair.source in context.record.jobs else None
    hosts = [host for host in context.record.jobs if host != pair.destination]
    return hosts[0] if len(hosts) == 1 else None


def _phase(context: EvaluationContext, attempt: Attempt, *, has_job: bool) -> Phase:
    """The first phase that applies. A guest that was suspended before the copy began is being copied
    (`migrate` without `--live`).
    """
    arrival, departure = attempt.pair.arrival, attempt.pair.departure
    verdict = attempt.verdict
    is_resumed = bool(arrival and arrival.switched)
    is_suspended = bool(departure and departure.suspended and departure.opened.key < departure.suspended.key)
    phases: tuple[tuple[Phase, bool], ...] = (
        ("interrupted", verdict.outcome == "interrupted"),
        ("unresolved", is_unresolved(context, attempt)),
        ("postcopy", verdict.mode == "postcopy"),
        ("switching", is_resumed or is_suspended),
        ("copying", has_job or departure is not None),
    )
    return next((phase for phase, applies in phases if applies), "preparing")
