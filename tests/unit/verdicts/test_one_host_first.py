"""Several migrations of one domain that follow each other, heard of one host after the other."""

from __future__ import annotations

from collections.abc import Sequence

from bridge.correlator.case import Times
from tests.unit.verdicts.conduct import Conductor, Told, interleaved
from tests.unit.verdicts.expect import hold_the_contract, verdicts
from tests.unit.verdicts.rows import MIGRATIONS, Row
from tests.unit.verdicts.stage import FULL, Sent, Stage
from tests.unit.verdicts.test_rows import DESTINATION, DOMAIN, SOURCE


def told_of(rows: Sequence[tuple[Row, str, str]]) -> list[Sent]:
    """Rows that follow each other, between the hosts named."""
    stage = Stage(FULL)
    stage.at(0.0, lambda: stage.place(stage.host(rows[0][1]), DOMAIN, "running/booted", persistent=False))
    t = 10.0
    for row, source, destination in rows:
        t = stage.row(row, t, DOMAIN, (source, destination)) + 1.0
    return stage.run()


def outcomes(told: Sequence[Told]) -> list[tuple[str, str | None, str | None, int]]:
    """Each verdict's outcome, hosts and revision, in no order."""
    return sorted((v.outcome, v.source.host, v.destination.host, v.revision) for v in verdicts(told))


def test_a_host_that_is_heard_after_the_other_has_told_of_several_migrations() -> None:
    """There, back, there, back in vain and back: all of one host, then all of the other, within a breath."""
    rows = {row.number: row for row in reversed(MIGRATIONS)}
    there, back = (SOURCE, DESTINATION), (DESTINATION, SOURCE)
    sent = [
        each
        for each in told_of(
            [
                (rows["1"], *there),
                (rows["12"], *back),
                (rows["2"], *there),
                (rows["16"], *back),
                (rows["1"], *back),
            ]
        )
        if each.fact is not None
    ]
    told = Conductor(times=Times(settle_s=10.0)).deliver(
        interleaved(sent, sorted(each.host for each in sent), begins_s=sent[-1].t)
    )
    hold_the_contract(told)
    assert outcomes(told) == [
        ("completed", *there, 0),
        ("completed", *there, 0),
        ("completed", *back, 0),
        ("completed", *back, 0),
        ("failed", *back, 0),
    ]
