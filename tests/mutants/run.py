"""Tries every mutant, as pytest's main loop: it runs no test but in the children that it forks.

First all trials run once with nothing changed; what each reaches is kept in pytest's cache until a file
changes. A mutant is then tried only with what reaches its place, first what killed most others in least time.
`killed.json`, beside the file that names the survivors, keeps what killed each, as soon as it is found.
"""

from __future__ import annotations

import fnmatch
import gc
import hashlib
import json
import os
import pickle
import sys
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Final, NamedTuple

import pytest

from tests.explorer.explore import quiet
from tests.mutants.children import in_children
from tests.mutants.mutants import Mutant, mutants
from tests.mutants.reach import Reach
from tests.mutants.trials import Trial, of_histories, of_mended, of_tests

SURVIVORS: Final = Path(__file__).parent / "survivors.json"
_ROOT: Final = Path(__file__).parents[2]
_SAID_EVERY_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Options:
    """What to run: mutants by pattern, of the explorer's histories one in `every` (0: none), of each kind
    of trial that reaches a place so many before the others, the file that names survivors, whether to list
    the mutants only, in how many processes, and whether to print what kills each. held_by: these mutants
    alone, each with the trial that has to kill it. checks: those of `killed.json` alone, likewise, and who
    isn't killed is taken out; opens: those alone that neither file has.
    """

    only: str = ""
    every: int = 1
    most: int = 8
    survivors: Path = SURVIVORS
    lists: bool = False
    jobs: int = 1
    verbose: bool = False
    checks: bool = False
    opens: bool = False
    held_by: Mapping[str, str] = field(default_factory=dict)


class Unchanged(NamedTuple):
    """A trial with nothing changed: what came of it, the places that it reached, and how long it took."""

    came: tuple[str, ...]
    reached: frozenset[str]
    took_s: float


class Session:
    """A plugin of pytest. said, is_wrong: the summary, and whether a mutant isn't accounted for."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._named: dict[str, str] = json.loads(options.survivors.read_text())
        self._file = options.survivors.with_name("killed.json")
        names = {one.name for one in mutants()}
        killed: dict[str, str] = json.loads(self._file.read_text()) if self._file.exists() else {}
        self._killed = {name: killer for name, killer in killed.items() if name in names}
        self._held_by = dict(self._killed if options.checks else options.held_by)
        self._kills: Counter[str] = Counter()
        self.said = "nothing tried"
        self.is_wrong = False

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Instead of pytest's own loop."""
        only, held_by = self._options.only, self._held_by
        asked_for = self._open() if self._options.opens else held_by or [one.name for one in mutants()]
        tried = [one for one in mutants() if _matches(one.name, only) and one.name in asked_for]
        if self._options.lists:
            print(*(one.name for one in tried), sep="\n")
            return True
        self._tests = _mixed(of_tests(session.items))
        every = self._options.every
        self._histories = [*of_mended(), *_mixed(of_histories(every))] if every else []
        if held_by:
            killers = {held_by[one.name] for one in tried}
            self._tests = [one for one in self._tests if one.name in killers]
            self._histories = [one for one in self._histories if one.name in killers]
        gc.collect()
        gc.freeze()
        self._unchanged = self._try_unchanged(session.config)
        self._reaching_place: defaultdict[str, list[int]] = defaultdict(list)
        for n, trial in enumerate((*self._tests, *self._histories)):
            for place in self._unchanged[trial.name].reached:
                self._reaching_place[place].append(n)
        self._try_all(tried)
        return True

    def _try_unchanged(self, config: pytest.Config) -> dict[str, Unchanged]:
        assert config.cache is not None
        found: dict[str, Unchanged]
        kept = Path(config.cache.mkdir("mutants")) / _version([*self._tests, *self._histories])
        if kept.exists():
            found = pickle.loads(kept.read_bytes())
            return found
        found = {}
        trials = [*self._tests, *self._histories]
        parts = [trials[n : n + 500] for n in range(0, len(trials), 500)]
        for _, part in in_children(parts, _unchanged, self._options.jobs):
            if part is None:
                raise RuntimeError("a trial ended its process")
            found |= part
            _say(f"{len(found)} of {len(trials)} trials without a change")
        failing = [one.name for one in self._tests if found[one.name].came]
        if failing:
            raise RuntimeError(f"these fail as it is: {failing}")
        of_same_trials, _, _ = kept.name.partition(".")
        for old in kept.parent.glob(f"{of_same_trials}.*"):
            old.unlink()
        kept.write_bytes(pickle.dumps(found))
        return found

    def _try_all(self, tried: Sequence[Mutant]) -> None:
        tests = {one.name for one in self._tests}
        named = self._named
        killed: Counter[str] = Counter()
        survivors = []
        last = monotonic()
        for done, (mutant, killer) in enumerate(in_children(tried, self._try, self._options.jobs), start=1):
            self._note(mutant.name, killer)
            if killer != "":
                self._kills[killer or "died"] += 1
                killed["rows" if killer in tests else "explorer"] += 1
                if self._options.verbose:
                    print(f"{mutant.name} is killed by {killer}", flush=True)
                if is_named(mutant.name, named):
                    print(f"named as a survivor, and killed by {killer}: {mutant.name}", flush=True)
                    self.is_wrong = True
            else:
                survivors.append(mutant.name)
                reached = len(self._reaching(mutant))
                if not is_named(mutant.name, named):
                    print(f"survives {reached} trials: {mutant.name}", flush=True)
                    self.is_wrong = True
            if monotonic() > last + _SAID_EVERY_S:
                last = monotonic()
                _say(f"{done} of {len(tried)} mutants, {len(survivors)} survivors")
        self.is_wrong = self.is_wrong or not (tried or self._options.opens)
        unknown = [key for key in named if not any(one.name.startswith(key) for one in mutants())]
        if unknown:
            print(f"named as survivors, and no mutants: {unknown}")
            self.is_wrong = True
        accounted = sum(is_named(name, named) for name in survivors)
        self.said = (
            f"{len(tried)} mutants: {killed['rows']} killed by rows, {killed['explorer']} by the explorer, "
            f"{accounted} accounted for, {len(survivors) - accounted} not"
        )
        if self._options.checks or self._options.opens:
            self.said += f"; of all {len(self._killed)} are known to be killed, {len(self._open())} open"
            self.is_wrong = self.is_wrong or bool(self._open())

    def _open(self) -> list[str]:
        """Who isn't known to be killed, nor named as a survivor."""
        names = [one.name for one in mutants()]
        return [one for one in names if one not in self._killed and not is_named(one, self._named)]

    def _note(self, mutant: str, killer: str | None) -> None:
        if killer and self._options.opens:
            self._killed[mutant] = killer
        elif not killer and self._options.checks:
            del self._killed[mutant]
        else:
            return
        self._file.write_text(json.dumps(self._killed, indent=0, sort_keys=True, ensure_ascii=False) + "\n")

    def _try(self, mutant: Mutant) -> str:
        """Which trial kills it; empty: none does."""
        _be_quiet()
        trials = self._reaching(mutant)
        mutant.apply()
        for trial in trials:
            try:
                if trial.run() != self._unchanged[trial.name].came:
                    return trial.name
            except BaseException:  # noqa: BLE001 - one that doesn't end, or breaks what runs it, is found out
                return trial.name
        return ""

    def _takes_per_kill(self, trial: Trial) -> float:
        return self._unchanged[trial.name].took_s / (1 + self._kills[trial.name])

    def _reaching(self, mutant: Mutant) -> list[Trial]:
        """The same for the same mutant, in the order in which they are tried: some of each kind before the
        others. What is named as a survivor is tried with some of each kind alone.
        """
        of_kind: Counter[str] = Counter()
        alone = self._held_by.get(mutant.name)
        trials = (*self._tests, *self._histories)
        some: list[Trial] = []
        others: list[Trial] = []
        for n in sorted({n for place in mutant.reached_by for n in self._reaching_place[place]}):
            if alone in (None, trials[n].name):
                of_kind[trials[n].kind] += 1
                (some if of_kind[trials[n].kind] <= self._options.most else others).append(trials[n])
        if is_named(mutant.name, self._named):
            others = []
        return sorted(some, key=self._takes_per_kill) + sorted(others, key=self._takes_per_kill)


def is_named(mutant: str, named: Iterable[str]) -> bool:
    """Whether a survivor is accounted for, by its name or by the beginning of it."""
    return any(mutant.startswith(key) for key in named)


def _mixed(trials: Iterable[Trial]) -> list[Trial]:
    return sorted(trials, key=lambda trial: zlib.crc32(trial.name.encode()))


def _unchanged(trials: Sequence[Trial]) -> dict[str, Unchanged]:
    _be_quiet()
    reach = Reach()
    shared: dict[frozenset[str], frozenset[str]] = {}
    found = {}
    for trial in trials:
        reach.reached.clear()
        began = monotonic()
        came = trial.run()
        took_s = monotonic() - began
        reached = frozenset(map(sys.intern, reach.reached))
        found[trial.name] = Unchanged(came, shared.setdefault(reached, reached), took_s)
    return found


def _matches(name: str, pattern: str) -> bool:
    return not pattern or pattern in name or fnmatch.fnmatchcase(name, pattern)


def _version(trials: Sequence[Trial]) -> str:
    """Of which trials there are, and of all files that they may depend on."""
    names = hashlib.sha256("\n".join(one.name for one in trials).encode())
    files = hashlib.sha256()
    for folder in ("bridge", "tests"):
        for file in sorted((_ROOT / folder).rglob("*.py")):
            files.update(file.read_bytes())
    return f"{names.hexdigest()}.{files.hexdigest()}"


def _be_quiet() -> None:
    quiet()
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)


def _say(text: str) -> None:
    print(f"… {text}", file=sys.stderr, flush=True)
