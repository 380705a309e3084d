"""The polkit rule lets the agent's user look on and do no more, where libvirt's own rules were restricted.

A real libvirtd that asks a real polkitd, on a bus of their own.
"""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from tests.lab.fixtures import needs_lab
from tests.lab.host import Host
from tests.lab.lab import Lab
from tests.support.processes import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.slow]

RULES: Final = Path(__file__).parents[2] / "docker" / "polkit" / "libvirt-mqtt.rules"
UIDS: Final = {"libvirt-mqtt": 10001, "somebody": 10002}
ACTIONS: Final = """\
<?xml version="1.0" encoding="UTF-8"?>
<policyconfig>
  <action id="org.libvirt.unix.monitor">
    <message>Look at virtual machines</message>
    <defaults><allow_any>no</allow_any><allow_inactive>no</allow_inactive><allow_active>no</allow_active></defaults>
  </action>
  <action id="org.libvirt.unix.manage">
    <message>Manage virtual machines</message>
    <defaults><allow_any>no</allow_any><allow_inactive>no</allow_inactive><allow_active>no</allow_active></defaults>
  </action>
</policyconfig>
"""
"""libvirt's actions as an administrator may have restricted them: nobody may anything."""
BUS: Final = """\
<busconfig>
  <type>system</type>
  <listen>unix:path=/run/dbus/system_bus_socket</listen>
  <policy context="default">
    <allow user="*"/><allow own="*"/><allow send_type="method_call"/><allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/><allow receive_type="method_return"/>
    <allow receive_type="error"/><allow receive_type="signal"/>
  </policy>
</busconfig>
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host whose libvirtd asks polkit, and whose polkit has the rule."""
    needs_lab()
    folder = tmp_path_factory.mktemp("polkit")
    folder.chmod(0o755)
    for parent in folder.parents[:2]:
        parent.chmod(0o755)
    users = [f"{name}:x:{uid}:{uid}::/:/usr/sbin/nologin" for name, uid in UIDS.items()]
    groups = [f"{name}:x:{uid}:" for name, uid in UIDS.items()]
    files = {
        "passwd": "\n".join([*_unlike("passwd"), *users, ""]),
        "group": "\n".join([*_unlike("group"), *groups, ""]),
        "bus.conf": BUS,
        "actions/org.libvirt.unix.policy": ACTIONS,
        f"rules/40-{RULES.name}": RULES.read_text(),
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
        (folder / name).chmod(0o644)
    with ExitStack() as stack:
        lab = stack.enter_context(Lab(1))
        (found,) = lab.hosts
        for source, target in (
            ("passwd", "/etc/passwd"),
            ("group", "/etc/group"),
            ("actions", "/usr/share/polkit-1/actions"),
            ("rules", "/etc/polkit-1/rules.d"),
        ):
            subprocess.run(found.command("mount", "--bind", folder / source, target), check=True)
        subprocess.run(found.command("mkdir", "-p", "/run/dbus"), check=True)
        for command in (
            ["dbus-daemon", "--nofork", f"--config-file={folder / 'bus.conf'}"],
            ["/usr/lib/polkit-1/polkitd", "--no-debug"],
        ):
            daemon = subprocess.Popen(
                found.command(*command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            stack.callback(daemon.wait)
            stack.callback(daemon.kill)
            time.sleep(0.5)
        conf = found.folder / "etc/libvirt/libvirtd.conf"
        conf.write_text(conf.read_text().replace('auth_unix_ro = "none"', 'auth_unix_ro = "polkit"'))
        found.restart_libvirtd()
        yield found


def virsh(host: Host, user: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What a user gets from virsh inside the host."""
    uid = str(UIDS[user])
    command = ["setpriv", "--reuid", uid, "--regid", uid, "--clear-groups", "virsh", "-q", *arguments]
    return subprocess.run(
        host.command(*command), capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"}
    )


def test_the_agents_user_may_look_on(host: Host) -> None:
    wait_until(lambda: virsh(host, "libvirt-mqtt", "-r", "-c", "qemu:///system", "list").returncode == 0)
    version = virsh(host, "libvirt-mqtt", "-r", "-c", "qemu:///system", "version")
    assert "hypervisor" in version.stdout.lower()


def test_nobody_else_may_by_this_rule(host: Host) -> None:
    refused = virsh(host, "somebody", "-r", "-c", "qemu:///system", "list")
    assert refused.returncode != 0
    assert "org.libvirt.unix.monitor" in refused.stderr or "authentication" in refused.stderr


def test_the_agents_user_may_not_change_anything(host: Host) -> None:
    """By the read-only connection libvirt itself refuses; by the other one polkit is asked for more."""
    refused = virsh(host, "libvirt-mqtt", "-r", "-c", "qemu:///system", "define", "/dev/null")
    assert refused.returncode != 0
    look = "pkcheck --action-id org.libvirt.unix.$each --process $$ && echo $each"
    script = f"for each in monitor manage; do {look}; done"
    asked = ["setpriv", "--reuid", "10001", "--regid", "10001", "--clear-groups", "sh", "-c", script]
    done = subprocess.run(host.command(*asked), capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["monitor"], done.stderr


def _unlike(name: str) -> list[str]:
    """The machine's users or groups, but for those whose numbers are needed."""
    taken = {str(uid) for uid in UIDS.values()}
    lines = (Path("/etc") / name).read_text().splitlines()
    return [line for line in lines if line.split(":")[2] not in taken]
