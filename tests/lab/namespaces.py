"""The namespaces a lab lives in.

One process is the first of a PID namespace of the lab's own: when it dies, the kernel kills everything in
there, libvirtd and QEMU included, and with the last process the networks and mounts vanish. That process
dies with the harness. Its network namespace holds the bridge; each host has one more, and one for its mounts
and its hostname. The machine's own network never sees any of it, so labs don't meet.
"""

import shlex
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.lab import process, waiting

# Ignored children are reaped by the kernel, so no dead QEMU stays a zombie that libvirtd would wait for.
HOLD = "exec env --ignore-signal=CHLD sleep infinity"
BRIDGE = "lab"
NETWORK = "10.77.0"
UNSHARE_PROCESSES = (
    *("unshare", "--pid", "--fork", "--kill-child=KILL", "--mount", "--net", "--propagation=private"),
)
UNSHARE = ("unshare", "--net", "--uts", "--mount", "--propagation=private")


class Space:
    """A set of namespaces, held open by one process; commands are run in it."""

    def __init__(self, holder: int, kinds: Sequence[str]) -> None:
        self.holder = holder
        self.kinds = tuple(kinds)

    def entering(self, command: Sequence[str | Path], *, kinds: Sequence[str] | None = None) -> list[str]:
        """`command` as run inside; `kinds` (nsenter's option names) narrows which namespaces are entered."""
        flags = [f"--{kind}" for kind in (self.kinds if kinds is None else kinds)]
        return ["nsenter", f"--target={self.holder}", *flags, "--", *map(str, command)]

    def run(
        self, *command: str | Path, kinds: Sequence[str] | None = None, timeout_s: float = 20.0
    ) -> subprocess.CompletedProcess[str]:
        """Run `command` inside, with its output; raises `CalledProcessError` with its stderr as a note."""
        try:
            return subprocess.run(
                self.entering(command, kinds=kinds),
                check=True,
                capture_output=True,
                text=True,
                timeout=timeout_s,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.CalledProcessError as failure:
            failure.add_note(f"{shlex.join(map(str, command))}: {failure.stderr.strip()}")
            raise


class Switch(Space):
    """The lab's first process, with the bridge that the hosts' cables end in."""

    def __init__(self) -> None:
        setup = "mount -t proc proc /proc && " + " && ".join(
            [
                "ip link set lo up",
                f"ip link add {BRIDGE} type bridge forward_delay 0",
                f"ip link set {BRIDGE} up",
                "echo ready",
                HOLD,
            ]
        )
        self.anchor = process.start(
            [*UNSHARE_PROCESSES, "sh", "-c", setup],
            output=subprocess.PIPE,
        )
        super().__init__(_first_process(self.anchor), ("net", "mount", "pid"))

    def stop(self) -> None:
        """Kill everything in the lab and wait until the last of it is gone."""
        self.anchor.kill()
        self.anchor.wait()
        waiting.until(lambda: process.started_at(self.holder) is None, what="the lab's processes to end")


class HostSpace(Space):
    """One host's network, mounts and hostname, within the switch's PID namespace."""

    def __init__(self, switch: Switch, *, index: int, hostname: str, setup: Sequence[str]) -> None:
        """`setup` are the shell commands that mount what the host has of its own."""
        lines = ["set -e", f"hostname {hostname}", "ip link set lo up", *setup, "echo ready", HOLD]
        self.keeper = process.start(
            switch.entering([*UNSHARE, "sh", "-c", "\n".join(lines)]),
            output=subprocess.PIPE,
        )
        super().__init__(_first_process(self.keeper), ("net", "uts", "mount", "pid"))
        self.switch = switch
        self.port = f"port{index}"
        self.address = f"{NETWORK}.{index}"
        self.mac = f"02:00:00:00:77:{index:02x}"
        # Names of namespaces are given as the machine's own process ids, so only the network is entered.
        only_net = ("net",)
        switch.run(
            *("ip", "link", "add", self.port, "type", "veth"),
            *("peer", "name", "eth0", "address", self.mac, "netns", str(self.holder)),
            kinds=only_net,
        )
        switch.run("ip", "link", "set", self.port, "master", BRIDGE, "up", kinds=only_net)
        self.run("ip", "address", "add", f"{self.address}/24", "dev", "eth0", kinds=only_net)
        self.run("ip", "link", "set", "eth0", "up", kinds=only_net)

    def network_down(self) -> None:
        """Drop everything that goes to or comes from this host, as a pulled cable behind a switch does."""
        self.switch.run("bridge", "link", "set", "dev", self.port, "state", "disabled", kinds=("net",))

    def network_up(self) -> None:
        """Undo `network_down`."""
        self.switch.run("bridge", "link", "set", "dev", self.port, "state", "forwarding", kinds=("net",))

    def cut(self, other: "HostSpace") -> None:
        """Drop what passes between this host and `other`, and nothing else: frames go to no one's address."""
        nowhere = "02:00:00:00:77:ff"
        for one, peer in ((self, other), (other, self)):
            one.run(
                *("ip", "neighbour", "replace", peer.address, "lladdr", nowhere, "dev", "eth0"),
                *("nud", "permanent"),
                kinds=("net",),
            )

    def join(self, other: "HostSpace") -> None:
        """Undo `cut`."""
        for one, peer in ((self, other), (other, self)):
            one.run(
                *("ip", "neighbour", "replace", peer.address, "lladdr", peer.mac, "dev", "eth0"),
                *("nud", "reachable"),
                kinds=("net",),
            )

    def processes(self) -> list[int]:
        """The machine's ids of the processes in this host, the one that holds it open left out."""
        own = Path(f"/proc/{self.holder}/ns/uts").readlink()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != self.holder:
                try:
                    if (entry / "ns/uts").readlink() == own:
                        found.append(int(entry.name))
                except OSError:
                    continue
        return found


def _first_process(starter: process.Process) -> int:
    """Wait until the shell in a new namespace says ready; return its process id as the machine sees it."""
    assert starter.stdout is not None
    with starter.stdout as output:
        said = output.readline()
    child = process.only_child(starter.pid)
    if said != "ready\n" or child is None:
        starter.send_signal(signal.SIGKILL)
        raise RuntimeError(f"the namespace couldn't be made: {starter.args!r}")
    return child
