"""Events that a host never published: those that follow show that they happened."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.verdicts.conduct import Conductor, in_order
from tests.unit.verdicts.expect import hold_the_contract, places, words
from tests.unit.verdicts.rows import MIGRATIONS
from tests.unit.verdicts.stage import FULL
from tests.unit.verdicts.test_rows import DESTINATION, SOURCE, played

THERE = "D(2,1) S:iter S(3,1) D(4,1) S(5,3) S:JC"
UNRESUMED = "D(2,1) S:iter S(3,1) S(5,3) S:JC"
POSTCOPY = "D(2,1) S:iter S(3,1) S(3,7) D(4,3)"
ARRIVES = "D(4,1) S(5,3) S:JC"
ONCE = ("started", "completed")
BROKEN_TWICE = ("started", "interrupted", "interrupted", "completed")


@pytest.mark.parametrize(
    ("said", "told", "at"),
    [
        pytest.param(f"{THERE} ~5 S(2,0) ~5 {THERE}", ONCE * 2, "SDSD", id="gone from its destination"),
        pytest.param(
            f"D(2,1) S:iter ~3 {THERE}",
            ("started", "started", "completed", "failed"),
            "SD",
            id="never arrived",
        ),
        pytest.param(
            f"D(2,1) S:iter ~3 S(2,0) ~3 {THERE}", ("started", "failed", *ONCE), "SD", id="started anew"
        ),
        pytest.param(
            "D(2,1) S:iter ~3 D(2,0)", ("started", "failed"), "S", id="started where it was to come"
        ),
        pytest.param(
            f"{UNRESUMED} ~3 S(2,1) D:iter ~2 D(3,1) S(4,1) D(5,3)",
            ("started", "started", "completed", "completed"),
            "SDS",
            id="copied again",
        ),
        pytest.param(
            f"{UNRESUMED} ~3 S(2,1) D(3,1) S(4,1) D(5,3)",
            ("started", "started", "completed", "completed"),
            "SDS",
            id="suspended again",
        ),
        pytest.param(f"{UNRESUMED} ~3 D(5,4)", ONCE, "SD-", id="saved"),
        pytest.param(
            f"{POSTCOPY} ~3 D(4,4) S(3,8) ~3 D(4,4) S(3,8) ~3 {ARRIVES}",
            BROKEN_TWICE,
            "SD",
            id="broken again",
        ),
        pytest.param(
            f"{POSTCOPY} ~3 D(4,4) S(3,8) ~3 D(4,3) S(3,7) ~3 D(4,4) S(3,8) ~3 {ARRIVES}",
            BROKEN_TWICE,
            "SD",
            id="broken, and broken again",
        ),
        pytest.param(
            f"{POSTCOPY} ~3 D(3,8) S(3,8) ~3 D(3,8) S(3,8) ~3 {ARRIVES}",
            BROKEN_TWICE,
            "SD",
            id="broken again as before libvirt 8.5",
        ),
        pytest.param(
            f"D(4,4) S(3,8) ~3 D(4,3) S(3,7) ~3 {ARRIVES}",
            ("interrupted", "completed"),
            "SD",
            id="broken first",
        ),
    ],
)
def test_what_follows_shows_what_was_never_published(said: str, told: tuple[str, ...], at: str) -> None:
    published = Conductor().deliver(in_order(played(replace(MIGRATIONS[0], said=said), "9.0", FULL)))
    hold_the_contract(published)
    assert words(published) == told
    assert places(published) == [{"S": SOURCE, "D": DESTINATION, "-": None}[each] for each in at]
