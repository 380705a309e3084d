"""A fixed slice of all histories (`make explore`), and with `--soak` a million.

`known_wrong.json` counts the histories of the slice that the decision tells wrong, by kind: nothing new may
come, and no kind may grow. What a change mends is taken out of it: `python -m tests.explorer.test_explorer`
writes it anew. With `--soak` none may be wrong.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.explorer.explore import Bounds, Found, explore, worlds
from tests.explorer.shrink import example

SLICES = (
    Bounds(("one", "none"), troubles_every=293),
    Bounds(("around",), every=61, troubles_every=151, pairs_every=200003),
    Bounds(("two", "between"), every=401, troubles_every=151, pairs_every=400009),
)
"""Each world history of one attempt without trouble and with few, and some of the others: many worlds show
more than many troubles of each.
"""
SOAK = (
    Bounds(("one", "none"), pairs_every=997),
    Bounds(("around",), every=37, pairs_every=9001),
    Bounds(("two", "between"), every=211, pairs_every=20011),
)
"""Each of one attempt with every single trouble and a slice of pairs; a part of the others likewise."""


KNOWN: Final = Path(__file__).parent / "known_wrong.json"


def found_in(all_bounds: Sequence[Bounds], jobs: int = 1) -> Found:
    """What is found within these bounds."""
    found = Found()
    for bounds in all_bounds:
        *_, part = explore(bounds, jobs=jobs)
        found.add(part)
    return found


def by_kind(found: Found) -> dict[str, int]:
    """How many of each kind are wrong."""
    return {" | ".join(kind): count for kind, count in sorted(found.kinds.items())}


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_nothing_new_is_published_wrong(soak: bool, capsys: pytest.CaptureFixture[str]) -> None:
    found = found_in(SOAK, jobs=2) if soak else found_in(SLICES)
    with capsys.disabled():
        print(f" {_said(found)} ", end="")
    known = {} if soak else json.loads(KNOWN.read_text())
    new = {kind: count for kind, count in by_kind(found).items() if count > known.get(kind, 0)}
    assert not new, f"{_said(found)}: {new}\n{_examples(found)}"
    assert not soak or found.tried >= 1_000_000


def _said(found: Found) -> str:
    return f"{found.tried} histories tried, {found.left_out} left out as equal, {found.wrong} wrong"


def _examples(found: Found) -> str:
    """The most frequent kinds of faults, an example of each made small."""
    lines = []
    for kind, count in found.kinds.most_common(10):
        names, index, troubles, _ = found.examples[kind][0]
        number = int(index.split(".")[0])
        lines.append(f"{count} × {' | '.join(kind)}, first {index} of {','.join(names)}")
        lines.append(example(worlds(names)[number], troubles, kind[2]))
    return "\n".join(lines)


if __name__ == "__main__":
    KNOWN.write_text(json.dumps(by_kind(found_in(SLICES, jobs=2)), indent=0, ensure_ascii=False) + "\n")
