"""The independent witness: what each host's libvirtd emitted, to hold against what our programs say."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.lab import process
from tests.lab.host import Host
from tests.lab.waiting import TimedOut

LISTENER = Path(__file__).with_name("listener.py")
Line = dict[str, Any]


def token(line: Line) -> str:
    """A line's short name: "2,1" a lifecycle event, "iter", "job" (and operation), "lost" and "back"."""
    match line["what"]:
        case "lifecycle":
            return f"{line['event']},{line['detail']}"
        case "iteration":
            return "iter"
        case "job_completed":
            return f"job{line['params'].get('operation', '?')}"
        case "disconnected":
            return "lost"
        case _:
            return "back"


class Witness:
    """Listens to the given hosts from another process for as long as it is entered.

    `lines` grows in the order of receipt; `mark()` is a place in it, to look at what came since.
    """

    def __init__(self, hosts: Iterable[Host]) -> None:
        self.hosts = list(hosts)
        self.lines: list[Line] = []
        self.start_s = time.monotonic()
        self._news = threading.Condition()
        self._process: process.Process | None = None
        self._reader: threading.Thread | None = None

    def __enter__(self) -> Self:
        ears = [f"{host.name}={host.uri}" for host in self.hosts]
        command: list[str | Path] = [sys.executable, LISTENER, str(self.start_s), *ears]
        self._process = process.start(command, output=subprocess.PIPE)
        self._reader = threading.Thread(target=self._read, name="witness", daemon=True)
        self._reader.start()
        names = {host.name for host in self.hosts}
        self.wait(lambda lines: {line["host"] for line in lines} >= names, what="the listener to connect")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        assert self._reader is not None
        self._process.kill()
        self._process.wait()
        self._reader.join(timeout=5)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def mark(self) -> int:
        """The place after the last line so far."""
        with self._news:
            return len(self.lines)

    def since(self, mark: int) -> list[Line]:
        """The lines after a mark."""
        with self._news:
            return self.lines[mark:]

    def tokens(self, host: Host, uuid: str, since: int = 0) -> list[str]:
        """What `host` emitted about one domain, as tokens; connections lost and made again are among them."""
        return [token(line) for line in self.since(since) if _tells(line, host, uuid)]

    def wait(
        self, predicate: Callable[[list[Line]], bool], *, what: str, since: int = 0, timeout_s: float = 20.0
    ) -> None:
        """Return when `predicate` of the lines since a mark is true; raise `TimedOut` if it never is."""
        with self._news:
            if not self._news.wait_for(lambda: predicate(self.lines[since:]), timeout_s):
                heard = [f"{line['host']}:{token(line)}" for line in self.lines[since:]]
                raise TimedOut(f"waited {timeout_s:g} s for {what}; heard {' '.join(heard) or 'nothing'}")

    def wait_for(
        self, host: Host, uuid: str, wanted: str, *, since: int = 0, times: int = 1, timeout_s: float = 20.0
    ) -> None:
        """Return when `host` has emitted the token `wanted` about the domain `times` times since the mark."""

        def heard(lines: list[Line]) -> bool:
            return sum(_tells(line, host, uuid) and token(line) == wanted for line in lines) >= times

        self.wait(heard, what=f"{host.name} to emit {wanted}", since=since, timeout_s=timeout_s)

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for text in self._process.stdout:
            with self._news:
                self.lines.append(json.loads(text))
                self._news.notify_all()


def _tells(line: Line, host: Host, uuid: str) -> bool:
    return bool(line["host"] == host.name and line.get("uuid", uuid) == uuid)
