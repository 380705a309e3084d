"""A fixed part of the mutants, and with `--soak` all of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from bridge.correlator.rules import observations, outcomes, transitions
from bridge.correlator.rules.exceptions import EXCEPTIONS
from tests.mutants.mutants import mutants
from tests.mutants.run import SURVIVORS, is_named
from tests.unit.verdicts.exceptions import HELD_BY

ROOT: Final = Path(__file__).parents[2]
BY_A_CONFLICT: Final = (
    *("--every", "0"),
    *("--tests", "tests/unit/verdicts/test_rows.py::test_a_conflict_ends_when_one_side_ends"),
    "--only",
)
"""Who is tried with these tests alone, of a guest that ran twice."""


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.mutants", *arguments],
        cwd=ROOT,
        text=True,
        capture_output=True,
        check=False,
    )


def test_each_cell_is_changed_in_each_of_its_parts() -> None:
    names = {mutant.name for mutant in mutants()}
    assert all(
        f"transitions.TABLE[{p}][{sign}]: gone" in names
        for p, row in transitions.TABLE.items()
        for sign in row
    )
    assert {
        "transitions.TABLE[here][left]: without leave",
        "transitions.TABLE[here][left]: without end",
    } < names
    for cell in (f"outcomes.OUTCOMES[{a}][{d}]" for a, row in outcomes.OUTCOMES.items() for d in row):
        assert len([name for name in names if name.startswith(f"{cell}: ")]) == 2
    assert len([name for name in names if name.startswith("outcomes.FINAL: ")]) == len(outcomes.FINAL)


def test_each_constant_is_halved_doubled_and_zero_and_each_predicate_forced() -> None:
    names = {mutant.name for mutant in mutants()}
    assert {f"observations.SKEW_S: {change}" for change in ("halved", "doubled", "zero")} < names
    assert {f"machine._was_just_resumed: {answer}" for answer in (True, False)} < names


def test_a_change_is_made_wherever_the_name_was_imported() -> None:
    """In a process of its own, for it is for good."""
    code = (
        "from bridge.correlator.rules import candidates, clock_readings, observations\n"
        "from tests.mutants.mutants import mutants\n"
        "{m.name: m for m in mutants()}['observations.SKEW_S: zero'].apply()\n"
        "{m.name: m for m in mutants()}['clock_readings.FOREVER: zero'].apply()\n"
        "print(observations.SKEW_S, candidates.SKEW_S, *candidates.stage_then.__defaults__)"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True, check=True)
    assert observations.SKEW_S
    assert ran.stdout == "0.0 0.0 0.0\n"


@pytest.mark.slow
def test_a_survivor_has_to_be_named_and_who_is_named_has_to_survive(tmp_path: Path) -> None:
    killed, survives = "outcomes.OUTCOMES[arrived][resumed]: gone", "outcomes.OUTCOMES[open][resumed]: gone"
    named = tmp_path / "survivors.json"
    tried = ("--survivors", str(named), *BY_A_CONFLICT, "outcomes.OUTCOMES[[][ao]*[]][[]resumed]: gone")
    named.write_text(json.dumps({survives: "no attempt of these fails so"}))
    assert command(*tried).returncode == 0
    named.write_text(json.dumps({killed: "no conflict"}))
    ran = command(*tried)
    assert ran.returncode == 1
    assert "named as a survivor, and killed by tests/unit/verdicts/test_rows.py::" in ran.stdout
    assert f"survives 0 trials: {survives}" in ran.stdout


@pytest.mark.slow
def test_what_kills_a_mutant_is_kept_until_it_does_so_no_more(tmp_path: Path) -> None:
    named, killed = tmp_path / "survivors.json", tmp_path / "killed.json"
    mutant = "outcomes.OUTCOMES[arrived][resumed]: gone"
    named.write_text("{}")
    tried = ("--survivors", str(named), *BY_A_CONFLICT, mutant.replace("[", "[[]"))
    command(*tried, "--open")
    found = json.loads(killed.read_text())
    assert found.keys() == {mutant}
    assert "0 not; of all 1 are known to be killed" in command(*tried, "--check").stdout
    assert json.loads(killed.read_text()) == found
    killed.write_text(json.dumps({mutant: "a test that is no more"}))
    command(*tried, "--check")
    assert json.loads(killed.read_text()) == {}


@pytest.mark.slow
def test_each_exception_to_the_tables_has_a_test_that_fails_without_it() -> None:
    assert {one.name for one in EXCEPTIONS} == HELD_BY.keys()
    ran = command("--exceptions")
    assert ran.returncode == 0, ran.stdout


def test_each_mutant_is_known_to_be_killed_or_named() -> None:
    """Who isn't is tried by `python -m tests.mutants --open`."""
    killed, named = (json.loads(file.read_text()) for file in (SURVIVORS.with_name("killed.json"), SURVIVORS))
    names = {mutant.name for mutant in mutants()}
    assert killed.keys() <= names
    assert [name for name in names - killed.keys() if not is_named(name, named)] == []


def test_each_survivor_that_is_named_is_a_mutant_and_has_a_reason() -> None:
    named = json.loads(SURVIVORS.read_text())
    assert all(any(mutant.name.startswith(key) for mutant in mutants()) for key in named)
    assert all(named.values())


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_every_mutant_is_killed_or_named(soak: bool) -> None:
    """Without `--soak` one of them, by few tests."""
    ran = command("-j", "2") if soak else command(*BY_A_CONFLICT, "outcomes.OUTCOMES[arrived][resumed]: gone")
    assert ran.returncode == 0, ran.stdout
