"""The list of what is past: by day, read as far as the reader goes, and joined by what passes its filters."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.page.conftest import Look
from tests.page.parts import World, verdict
from tests.support.processes import wait_until

pytestmark = [pytest.mark.server, pytest.mark.slow]

PAST = 450
NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)
"""Of yesterday: half of the migrations were then, half a day before."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """More migrations than one page of the API has, on two days."""
    with World(tmp_path_factory.mktemp("history"), correlates=False) as world:
        times = [NOON - timedelta(days=number * 2 // PAST, seconds=number) for number in range(PAST)]
        world.agents.publish(verdict(f"web{n:03d}", at.timestamp()) for n, at in enumerate(times))
        wait_until(lambda: world.dashboard.read("summary")["store"]["rows"] == PAST)
        yield world


def test_days_have_heads_and_older_ones_are_read_when_the_reader_comes_to_them(
    world: World, look: Look
) -> None:
    window = look(world, timezone_id="Etc/UTC").open()
    page = window.page
    window.row("past", "web000").wait_for()
    expect(page.locator("#past .count")).to_have_text("200+")
    assert page.locator("#past .day").all_inner_texts() == [f"{NOON:%A, %-d %B %Y}"]

    last = window.row("past", f"web{PAST - 1}")
    while last.count() == 0:
        page.locator(".past").press("End")
        page.wait_for_timeout(50)
    expect(page.locator("#past .count")).to_have_text(str(PAST))
    page.locator(".past").evaluate(
        f"list => list.scrollTop = {PAST // 2 - 2} * list.scrollHeight / {PAST + 2}"
    )
    day_before = NOON - timedelta(days=1)
    expect(page.locator("#past .day")).to_have_text([f"{day_before:%A, %-d %B %Y}"])
    assert page.locator("#past li").count() < 60


def test_a_zone_has_days_of_its_own(world: World, look: Look) -> None:
    window = look(world, timezone_id="Pacific/Kiritimati").open()

    window.row("past", "web000").wait_for()

    assert window.page.locator("#past .day").first.inner_text() == f"{NOON + timedelta(days=1):%A, %-d %B %Y}"


@pytest.mark.parametrize(
    ("filters", "passes", "stays_out"),
    [
        ("outcome=failed", {"outcome": "failed"}, {}),
        ("host=host9", {"source": {"host": "host9"}}, {}),
        ("host=host9", {"destination": {"host": "host9"}}, {}),
        ("reason=source_crashed", {"outcome": "failed", "reason": "source_crashed"}, {"outcome": "failed"}),
        ("min_downtime_ms=500", {"downtime_ms": 500}, {"downtime_ms": 499}),
        ("min_downtime_ms=1", {"downtime_ms": 1}, {"downtime_ms": None}),
        ("until=1h", {"ago_s": 3700}, {}),
        ("since=1h", {}, {"ago_s": 3700}),
        ("domain={shown}", {}, {}),
    ],
)
def test_what_comes_is_shown_if_it_passes_the_filters(
    world: World, look: Look, filters: str, passes: dict[str, Any], stays_out: dict[str, Any]
) -> None:
    """A row that comes is left out by the page as by the API after a reload."""
    number = zlib.crc32(repr((filters, passes)).encode())
    shown, left_out = f"in-{number}", f"out-{number}"
    window = look(world).open(f"?{filters.format(shown=shown)}")
    expect(window.page.locator("#past .count")).not_to_be_empty()

    for name, given in ((left_out, stays_out), (shown, passes)):
        data: dict[str, Any] = {"outcome": "completed", "ago_s": 0.0} | given
        world.agents.publish([verdict(name, time.time() - data.pop("ago_s"), **data)])
    for _ in ("live", "read anew"):
        window.row("past", shown).wait_for()
        assert window.row("past", left_out).count() == 0
        window.page.reload()
