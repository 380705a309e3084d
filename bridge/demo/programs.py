"""The demo's programs, each a process: the agent with its test hypervisor, and the correlator."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from bridge.errors import BridgeError

_STOP_S: Final = 8.0


class ProgramEndedError(BridgeError):
    """One of the demo's programs ended before it was asked to; the message has its last words."""


class Program:
    """A running process. Its standard error goes to a file."""

    def __init__(self, name: str, arguments: Sequence[str], folder: Path) -> None:
        self._name = name
        self._asked_to_stop = False
        self._log = folder / f"{name}.log"
        with self._log.open("wb") as log:
            # A session of its own: Ctrl-C is for the demo, which stops everything in order.
            self._process = subprocess.Popen(  # noqa: S603 - our own modules, no shell
                [sys.executable, "-P", "-m", *arguments],
                env=_environment(),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def check(self) -> None:
        """Raises ProgramEndedError when it no longer runs, though nobody asked it to stop."""
        status = self._process.poll()
        if status is not None and not self._asked_to_stop:
            words = self._log.read_text("utf-8", "replace").strip().splitlines()
            last = words[-1] if words else "it said nothing"
            raise ProgramEndedError(f"the {self._name} ended with status {status}: {last}")

    def write_line(self, line: str) -> None:
        """Writes a line to its standard input. Raises ProgramEndedError when it no longer reads."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{line}\n".encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            self._process.wait(_STOP_S)
            self.check()

    def ask_to_stop(self) -> None:
        """Closes its standard input and sends SIGTERM; does not wait."""
        self._asked_to_stop = True
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.terminate()

    def end(self) -> None:
        """Asks it to stop, and makes it stop when it doesn't."""
        self.ask_to_stop()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _environment() -> dict[str, str]:
    """Ours, without what the user has set for real services: the demo must not touch their stores.

    Modules are found where this process finds them: a package keeps them in a folder of its own.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("LIBVIRT_MQTT_") and name != "NOTIFY_SOCKET"
    }
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


@contextmanager
def running(name: str, arguments: Sequence[str], folder: Path) -> Iterator[Program]:
    """A program that runs while the block does."""
    program = Program(name, arguments, folder)
    try:
        yield program
    finally:
        program.end()
