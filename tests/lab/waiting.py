"""Waiting for something to become so: a poll with an end, never a bare sleep."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class TimedOut(AssertionError):
    """What was waited for didn't come in time."""


def until(
    probe: Callable[[], T | None],
    *,
    what: str | Callable[[], str],
    timeout_s: float = 20.0,
    interval_s: float = 0.02,
) -> T:
    """Ask `probe` until its answer is true and return that; raise `TimedOut`, with `what`, if it never is."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() > deadline:
            awaited = what if isinstance(what, str) else what()
            raise TimedOut(f"waited {timeout_s:g} s for {awaited}; the last answer was {answer!r}")
        time.sleep(interval_s)
