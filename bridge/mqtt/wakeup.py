"""Lets another thread end a wait for the broker."""

import contextlib
import socket
from select import POLLIN, poll


class WakeUp:
    """A pair of sockets: `wake` writes to one, whatever waits polls the other."""

    def __init__(self) -> None:
        self._is_set = False
        self._in, self._out = socket.socketpair()
        self._in.setblocking(False)
        self._out.setblocking(False)
        self._poll = poll()
        self._poll.register(self._out, POLLIN)

    def fileno(self) -> int:
        """The descriptor to poll: readable after a `wake`, until `clear`."""
        return self._out.fileno()

    def wake(self) -> None:
        """Ends the wait under way, or else the next one. From any thread."""
        if not self._is_set:
            self._is_set = True
            with contextlib.suppress(OSError):  # full: it wakes anyhow; closed: nothing waits any more
                self._in.send(b"w")

    def wait(self, timeout_s: float) -> None:
        """Waits for a `wake`, at most this long."""
        if self._poll.poll(timeout_s * 1000):
            self.clear()

    def clear(self) -> None:
        """The wait has ended."""
        with contextlib.suppress(BlockingIOError):
            self._out.recv(4096)
        # After the reading: a wake between the two would otherwise leave its mark without its byte, for ever.
        self._is_set = False

    def close(self) -> None:
        """Closes both sockets."""
        self._in.close()
        self._out.close()
