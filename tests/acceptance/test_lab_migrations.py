"""Real migrations on real hosts, agents beside them: the correlator tells of each what truly happened."""

import time
from collections.abc import Iterator

import pytest

from tests.coverage_table import ROWS, Proof
from tests.lab.fixtures import lab, witness
from tests.lab.fleet import Fleet
from tests.lab.lab import Lab
from tests.lab.scenarios import SCENARIOS
from tests.lab.stage import Stage
from tests.lab.verdicts import SETTLE_S, VERDICTS, await_truth, told_outcomes
from tests.lab.witness import Witness

__all__ = ["lab", "witness"]

pytestmark = [pytest.mark.lab, pytest.mark.server]

DELAY_S = 3.0
DELAYED = ("live", "aborted_non_live", "there_and_back", "finish_answer_lost", "destination_destroyed")


@pytest.fixture(scope="module")
def fleet(lab: Lab) -> Iterator[Fleet]:
    with Fleet(lab, settle_s=SETTLE_S) as running:
        yield running


@pytest.fixture
def ears(lab: Lab, witness: Witness) -> tuple[Lab, Witness]:
    return lab, witness


@pytest.fixture(scope="module")
def told_of() -> dict[str, tuple[str, int]]:
    """Of each guest whose story is over: the scenario's name, and how many outcomes were told."""
    return {}


@pytest.mark.parametrize("name", SCENARIOS)
def test_real_migration_is_told_as_it_happened(
    name: str, ears: tuple[Lab, Witness], fleet: Fleet, proof: Proof, told_of: dict[str, tuple[str, int]]
) -> None:
    lab, witness = ears
    scenario = SCENARIOS[name]
    for row in scenario.rows:
        proof(row if row in ROWS else "-", lab_runs=1)
    stage = Stage(lab, witness, name)
    mark = fleet.collector.mark()
    try:
        scenario.play(stage)
        await_truth(scenario, stage, fleet, mark)
        uuid = stage.guest.uuid
        outcomes = told_outcomes(fleet.told(uuid, mark))
        if not scenario.truths or scenario.truths[-1].outcome in VERDICTS:
            told_of[uuid] = (name, len(outcomes))
    finally:
        stage.clean()
        fleet.wait_connected()


def test_nothing_was_told_later(fleet: Fleet, told_of: dict[str, tuple[str, int]]) -> None:
    """Each migration is told once: what came after a story's end is more than its truth."""
    if not told_of:
        pytest.skip("no scenario ran before this in this process")
    time.sleep(SETTLE_S + 1)
    later = {
        name: [message.told for message in told_outcomes(fleet.told(uuid))]
        for uuid, (name, count) in told_of.items()
        if len(told_outcomes(fleet.told(uuid))) != count
    }
    assert later == {}


@pytest.mark.parametrize("late", ["host1", "host2"])
def test_one_side_seconds_late_changes_nothing(late: str, lab: Lab, witness: Witness, proof: Proof) -> None:
    with Fleet(lab, settle_s=2 * DELAY_S, delays_s={late: DELAY_S}) as fleet:
        for name in DELAYED:
            scenario = SCENARIOS[name]
            for row in scenario.rows:
                proof(row, lab_runs=1)
            stage = Stage(lab, witness, name)
            mark = fleet.collector.mark()
            try:
                scenario.play(stage)
                await_truth(scenario, stage, fleet, mark)
            finally:
                stage.clean()
