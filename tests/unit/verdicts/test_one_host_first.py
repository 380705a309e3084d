"""Several migrations of one domain that follow each other, heard of one host after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from bridge.correlator.rules.record import Times
from tests.unit.verdicts.conduct import Conductor, Delivery, TimedMessage, in_order, interleaved
from tests.unit.verdicts.expect import hold_the_contract, verdicts
from tests.unit.verdicts.rows import MIGRATIONS, MigrationRow
from tests.unit.verdicts.stage import FULL, Sent, Spot, Stage
from tests.unit.verdicts.test_rows import DESTINATION, DOMAIN, SOURCE


def unfinished(
    rows: Sequence[tuple[MigrationRow, str, str]], gap_s: float = 0.2, apart_s: float = 1.0
) -> list[Sent]:
    """Rows that follow each other, between the hosts named; the gap is before each event."""
    stage = Stage(FULL)
    stage.at(0.0, lambda: stage.place(stage.host(rows[0][1]), DOMAIN, "running/booted", persistent=False))
    t = 10.0
    for row, source, destination in rows:
        t = stage.row(row, t, DOMAIN, (source, destination), gap=lambda: gap_s) + apart_s
    return stage.run()


def outcomes(published: Sequence[TimedMessage]) -> list[tuple[str, str | None, str | None, int]]:
    """Each verdict's outcome, hosts and revision, in no order."""
    return sorted((v.outcome, v.source.host, v.destination.host, v.revision) for v in verdicts(published))


def test_a_host_whose_messages_come_after_several_migrations_were_published() -> None:
    """There, back, there, back in vain and back: all of one host, then all of the other, within a breath."""
    rows = {row.number: row for row in reversed(MIGRATIONS)}
    there, back = (SOURCE, DESTINATION), (DESTINATION, SOURCE)
    sent = [
        each
        for each in unfinished(
            [
                (rows["1"], *there),
                (rows["12"], *back),
                (rows["2"], *there),
                (rows["16"], *back),
                (rows["1"], *back),
            ]
        )
        if each.observation is not None
    ]
    published = Conductor(times=Times(settle_s=10.0)).deliver(
        interleaved(sent, sorted(each.host for each in sent), begins_s=sent[-1].t)
    )
    hold_the_contract(published)
    assert outcomes(published) == [
        ("completed", *there, 0),
        ("completed", *there, 0),
        ("completed", *back, 0),
        ("completed", *back, 0),
        ("failed", *back, 0),
    ]


def test_a_host_whose_backlog_of_many_migrations_comes_in_one_batch() -> None:
    """Its broker was away, and the guest went to and fro meanwhile: each migration gets its other half."""
    stage = Stage()
    stage.at(1.0, lambda: stage.place(stage.host(SOURCE), DOMAIN, "running/booted", persistent=False))
    live = next(row for row in MIGRATIONS if row.number == "1")
    at, there_and_back = 10.0, ((SOURCE, DESTINATION), (DESTINATION, SOURCE))
    for n in range(24):
        at = 10.0 + stage.row(live, at, DOMAIN, there_and_back[n % 2])
    sent = stage.run()
    online = [Sent(0.5, host, sees=True, place=(0, 0)) for host in (SOURCE, DESTINATION)]
    early = [*online, *(each for each in sent if each.host == SOURCE)]
    late = [Delivery(at + 31.0, each) for each in sent if each.host == DESTINATION]
    conductor = Conductor(clocks={SOURCE: 0.0, DESTINATION: 0.0})
    conductor.deliver(in_order(early), until_s=at + 30.0)
    conductor.take(late[-1].received, *(each.sent for each in late))
    published = conductor.deliver([])
    hold_the_contract(published)
    standing = {each.migration: each for each in verdicts(published)}
    found = [(each.outcome, each.source.host, each.destination.host) for each in standing.values()]
    ends = [("completed", *there_and_back[n % 2]) for n in range(24)]
    assert sorted(found, key=str) == sorted(ends)


@pytest.mark.parametrize("knows_clocks", [True, False])
@pytest.mark.parametrize("migrations", [3, 7, 11])
@pytest.mark.parametrize("late_s", [0.005, 0.1, 1.0])
def test_a_backlog_that_comes_one_by_one_when_departures_were_published_alone(
    late_s: float, migrations: int, knows_clocks: bool
) -> None:
    """Each is revised by its arrival: no verdict is left beside another, and nothing began that doesn't end,
    though an arrival that is heard of so late seems to be the last departure's.
    """
    live = next(row for row in MIGRATIONS if row.number == "1")
    quick = replace(live, said=live.said.replace("~1.4", "~0.2"))
    ends = [((SOURCE, DESTINATION), (DESTINATION, SOURCE))[n % 2] for n in range(migrations)]
    sent = unfinished([(quick, *end) for end in ends], gap_s=0.025, apart_s=0.9)
    online = [Sent(0.5, host, sees=True, place=(0, 0)) for host in (SOURCE, DESTINATION)]
    early = [*online, *(each for each in sent if each.host == SOURCE)]
    late = [each for each in sent if each.host == DESTINATION and each.observation is not None]
    begins_s = sent[-1].t + late_s
    clocks = {SOURCE: 0.0, DESTINATION: 0.0} if knows_clocks else {}
    conductor = Conductor(times=Times(settle_s=1.0), clocks=clocks)
    conductor.deliver(in_order(early), until_s=begins_s)
    published = conductor.deliver([Delivery(begins_s + n * 0.005, each) for n, each in enumerate(late)])
    hold_the_contract(published)
    standing = {each.migration: each for each in verdicts(published)}
    found = [(each.outcome, each.source.host, each.destination.host) for each in standing.values()]
    assert sorted(found, key=str) == sorted(("completed", *end) for end in ends)
    assert {each.migration.migration for each in published if each.migration} == standing.keys()


def test_a_conflict_whose_destination_had_ended_before_its_source_left_again() -> None:
    """Its destination couldn't be heard from soon after it began. That the guest left the source later only
    seems to end it; the destination's guest was destroyed long before, and another migration took it there.
    """
    rows = {row.number: row for row in reversed(MIGRATIONS)}
    stage = Stage(FULL)
    source, destination = stage.host(SOURCE), stage.host(DESTINATION)
    stage.at(0.0, lambda: stage.place(source, DOMAIN, "running/booted", persistent=False))
    stage.row(rows["28"], 10.0, DOMAIN, (SOURCE, DESTINATION))
    stage.at(60.0, lambda: stage.event(Spot(destination, DOMAIN, "web01"), (5, 1)))
    stage.row(rows["1"], 100.0, DOMAIN, (SOURCE, DESTINATION))
    sent = stage.run()
    dark_s, light_s = 40.0, 200.0
    deliveries = [Delivery(0.5, Sent(0.5, host, sees=True, place=(0, 0))) for host in (SOURCE, DESTINATION)]
    deliveries += [
        Delivery(light_s + 0.01 if each.host == DESTINATION and each.t > dark_s else each.t, each)
        for each in sent
    ]
    deliveries.append(Delivery(dark_s, Sent(dark_s, DESTINATION, sees=False, why="agent")))
    deliveries.append(Delivery(light_s, Sent(light_s, DESTINATION, sees=True)))
    published = Conductor().deliver(sorted(deliveries, key=lambda each: each.received))
    hold_the_contract(published)
    standing = {each.migration: each for each in verdicts(published)}.values()
    assert [(each.outcome, each.reason) for each in standing] == [
        ("failed", "destination_destroyed"),
        ("completed", None),
    ]
