"""The systemd units: as systemd reads them, and run by a real systemd."""

import re
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from tests.support import machines
from tests.support.containers import IMAGE, ROOT, Podman
from tests.support.machines import Machine
from tests.support.processes import wait_until

UNITS: Final = ROOT / "docker" / "systemd"
NAMES: Final = tuple(f"libvirt-mqtt-{name}" for name in ("agent", "correlator", "dashboard", "hook"))
PASSWORD: Final = "known to systemd only"
SETTINGS: Final = """\
broker = "mqtt://host1@127.0.0.1"

[agent]
connect = "test:///default"
host = "host1"
http = "127.0.0.1:9471"

[correlator]
http = "127.0.0.1:9472"

[hook]
http = "127.0.0.1:9474"
"""
MOSQUITTO: Final = """\
listener 1883 127.0.0.1
allow_anonymous false
password_file /etc/mosquitto/passwords
"""


@pytest.mark.server
@pytest.mark.parametrize("name", NAMES)
def test_systemd_reads_them_without_complaint_and_takes_them_as_well_contained(
    tmp_path: Path, name: str
) -> None:
    """But for the program, which isn't where the units have it."""
    unit = tmp_path / f"{name}.service"
    text = (UNITS / unit.name).read_text()
    unit.write_text(text.replace("/opt/libvirt-mqtt/bin/libvirt-mqtt", "/bin/true"))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )
    assert (verified.returncode, verified.stderr) == (0, "")
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=15", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert rated.returncode == 0, rated.stdout[-300:]


@pytest.fixture(scope="module")
def machine(podman: Podman) -> Iterator[Machine]:
    """Units and settings are in place, nothing is started."""
    with machines.machine(podman, "tested_units", IMAGE, "-v", f"{UNITS}:/units:ro") as found:
        found.sh(
            "cp /units/*.service /etc/systemd/system/;"
            "for users in /units/*.sysusers; do"
            " cp $users /usr/lib/sysusers.d/$(basename $users .sysusers).conf; done; systemd-sysusers;"
            "for unit in agent correlator dashboard hook; do"
            " install -D /units/password.conf /etc/systemd/system/libvirt-mqtt-$unit.service.d/password.conf;"
            "done; systemctl daemon-reload; systemctl stop mosquitto;"
            "install -D /bin/true /etc/libvirt-mqtt/hooks.d/failed-nothing"
        )
        found.write("/etc/libvirt-mqtt/libvirt-mqtt.toml", SETTINGS)
        found.write("/etc/mosquitto/conf.d/tested.conf", MOSQUITTO)
        found.sh(
            f"cd /etc/libvirt-mqtt; umask 077; echo '{PASSWORD}' > broker-password;"
            f"touch /etc/mosquitto/passwords; chown mosquitto /etc/mosquitto/passwords;"
            f"mosquitto_passwd -b /etc/mosquitto/passwords host1 '{PASSWORD}'"
        )
        yield found


@pytest.mark.lab
@pytest.mark.slow
@pytest.mark.timeout(900)
class TestRunBySystemd:
    """One machine, from its first start to a wrong configuration."""

    @pytest.mark.parametrize("unit", NAMES)
    def test_it_is_ready_without_a_broker_and_is_not_root(self, machine: Machine, unit: str) -> None:
        machine.sh(f"systemctl start {unit}")
        shown = machine.show(unit, "ActiveState", "MainPID", "NRestarts")
        assert (shown["ActiveState"], shown["NRestarts"]) == ("active", "0")
        status = machine.sh(f"cat /proc/{shown['MainPID']}/status")
        assert re.findall(r"^(CapEff|CapBnd|NoNewPrivs|Seccomp):\s*(\S+)", status, re.MULTILINE) == [
            ("CapEff", "0" * 16),
            ("CapBnd", "0" * 16),
            ("NoNewPrivs", "1"),
            ("Seccomp", "2"),
        ]
        user = "libvirt-mqtt-hook" if unit == "libvirt-mqtt-hook" else "libvirt-mqtt"
        assert machine.sh(f"stat -c %U /proc/{shown['MainPID']}").strip() == user
        assert machine.sh(f"stat -c '%U %a' /var/lib/{user}").strip() == f"{user} 700"

    def test_all_find_the_broker_with_the_password_that_systemd_hands_them(self, machine: Machine) -> None:
        machine.sh("systemctl start mosquitto")
        for unit in NAMES:
            machine.until_logged(unit, "broker.connected")
        said = machine.sh("journalctl -q --no-pager; systemctl show libvirt-mqtt-agent; ps axeww || true")
        assert PASSWORD not in said
        ask = "from urllib.request import urlopen; print(urlopen('http://127.0.0.1:{port}/readyz').read())"
        for port in (9471, 9472, 9473, 9474):
            assert '"ok": true' in machine.sh(f'python3 -c "{ask.format(port=port)}"')
            metrics = machine.sh(f'python3 -c "{ask.format(port=port).replace("readyz", "metrics")}"')
            assert "process_resident_memory_bytes " in metrics

    def test_all_read_their_settings_again(self, machine: Machine) -> None:
        machine.sh(f"systemctl reload {' '.join(NAMES)}")
        for unit in NAMES:
            machine.until_logged(unit, "config.reloaded")

    def test_the_watchdog_ends_them_when_they_hang(self, machine: Machine) -> None:
        for unit in NAMES:
            machine.write(f"/run/systemd/system/{unit}.service.d/fast.conf", "[Service]\nWatchdogSec=2\n")
        machine.sh(f"systemctl daemon-reload; systemctl restart {' '.join(NAMES)}; sleep 4")
        for unit in NAMES:
            assert machine.show(unit, "NRestarts") == {"NRestarts": "0"}
            machine.sh(f"kill -STOP $(systemctl show {unit} -p MainPID --value)")
        for unit in NAMES:
            wait_until(partial(self.is_back, machine, unit), timeout_s=30)
            assert "watchdog" in machine.sh(f"journalctl -q --no-pager -u {unit}").lower()

    @staticmethod
    def is_back(machine: Machine, unit: str) -> bool:
        return machine.show(unit, "NRestarts", "ActiveState") == {"NRestarts": "1", "ActiveState": "active"}

    def test_a_stop_is_a_success(self, machine: Machine) -> None:
        """Also where it takes longer than the watchdog waits: the broker doesn't answer."""
        machine.sh("systemctl kill -s STOP mosquitto")
        machine.sh(f"systemctl stop {' '.join(NAMES)}; systemctl kill -s CONT mosquitto")
        for unit in NAMES:
            shown = machine.show(unit, "ActiveState", "Result", "ExecMainStatus")
            assert shown == {"ActiveState": "inactive", "Result": "success", "ExecMainStatus": "0"}, unit

    def test_a_wrong_configuration_is_said_once_and_not_tried_again(self, machine: Machine) -> None:
        machine.write("/etc/libvirt-mqtt/libvirt-mqtt.toml", SETTINGS.replace("mqtt:", "amqp:"))
        for unit in NAMES:
            machine.sh(f"systemctl start {unit}", check=False)
        machine.sh("sleep 3")
        for unit in NAMES:
            shown = machine.show(unit, "ActiveState", "ExecMainStatus")
            assert shown == {"ActiveState": "failed", "ExecMainStatus": "78"}
            said = machine.sh(f"journalctl -q -o cat --no-pager -u {unit}")
            assert said.count("the scheme is none of mqtt, mqtts, ws, wss") == 1
