"""Runs each task in a child of its own, forked when its turn comes: what it changes is gone with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, Pipe, wait
from multiprocessing.context import ForkProcess
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


def in_children(
    tasks: Iterable[Task], run: Callable[[Task], Result], jobs: int
) -> Iterator[tuple[Task, Result | None]]:
    """Each task with what came of it, as they end; None of a child that died."""
    running: dict[Connection, tuple[ForkProcess, Task]] = {}
    waiting = iter(tasks)
    while True:
        while len(running) < jobs and (task := next(waiting, None)) is not None:
            here, there = Pipe(duplex=False)
            child = ForkProcess(target=_send, args=(there, run, task))
            child.start()
            there.close()
            running[here] = (child, task)
        if not running:
            return
        for end in wait(list(running)):
            assert isinstance(end, Connection)
            child, task = running.pop(end)
            try:
                result = end.recv()
            except EOFError:
                result = None
            child.join()
            end.close()
            yield task, result


def _send(end: Connection, run: Callable[[Task], object], task: Task) -> None:
    end.send(run(task))
