"""SIGTERM, SIGINT and their like, taken as a request to stop."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType


@contextmanager
def stop_signals(stop: Callable[[], object], *more: signal.Signals) -> Iterator[None]:
    """While it lasts, SIGTERM, SIGINT and `more` call `stop`; then the handlers that were there come back.

    For the main thread; raises ValueError in any other.
    """

    def handle(_number: int, _frame: FrameType | None) -> None:
        stop()

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT, *more)}
    try:
        yield
    finally:
        for number, handler in before.items():
            with suppress(TypeError):  # a handler that wasn't set from Python can't be set again
                signal.signal(number, handler)
