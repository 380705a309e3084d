"""docs/install.md, followed to the letter on a machine that has nothing: each of its commands is run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from tests.containers import IMAGE, ROOT, Podman
from tests.processes import wait_until

PAGE = (ROOT / "docs" / "install.md").read_text()
COMMANDS = re.findall(r"```sh\n(.+?)```", PAGE, re.DOTALL)
LOOKS = ("mosquitto_sub", "libvirt-mqtt watch")


@pytest.fixture
def machine(podman: Podman) -> Iterator[str]:
    """A machine called host1 that runs systemd. Debian's packages are there, and so is the program, as what
    brings them needs registries.
    """
    options = ["--privileged", "--systemd=always", "--user", "0", "--entrypoint", "/bin/sh"]
    options += ["--hostname", "host1", "--add-host", "broker.example:127.0.0.1"]
    options += ["-v", f"{ROOT / 'docker'}:/clone/docker:ro"]
    first = ("-c", "mount --make-rshared /; exec /sbin/init")
    with podman.container("tested_install", *options, IMAGE, *first) as name:
        wait_until(
            lambda: "running" in podman("exec", name, "sh", "-c", "systemctl is-system-running", check=False)
        )
        yield name


def is_connected(log: Callable[[], str]) -> bool:
    """Whether a service says that it has the broker."""
    return '"broker.connected"' in log()


@pytest.mark.lab
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_install_page_leads_to_both_services_and_a_reader(podman: Podman, machine: str) -> None:
    """A secured broker, both services under their units as no root, and somebody who may only read."""

    def sh(script: str, *, check: bool = True) -> str:
        script = re.sub(r"^(apt-get|.+/pip) install .+$", "", script, flags=re.MULTILINE)
        return podman("exec", "-w", "/clone", machine, "bash", "-ec", script, check=check)

    for commands in COMMANDS:
        if not any(look in commands for look in LOOKS):
            sh(commands)
    for unit in ("libvirt-mqtt-agent", "libvirt-mqtt-correlator"):
        log = partial(sh, f"journalctl -q -o cat -u {unit}", check=False)
        wait_until(partial(is_connected, log), log, 30)
        assert sh(f"stat -c %U /proc/$(systemctl show -P MainPID {unit})").strip() == "libvirt-mqtt"
    (watch,) = (line for each in COMMANDS for line in each.splitlines() if line.startswith(LOOKS[1]))
    heard = sh(f"HOME=/root PATH=/usr/local/bin:/usr/bin:/bin timeout 4 {watch} --json", check=False)
    messages = [json.loads(line) for line in heard.splitlines() if line.startswith('{"topic"')]
    states = {each["topic"]: each["payload"]["data"]["state"] for each in messages}
    assert states["libvirt/v1/hosts/host1/status"] == "online"
    assert states["libvirt/v1/correlators/main/status"] == "online"
    assert "libvirt_mqtt_agent_broker_connected 1" in sh(
        "python3 -c 'from urllib.request import urlopen;"
        'print(urlopen("http://127.0.0.1:9471/metrics").read().decode())\''
    )
