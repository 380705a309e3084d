"""Makes a wrong history small: troubles and steps are left out as long as the same rule is still broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from tests.explorer.explore import try_one
from tests.explorer.observer import Trouble
from tests.explorer.properties import Fault, true_columns
from tests.explorer.world import GAP_S, History, Step, written

Case = tuple[History, tuple[Trouble, ...]]
ABOUT_STEPS: Final = ("dead", "blind", "clock steps", "stretch")
"""Troubles whose numbers are those of steps; those of messages mean others where a step is left out."""


def smallest(
    history: History,
    troubles: Sequence[Trouble],
    wrong: Callable[[History, Sequence[Trouble]], bool] | None = None,
) -> tuple[Case, list[Fault]]:
    """The history and the troubles of which nothing can be left out, and what is wrong with them.

    wrong: whether one is still wrong; by default, whether a rule is broken that the first one breaks.
    """
    kinds = {fault.kind for fault in try_one(history, troubles) or []}
    still = wrong or (lambda *case: any(fault.kind in kinds for fault in try_one(*case) or []))
    case = (history, tuple(troubles))
    found = True
    while found:
        smaller = next((one for one in _simpler(*case) if still(*one)), None)
        found, case = smaller is not None, smaller or case
    return case, try_one(*case) or []


def _simpler(history: History, troubles: tuple[Trouble, ...]) -> Iterator[Case]:
    """The same with one thing less, what says most first."""
    real = [trouble for trouble in troubles if trouble.kind != "none"]
    for n in range(len(real)):
        yield history, tuple(real[:n] + real[n + 1 :])
    for n, trouble in enumerate(real):
        for smaller in (0.0, trouble.s / 10):
            if abs(trouble.s) > 1.0 and trouble.kind in ("dead", "blind", "cut", "restart", "late"):
                yield history, (*real[:n], trouble._replace(s=smaller), *real[n + 1 :])
    for n, step in enumerate(history.steps):
        if step.attempt is None or step.kind == "iter" or step.said.endswith("(6,2)"):
            moved = [_without(trouble, n) for trouble in real]
            if None not in moved:
                yield _dropped(history, n), tuple(trouble for trouble in moved if trouble is not None)


def _without(trouble: Trouble, n: int) -> Trouble | None:
    """The trouble where a step isn't there; None where it would be another."""
    if trouble.kind not in ABOUT_STEPS:
        return trouble
    if n in (trouble.first, trouble.last):
        return None
    return trouble._replace(first=trouble.first - (trouble.first > n), last=trouble.last - (trouble.last > n))


def _dropped(history: History, n: int) -> History:
    """The history without a step that leaves nothing behind: what happened after it comes sooner."""
    steps: list[Step] = history.steps[:n]
    gap = history.steps[n + 1].t - history.steps[n].t if n + 1 < len(history.steps) else 0.0
    sooner = gap if n == 0 else min(gap, GAP_S)
    steps += [step._replace(t=step.t - sooner) for step in history.steps[n + 1 :]]
    return replace(history, steps=steps)


def as_row(history: History, troubles: Sequence[Trouble], faults: Sequence[Fault]) -> str:
    """A wrong history as a row: what happened, under what, what was told and what is true."""
    lines = [f"    {written(history.steps)}", f"    under: {' + '.join(map(str, troubles)) or 'nothing'}"]
    lines += [f"    true: {true_columns(truth)}" for truth in history.attempts]
    return "\n".join([*lines, *(f"    {fault.kind}: {fault.why}" for fault in faults)])
