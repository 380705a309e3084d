"""The role for Ansible: its lint, and what it sets."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bridge.config import PROGRAMS, AgentSettings, CorrelatorSettings
from bridge.options import load
from tests.tools.packages import ROOT

pytestmark = [pytest.mark.lab, pytest.mark.slow]


@pytest.fixture
def role(tmp_path: Path) -> Path:
    """A copy: what lints and runs it writes beside it."""
    return Path(shutil.copytree(ROOT / "docker" / "ansible", tmp_path / "ansible"))


def run(folder: Path, *command: str) -> None:
    own = {"HOME": str(folder), "ANSIBLE_LOCAL_TEMP": str(folder / "tmp"), "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **own}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_strictest_lint_finds_nothing(role: Path) -> None:
    run(role, "ansible-lint", "--offline", "--profile", "production")


def test_the_settings_that_it_writes_are_read_by_both_services(role: Path) -> None:
    """As the example of an inventory has it, without the certificates, which aren't here."""
    settings = role / "libvirt-mqtt.toml"
    template = role / "roles" / "libvirt_mqtt" / "templates" / "libvirt-mqtt.toml.j2"
    (role / "play.yml").write_text(f"""\
- hosts: host1
  connection: local
  tasks:
    - ansible.builtin.include_vars: {role}/roles/libvirt_mqtt/defaults/main.yml
    - ansible.builtin.template: {{src: {template}, dest: {settings}, mode: "0644"}}
""")
    own = {"libvirt_mqtt_certificates": "", "libvirt_mqtt_settings": {"agent": {"reconcile": 10}}}
    run(role, "ansible-playbook", "-i", "inventory.example.yml", "-e", json.dumps(own), "play.yml")
    agent = load(AgentSettings, "agent", {"config": settings}, {}, PROGRAMS).settings
    assert (str(agent.broker), agent.reconcile_s) == ("mqtts://broker.example:8883", 10)
    correlator = load(CorrelatorSettings, "correlator", {"config": settings}, {}, PROGRAMS).settings
    assert (correlator.broker, str(correlator.http)) == (agent.broker, "127.0.0.1:9472")
