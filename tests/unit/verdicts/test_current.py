"""What is retained of a domain's migrations: the attempt under way, how far it is, and the newest verdict."""

from __future__ import annotations

from functools import partial
from typing import Final

import pytest

from bridge.correlator.output.outbound import draft
from bridge.correlator.rules.record import OutboundMessage
from bridge.wire import messages as wire
from bridge.wire.messages import Current, Job, Progress
from tests.explorer.path import TOPICS
from tests.unit.verdicts.conduct import Conductor, TimedMessage, in_order, late
from tests.unit.verdicts.expect import verdicts
from tests.unit.verdicts.rows import MIGRATIONS, RELEASES, MigrationRow, Release
from tests.unit.verdicts.stage import EVENTS_ONLY, FULL, START, Spot, Stage
from tests.unit.verdicts.test_rows import DESTINATION, DOMAIN, SOURCE, begun, every_release, every_row, played

ONE: Final = Progress(percent=40, remaining_bytes=600, total_bytes=1000, trend="converging", eta_s=3)
PHASES: Final = {
    "1": "preparing copying switching",
    "2": "preparing copying switching",
    "3": "preparing copying switching",
    "4": "preparing copying switching",
    "9": "preparing copying switching",
    "10": "",
    "11": "preparing copying switching",
    "12": "preparing copying switching postcopy",
    "13": "preparing copying",
    "14": "preparing copying",
    "15": "",
    "21": "preparing copying",
    "24": "preparing copying switching",
    "28": "preparing copying switching conflict",
    "33": "preparing copying switching postcopy interrupted",
    "34": "preparing copying switching postcopy interrupted postcopy",
    "39": "preparing copying switching",
}
"""The phases of some rows, each once as it begins."""


def phases(retained: list[TimedMessage]) -> list[str]:
    """The phases that were published, without repetitions; `-` where the topic was cleared."""
    said: list[str] = []
    for each in retained:
        if each.message.name == "current":
            data = each.message.data
            phase = data.phase if isinstance(data, Current) else "-"
            said += [phase] if said[-1:] != [phase] else []
    return said


def currents(retained: list[TimedMessage]) -> list[Current]:
    """What was published of the attempt under way."""
    return [each.message.data for each in retained if isinstance(each.message.data, Current)]


def job(
    conductor: Conductor, t: float, host: str, progress: Progress | None, operation: str = "migration_out"
) -> None:
    """A host's retained job comes: how far it is, None where it is over."""
    payload = b""
    if progress is not None:
        domain = wire.Domain(uuid=DOMAIN, name="web01", id=3)
        data = Job(
            host=host, driver="QEMU", domain=domain, operation=operation,
            started_at=wire.stamp(START + 10), time_elapsed_ms=100, **dict(progress),
        )  # fmt: skip
        payload = wire.build(
            wire.JOB, id="j", source=wire.host_source(host), time=wire.stamp(START), data=data, subject=DOMAIN
        )
    conductor._started().receive(START + t, (TOPICS.job(host, DOMAIN), payload, False))


@every_row
@every_release
def test_of_each_row(row: MigrationRow, release: Release) -> None:
    """The phases come in order, with both hosts as far as they are known; the verdict clears what is under
    way and stays, and what has none stays under way.
    """
    conductor = Conductor()
    published = conductor.deliver(in_order(played(row, release, FULL)))
    if row.number in PHASES:
        assert [one for one in phases(conductor.retained) if one != "-"] == PHASES[row.number].split()
    for each in currents(conductor.retained):
        assert (each.outcome, each.ended_at, each.reason, each.downtime_ms) == (None,) * 4
        assert each.migration in {one.migration for one in verdicts(published)} or row.verdict is None
        assert (each.source.host, each.destination.host) == (SOURCE, DESTINATION)
    given = [each for each in published if each.message.name in ("completed", "failed")]
    kept = [each for each in conductor.retained if each.message.name == "last"]
    assert [(each.t, each.message.id, each.message.data) for each in kept] == [
        (each.t, each.message.id, each.message.data) for each in given
    ]
    stands = phases(conductor.retained)[-1:] not in ([], ["-"])
    assert stands == bool(row.published and (row.verdict is None or row.verdict.outcome == "conflict"))


def test_the_retained_verdict_has_its_own_bytes() -> None:
    published = Conductor().deliver(in_order(played(MIGRATIONS[0], "9.0", FULL)))
    (data,) = verdicts(published)
    verdict, last = (
        draft(OutboundMessage(word, "x-completed-0", data), DOMAIN, topics=TOPICS, source="/c", now=START)
        for word in ("completed", "last")
    )
    assert verdict.payload == last.payload
    assert (verdict.retain, last.retain) == (False, True)
    assert last.topic == TOPICS.migration(DOMAIN, "last")
    assert verdict.id != last.id


def test_progress_comes_with_the_attempt_and_goes_with_it() -> None:
    """What the source's job says, from whichever batch it comes in; what another job says is none of it."""
    conductor = Conductor()
    sent = in_order(played(MIGRATIONS[0], "9.0", FULL))
    copying = next(
        n
        for n, each in enumerate(sent)
        if each.sent.observation and each.sent.observation.kind == "iteration"
    )
    for each in sent[: copying + 1]:
        conductor.take(each.received, each.sent)
    now = sent[copying].received
    job(conductor, now + 0.01, SOURCE, ONE)
    job(conductor, now + 0.02, SOURCE, ONE)
    job(conductor, now + 0.03, DESTINATION, ONE, operation="backup")
    job(conductor, now + 0.04, SOURCE, ONE.model_copy(update={"percent": 60}))
    conductor.deliver(sent[copying + 1 :])
    said = [each.progress.percent if each.progress else None for each in currents(conductor.retained)]
    assert [one for n, one in enumerate(said) if said[n - 1 : n] != [one]] == [None, 40, 60]
    assert said.count(40) == 1
    assert phases(conductor.retained) == ["preparing", "copying", "switching", "-"]


def test_while_only_disks_are_copied_the_job_tells_of_the_source() -> None:
    """Row 9: no event tells of the source before memory is copied."""
    conductor = Conductor()
    stage = begun(next(row for row in MIGRATIONS if row.number == "9"), "9.0", EVENTS_ONLY)
    sent = in_order(stage.run())
    opened = next(n for n, each in enumerate(sent) if each.sent.host == DESTINATION)
    conductor.deliver(sent[: opened + 1], until_s=sent[opened].received)
    job(conductor, sent[opened].received + 1.0, SOURCE, ONE)
    conductor.deliver([], until_s=sent[opened].received + 2.0)
    newest = currents(conductor.retained)[-1]
    assert (newest.phase, newest.source.host, newest.progress) == ("copying", SOURCE, ONE)


@pytest.mark.parametrize("operation", ["save", "migration_out"])
def test_of_a_source_alone_the_job_tells_that_it_is_a_migration(operation: str) -> None:
    """An iteration may be a save's; which attempt it is shows with the destination."""
    conductor = Conductor()
    stage = Stage(EVENTS_ONLY)
    source = stage.host(SOURCE)
    stage.at(1.0, partial(stage.place, source, DOMAIN, "running/booted", persistent=True))
    stage.at(10.0, partial(stage.iteration, source, DOMAIN, 1))
    conductor.deliver(in_order(stage.run()), until_s=11.0)
    job(conductor, 12.0, SOURCE, ONE, operation=operation)
    conductor.deliver([], until_s=13.0)
    if operation == "save":
        assert conductor.retained == []
        return
    (shown,) = currents(conductor.retained)
    assert (shown.migration, shown.phase) == (None, "copying")
    assert (shown.source.host, shown.destination.host) == (SOURCE, None)
    job(conductor, 20.0, SOURCE, None)
    conductor.deliver([], until_s=30.0)
    assert phases(conductor.retained) == ["copying", "-"]


def test_missing_evidence_shows_and_a_late_verdict_ends_it() -> None:
    """Row 21 without an agent that asks for jobs: unresolved, until the source's job is known to be over."""
    conductor = Conductor()
    row = next(row for row in MIGRATIONS if row.number == "21")
    conductor.deliver(in_order(played(row, "9.0", EVENTS_ONLY)))
    assert phases(conductor.retained) == ["preparing", "copying", "unresolved"]


def test_a_conflict_without_a_migration_shows_until_it_is_resolved() -> None:
    conductor = Conductor()
    stage = Stage()
    stage.at(1.0, partial(stage.place, stage.host(SOURCE), DOMAIN, "running/booted", persistent=False))
    stage.at(40.0, partial(stage.event, Spot(stage.host(DESTINATION), DOMAIN, "web01"), (2, 0)))
    stage.at(200.0, partial(stage.event, Spot(stage.host(SOURCE), DOMAIN, "web01"), (5, 1)))
    published = conductor.deliver(in_order(stage.run()))
    resolved = next(each for each in published if each.message.name == "resolved")
    assert phases(conductor.retained) == ["conflict", "-"]
    assert conductor.retained[-1].t == resolved.t
    (shown,) = currents(conductor.retained)
    assert (shown.migration, shown.source.host, shown.destination.host) == (None, SOURCE, DESTINATION)
    assert all(each.message.name != "last" for each in conductor.retained)


@pytest.mark.parametrize("release", RELEASES)
def test_an_older_attempt_that_is_decided_late_does_not_replace_a_newer_verdict(release: Release) -> None:
    """The first fails unseen, for its destination's agent is away; the second completes meanwhile."""
    rows = {row.number: row for row in MIGRATIONS}
    conductor = Conductor()
    stage = Stage(EVENTS_ONLY)
    stage.at(0.0, partial(stage.place, stage.host(SOURCE), DOMAIN, "running/booted", persistent=False))
    stage.row(rows["13"].on(release), 10.0, DOMAIN, (SOURCE, DESTINATION))
    stage.row(rows["1"].on(release), 40.0, DOMAIN, (SOURCE, "host3"))
    published = conductor.deliver(late(stage.run(), DESTINATION, 300.0))
    given = [each.message.name for each in published if each.message.name in ("completed", "failed")]
    kept = [each.message.data for each in conductor.retained if each.message.name == "last"]
    assert given[-1] == "failed"
    assert [getattr(each, "outcome", None) for each in kept] == ["completed"]
    assert phases(conductor.retained)[-1] == "-"
