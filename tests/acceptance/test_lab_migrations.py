"""Real migrations on real hosts, agents beside them: the correlator tells of each what truly happened."""

import time
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.lab.fleet import Fleet
from tests.lab.lab import Lab
from tests.lab.scenarios import SCENARIOS
from tests.lab.stage import Stage
from tests.lab.verdicts import SETTLE_S, VERDICTS, await_truth, final, told_outcomes
from tests.lab.witness import Witness
from tests.support.contract import faults
from tests.support.coverage_table import ROWS, Proof

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
def told_of() -> dict[str, str]:
    """The names of the scenarios whose stories were told to their end, by the guests' UUIDs."""
    return {}


@pytest.mark.parametrize("name", SCENARIOS)
def test_real_migration_is_published_as_it_happened(
    name: str, ears: tuple[Lab, Witness], fleet: Fleet, proof: Proof, told_of: dict[str, str]
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
        if not scenario.truths or scenario.truths[-1].outcome in VERDICTS:
            told_of[stage.guest.uuid] = name
    finally:
        stage.clean()
        fleet.wait_connected()


def test_each_migration_was_published_once(fleet: Fleet, told_of: dict[str, str]) -> None:
    """One verdict a revision, and what happens to the guest when all is over changes no verdict.

    A revision may come, as when a lost host is back: it supersedes, and is as true as the first.
    """
    if not told_of:
        pytest.skip("no scenario ran before this in this process: run the whole file")
    time.sleep(SETTLE_S + 1)
    wrong = []
    for uuid, name in told_of.items():
        truths = [truth for truth in SCENARIOS[name].truths if truth.outcome in VERDICTS]
        verdicts = [
            message for message in told_outcomes(fleet.published(uuid)) if message.outcome in VERDICTS
        ]
        revisions = Counter((message.data["migration"], message.data["revision"]) for message in verdicts)
        wrong += [
            f"{name}: {revision} told {count} times" for revision, count in revisions.items() if count > 1
        ]
        standing = [message for message in final(fleet.published(uuid)) if message.outcome in VERDICTS]
        if len(standing) != len(truths):
            wrong.append(f"{name}: {len(standing)} verdicts stand, and there were {len(truths)} migrations")
            continue
        for truth, message in zip(truths, standing, strict=True):
            reason = message.data["reason"]
            if message.outcome != truth.outcome or reason not in (truth.reason or (None,)):
                wrong.append(f"{name}: became {message.outcome}, {reason}, when all was over")
    assert not wrong, "\n".join(wrong)


def test_every_message_of_the_run_keeps_the_contract(fleet: Fleet) -> None:
    """Its schema takes it, and the CloudEvents SDK reads in it what stands there."""
    messages = [message for message in fleet.collector.since() if message.topic.startswith("libvirt/v1/")]
    assert messages, "no message, no proof"
    assert [fault for message in messages for fault in faults(message.topic, message.raw)] == []


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
