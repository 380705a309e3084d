"""A fixed slice of all histories (`make explore`), and with `--soak` a million."""

from __future__ import annotations

import pytest

from tests.explorer.explore import Bounds, Found, explore, worlds
from tests.explorer.shrink import example

SLICES = (
    Bounds(("one", "none"), troubles_every=29),
    Bounds(("around",), every=149, troubles_every=7, pairs_every=9001),
    Bounds(("two", "between"), every=1499, troubles_every=7, pairs_every=20011),
)
"""Each world history of one attempt with one in 29 of its troubles; a few of the others with one in seven."""
SOAK = (
    Bounds(("one", "none"), pairs_every=997),
    Bounds(("around",), every=37, pairs_every=9001),
    Bounds(("two", "between"), every=211, pairs_every=20011),
)
"""Each of one attempt with every single trouble and a slice of pairs; a part of the others likewise."""


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_no_history_is_told_wrong(soak: bool, capsys: pytest.CaptureFixture[str]) -> None:
    found = Found()
    for bounds in SOAK if soak else SLICES:
        *_, part = explore(bounds, jobs=2 if soak else 1)
        found.add(part)
    said = f"{found.tried} histories tried, {found.left_out} left out as equal, {found.wrong} wrong"
    with capsys.disabled():
        print(f" {said} ", end="")
    assert not found.wrong, f"{said}\n{_examples(found)}"
    assert not soak or found.tried >= 1_000_000


def _examples(found: Found) -> str:
    """The most frequent kinds of faults, an example of each made small."""
    lines = []
    for kind, count in found.kinds.most_common(10):
        names, index, troubles, _ = found.examples[kind][0]
        number = int(index.split(".")[0])
        lines.append(f"{count} × {' | '.join(kind)}, first {index} of {','.join(names)}")
        lines.append(example(worlds(names)[number], troubles, kind[2]))
    return "\n".join(lines)
