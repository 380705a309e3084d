"""docs/install.md's way from source and back, followed to the letter: each of its commands is run.

On a machine that has nothing but what the page installs.
"""

from __future__ import annotations

import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support import machines, roots
from tests.support.containers import ROOT, Podman, alone
from tests.support.machines import Machine, shell_blocks

SERVICES: Final = ("libvirt-mqtt-agent", "libvirt-mqtt-correlator")
ON_THE_MACHINE: Final = ("systemd", "systemd-sysv", "mosquitto")
OPTIONS: Final = ("--network", "none", "-v", f"{ROOT}:/clone:ro", "-e", "PIP_NO_INDEX=1")
INSTALLED, BINDINGS_INSTEAD = shell_blocks("docs/install.md", "From source")
_, UNINSTALLED = shell_blocks("docs/install.md", "Uninstalling")
WITHOUT_COMPILER: Final = [*BINDINGS_INSTEAD[:1], INSTALLED[1], *BINDINGS_INSTEAD[1:], *INSTALLED[4:]]
OURS: Final = (
    "find / -xdev -path /var/log -prune -o -name '*libvirt-mqtt*' -print; grep ^libvirt-mqtt /etc/passwd"
)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What pip would fetch."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    wanted = [*project["build-system"]["requires"], *project["project"]["dependencies"], "setuptools"]
    wanted += [each for extra in ("agent", "dashboard", "postgresql") for each in extras[extra]]
    folder = tmp_path_factory.mktemp("wheels")
    roots.run(sys.executable, "-m", "pip", "download", "-q", "-d", folder, *wanted)
    return folder


@pytest.fixture(params=[INSTALLED, WITHOUT_COMPILER], ids=["compiled", "without_a_compiler"])
def steps(request: pytest.FixtureRequest) -> list[str]:
    found: list[str] = request.param
    return found


@pytest.fixture
def machine(steps: list[str], wheels: Path) -> Iterator[Machine]:
    """One of the release with a broker and the packages of the first step; it reaches no registry."""
    _, _, _, *packages = shlex.split(steps[0])
    root = roots.root(roots.machine_release(), (*ON_THE_MACHINE, *packages))
    found = ("-v", f"{wheels}:/wheels:ro", "-e", "PIP_FIND_LINKS=/wheels")
    with (
        alone("tested_install"),
        machines.machine(Podman(), "tested_install", root, *OPTIONS, *found) as running,
    ):
        yield running


@pytest.mark.lab
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_way_from_source_leads_to_both_services_and_back(machine: Machine, steps: list[str]) -> None:
    """Under their units as no root; and nothing of it is left."""
    before = machine.sh(OURS, check=False)
    packages, clone, *rest = steps
    assert packages.startswith("apt-get install -y git ")
    assert re.fullmatch(r"git clone https://\S+/libvirt-mqtt && cd libvirt-mqtt", clone)
    machine.sh("\n".join(rest), cwd="/clone")
    assert ("/usr/bin/gcc" in machine.sh("command -v gcc || true")) == (steps is INSTALLED)
    for unit in SERVICES:
        machine.until_logged(unit, "broker.connected")
        assert machine.sh(f"stat -c %U /proc/$(systemctl show -P MainPID {unit})").strip() == "libvirt-mqtt"
    machine.sh("\n".join(UNINSTALLED))
    assert machine.sh(OURS, check=False) == before
    assert machine.show("libvirt-mqtt-agent", "LoadState") == {"LoadState": "not-found"}
