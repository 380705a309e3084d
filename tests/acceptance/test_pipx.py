"""The wheel as pipx runs it: from what a registry has, with neither a compiler nor libvirt."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bridge import __version__
from tests.support.broker import Broker
from tests.support.containers import ROOT
from tests.support.hooks import Publisher, last, verdict
from tests.support.processes import wait_until

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(300)]

PYTHON_M = (sys.executable, "-m")


@pytest.fixture(scope="module")
def pipx(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], dict[str, str]]:
    """The command and the environment in which it has this version's wheel to run."""
    folder = tmp_path_factory.mktemp("pipx")
    subprocess.run(
        [*PYTHON_M, "pip", "wheel", "-q", "--disable-pip-version-check", "--no-deps", "-w", folder, ROOT],
        check=True,
    )
    (wheel,) = folder.glob("*.whl")
    homes = {name: str(folder / name) for name in ("PIPX_HOME", "PIPX_BIN_DIR", "PIPX_MAN_DIR")}
    environment = {**os.environ, **homes, "CC": "/bin/false"}
    command = [*PYTHON_M, "pipx", "run", "--spec", str(wheel), "libvirt-mqtt"]
    return command, environment


def test_the_wheel_runs(pipx: tuple[list[str], dict[str, str]]) -> None:
    command, environment = pipx
    asked = [*command, "--version"]
    done = subprocess.run(asked, env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == (f"libvirt-mqtt {__version__}\n", 0), done.stderr


def test_it_looks_on(pipx: tuple[list[str], dict[str, str]], tmp_path: Path) -> None:
    """As the install page has it."""
    command, environment = pipx
    with Broker(tmp_path / "broker") as broker:
        publisher = Publisher(broker)
        publisher.publish(last(verdict(1)))
        publisher.close()
        watch = [*command, "watch", "--json", "--broker", f"mqtt://127.0.0.1:{broker.port}"]
        out = tmp_path / "out"
        with out.open("w") as file, subprocess.Popen(watch, env=environment, stdout=file) as process:
            wait_until(lambda: out.read_text().endswith("\n"), timeout_s=60)
            process.terminate()
        assert json.loads(out.read_text().splitlines()[0])["payload"]["id"] == "m1-failed-0"


def test_an_agent_says_what_it_lacks(pipx: tuple[list[str], dict[str, str]]) -> None:
    command, environment = pipx
    done = subprocess.run([*command, "agent"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "libvirt-mqtt[agent] by pip" in done.stderr
