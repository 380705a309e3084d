"""Where is measured: a broker, the programs held against each other, and what the kernel says of them."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tests.support.broker import free_port, program

ROOT: Final = Path(__file__).parent.parent.parent
TICKS: Final = os.sysconf("SC_CLK_TCK")
ANSWER_S: Final = 60.0
BEGIN_S: Final = 240.0


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured. Smoke is the same in small: it shows that everything works, and no figure."""

    rounds: int
    events: int
    trickle: int
    domains: int
    idle_s: float
    backlog: int
    listed: int
    messages: int
    ordinary: int
    paced_s: float
    known: tuple[int, ...]
    hosts: int
    fleet: int
    fleet_s: float
    rows: int
    losses: int


FULL: Final = Scale(
    rounds=5,
    events=10_000,
    trickle=200,
    domains=1_000,
    idle_s=31.0,
    backlog=1_000_000,
    listed=5_000,
    messages=10_000,
    ordinary=2_000,
    paced_s=4.0,
    known=(1_000, 10_000, 100_000, 1_000_000),
    hosts=1_000,
    fleet=100_000,
    fleet_s=30.0,
    rows=10_000_000,
    losses=20,
)
SMOKE: Final = Scale(
    rounds=1,
    events=200,
    trickle=10,
    domains=10,
    idle_s=0.2,
    backlog=500,
    listed=20,
    messages=300,
    ordinary=30,
    paced_s=0.5,
    known=(50, 200),
    hosts=4,
    fleet=40,
    fleet_s=3.0,
    rows=20_000,
    losses=1,
)


@dataclass(frozen=True, slots=True)
class Place:
    """A folder that goes away, and how much is to be measured."""

    folder: Path
    scale: Scale

    @contextmanager
    def broker(self) -> Iterator[Broker]:
        """A mosquitto of its own that drops nothing, and doesn't log; the same for both sides."""
        port = free_port()
        config = self.folder / f"mosquitto-{port}.conf"
        lines = [f"listener {port} 127.0.0.1", "allow_anonymous true", "persistence false", "log_type none"]
        lines += ["max_queued_messages 0", "max_inflight_messages 1000", "set_tcp_nodelay true"]
        config.write_text("\n".join([*lines, ""]))
        process = subprocess.Popen([program("mosquitto"), "-c", config], stderr=subprocess.DEVNULL)
        try:
            time.sleep(0.3)
            assert process.poll() is None, "mosquitto doesn't start"
            yield Broker(port, process.pid)
        finally:
            process.kill()
            process.wait()

    def state_dir(self, name: str) -> Path:
        """A new, empty folder."""
        folder = self.folder / f"{name}-{time.monotonic_ns()}"
        folder.mkdir()
        return folder


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker that runs."""

    port: int
    pid: int


class Child:
    """A program of `tests.bench.programs`: takes a line of words, answers with a line of JSON."""

    def __init__(self, name: str, *arguments: object) -> None:
        command = [sys.executable, "-m", f"tests.bench.programs.{name}", *map(str, arguments)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        self.name = name
        self.first = self._answer(BEGIN_S)
        """What it said once it was ready."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self._process
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def tell(self, *words: object) -> None:
        """Has it begin something; `ask` waits for its answer, too."""
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()

    def ask(self, *words: object) -> dict[str, Any]:
        """Has it do something, and returns what it says of it."""
        self.tell(*words)
        return self._answer()

    def answer(self) -> dict[str, Any]:
        """The answer to what it was told."""
        return self._answer()

    def pause(self) -> None:
        """Stands still, so that the other side has the machine for itself."""
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Goes on."""
        os.kill(self.pid, signal.SIGCONT)

    def _answer(self, timeout_s: float = ANSWER_S) -> dict[str, Any]:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], timeout_s)[0]:
            raise TimeoutError(f"{self.name} doesn't answer")
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended: {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def cpu_s(pid: int) -> float:
    """Processor time of a process so far, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def peak_mb(pid: int) -> float:
    """The most memory that the process has had, in MB."""
    return _memory(pid, "VmHWM")


def memory_mb(pid: int) -> float:
    """The memory that the process has now, in MB."""
    return _memory(pid, "VmRSS")


def _memory(pid: int, name: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise LookupError(name)
