"""The bench in small: everything in it works. No figure is held against its target here."""

import json
from pathlib import Path

import pytest

from tests.bench.__main__ import main
from tests.bench.parts import PARTS


@pytest.mark.server
@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_the_bench_measures_and_writes_what_it_found(part: str, tmp_path: Path) -> None:
    figures = main(["--smoke", "--only", part, "--results", str(tmp_path)])

    assert figures
    assert all(figure.ours and all(value >= 0 for value in figure.ours) for figure in figures)
    written = json.loads((tmp_path / "smoke.json").read_text())
    assert [figure["name"] for figure in written["figures"]] == [figure.name for figure in figures]
    assert (tmp_path / "smoke.svg").read_text().startswith("<svg")
