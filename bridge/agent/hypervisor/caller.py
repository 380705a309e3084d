"""Threads for calls that may block for ever."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

Result = TypeVar("Result")
_END: Final = None


class Caller:
    """Makes calls one after the other in a daemon thread of its own; results are passed to functions.

    A call that never returns costs this thread; the process can still end.
    """

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def call(
        self,
        function: Callable[[], Result],
        answered: Callable[[Result], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Calls `function`, then `answered` with its result or `failed` with its error, in that thread."""

        def run() -> None:
            try:
                result = function()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is passed to `failed`
                failed(error)
            else:
                answered(result)

        self._calls.put(run)

    def end(self) -> None:
        """Lets the thread end after the calls that are queued."""
        self._calls.put(_END)

    def join(self, timeout_s: float) -> bool:
        """Whether the thread ended within this time."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (call := self._calls.get()) is not _END:
            call()
            del call


class Callers:
    """A few callers, created on demand; one whose call blocks is left alone. Thread-safe."""

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._most = most
        self._made = 0
        self._idle: deque[Caller] = deque()

    def call(
        self,
        function: Callable[[], Result],
        answered: Callable[[Result], None],
        failed: Callable[[Exception], None],
    ) -> bool:
        """As `Caller.call`. False, and nothing is called, when all are busy."""
        try:
            caller = self._idle.popleft()
        except IndexError:
            if self._made >= self._most:
                return False
            self._made += 1
            caller = Caller(f"{self._name}-{self._made}")

        def free(then: Callable[[Any], None], result: object) -> None:
            self._idle.append(caller)
            then(result)

        caller.call(function, partial(free, answered), partial(free, failed))
        return True
