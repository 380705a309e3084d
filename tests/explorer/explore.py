"""Tries histories, each under each of its troubles, and counts what is wrong by its kind.

A history has an index: the number of its world history and that of its trouble within it, `120.7`; from the
number of single troubles on, the pairs. The same index is always the same history.
"""

from __future__ import annotations

import gc
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from multiprocessing import get_context
from time import monotonic
from typing import Final, NamedTuple

import structlog

from tests.explorer import observer, stories
from tests.explorer.observer import Trouble
from tests.explorer.play import play
from tests.explorer.properties import Fault, wrong_with
from tests.explorer.world import History

EXAMPLES: Final = 3


@dataclass(frozen=True, slots=True)
class Bounds:
    """What to try. stories: by name; of the world's histories those whose number is `first` and every
    `every`th after it; of each one's troubles likewise one in `troubles_every`, and of pairs one in
    `pairs_every` (0: none). world, trouble: only those whose name holds this.
    """

    stories: tuple[str, ...] = tuple(stories.STORIES)
    first: int = 0
    every: int = 1
    troubles_every: int = 1
    pairs_every: int = 0
    world: str = ""
    trouble: str = ""


class Example(NamedTuple):
    """One wrong history: its stories, its index (`number`), its troubles, and what is wrong."""

    stories: tuple[str, ...]
    number: str
    troubles: tuple[Trouble, ...]
    why: str


@dataclass(slots=True)
class Found:
    """What was tried, and what was wrong: by shape of the attempts, trouble and property, with the first
    examples.
    """

    tried: int = 0
    worlds: int = 0
    left_out: int = 0
    impossible: int = 0
    wrong: int = 0
    kinds: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    examples: dict[tuple[str, str, str], list[Example]] = field(default_factory=dict)

    def add(self, other: Found) -> None:
        """Takes in what another process found."""
        for name in ("tried", "worlds", "left_out", "impossible", "wrong"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.kinds += other.kinds
        for kind, examples in other.examples.items():
            known = self.examples.setdefault(kind, [])
            known += examples[: EXAMPLES - len(known)]


@lru_cache(maxsize=8)
def worlds(names: tuple[str, ...]) -> list[History]:
    """All world histories of these stories."""
    return list(stories.histories(names))


def of_one(
    single: Sequence[Trouble], bounds: Bounds, number: int
) -> Iterator[tuple[str, tuple[Trouble, ...]]]:
    """The troubles of one world history within the bounds, each with the history's index."""
    for n, trouble in enumerate(single):
        wanted = bounds.trouble in str(trouble)
        if wanted and (n == 0 or (n + number) % bounds.troubles_every == 0):
            yield f"{number}.{n}", (trouble,)
    if bounds.pairs_every:
        for n, pair in enumerate(observer.pairs(single, bounds.pairs_every)):
            if bounds.trouble in f"{pair[0]} {pair[1]}":
                yield f"{number}.{n + len(single)}", pair


def try_one(history: History, troubles: Sequence[Trouble]) -> list[Fault] | None:
    """What is wrong with one history; None where its troubles can't be together."""
    real = [trouble for trouble in troubles if trouble.kind != "none"]
    seen = observer.observe(history, real)
    if seen is None:
        return None
    try:
        played = play(seen)
    except Exception as error:  # noqa: BLE001 - a decision that fails is a fault like any other
        return [Fault(f"raised {type(error).__name__}", str(error)[:200])]
    return wrong_with(seen, played)


def try_all(bounds: Bounds, numbers: Iterable[int]) -> Found:
    """These world histories under their troubles."""
    found = Found()
    all_worlds = worlds(bounds.stories)
    for number in numbers:
        history = all_worlds[number]
        if bounds.world not in str(history):
            continue
        found.worlds += 1
        single = observer.troubles(history)
        found.left_out += single.left_out
        without: set[str] = set()
        for index, troubles in of_one(single.all, bounds, number):
            faults = try_one(history, troubles)
            if faults is None:
                found.impossible += 1
                continue
            found.tried += 1
            found.wrong += bool(faults)
            if troubles == (observer.NONE,):
                without = {fault.kind for fault in faults}
            for kind, why in faults:
                under = " + ".join(sorted({trouble.kind for trouble in troubles}))
                if kind in without and under != "none":
                    under = "any, as without"
                key = (shape(history), under, kind)
                found.kinds[key] += 1
                examples = found.examples.setdefault(key, [])
                if len(examples) < EXAMPLES:
                    examples.append(Example(bounds.stories, index, troubles, why))
    return found


def shape(history: History) -> str:
    """What kind of history it is: its story, and how its attempts ended."""
    story = history.name.split(" transient")[0].split(" persistent")[0]
    attempts = " then ".join(
        f"{a.outcome or 'none'} {a.reason or a.attention or a.mode}" for a in history.attempts
    )
    return f"{story}: {attempts or 'no attempt'}"


def explore(bounds: Bounds, *, jobs: int = 1, seconds: float | None = None) -> Iterator[Found]:
    """Tries all within the bounds, in `jobs` processes; yields what was found so far, after each piece."""
    numbers = range(bounds.first, len(worlds(bounds.stories)), bounds.every)
    pieces = [numbers[n : n + 8] for n in range(0, len(numbers), 8)]
    ends = None if seconds is None else monotonic() + seconds
    found = Found()
    if jobs == 1:
        quiet()
        for piece in pieces:
            found.add(try_all(bounds, piece))
            yield found
            if ends is not None and monotonic() > ends:
                return
        return
    with get_context("fork").Pool(jobs, initializer=quiet) as pool:
        for part in pool.imap(_Piece(bounds), pieces):
            found.add(part)
            yield found
            if ends is not None and monotonic() > ends:
                pool.terminate()
                return


@dataclass(frozen=True, slots=True)
class _Piece:
    bounds: Bounds

    def __call__(self, numbers: range) -> Found:
        return try_all(self.bounds, numbers)


def quiet() -> None:
    """The program's log says nothing here, and little is looked for garbage."""
    gc.set_threshold(100_000)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
