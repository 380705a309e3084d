"""One host of the lab: its folders, its libvirtd, and what can be done to it from outside."""

import contextlib
import os
import signal
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path

from tests.lab import firmware, process, waiting
from tests.lab.namespaces import HostSpace, Switch

OWN_FOLDERS = ("etc/libvirt", "var/lib/libvirt", "var/log/libvirt", "var/cache/libvirt", "run")
FIRMWARE_FOLDER = "/var/lib/libvirt/firmware"
SHARED_FOLDER = "/var/lib/libvirt/shared"
KEEPALIVE = "keepalive_interval = 2\nkeepalive_count = 3\n"
LIBVIRTD_CONF = """\
listen_tls = 0
listen_tcp = 1
auth_tcp = "none"
auth_unix_ro = "none"
auth_unix_rw = "none"
host_uuid = "{host_uuid}"
"""
QEMU_CONF = """\
user = "root"
group = "root"
security_driver = "none"
namespaces = []
cgroup_controllers = []
remember_owner = 0
stdio_handler = "file"
"""


class Host:
    """A libvirt host, up from when it is made; its libvirtd is started with `start_libvirtd`."""

    def __init__(self, switch: Switch, lab_folder: Path, *, index: int, root: Path | None) -> None:
        """`index` counts from 1; `root` is another release's root folder, None for the machine's own."""
        self.name = f"host{index}"
        self.folder = lab_folder / self.name
        self.root = root
        self.socket = self.folder / "run/libvirt/libvirt-sock"
        self.uri = f"qemu+unix:///system?socket={self.socket}"
        self._libvirtd: process.Process | None = None
        self._write_configuration()
        self.space = HostSpace(switch, index=index, hostname=self.name, setup=self._mounts(lab_folder))

    def __repr__(self) -> str:
        return f"<{self.name}>"

    @property
    def pid(self) -> int | None:
        """libvirtd's process id as the machine sees it; None while there is none."""
        return None if self._libvirtd is None else process.only_child(self._libvirtd.pid)

    def start_libvirtd(self, *, wait: bool = True) -> None:
        """Start libvirtd; with `wait` return when it answers."""
        self.begin_libvirtd()
        if wait:
            self.wait_ready()

    def begin_libvirtd(self) -> None:
        """Start libvirtd, and don't wait for it."""
        with (self.folder / "libvirtd.log").open("a") as log:
            self._libvirtd = process.start(self.command("libvirtd", "--listen"), output=log, errors=log)

    def wait_ready(self) -> None:
        """Return when libvirtd answers."""
        waiting.until(self._answers, what=f"{self.name}'s libvirtd to answer", interval_s=0.05)

    def stop_libvirtd(self, signal_number: int = signal.SIGTERM) -> None:
        """End libvirtd by the signal, and return when it is gone; its guests go on."""
        if self._libvirtd is None:
            return
        pid = self.pid
        if pid is not None:
            os.kill(pid, signal_number)
        try:
            self._libvirtd.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._libvirtd.kill()
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
        self._libvirtd = None

    def restart_libvirtd(self, signal_number: int = signal.SIGTERM) -> None:
        """End libvirtd by the signal and start it again."""
        self.stop_libvirtd(signal_number)
        self.start_libvirtd()

    def signal_libvirtd(self, signal_number: int) -> None:
        """Send libvirtd a signal and don't wait: SIGSTOP makes it hang, SIGCONT go on."""
        pid = self.pid
        assert pid is not None, f"{self.name} has no libvirtd"
        os.kill(pid, signal_number)
        if signal_number == signal.SIGCONT and self._libvirtd is not None:
            # nsenter stops itself when its child is stopped (util-linux), and would never reap it.
            self._libvirtd.send_signal(signal.SIGCONT)

    def forget(self) -> None:
        """Take note that the lab's processes are gone."""
        self.space.keeper.wait()
        if self._libvirtd is not None:
            self._libvirtd.wait()
            self._libvirtd = None

    def ensure_up(self) -> None:
        """Mend what a scenario may have left: network away, libvirtd dead."""
        self.space.network_up()
        if self.pid is None:
            self.stop_libvirtd()
            self.start_libvirtd()

    def lose(self) -> None:
        """The host is lost, as when its power fails: the network falls silent, then all it runs is gone."""
        self.space.network_down()
        for pid in self.space.processes():
            self.kill_process(pid)
        if self._libvirtd is not None:
            self._libvirtd.wait()
            self._libvirtd = None

    def net_down(self) -> None:
        """Drop all packets to and from this host."""
        self.space.network_down()

    def net_up(self) -> None:
        """Undo `net_down`."""
        self.space.network_up()

    def cut(self, other: "Host") -> None:
        """Drop the packets between this host and `other` only."""
        self.space.cut(other.space)

    def join(self, other: "Host") -> None:
        """Undo `cut`."""
        self.space.join(other.space)

    def command(self, *command: str | Path) -> list[str]:
        """`command` as run in this host, by the programs of its own release."""
        inside: Sequence[str | Path] = command if self.root is None else ("chroot", self.root, *command)
        return self.space.entering(inside)

    def virsh(self, *arguments: str, check: bool = True, timeout_s: float = 30.0, stdin: str = "") -> str:
        """What `virsh ARGUMENTS` prints, run on the machine against this host's libvirtd.

        With `check` a failure raises `CalledProcessError`, with what virsh said as a note.
        """
        done = subprocess.run(
            ["virsh", "-q", "-c", self.uri, *arguments],
            check=False,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            input=stdin,
            env={**os.environ, "LC_ALL": "C"},
        )
        if check and done.returncode:
            failure = subprocess.CalledProcessError(done.returncode, done.args, done.stdout, done.stderr)
            failure.add_note(f"{self.name}: virsh {' '.join(arguments)}: {done.stderr.strip()}")
            raise failure
        return done.stdout.strip()

    def state(self, domain: str) -> str:
        """The domain's state and reason in virsh's words, as "running (booted)"; "gone" if there is none."""
        return self.virsh("domstate", domain, "--reason", check=False) or "gone"

    def domains(self) -> list[str]:
        """The UUIDs of all the host's domains."""
        return self.virsh("list", "--all", "--uuid").split()

    def qemu_pid(self, domain: str) -> int | None:
        """The process id, as the machine sees it, of the QEMU that runs the domain with this UUID."""
        for pid in self.space.processes():
            with contextlib.suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if b"-uuid" in line and line[line.index(b"-uuid") + 1].decode() == domain:
                    return pid
        return None

    def kill_qemu(self, domain: str, signal_number: int = signal.SIGKILL) -> None:
        """Send the QEMU that runs the domain with this UUID a signal."""
        pid = self.qemu_pid(domain)
        assert pid is not None, f"{self.name} runs no QEMU for {domain}"
        os.kill(pid, signal_number)

    def kill_process(self, pid: int) -> None:
        """Kill a process of this host, given by the machine's id, with SIGKILL; harmless if it is gone."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def log(self) -> str:
        """What libvirtd logged."""
        return (self.folder / "libvirtd.log").read_text()

    def _answers(self) -> bool:
        if self._libvirtd is None or self._libvirtd.poll() is not None:
            last = "\n".join(self.log().splitlines()[-5:])
            raise RuntimeError(f"{self.name}'s libvirtd ended; its log ends with:\n{last}")
        # The socket first: a virsh that finds none costs a hundred times as much as a look.
        return self.socket.exists() and self.virsh("version", check=False) != ""

    def _write_configuration(self) -> None:
        for own in OWN_FOLDERS:
            (self.folder / own).mkdir(parents=True)
        configuration = self.folder / "etc/libvirt"
        host_uuid = uuid.uuid4()
        (configuration / "libvirtd.conf").write_text(LIBVIRTD_CONF.format(host_uuid=host_uuid) + KEEPALIVE)
        (configuration / "qemu.conf").write_text(QEMU_CONF + KEEPALIVE)
        rom_folder = self.folder / FIRMWARE_FOLDER.lstrip("/")
        rom_folder.mkdir(parents=True)
        (rom_folder / "idle.rom").write_bytes(firmware.image(busy=False))
        (rom_folder / "busy.rom").write_bytes(firmware.image(busy=True))
        (self.folder / SHARED_FOLDER.lstrip("/")).mkdir(parents=True)

    def _mounts(self, lab_folder: Path) -> list[str]:
        root = "" if self.root is None else str(self.root)
        lines = ["mount -t sysfs sysfs /sys"]
        if root:
            lines += [f"mount --rbind /dev {root}/dev", f"mount -t proc proc {root}/proc"]
            lines += [f"mount -t sysfs sysfs {root}/sys"]
        for own in OWN_FOLDERS:
            lines += [f"mkdir -p {root}/{own}", f"mount --bind {self.folder}/{own} {root}/{own}"]
        lines += [f"mount --bind {lab_folder}/shared {root}{SHARED_FOLDER}"]
        lines += [f"mount --bind {lab_folder}/hosts {root}/etc/hosts"]
        return lines
