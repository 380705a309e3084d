"""Debian's packages on a machine of each release: from `apt install` to a purge."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from packaging.requirements import Requirement

from bridge import __version__
from tests.support import machines, roots
from tests.support.containers import Podman, alone
from tests.support.hooks import verdict
from tests.support.machines import Machine, shell_blocks
from tests.support.processes import wait_until
from tests.tools import packages
from tests.tools.packages import RELEASES, Release

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(900)]

NAMES: Final = tuple(f"libvirt-mqtt-{name}" for name in ("agent", "correlator", "dashboard", "hook"))
(PURGE,), _ = shell_blocks("docs/install.md", "Uninstalling")
BEFORE: Final = "0.0.9"
SETTINGS: Final = "/etc/libvirt-mqtt/libvirt-mqtt.toml"
HOOK: Final = "/etc/libvirt-mqtt/hooks.d/failed-note"
CERTIFICATES: Final = "/root/libvirt-mqtt-certs"
MAKE_CERTIFICATE: Final = (
    f"/usr/share/doc/libvirt-mqtt-common/examples/mosquitto/make-certificates {CERTIFICATES} client"
)
NOTED: Final = "/var/lib/libvirt-mqtt-hook/noted"
ON_THE_MACHINE: Final = (
    *(
        "systemd",
        "systemd-sysv",
        "mosquitto",
        "mosquitto-clients",
        "libvirt-daemon-system",
        "libvirt-clients",
    ),
    *("bash-completion", "zsh", "man-db", "groff-base", "openssl"),
)
SYSTEMS_OWN: Final = (
    "/boot /dev /proc /run /sys /tmp /packages /var/cache /var/lib/apt /var/lib/dpkg /var/log"
)
OURS: Final = re.compile("libvirt-mqtt|^/(home|opt|root|etc/(polkit-1|systemd))/")
"""What may only be there while our packages are: all that Debian's own, which came along, don't have."""


@pytest.fixture(scope="module", params=RELEASES, ids=lambda release: release.name)
def release(request: pytest.FixtureRequest) -> Release:
    found: Release = request.param
    return found


@pytest.fixture(scope="module")
def built(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packages, and in `before` with the same as an earlier version."""
    folder = tmp_path_factory.mktemp(release.name)
    (folder / "before").mkdir()
    for file in packages.build(release, folder):
        content = folder / "content"
        roots.run("dpkg-deb", "-R", file, content)
        control = content / "DEBIAN" / "control"
        control.write_text(control.read_text().replace(__version__, BEFORE))
        roots.run("dpkg-deb", "-Znone", "-b", content, folder / "before")
        roots.run("rm", "-r", content)
    return folder


@pytest.fixture(scope="module")
def machine(release: Release, built: Path) -> Iterator[Machine]:
    """A machine with a broker and libvirt, and nothing to compile with; apt has what the packages need."""
    fields = release.fields()
    needed = packages.names(", ".join(fields[name] for name in ("common", *packages.EXTRAS)))
    root = roots.root(release.name, ON_THE_MACHINE, needed)
    options = ("--hostname", "host1", "--network", "none", "--add-host", "broker.example:127.0.0.1")
    name = f"tested_packages_{release.name}"
    with (
        alone(name),
        machines.machine(Podman(), name, root, *options, "-v", f"{built}:/packages:ro") as found,
    ):
        yield found


def commands(page: str) -> list[str]:
    """The commands of a page, in the order in which it has them."""
    return [line for block in shell_blocks(page) for line in block]


def files(machine: Machine) -> set[str]:
    """All files but those that the system writes as it goes."""
    left_out = " -o ".join(f"-path {folder}" for folder in SYSTEMS_OWN.split())
    return set(machine.sh(rf"find / \( {left_out} \) -prune -o -print").splitlines())


@pytest.fixture(scope="module")
def before(machine: Machine) -> set[str]:
    """The files of the machine when nothing was installed yet."""
    return files(machine)


def active(machine: Machine, unit: str) -> tuple[str, str]:
    """How a service is, and whether it is started with the machine."""
    shown = machine.show(unit, "ActiveState", "UnitFileState")
    return shown["ActiveState"], shown["UnitFileState"]


def connected_since(machine: Machine, unit: str, moment: str) -> bool:
    """Whether a service has met its broker since then."""
    return "broker.connected" in machine.sh(f"journalctl -q -o cat --since @{moment} -u {unit}")


class Subscriber:
    """A subscriber on the machine, from now on."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        sub = "mosquitto_sub -c -i subscriber -q 1 -F %j -t 'libvirt/v1/#'"
        machine.sh(f"systemd-run -q -u subscriber -p Restart=always {sub}")

    def messages(self) -> list[dict[str, Any]]:
        lines = self._machine.sh("journalctl -q -o cat -u subscriber _COMM=mosquitto_sub", check=False)
        return [json.loads(line) for line in lines.splitlines() if line.startswith("{")]

    def until(self, topic: str, payload: str) -> None:
        """Returns as soon as there is such a message; both are regular expressions."""
        wait_until(
            lambda: any(
                re.fullmatch(topic, each["topic"]) and re.search(payload, each["payload"])
                for each in self.messages()
            ),
            lambda: [each["topic"] for each in self.messages()],
            40,
        )

    def stream(self) -> list[dict[str, Any]]:
        """The messages of the agent's event stream."""
        payloads = [json.loads(each["payload"]) for each in self.messages() if each["payload"]]
        return [payload for payload in payloads if "sequence" in payload]

    def defined_pools(self) -> set[str]:
        """The storage pools of which it was published that they were defined."""
        events = [each["data"] for each in self.stream() if each["type"].endswith("pool.lifecycle.v1")]
        return {event["pool"]["name"] for event in events if event["event"] == "defined"}


class TestDebian:
    """One machine of a release, in the order of its life."""

    def test_the_release_meets_our_bounds(self, release: Release) -> None:
        """What apt would install of the release is what pyproject.toml asks for."""
        needed = [each for extra in ("", *packages.EXTRAS) for each in release.own(extra)]
        for requirement in map(Requirement, needed):
            name = packages.NAMES[requirement.name]
            policy = roots.run("chroot", release.root(), "apt-cache", "policy", name)
            (candidate,) = re.findall(r"Candidate: (?:\d+:)?([\d.]+)", policy)
            assert candidate in requirement.specifier, (name, candidate)

    def test_the_same_sources_give_the_same_packages(
        self, release: Release, built: Path, tmp_path: Path
    ) -> None:
        again = packages.build(release, tmp_path, check="true")
        assert len(again) == 1 + len(NAMES)
        for file in again:
            assert file.read_bytes() == (built / file.name).read_bytes(), file.name

    @pytest.mark.usefixtures("before")
    def test_nothing_is_started_that_has_no_broker_yet(self, machine: Machine) -> None:
        install, *_ = commands("README.md")
        said = machine.sh(f"{install}; apt-get install -y ./*.deb", cwd="/packages/before")
        for name in NAMES:
            assert said.count(f"systemctl enable --now {name}\n") == 1
            assert active(machine, name) == ("inactive", "disabled")
        assert machine.sh("libvirt-mqtt --version").strip() == f"libvirt-mqtt {__version__}"
        assert not machine.sh("command -v gcc || true")

    def test_a_real_event_arrives(self, machine: Machine) -> None:
        """After the commands of the README."""
        machine.sh("systemctl start libvirtd mosquitto")
        subscriber = Subscriber(machine)
        for command in commands("README.md")[1:]:
            machine.sh(command)
        machine.write(HOOK, f'#!/bin/sh\necho "$LIBVIRT_MQTT_ID" >> {NOTED}\n')
        machine.sh(f"chmod 755 {HOOK}")
        machine.sh(f"systemctl enable --now {' '.join(NAMES)}")
        subscriber.until("libvirt/v1/hosts/host1/status", '"connected": ?true')
        subscriber.until("libvirt/v1/correlators/main/status", "online")
        machine.sh("virsh -q pool-define-as before dir --target /tmp/before")
        subscriber.until("libvirt/v1/hosts/host1/pools/[^/]+/lifecycle/defined", '"before"')

    def test_a_hook_is_run_for_a_verdict(self, machine: Machine) -> None:
        """By its own user."""
        machine.until_logged("libvirt-mqtt-hook", "broker.connected")
        failed = verdict(1)
        machine.write("/run/failed.json", f"{failed.payload.decode()}\n")
        machine.sh(f"mosquitto_pub -q 1 -t {failed.topic} -f /run/failed.json")
        wait_until(
            lambda: machine.sh(f"cat {NOTED}", check=False) == "m1-failed-0\n",
            lambda: machine.logged("libvirt-mqtt-hook"),
        )
        assert machine.sh(f"stat -c %U {NOTED}").strip() == "libvirt-mqtt-hook"

    def test_manuals_and_completions_are_there(self, machine: Machine) -> None:
        for command in ("", "-agent", "-correlator", "-hook", "-watch", "-check-config"):
            page = f"/usr/share/man/man1/libvirt-mqtt{command}.1.gz"
            assert (
                machine.sh(f"MANROFFSEQ= man --warnings -E UTF-8 -l -Tutf8 -Z {page} 2>&1 >/dev/null") == ""
            )
        complete = "COMP_WORDS=(libvirt-mqtt wat) COMP_CWORD=1; _libvirt_mqtt; echo $COMPREPLY"
        assert (
            machine.sh(f". /usr/share/bash-completion/completions/libvirt-mqtt; {complete}").strip()
            == "watch"
        )

    def test_it_goes_on_after_a_reboot(self, machine: Machine) -> None:
        machine.restart()
        for name in NAMES:
            machine.until_logged(name, "broker.connected")
            assert active(machine, name) == ("active", "enabled")

    def test_an_upgrade_loses_nothing(self, machine: Machine) -> None:
        """Storage pools are defined all the while, and each is published; sequences have no hole."""
        subscriber = Subscriber(machine)
        machine.sh("systemctl start libvirtd; mkdir -p /run/made")
        define = (
            "virsh -q pool-define-as made$i dir --target /tmp/made$i && touch /run/made/made$i; sleep 0.2"
        )
        machine.sh(f"systemd-run -q -u maker bash -c 'while :; do i=$((i+1)); {define}; done'")
        machine.sh("apt-get install -y /packages/*.deb")
        machine.sh("sleep 1; systemctl stop maker")
        made = machine.sh("ls /run/made").split()
        assert len(made) > 5
        wait_until(lambda: set(made) <= subscriber.defined_pools(), subscriber.defined_pools, 40)
        stream = subscriber.stream()
        assert len({each["id"].rpartition("-")[0] for each in stream}) == 1
        sequences = sorted({int(each["sequence"]) for each in stream})
        assert sequences == list(range(sequences[0], sequences[-1] + 1))
        assert machine.sh("dpkg-query -W -f '${Version}' libvirt-mqtt-agent").startswith(__version__)
        for name in NAMES:
            assert active(machine, name) == ("active", "enabled")
            assert machine.show(name, "NRestarts") == {"NRestarts": "0"}

    def test_settings_and_state_stay_when_it_is_removed(self, machine: Machine) -> None:
        machine.sh("apt-get remove -y libvirt-mqtt-common")
        for name in NAMES:
            assert machine.show(name, "ActiveState") == {"ActiveState": "inactive"}
        assert "outbox.sqlite3" in machine.sh("ls /var/lib/libvirt-mqtt")
        assert "hook-main.db" in machine.sh("ls /var/lib/libvirt-mqtt-hook")
        assert "broker.example" in machine.sh(f"grep ^broker {SETTINGS}")

    def test_a_purge_leaves_what_the_administrator_made(self, machine: Machine, before: set[str]) -> None:
        machine.sh("touch /etc/libvirt-mqtt/broker-password")
        machine.sh(PURGE)
        left = {file for file in files(machine) - before if OURS.search(file)}
        folder = "/etc/libvirt-mqtt"
        assert left == {folder, f"{folder}/broker-password", f"{folder}/hooks.d", HOOK}
        assert machine.sh("getent passwd libvirt-mqtt libvirt-mqtt-hook || true") == ""

    def test_one_host_in_five_commands(self, machine: Machine) -> None:
        """docs/homelab.md, to the letter; the fifth is a subscriber."""
        *first, subscriber = commands("docs/homelab.md")
        assert len(first) == 4
        machine.sh("\n".join(first), cwd="/packages")
        heard = machine.sh(f"timeout 10 {subscriber}", check=False)
        assert "libvirt/v1/hosts/host1/status" in heard
        machine.sh(PURGE)

    def test_a_fleet_with_certificates(self, machine: Machine) -> None:
        """docs/fleet.md, to the letter: a secured broker, both services, and somebody who may only read."""
        *first, subscriber, password, watch = commands("docs/fleet.md")
        began = machine.sh("date +%s").strip()
        machine.sh("\n".join(first), cwd="/packages")
        for name in NAMES[:2]:
            wait_until(partial(connected_since, machine, name, began), timeout_s=30)
        heard = machine.sh(f"timeout 4 {subscriber}", check=False)
        assert "libvirt/v1/hosts/host1/status" in heard
        assert "libvirt/v1/correlators/main/status" in heard
        seen = machine.sh(f"export HOME=/root; {password}; timeout 4 {watch} --json", check=False)
        states = [json.loads(line) for line in seen.splitlines() if line.startswith('{"topic"')]
        assert {each["payload"]["data"]["state"] for each in states if each["topic"].endswith("/status")} == {
            "online"
        }

    def test_the_ansible_role_does_it_too(self, machine: Machine, built: Path, tmp_path: Path) -> None:
        """With the certificates of before; a second time there is nothing left to do."""
        machine.sh(f"{MAKE_CERTIFICATE} hook")
        for name in ("host1", "correlator-main", "hook"):
            for kind in ("crt", "key"):
                (tmp_path / f"{name}.{kind}").write_text(machine.sh(f"cat {CERTIFICATES}/{name}.{kind}"))
        (tmp_path / "authority.crt").write_text(machine.sh(f"cat {CERTIFICATES}/authority.crt"))
        machine.sh(f"{PURGE}; rm -r /etc/libvirt-mqtt")
        inventory = {
            "libvirt_hosts": {"hosts": {"host1": {}}},
            "correlators": {"hosts": {"host1": {}}},
            "hooks": {"hosts": {"host1": {}}},
            "all": {
                "vars": {
                    "libvirt_mqtt_broker": "mqtts://broker.example",
                    "libvirt_mqtt_packages": str(built),
                    "libvirt_mqtt_certificates": str(tmp_path),
                }
            },
        }
        playbook = packages.ROOT / "docker" / "ansible" / "site.yml"
        began = machine.sh("date +%s").strip()
        machine.play(playbook, inventory, tmp_path)
        for name in (*NAMES[:2], "libvirt-mqtt-hook"):
            assert active(machine, name) == ("active", "enabled")
            wait_until(partial(connected_since, machine, name, began), timeout_s=30)
        assert re.search(r"host1 .* changed=0 ", machine.play(playbook, inventory, tmp_path))
