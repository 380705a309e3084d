"""docs/install.md's way from source, followed to the letter: each of its commands is run."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests import machines
from tests.containers import IMAGE, ROOT, Podman
from tests.machines import Machine

COMMANDS = re.findall(r"```sh\n(.+?)```", (ROOT / "docs" / "install.md").read_text(), re.DOTALL)


@pytest.fixture
def machine(podman: Podman) -> Iterator[Machine]:
    """A machine with a broker. Debian's packages are there, and so is the program, as what brings them needs
    registries.
    """
    with machines.machine(
        podman, "tested_install", IMAGE, "-v", f"{ROOT / 'docker'}:/clone/docker:ro"
    ) as found:
        yield found


@pytest.mark.lab
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_way_from_source_leads_to_both_services(machine: Machine) -> None:
    """Under their units as no root."""
    (commands,) = COMMANDS
    brought = re.sub(r"^(apt-get|.+/pip) install .+$", "", commands, flags=re.MULTILINE)
    machine.sh(brought, cwd="/clone")
    for unit in ("libvirt-mqtt-agent", "libvirt-mqtt-correlator"):
        machine.until_logged(unit, "broker.connected")
        assert machine.sh(f"stat -c %U /proc/$(systemctl show -P MainPID {unit})").strip() == "libvirt-mqtt"
