"""One `virsh migrate`, run on the source host as an administrator would."""

import subprocess
from types import TracebackType
from typing import Self

from tests.lab import process
from tests.lab.guest import Guest
from tests.lab.host import Host


class Migration:
    """A running `virsh migrate` of `guest` from `source` to `destination`.

    Live and by way of the two libvirtds unless `options` (virsh's words, as "--suspend"), `live` and `direct`
    (the client steers, connected to both) say otherwise. `slow` holds the copy to 1 MiB/s, so that a busy
    guest's goes on until it is ended or `hurry` is called. `port` sends the source (or, direct, the client)
    to a proxy on the source host instead of to the destination.
    """

    def __init__(
        self,
        guest: Guest,
        source: Host,
        destination: Host,
        *options: str,
        live: bool = True,
        direct: bool = False,
        slow: bool = False,
        port: int | None = None,
    ) -> None:
        self.guest, self.source, self.destination = guest, source, destination
        target = destination.name if port is None else f"127.0.0.1:{port}"
        command = ["virsh", "-q", "-k", "2", "-K", "3", "-c", "qemu:///system", "migrate"]
        command += [guest.uuid, f"qemu+tcp://{target}/system", *options]
        command += ["--live"] if live else []
        command += [] if direct else ["--p2p"]
        command += ["--bandwidth", "1"] if slow else []
        self.process = process.start(
            source.command("env", "LC_ALL=C", *command), output=subprocess.DEVNULL, errors=subprocess.PIPE
        )
        self.said = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def running(self) -> bool:
        """Whether the client still runs."""
        return self.process.poll() is None

    def wait(self, timeout_s: float = 30.0) -> int:
        """Wait for the client's end: 0 when it believes in a success; `said` is then its stderr."""
        self.said += self.process.communicate(timeout=timeout_s)[1] or ""
        return self.process.returncode

    def succeed(self, timeout_s: float = 30.0) -> None:
        """Wait for the end and assert that it was a success."""
        status = self.wait(timeout_s)
        assert status == 0, f"virsh migrate ended with status {status}: {self.said.strip()}"

    def fail(self, timeout_s: float = 30.0) -> None:
        """Wait for the end and assert that it was a failure."""
        status = self.wait(timeout_s)
        assert status != 0, "virsh migrate was expected to fail, and didn't"

    def kill(self) -> None:
        """Kill the client with SIGKILL."""
        child = process.only_child(self.process.pid)
        if self.running and child is not None:
            self.source.kill_process(child)
        self.process.kill()
        self.wait()

    def hurry(self) -> None:
        """Let a slow copy run at full speed."""
        self.source.virsh("migrate-setspeed", self.guest.uuid, "1000")

    def abort(self, *options: str) -> None:
        """End the job as `virsh domjobabort` does."""
        self.source.virsh("domjobabort", self.guest.uuid, *options)
