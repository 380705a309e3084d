"""The completions for zsh, in a zsh that a person types into."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from bridge import manual
from bridge.cli import CHECKABLE, HELP
from tests.support.processes import wait_until

pytestmark = pytest.mark.lab

SETUP: Final = r"""
PS1= PS2= RPS1=
fpath=("$PWD" $fpath)
autoload -Uz compinit && compinit -u -d "$PWD/dump"
compadd() {
    local -a found
    if [[ "${@[1,(i)(-|--)]}" != *-[OAD]\ * ]]; then
        builtin compadd -O found "$@"
        print -rl -- $found >> "$PWD/found"
    fi
    builtin compadd "$@"
}
listed() { compprefuncs=(listed); comppostfuncs=(ended) }
ended() { compstate[insert]= compstate[list]=; : > "$PWD/done" }
compprefuncs=(listed)
: > "$PWD/done"
"""
"""What is offered goes to the file `found`; `done` is made when it is ready, and when all was offered."""


class Zsh:
    """An interactive zsh that has read the completions."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "_libvirt-mqtt").write_text(dict(manual.files())["_libvirt-mqtt"])
        (folder / "setup").write_text(SETUP)
        self._terminal, end = pty.openpty()
        self.process = subprocess.Popen(
            ["zsh", "-f", "-i"], stdin=end, stdout=end, stderr=end, cwd=folder, start_new_session=True
        )
        os.close(end)
        self._type(". ./setup\n")

    def offers(self, typed: str) -> set[str]:
        """What it offers for this, or would write itself."""
        found = self._folder / "found"
        found.unlink(missing_ok=True)
        self._type(f"\x15{typed}\t")
        return {line for line in found.read_text().splitlines() if line} if found.exists() else set()

    def _type(self, text: str) -> None:
        """Types, and waits until it was dealt with."""
        done = self._folder / "done"
        done.unlink(missing_ok=True)
        os.write(self._terminal, text.encode())
        wait_until(done.exists, lambda: os.read(self._terminal, 65_536).decode(errors="replace"))


@pytest.fixture(scope="module")
def zsh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zsh]:
    found = Zsh(tmp_path_factory.mktemp("zsh"))
    yield found
    with found.process:
        found.process.kill()


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("libvirt-mqtt ", set(HELP)),
        ("libvirt-mqtt wat", {"watch"}),
        ("libvirt-mqtt check-config ", set(CHECKABLE)),
        ("libvirt-mqtt agent --outbox-p", {"--outbox-policy"}),
        ("libvirt-mqtt agent --outbox-policy ", {"newest", "oldest"}),
        ("libvirt-mqtt check-config correlator --se", {"--settle"}),
        ("libvirt-mqtt hook --par", {"--parallel", "--parked"}),
        ("libvirt-mqtt check-broker --gr", {"--group"}),
        ("libvirt-mqtt check-broker hook da", {"dashboard"}),
        ("libvirt-mqtt watch --only ", {"migrations", "events", "states"}),
        ("libvirt-mqtt history --fa", {"--failed"}),
        ("libvirt-mqtt schemas --w", {"--write"}),
        ("libvirt-mqtt agent --config s", {"setup"}),
        ("libvirt-mqtt agent --host ", set()),
    ],
)
def test_zsh_completes(zsh: Zsh, typed: str, offered: set[str]) -> None:
    assert zsh.offers(typed) == offered
