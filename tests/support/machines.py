"""Machines that tests install things on: containers with systemd as their first process."""

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tests.support.containers import ROOT, Podman
from tests.support.processes import wait_until

# systemd counts on mounts being shared, as they are where it is a machine's first process.
_FIRST: Final = ("-c", "mount --make-rshared /; exec /sbin/init")
_OPTIONS: Final = ("--privileged", "--systemd=always", "--user", "0", "--entrypoint", "/bin/sh")


def shell_blocks(page: str, section: str = "") -> list[list[str]]:
    """The commands of a page, or of one section: of each block its lines, in the page's order."""
    text = (ROOT / page).read_text()
    if section:
        text = text.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return [block.splitlines() for block in re.findall(r"```sh\n(.+?)```", text, re.DOTALL)]


class Machine:
    """A machine that runs."""

    def __init__(self, podman: Podman, name: str) -> None:
        self._podman = podman
        self._name = name

    def play(self, playbook: Path, inventory: dict[str, Any], scratch: Path) -> str:
        """What Ansible prints that plays a playbook here, with this for its inventory."""
        ssh = scratch / "ssh"  # the last of its arguments is the command
        ssh.write_text(f'#!/bin/bash\nexec podman exec -i {self._name} sh -c "${{@: -1}}"\n')
        ssh.chmod(0o755)
        (scratch / "inventory.json").write_text(json.dumps(inventory))
        return self._podman.run(
            *("ansible-playbook", "-i", scratch / "inventory.json", playbook),
            *(
                "-e",
                f"ansible_ssh_executable={ssh}",
                "-e",
                "ansible_ssh_transfer_method=piped",
                "-e",
                "ansible_become=false",
            ),
            timeout_s=300,
            HOME=str(scratch),
            ANSIBLE_NOCOLOR="1",
        )

    def sh(self, script: str, *, check: bool = True, cwd: str = "/") -> str:
        """What a script prints, run as root."""
        return self._podman("exec", "-w", cwd, self._name, "bash", "-ec", script, check=check)

    def write(self, path: str, text: str) -> None:
        """A file with this text."""
        self.sh(f"mkdir -p $(dirname {path}); cat > {path} <<'EOF'\n{text}EOF")

    def restart(self) -> None:
        """Shut down, and up again."""
        self._podman("restart", "-t", "30", self._name)
        self.wait_running()

    def wait_running(self) -> None:
        """Returns when systemd has started all that it starts."""
        wait_until(lambda: "running" in self.sh("systemctl is-system-running", check=False), timeout_s=60)

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """Properties of a unit."""
        lines = self.sh(f"systemctl show {unit} -p {','.join(properties)}").splitlines()
        return dict(line.split("=", 1) for line in lines)

    def logged(self, unit: str) -> list[dict[str, Any]]:
        """The log lines of a service of ours."""
        lines = self.sh(f"journalctl -q -o cat --no-pager -u {unit} _COMM=libvirt-mqtt", check=False)
        return [json.loads(line) for line in lines.splitlines() if line.startswith("{")]

    def until_logged(self, unit: str, event: str, times: int = 1) -> None:
        """Returns as soon as a service has logged this so many times."""
        wait_until(
            lambda: [line["event"] for line in self.logged(unit)].count(event) >= times,
            lambda: self.sh(f"systemctl status -n 30 {unit}", check=False),
            timeout_s=30,
        )


@contextlib.contextmanager
def machine(podman: Podman, name: str, what: str | Path, *options: str) -> Iterator[Machine]:
    """A machine that runs while the block does: of an image, or of a root folder, which stays as it is."""
    source = ("--rootfs", f"{what}:O") if isinstance(what, Path) else (what,)
    with podman.container(name, *_OPTIONS, *options, *source, *_FIRST):
        found = Machine(podman, name)
        found.wait_running()
        yield found
