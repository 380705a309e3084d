"""Processes that die with this one, whatever ends it."""

import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

# The kernel sends the parent-death signal when the *thread* that forked ends: so one thread forks them all.
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lab-spawner")
_starting = threading.Lock()

Process = subprocess.Popen[str]


def start(
    command: Sequence[str | Path],
    *,
    output: IO[str] | int | None = None,
    errors: IO[str] | int | None = None,
    stdin: int = subprocess.DEVNULL,
    environment: dict[str, str] | None = None,
    cwd: Path | None = None,
) -> Process:
    """Start `command` so that it gets SIGKILL when this process ends, be it by SIGKILL itself."""

    def spawn() -> Process:
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *map(str, command)],
            stdin=stdin,
            stdout=output,
            stderr=errors,
            env=environment,
            cwd=cwd,
            text=True,
        )

    with _starting:
        return _spawner.submit(spawn).result()


def only_child(pid: int) -> int | None:
    """The process that `pid` forked and waits for; None while it hasn't."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return None
    return int(children[0]) if children else None


def started_at(pid: int) -> int | None:
    """When `pid` started, in clock ticks since boot, which tells it from a later one; None if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in {"Z", "X"} else int(fields[19])


def own_identity() -> tuple[int, int]:
    """This process's id and the time it started at."""
    pid = os.getpid()
    start_ticks = started_at(pid)
    assert start_ticks is not None
    return pid, start_ticks


def told_to_end(pid: int) -> bool:
    """Whether a stopped process has SIGTERM pending."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, mask = line.partition(":")
        if name in {"SigPnd", "ShdPnd"} and int(mask, 16) & (1 << (signal.SIGTERM - 1)):
            return True
    return False
