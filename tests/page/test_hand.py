"""Rows that come or go don't move the ones under the reader's hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.page.conftest import Look
from tests.page.parts import NARROW, World

pytestmark = [pytest.mark.server, pytest.mark.slow]

PAST = 30


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """More migrations than fit the window."""
    with World(tmp_path_factory.mktemp("hand")) as world:
        uuids = [world.migrate("live", f"h{number}", f"web{number:02d}") for number in range(PAST)]
        for uuid in uuids:
            world.published(uuid, "completed")
        yield world


def test_a_list_at_its_top_shows_what_comes(world: World, look: Look) -> None:
    window = look(world).open()
    window.row("past", "web29").wait_for()

    world.migrate("live", "top", "top01")

    window.row("past", "top01").wait_for()
    assert window.page.locator("#past .fresh").is_hidden()


@pytest.mark.parametrize("hand", ["pointer", "focus", "scrolled"])
def test_a_list_under_the_hand_stays_where_it_is(world: World, look: Look, hand: str) -> None:
    window = look(world).open()
    page = window.page
    row = window.row("past", "web27")
    row.wait_for()
    if hand == "pointer":
        row.hover()
    elif hand == "focus":
        row.get_by_role("link").first.focus()
    else:
        page.locator(".past").evaluate("list => list.scrollTop = 40")
        page.wait_for_timeout(100)
    before = row.bounding_box()

    world.migrate("live", f"under-{hand}", f"new-{hand}")
    fresh = page.get_by_role("button", name="1 new")
    fresh.wait_for()

    assert row.bounding_box() == before
    fresh.click()
    expect(window.row("past", f"new-{hand}")).to_be_in_viewport()
    expect(fresh).to_be_hidden()


def test_what_is_over_stays_until_the_hand_has_left(world: World, look: Look) -> None:
    window = look(world).open()
    page = window.page
    ends = {f"over{number}": world.begin("live", f"over{number}", f"over{number}") for number in (1, 2)}
    window.until(lambda: len(window.rows("running")) == 2)
    first = page.locator("#running li").first
    name = first.locator(".who").inner_text()
    second = page.locator("#running li").nth(1)
    second.hover()
    before = second.bounding_box()

    ends.pop(name)()
    window.row("past", name).wait_for()

    expect(window.row("running", name)).to_have_class("over")
    assert second.bounding_box() == before
    page.mouse.move(0, 0)
    expect(window.row("running", name)).to_have_count(0)
    ends.popitem()[1]()


def test_a_telephone_keeps_its_place_when_a_section_above_grows(world: World, look: Look) -> None:
    window = look(world, NARROW).open()
    row = window.row("past", "web28")
    row.evaluate("row => row.scrollIntoView({block: 'center'})")
    before = row.bounding_box()

    end = world.begin("live", "narrow", "narrow01")
    window.row("running", "narrow01").wait_for()

    assert row.bounding_box() == before
    end()
