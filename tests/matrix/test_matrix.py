"""The same checks at every broker that people have; what comes of it is the table of docs/brokers.md."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.matrix.story import Story
from tests.matrix.table import CHECKS, KINDS

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(400)]


def _live(name: str, folder: Path, cells: dict[str, str]) -> None:
    kind = KINDS[name]
    with kind.make(folder / "broker") as broker:
        cells.update(Story(broker, folder, encodes=kind.encodes).cells())


@pytest.fixture(scope="module")
def lives(
    tmp_path_factory: pytest.TempPathFactory,
    pytestconfig: pytest.Config,
) -> Iterator[dict[str, tuple[dict[str, str], Future[None]]]]:
    """All brokers side by side: most of their time the programs wait."""
    with ThreadPoolExecutor(len(KINDS)) as pool:
        found = {}
        for name, kind in KINDS.items():
            if kind.soak and not pytestconfig.getoption("--soak"):
                continue
            cells: dict[str, str] = {}
            found[name] = cells, pool.submit(_live, name, tmp_path_factory.mktemp(name), cells)
        yield found


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if not kind.soak])
def test_each_check_finds_what_the_table_says(
    name: str, lives: dict[str, tuple[dict[str, str], Future[None]]]
) -> None:
    _compare(name, lives)


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.soak])
def test_so_it_does_at_a_broker_that_takes_long_to_start(
    name: str, lives: dict[str, tuple[dict[str, str], Future[None]]], soak: bool
) -> None:
    if soak:
        _compare(name, lives)


def _compare(name: str, lives: dict[str, tuple[dict[str, str], Future[None]]]) -> None:
    cells, life = lives[name]
    life.result()
    expected = {check: KINDS[name].cell(check) for check in CHECKS}
    if expected["30,000 states"] == "fewer" and cells["30,000 states"] == "works":
        cells["30,000 states"] = "fewer"  # how many it drops is a matter of speed: on some runs none
    assert cells == expected
