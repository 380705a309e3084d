"""What a mutant is tried with: the tests of verdicts, what was mended, and the explorer's slice."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Final

import pytest

from tests.explorer import observer
from tests.explorer.explore import of_one, try_one
from tests.explorer.observer import Trouble
from tests.explorer.stories import histories
from tests.explorer.test_explorer import SLICES
from tests.explorer.test_mended import MENDED, mended
from tests.explorer.world import History

LONGEST_S: Final = 150
"""Of processor time: on a slow machine the longest, which enumerates a world first, takes a fifth of that."""


class Endless(BaseException):
    """A trial that doesn't end."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One test or history. kind: those of one differ little; run: what came of it, to know a mutant by."""

    name: str
    kind: str
    run: Callable[[], tuple[str, ...]]


@contextmanager
def _bounded() -> Iterator[None]:
    def over(*_: object) -> None:
        raise Endless

    signal.signal(signal.SIGVTALRM, over)
    signal.setitimer(signal.ITIMER_VIRTUAL, LONGEST_S)
    yield
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def of_tests(items: Sequence[pytest.Item]) -> Iterator[Trial]:
    """Each test; what comes of it is whether it fails."""
    for item in items:
        yield Trial(item.nodeid, item.nodeid.partition("[")[0], partial(_tested, item))


def _tested(item: pytest.Item) -> tuple[str, ...]:
    listener = _Listener()
    item.config.pluginmanager.register(listener)
    with _bounded():
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
    item.config.pluginmanager.unregister(listener)
    return tuple(listener.failed)


class _Listener:
    def __init__(self) -> None:
        self.failed: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(report.when)


def of_histories(every: int) -> Iterator[Trial]:
    """Of the histories of the explorer's slice one in `every`; what comes of it is the kinds of faults."""
    for bounds in SLICES:
        chosen = islice(enumerate(histories(bounds.stories)), bounds.first, None, bounds.every)
        for number, history in chosen:
            for n, (index, troubles) in enumerate(of_one(observer.troubles(history).all, bounds, number)):
                if (n + number) % every == 0:
                    story, run = "+".join(bounds.stories), partial(_explored, history, troubles)
                    kinds = "+".join(sorted(trouble.kind for trouble in troubles))
                    yield Trial(f"{story} {index}", f"{story} {kinds}", run)


def of_mended() -> Iterator[Trial]:
    """Each history that was mended, a kind of its own."""
    for stories in MENDED:
        for (name, words), history, troubles in mended(stories):
            yield Trial(f"{name} {words}", f"{name} {words}", partial(_explored, history, troubles))


def _explored(history: History, troubles: Sequence[Trouble]) -> tuple[str, ...]:
    with _bounded():
        faults = try_one(history, troubles)
    return tuple(sorted({fault.kind for fault in faults or ()}))
