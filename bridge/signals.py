"""Signals of the process as requests."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType


@contextmanager
def signals(stop: Callable[[], object], hangup: Callable[[], object]) -> Iterator[None]:
    """Inside this context SIGTERM and SIGINT call `stop`, SIGHUP `hangup`; then the former handlers are
    restored.

    For the main thread; raises ValueError in any other.
    """
    calls = {signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGHUP: hangup}

    def handle(number: int, _frame: FrameType | None) -> None:
        calls[signal.Signals(number)]()

    before = {number: signal.signal(number, handle) for number in calls}
    try:
        yield
    finally:
        for number, handler in before.items():
            with suppress(TypeError):  # a handler that wasn't set from Python can't be set again
                signal.signal(number, handler)
