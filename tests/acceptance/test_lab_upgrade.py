"""Two releases of libvirt: from the older to the newer one, as fleets upgrade, and among newer ones."""

from collections.abc import Iterator

import pytest

from tests.lab.fleet import Fleet
from tests.lab.lab import Lab
from tests.lab.scenarios import CRASHES_NEWER, SCENARIOS
from tests.lab.stage import Stage
from tests.lab.verdicts import SETTLE_S, await_truth
from tests.lab.witness import Witness
from tests.support.coverage_table import ROWS, Proof

# The first use of another release makes its root, which takes minutes.
pytestmark = [pytest.mark.lab, pytest.mark.server, pytest.mark.timeout(900)]

FROM_OLD_TO_NEW = ("host1", "host2")
AMONG_NEW = ("host2", "host3")
HANDFUL = (
    "live",
    "there_and_back",
    "aborted",
    "destination_libvirtd_killed",
    "source_qemu_killed",
    "postcopy",
)


@pytest.fixture(scope="module")
def fleet(mixed_lab: Lab) -> Iterator[Fleet]:
    with Fleet(mixed_lab, settle_s=SETTLE_S) as running:
        yield running


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A handful of scenarios; all that can be played on two hosts in `make soak`."""
    every = [name for name in SCENARIOS if SCENARIOS[name].hosts == 2 and name not in CRASHES_NEWER]
    played = every if metafunc.config.getoption("--soak") else HANDFUL
    metafunc.parametrize("name", played)
    metafunc.parametrize("hosts", [FROM_OLD_TO_NEW, AMONG_NEW], ids=["from-old-to-new", "among-new"])


def test_newer_release_is_understood(
    name: str, hosts: tuple[str, ...], fleet: Fleet, mixed_witness: Witness, proof: Proof
) -> None:
    scenario = SCENARIOS[name]
    for row in scenario.rows:
        proof(row if row in ROWS else "-", lab_runs=1)
    stage = Stage(fleet.lab, mixed_witness, name, hosts=[fleet.lab[host] for host in hosts])
    mark = fleet.collector.mark()
    try:
        scenario.play(stage)
        await_truth(scenario, stage, fleet, mark)
    finally:
        stage.clean()
        fleet.wait_connected()
