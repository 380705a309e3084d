"""One program, run to its end or its timeout: no shell, a process group of its own, bounded output."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Final

KILL_AFTER_S: Final = 5.0
"""How long a process group has to end after SIGTERM, before SIGKILL."""
KEPT_BYTES: Final = 4096
KEPT_LINES: Final = 10
_OURS: Final = ("LIBVIRT_MQTT_", "NOTIFY_SOCKET", "WATCHDOG_", "LISTEN_")
"""The variables of our own environment that a program doesn't get."""
PIPE_BYTES: Final = 65_536
"""What a pipe holds (pipe(7)): all that a program wrote before it ended is read in one go."""
STOPPED: Final = "the runner was stopped"
"""Why a program was ended that had not failed."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended. why: None where it ended well. output: the last lines that it wrote."""

    why: str | None
    output: str
    lasted_s: float


class Stop:
    """Asks running programs to end, from any thread."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_CLOEXEC)

    def set(self) -> None:
        """From now on, for good."""
        if self._write >= 0:
            os.close(self._write)  # whoever waits for the other end sees that it has ended
            self._write = -1

    @property
    def is_set(self) -> bool:
        """Whether it was asked for."""
        return self._write < 0

    def fileno(self) -> int:
        """Readable once it was asked for."""
        return self._read


def run(
    command: Sequence[str], variables: Mapping[str, str], payload: bytes, *, timeout_s: float, stop: Stop
) -> Ended:
    """Runs a program with `payload` as its standard input. Returns when it has ended, whoever else still
    holds its output; after `timeout_s`, or `stop`, its process group gets SIGTERM and then SIGKILL.
    """
    began = time.monotonic()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    try:
        with _file_with(payload) as standard_input:
            process = subprocess.Popen(  # noqa: S603 - what the administrator has put there
                command,
                stdin=standard_input,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**inherited, **variables},
                start_new_session=True,
            )
    except (OSError, ValueError) as error:
        return Ended(f"can't be started: {error}", "", 0.0)
    output = process.stdout
    assert output is not None
    with output:
        os.set_blocking(output.fileno(), False)
        tail = bytearray()
        why = _wait(process, output, tail, began + timeout_s, stop)
        if why is not None:
            _end_group(process, output, tail)
            why = why.format(timeout_s=timeout_s)
        _read(output, tail)
    status = process.returncode
    if why is None and status:
        why = f"ended with status {status}" if status > 0 else f"ended by {signal.Signals(-status).name}"
    return Ended(why, _last_lines(tail), time.monotonic() - began)


def _file_with(payload: bytes) -> IO[bytes]:
    """A file without a name: unlike a pipe it never makes the writer wait, whether it is read or not."""
    file = os.fdopen(os.memfd_create("message"), "r+b", buffering=0)
    file.write(payload)
    file.seek(0)
    return file


def _wait(
    process: subprocess.Popen[bytes], output: IO[bytes], tail: bytearray, deadline: float, stop: Stop
) -> str | None:
    """Reads along until the process has ended; returns why it has to be ended, where it has to."""
    ended = os.pidfd_open(process.pid)
    try:
        reads = [ended, output.fileno(), stop.fileno()]
        while (left_s := deadline - time.monotonic()) > 0:
            readable, _, _ = select.select(reads, [], [], left_s)
            if output.fileno() in readable and not _read(output, tail):
                reads.remove(output.fileno())
            if ended in readable:
                process.wait()
                return None
            if stop.fileno() in readable:
                return STOPPED
    finally:
        os.close(ended)
    return "not done within {timeout_s:g} s"


def _end_group(process: subprocess.Popen[bytes], output: IO[bytes], tail: bytearray) -> None:
    """SIGTERM to the group, SIGKILL once its first process has ended or its time is over. That one is waited
    for last: until then nobody else can have got the group's number.
    """
    deadline = time.monotonic() + KILL_AFTER_S
    os.killpg(process.pid, signal.SIGTERM)
    while time.monotonic() < deadline and not _has_ended(process):
        _read(output, tail)
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _read(output: IO[bytes], tail: bytearray) -> bool:
    """Takes what is there, as much as a pipe holds, and keeps the end of it. False: there won't be more."""
    try:
        chunk = os.read(output.fileno(), PIPE_BYTES)
    except BlockingIOError:
        return True
    tail += chunk
    del tail[:-KEPT_BYTES]
    return bool(chunk)


def _last_lines(tail: bytearray) -> str:
    return "\n".join(tail.decode("utf-8", "replace").splitlines()[-KEPT_LINES:])
