"""What is stored under a name that is gone is lost: a program whose store was removed doesn't go on as if it
weren't.
"""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from tests.support.broker import Broker
from tests.support.correlators import CorrelatorProcess, Fleet
from tests.support.hooks import HookProcess
from tests.support.processes import ProgramProcess

pytestmark = pytest.mark.server

NOTICED_S: Final = 5.0


def _dashboard(broker: Broker, folder: Path) -> ProgramProcess:
    at = {"broker": f"mqtt://127.0.0.1:{broker.port}", "http": "127.0.0.1:0"}
    log = folder / "dashboard.log"
    return ProgramProcess("dashboard", log, state_dir=folder / "state", log_format="json", **at)


def _only(pattern: str, state: Path) -> None:
    for path in state.glob(pattern):
        path.unlink()


@pytest.mark.parametrize(
    "removed", [shutil.rmtree, partial(_only, "*.db"), partial(_only, "*.lock")], ids=["all", "store", "lock"]
)
@pytest.mark.parametrize("new", [CorrelatorProcess, _dashboard, partial(HookProcess, run="true")])
def test_one_that_is_removed_ends_the_program_and_the_next_start_begins_anew(
    new: Callable[[Broker, Path], ProgramProcess], removed: Callable[[Path], None], tmp_path: Path
) -> None:
    """While nothing happens."""
    with Broker(tmp_path / "broker") as broker, new(broker, tmp_path) as program:
        program.until_logged("broker.connected")
        removed(tmp_path / "state")
        program.wait(NOTICED_S)
        assert program.stop() == 1
        assert len(program.logged("store.removed")) == 1
        assert "was removed while the" in program.log.splitlines()[-1]
        program.start()
        program.until_logged("broker.connected", 2)
        assert program.stop() == 0


def test_a_correlator_whose_store_is_removed_is_offline(tmp_path: Path) -> None:
    with (
        Broker(tmp_path / "broker") as broker,
        Fleet(broker) as fleet,
        CorrelatorProcess(broker, tmp_path) as correlator,
    ):
        fleet.until(lambda: fleet.status().get("state") == "online")
        shutil.rmtree(tmp_path / "state")
        fleet.until(lambda: fleet.status()["state"] == "offline")
        assert correlator.wait() == 1
