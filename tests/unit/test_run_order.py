"""The order in which files are run side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from tests.conftest import in_turn


@dataclass(frozen=True)
class Collected:
    """A test, as far as its place depends on it."""

    path: Path
    number: int
    marks: tuple[str, ...] = ()

    def get_closest_marker(self, name: str) -> bool:
        """Whether it is marked so."""
        return name in self.marks


def test_files_that_compute_and_files_that_wait_are_run_in_turn_and_slow_ones_first() -> None:
    marks: dict[str, tuple[str, ...]] = {
        "a": ("lab", "slow"),
        "b": ("server",),
        "c": ("server",),
        "u": (),
        "v": (),
        "w": ("slow",),
    }
    items = [Collected(Path(name), n, marks[name] if n else ()) for name in marks for n in range(2)]
    found = cast("list[Collected]", in_turn(cast("list[pytest.Item]", items)))
    assert [(each.path.name, each.number) for each in found] == [
        (name, n) for name in ("w", "a", "u", "b", "v", "c") for n in range(2)
    ]
