"""Standing between a migration's parties: holding one step's message, to let go or to lose."""

import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.lab import process
from tests.lab.host import Host
from tests.lab.waiting import TimedOut

PROXY = Path(__file__).with_name("proxy.py")
LIBVIRTD_PORT = 16509


class Interception:
    """A proxy on `source` to `destination`'s libvirtd that holds one message, as "reply:finish".

    `call` is what the source (or the steering client) asks, `reply` what the destination answers; the steps
    are those of libvirt's migration protocol: begin, prepare, perform, finish, confirm.
    """

    def __init__(self, source: Host, destination: Host, held: str) -> None:
        self._held = threading.Event()
        self._obeyed = threading.Event()
        # The network is the source's, the programs are this machine's.
        command = source.space.entering(
            [sys.executable, PROXY, destination.space.address, str(LIBVIRTD_PORT), held], kinds=("net",)
        )
        self._process = process.start(command, output=subprocess.PIPE, stdin=subprocess.PIPE)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline().split()[1])
        self._reader = threading.Thread(target=self._read, name="interception", daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._reader.join(timeout=5)

    def wait_held(self, timeout_s: float = 20.0) -> None:
        """Return when the message has come and is held."""
        if not self._held.wait(timeout_s):
            raise TimedOut(f"waited {timeout_s:g} s for the message to hold")

    def release(self) -> None:
        """Send the held message on."""
        self._order("release")

    def cut(self) -> None:
        """Lose the held message by resetting the connections it was on."""
        self._order("cut")

    def _order(self, order: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(order + "\n")
        self._process.stdin.flush()
        if not self._obeyed.wait(10):
            raise TimedOut(f"the proxy didn't {order}")

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("held"):
                self._held.set()
            elif line.startswith("done"):
                self._obeyed.set()
