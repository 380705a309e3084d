"""Makes a wrong history small: troubles and steps are left out as long as the same rule is still broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from tests.explorer.explore import try_one
from tests.explorer.observer import Trouble
from tests.explorer.properties import true_columns
from tests.explorer.world import History, written

Case = tuple[History, tuple[Trouble, ...]]
ABOUT_STEPS: Final = ("dead", "blind", "clock steps", "stretch")
"""Troubles whose numbers are those of steps; those of messages mean others where a step is left out."""


def smallest(
    history: History, troubles: Sequence[Trouble], wrong: Callable[[History, Sequence[Trouble]], bool]
) -> Case:
    """The history and the troubles of which nothing can be left out. wrong: whether they still are."""
    case: Case = (history, tuple(troubles))
    found = True
    while found:
        smaller = next((one for one in _simpler(*case) if wrong(*one)), None)
        found, case = smaller is not None, smaller or case
    return case


def example(history: History, troubles: Sequence[Trouble], kind: str) -> str:
    """A wrong history made small, as a row: what happened, under what, what is true, what was told."""

    def breaks(*case: object) -> bool:
        return any(fault.kind == kind for fault in try_one(*case) or [])  # type: ignore[arg-type]

    small, fewer = smallest(history, troubles, breaks)
    lines = [f"    {written(small.steps)}", f"    under: {' + '.join(map(str, fewer)) or 'nothing'}"]
    lines += [f"    true: {true_columns(truth)}" for truth in small.attempts]
    faults = [fault for fault in try_one(small, fewer) or [] if fault.kind == kind]
    return "\n".join([*lines, *(f"    {fault.kind}: {fault.why}" for fault in faults)])


def _simpler(history: History, troubles: tuple[Trouble, ...]) -> Iterator[Case]:
    """The same with one thing less, what says most first."""
    real = [trouble for trouble in troubles if trouble.kind != "none"]
    if len(real) < len(troubles):
        yield history, tuple(real)
    for n in range(len(real)):
        yield history, tuple(real[:n] + real[n + 1 :])
    for n, trouble in enumerate(real):
        for smaller in (0.0, trouble.s / 10):
            if abs(trouble.s) > 1.0 and trouble.kind in ("dead", "blind", "cut", "restart", "late"):
                yield history, (*real[:n], trouble._replace(s=smaller), *real[n + 1 :])
    for first, last in _droppable(history):
        moved = [_without(trouble, first, last) for trouble in real]
        if None not in moved:
            yield _dropped(history, first, last), tuple(one for one in moved if one is not None)


def _droppable(history: History) -> Iterator[tuple[int, int]]:
    """Steps that leave nothing behind: what resembles a migration, where all is as before; announcements; and
    iterations.
    """
    steps = history.steps
    first = 0
    while first < len(steps):
        last = first
        while last + 1 < len(steps) and steps[last + 1].attempt == steps[first].attempt:
            last += 1
        if steps[first].attempt is None and _lists(history, first) == _lists(history, last + 1):
            yield first, last
        first = last + 1
    for n, step in enumerate(steps):
        if step.kind == "iter" or step.said.endswith("(6,2)"):
            yield n, n


def _lists(history: History, count: int) -> dict[str, object]:
    """What each host lists after so many steps, by what matters of it."""
    there = history.first | {step.host: step.there for step in history.steps[:count]}
    return {host: it and (it.state, it.id, it.persistent) for host, it in there.items()}


def _without(trouble: Trouble, first: int, last: int) -> Trouble | None:
    """The trouble where steps aren't there; None where it would be another."""
    if trouble.kind not in ABOUT_STEPS:
        return trouble
    if first <= trouble.first <= last or first <= trouble.last <= last:
        return None
    count = last - first + 1

    def moved(number: int) -> int:
        return number - count if number > last else number

    return trouble._replace(first=moved(trouble.first), last=moved(trouble.last))


def _dropped(history: History, first: int, last: int) -> History:
    """The history without these steps: what happened after them comes sooner."""
    steps = history.steps
    rest = steps[last + 1 :]
    sooner = rest[0].t - steps[first].t if rest else 0.0
    return replace(history, steps=[*steps[:first], *(one._replace(t=one.t - sooner) for one in rest)])
