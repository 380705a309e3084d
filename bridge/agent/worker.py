"""A named thread whose end is noticed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

_log = structlog.get_logger()


class Worker:
    """Runs `work` in a daemon thread. What it raises is kept in `error`, for the supervisor.

    `beat` is for a loop that runs at least every few seconds; `silent_s` is the time since the last one.
    """

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        self.name = name
        self.error: BaseException | None = None
        self._work = work
        self._beat_at_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    @property
    def silent_s(self) -> float:
        """Seconds since the last beat."""
        return time.monotonic() - self._beat_at_s

    def beat(self) -> None:
        """The loop has turned once more."""
        self._beat_at_s = time.monotonic()

    def start(self) -> None:
        """Begins; returns at once."""
        self._beat_at_s = time.monotonic()
        self._thread.start()

    def join(self, timeout_s: float) -> bool:
        """Whether the thread has ended, within this time at most."""
        if self._thread.ident is not None:
            self._thread.join(max(0.0, timeout_s))
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - the supervisor ends the process with it
            self.error = error
            _log.critical("thread.died", thread=self.name, exc_info=error)
