"""What a person has to see to, for as long as it lasts: whatever a verdict says of it once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bridge.correlator.counters import Counters
from bridge.correlator.metrics import CountersCollector
from tests.unit.verdicts.conduct import Conductor, Delivery, in_order
from tests.unit.verdicts.rows import CONFLICT_ALONE, LOOK_ALIKES, MIGRATIONS, MigrationRow
from tests.unit.verdicts.stage import FULL, Spot, Stage
from tests.unit.verdicts.test_rows import DESTINATION, DOMAIN, SOURCE, begun

DAY_S = 24 * 3600.0


def after(stage: Stage) -> Conductor:
    """The correlator a day after all that the stage plays."""
    conductor = Conductor()
    conductor.deliver(in_order(stage.run()), until_s=DAY_S)
    return conductor


def wanted(row: MigrationRow) -> dict[str, int]:
    verdict = row.verdict
    kind = "conflict" if verdict and verdict.outcome == "conflict" else verdict and verdict.attention
    return {kind: 1} if kind else {}


@pytest.mark.parametrize("row", [*MIGRATIONS, *LOOK_ALIKES, CONFLICT_ALONE], ids=str)
def test_what_a_verdict_says_lasts(row: MigrationRow) -> None:
    assert after(begun(row, "9.0", FULL)).attention == wanted(row)


LASTING = [row for row in (*MIGRATIONS, CONFLICT_ALONE) if wanted(row)]


def test_there_are_rows_of_each_kind() -> None:
    kinds = {kind for row in LASTING for kind in wanted(row)}
    assert kinds == {"conflict", "source_left_paused", "guest_left_paused", "postcopy_incomplete"}


def test_each_kind_is_shown_from_the_start() -> None:
    """So that the first domain of a kind is an increase."""
    found = CountersCollector(Counters()).collect()
    samples = next(each.samples for each in found if each.name == "libvirt_mqtt_correlator_attention")
    kinds = {kind for row in LASTING for kind in wanted(row)} | {"unresolved"}
    assert {each.labels["kind"]: each.value for each in samples} == dict.fromkeys(kinds, 0)


@pytest.mark.parametrize("row", LASTING, ids=str)
@pytest.mark.parametrize("restart", [False, True])
def test_it_is_over_when_somebody_saw_to_it(row: MigrationRow, restart: bool) -> None:
    stage = begun(row, "9.0", FULL)
    host = stage.host(DESTINATION if "postcopy_incomplete" in wanted(row) else SOURCE)
    stage.at(3600.0, lambda: stage.event(Spot(host, DOMAIN, "web01"), (5, 1), undefines=True))
    sent = stage.run()
    conductor = Conductor()
    conductor.deliver(in_order(each for each in sent if each.t < 3600.0), until_s=3599.0)
    if restart:
        conductor.restart(3599.0)
    assert conductor.attention == wanted(row)
    conductor.deliver(in_order(each for each in sent if each.t >= 3600.0), until_s=DAY_S)
    assert conductor.attention == {}


@pytest.mark.parametrize("row", [row for row in LASTING if "left_paused" in str(wanted(row))], ids=str)
def test_a_guest_that_was_resumed_and_is_paused_by_somebody_was_not_left_so(row: MigrationRow) -> None:
    stage = begun(replace(row, said=f"{row.said} ~60 S(4,0) ~60 S(3,0)"), "9.0", FULL)
    found = after(stage).attention
    assert "source_left_paused" not in found
    assert "guest_left_paused" not in found


@pytest.mark.parametrize("row", [row for row in MIGRATIONS if row.source_alone == ("unresolved",)], ids=str)
def test_what_is_missing_is_missing_until_it_comes(row: MigrationRow) -> None:
    sent = begun(row, "9.0", FULL).run()
    conductor = Conductor()
    conductor.deliver(in_order(each for each in sent if each.host == SOURCE), until_s=DAY_S)
    assert conductor.attention == {"unresolved": 1}
    conductor.deliver([Delivery(DAY_S + each.t, each) for each in sent if each.host != SOURCE])
    assert conductor.attention == wanted(row)


@pytest.mark.parametrize("row", [row for row in LASTING if "left_paused" in str(wanted(row))], ids=str)
def test_what_needs_attention_is_no_attempt_under_way(row: MigrationRow) -> None:
    assert after(begun(row, "9.0", FULL)).counters.open_migrations == 0
