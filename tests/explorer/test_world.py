"""The world is libvirt's: each row of the table of migrations and each recording is a path through it."""

from __future__ import annotations

import re
from functools import cache
from itertools import groupby
from typing import Final

import pytest

from bridge.demo.trace import JobCompleted, LifecycleEvent, Trace
from tests.explorer import stories
from tests.explorer.world import History, Step, Truth
from tests.support.recorded_traces import OTHER_UUID
from tests.support.traces import every
from tests.unit.verdicts.rows import LOOK_ALIKES, MIGRATIONS, RELEASES, MigrationRow, Release
from tests.unit.verdicts.stage import tokens

Sides = tuple[tuple[str, ...], tuple[str, ...]]


@cache
def _all() -> tuple[History, ...]:
    return tuple(stories.histories(("one", "none", "around")))


def _once(words: list[str]) -> tuple[str, ...]:
    """The words of a host, runs of iterations as one."""
    return tuple(word for word, _ in groupby(words))


def _said(steps: list[Step]) -> Sides:
    def of(host: str) -> tuple[str, ...]:
        mine = [step for step in steps if step.host == host and step.kind not in ("job", "end")]
        return _once([step.said[1:].lstrip(":") for step in mine])

    return of("A"), of("B")


def _row(row: MigrationRow) -> Sides:
    sides: dict[str, list[str]] = {"S": [], "D": []}
    for word in row.said.split():
        if not word.startswith("~") and word[1:] != ":end":
            ended = word[1:].replace("=ended", "=shutoff/unknown").lstrip(":")
            sides[word[0]].append(ended)
    assert list(tokens(row.said))
    return _once(sides["S"]), _once(sides["D"])


@cache
def _paths() -> dict[Sides, list[Truth]]:
    """What is true where there is one attempt, by what is said in it, and by what is said in all."""
    found: dict[Sides, list[Truth]] = {}
    for history in _all():
        if len(history.attempts) == 1:
            for steps in ([step for step in history.steps if step.attempt is not None], history.steps):
                found.setdefault(_said(steps), []).append(history.attempts[0])
    return found


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("row", MIGRATIONS, ids=str)
def test_each_row_is_a_path_with_its_verdict(row: MigrationRow, release: Release) -> None:
    said = row.on(release)
    paths = _paths().get(_row(said), [])
    assert paths, f"no path says {said.said}"
    assert any(_agrees(row, truth) for truth in paths), paths


def _agrees(row: MigrationRow, truth: Truth) -> bool:
    verdict = row.verdict
    if verdict is None:
        return truth.outcome is None
    sides = {"S": "A", "D": "B", "": None}
    host = sides[verdict.guest[0]]
    guests = {(host, verdict.guest[1])} | (
        {(None, "shutoff")} if verdict.guest == ("S", "shutoff") else set()
    )
    confirmed = {side for side in ("source", "destination") if side[0] in verdict.confirmed.lower()}
    return (
        (truth.outcome, truth.reason, truth.mode, truth.attention)
        == (verdict.outcome, verdict.reason, verdict.mode, verdict.attention)
        and truth.guest in guests
        and confirmed in (truth.confirmed, truth.confirmed - ({"source"} if truth.by_poll else set()))
    )


@pytest.mark.parametrize("row", LOOK_ALIKES, ids=str)
def test_each_look_alike_is_a_part_of_a_path(row: MigrationRow) -> None:
    said = "".join(f"{words} | " for words in map(" ".join, _row(row)))
    source, destination = (re.escape(words) for words in map(" ".join, _row(row)))
    pattern = re.compile(f"(?:.* )?{source}(?: .*)? \\| (?:.* )?{destination}(?: .*)? \\| ")
    found = (
        "".join(f" {' '.join(words)} | " for words in sides)
        for history in _all()
        if not history.attempts
        for sides in (_said(history.steps), _said(history.steps)[::-1])
    )
    assert any(pattern.fullmatch(path) for path in found), said


_OF_NO_PATH: Final = ("recorded-58", "recorded-77", "recorded-79")
"""Recordings of no migration (a save, a restore, a dump), each a part of a look-alike."""
_RECORDINGS: Final = [one for one in every() if one[0] not in _OF_NO_PATH]


@pytest.mark.parametrize(("name", "row", "trace"), _RECORDINGS, ids=[one[0] for one in _RECORDINGS])
def test_each_recording_is_a_path(name: str, row: str, trace: Trace) -> None:
    said = _events(trace, "host1"), _events(trace, "host2")
    assert said in _events_of_all(), f"{name} (row {row}): no path says {said}"


@cache
def _events_of_all() -> frozenset[Sides]:
    return frozenset((_events_of(history, "A"), _events_of(history, "B")) for history in _all())


def _events_of(history: History, host: str) -> tuple[str, ...]:
    mine = [step for step in history.steps if step.host == host and step.kind in ("event", "completed")]
    return tuple(step.said[1:].lstrip(":").rstrip("!") for step in mine)


def _events(trace: Trace, host: str) -> tuple[str, ...]:
    """What a host said from the migration on, without how the guest came to be there."""
    said = [
        f"({line.event_code},{line.detail_code})" if isinstance(line, LifecycleEvent) else "JC"
        for line in trace.of(host)
        if isinstance(line, LifecycleEvent | JobCompleted) and line.uuid != OTHER_UUID
    ]
    while said[:2] == ["(4,0)", "(2,0)"] or (said[:1] == ["(0,0)"] and host == "host1"):
        del said[: 2 if said[0] == "(4,0)" else 1]
    return tuple(said)
