"""Processes that a test starts and ends, the program's commands among them, started as a user would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

ROOT = Path(__file__).parents[2]


def environment() -> dict[str, str]:
    """Ours, without settings of the program."""
    return {name: value for name, value in os.environ.items() if not name.startswith("LIBVIRT_MQTT_")}


def wait_until(
    condition: Callable[[], object], what: Callable[[], object] = lambda: "", timeout_s: float = 20.0
) -> None:
    """Returns as soon as `condition` holds. One that takes long to ask is asked for half of the time: what is
    waited for needs the processor, too.
    """
    asked_s = time.monotonic()
    deadline = asked_s + timeout_s
    while not condition():
        answered_s = time.monotonic()
        assert answered_s < deadline, f"not within {timeout_s} s: {what()}"
        time.sleep(max(0.02, answered_s - asked_s))
        asked_s = time.monotonic()


class LoggedProcess:
    """A process that is started and ended any number of times; what it logs goes to a file."""

    pipes: ClassVar[bool] = False
    """Whether its standard input and output are the test's; else what it writes is part of the log."""

    def __init__(self, log: Path, folder: Path, **options: Any) -> None:
        """options: further arguments of Popen, or others than its defaults here."""
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log
        self._options = {"cwd": folder, "env": environment(), **options}
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def command(self) -> Sequence[str]:
        """What is started."""
        raise NotImplementedError

    @property
    def pid(self) -> int:
        """The process, which has to run."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """All that it has written."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def start(self) -> None:
        """Starts it and returns at once."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE if self.pipes else subprocess.DEVNULL,
                stdout=subprocess.PIPE if self.pipes else log,
                stderr=log,
                text=True,
                **self._options,
            )

    def start_until(self, ready: Callable[[], bool], timeout_s: float = 20.0) -> None:
        """Starts it and waits until it is ready. Raises RuntimeError if it isn't in time."""
        deadline = time.monotonic() + timeout_s
        LoggedProcess.start(self)
        while not ready():
            if not self.running or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"{self.command[0]} isn't ready:\n{self.log[-2000:]}")
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL, also when it doesn't run."""
        self._end(signal.SIGKILL)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Asks it to stop; returns the exit status."""
        return self._end(number)

    def wait(self, timeout_s: float = 20.0) -> int:
        """Waits until it ends by itself; returns the exit status."""
        assert self._process is not None
        return self._process.wait(timeout_s)

    def _end(self, number: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        with process:
            if process.poll() is None:
                process.send_signal(number)
            try:
                return process.wait(20)
            finally:
                if process.poll() is None:
                    process.kill()


class ProgramProcess(LoggedProcess):
    """`libvirt-mqtt` with one of its commands."""

    pipes = True

    def __init__(self, program: str, log: Path, **options: object) -> None:
        super().__init__(log, ROOT)
        self._arguments = [
            f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}")
            for name, value in options.items()
        ]
        self._program = program

    @property
    def command(self) -> list[str]:
        """What is started."""
        return [sys.executable, "-m", "bridge", self._program, *self._arguments]

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The log lines of one name."""
        lines = [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") == event]

    def until_logged(self, event: str, times: int = 1, timeout_s: float = 20.0) -> None:
        """Waits until it has said this so often."""
        wait_until(lambda: len(self.logged(event)) >= times, lambda: self.log, timeout_s)
