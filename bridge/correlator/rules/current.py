"""The attempt under way, as it is retained for whoever asks: its phase, and how far it is. Pure."""

from __future__ import annotations

import uuid

from bridge.correlator.rules.attempts import Attempt, data_of, is_unresolved
from bridge.correlator.rules.context import Sitting
from bridge.correlator.rules.pairing import Pair
from bridge.correlator.rules.record import NAMESPACE, Telling
from bridge.wire.messages import Current, HostRef, Migration, Phase


def judge_current(sitting: Sitting, attempts: list[Attempt]) -> None:
    """Publishes the attempt under way where it isn't what is retained, and clears it with the verdict."""
    case = sitting.case
    current = _current(sitting, attempts)
    if current == case.current:
        return
    case.current = current
    case.currents += 1
    about = (current and current.migration) or case.uuid
    content = "" if current is None else current.model_dump_json()
    made_of = uuid.uuid5(NAMESPACE, content).hex[:12]
    sitting.tellings.append(Telling("current", f"{about}-current-{case.currents}-{made_of}", current))


def _current(sitting: Sitting, attempts: list[Attempt]) -> Current | None:
    """A conflict without a migration as long as it lasts, else the newest attempt unless it is decided. An
    older one is over, whatever became of it: a domain has one migration at a time.
    """
    case = sitting.case
    if case.conflicts:
        return _retained(case.conflicts[-1].data, "conflict")
    evident = [each for each in attempts if each.is_evident or _job_host(sitting, each.pair) is not None]
    newest = max(evident, key=lambda each: each.began, default=None)
    if newest is None or newest.is_decided or newest.began < case.decided:
        return None
    if newest.told.last is not None:
        return _retained(newest.told.last, "conflict")
    source = newest.pair.source or _job_host(sitting, newest.pair)
    progress = case.jobs.get(source) if source is not None else None
    phase = _phase(sitting, newest, has_job=progress is not None)
    update = {
        "migration": newest.told.id if newest.told in case.told else None,
        "source": HostRef(host=source),
        "mode": None if phase == "preparing" else newest.verdict.mode,
        "progress": progress,
    }
    return _retained(data_of(sitting, newest.told, "started", newest.pair, newest.verdict), phase, **update)


def _retained(data: Migration, phase: Phase, **update: object) -> Current:
    open_yet = dict.fromkeys(("outcome", "ended_at", "duration_ms", "downtime_ms", "reason", "progress"))
    return Current.model_validate({**dict(data), **open_yet, "phase": phase, **update})


def _job_host(sitting: Sitting, pair: Pair) -> str | None:
    """The host whose outgoing migration this is: while disks are copied no event tells of the source."""
    if pair.source is not None:
        return pair.source if pair.source in sitting.case.jobs else None
    hosts = [host for host in sitting.case.jobs if host != pair.destination]
    return hosts[0] if len(hosts) == 1 else None


def _phase(sitting: Sitting, attempt: Attempt, *, has_job: bool) -> Phase:
    """The first that applies. A guest that was suspended before anything was copied is copied while it is
    suspended (`migrate` without `--live`).
    """
    arrival, departure = attempt.pair.arrival, attempt.pair.departure
    verdict = attempt.verdict
    suspended = departure.suspended if departure is not None else None
    phases: tuple[tuple[Phase, bool], ...] = (
        ("interrupted", verdict.ruling == "interrupted"),
        ("unresolved", is_unresolved(sitting, attempt.told, attempt.pair)),
        ("postcopy", verdict.mode == "postcopy"),
        ("switching", arrival is not None and arrival.switched is not None),
        (
            "switching",
            departure is not None and suspended is not None and departure.opened.key < suspended.key,
        ),
        ("copying", has_job or departure is not None),
    )
    return next((phase for phase, applies in phases if applies), "preparing")
