"""What a reader sees and does: first view, live row, filters, back button, stories, guests, hosts, keys."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import FloatRect, Page, expect

from bridge.wire.messages import seconds
from tests.page.conftest import Look
from tests.page.parts import NARROW, WIDE, World

pytestmark = [pytest.mark.server, pytest.mark.slow]

REFUSED = "Failed to load resource: the server responded with a status of 400 (Bad Request)"
SEEN_S = 1.0
"""So soon is a row to be on the screen after its message."""
TRIES = 3
"""The quickest of them is what it takes where nothing else holds it up."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Three migrations have been: one as it should, one that failed, one that lost its guest."""
    with World(tmp_path_factory.mktemp("page")) as world:
        for scenario, tag, name in (
            ("live", "a", "web01"),
            ("aborted", "b", "web02"),
            ("src_qemu_killed", "c", "db01"),
        ):
            outcome = "completed" if scenario == "live" else "failed"
            world.published(world.migrate(scenario, tag, name), outcome)
        yield world


def test_the_first_view_says_what_was_as_watch_does(world: World, look: Look) -> None:
    window = look(world).open()

    window.until(lambda: len(window.rows("past")) == 3, "three rows")
    said = window.rows("past")
    assert said[0].startswith("db01 failed after")
    assert "the guest's QEMU on host1-c died" in said[0]
    assert said[1].startswith("web02 failed")
    assert "the guest runs on host1-b" in said[1]
    assert said[2].startswith("web01 completed in ")
    assert said[2].endswith(" ms down")
    hosts = {row.split()[0] for row in window.rows("hosts")}
    assert hosts == {f"host{n}-{tag}" for n in (1, 2) for tag in "abc"}
    assert "1 migration: median" in window.page.locator("duration-plot").first.inner_text()


def test_a_migration_is_on_the_screen_within_a_second(world: World, look: Look) -> None:
    window = look(world).open()

    started_s, completed_s = [], []
    for name in (f"app{number}" for number in range(TRIES)):
        end = world.begin("live", f"live-{name}", name)
        window.row("running", name).wait_for()
        started_s.append(world.since_told())
        end()
        window.row("past", name).wait_for()
        completed_s.append(world.since_told())
        assert window.row("running", name).count() == 0

    assert min(started_s) < SEEN_S
    assert min(completed_s) < SEEN_S


def test_filters_are_in_the_url_and_the_back_button_takes_them_back(world: World, look: Look) -> None:
    window = look(world).open()
    page = window.page
    window.until(lambda: len(window.rows("past")) >= 3)

    page.get_by_label("Outcome").select_option("failed")
    window.until(lambda: len(window.rows("past")) == 2, "the failed ones")
    assert page.url.endswith("?outcome=failed")
    page.get_by_label("Guest", exact=True).fill("db01")
    page.keyboard.press("Enter")
    window.until(lambda: [row.split()[0] for row in window.rows("past")] == ["db01"])
    assert page.url.endswith("?domain=db01&outcome=failed")
    page.go_back()
    window.until(lambda: len(window.rows("past")) == 2, "the failed ones again")
    page.go_back()
    window.until(lambda: len(window.rows("past")) >= 3, "all again")
    assert page.get_by_label("Outcome").input_value() == ""

    window.open("?host=host2-b")
    window.until(lambda: [row.split()[0] for row in window.rows("past")] == ["web02"])
    window.open("?since=nonsense")
    expect(page.locator("#past [role=alert]")).to_contain_text("since: given 'nonsense'")
    window.faults.remove(REFUSED)


def test_a_click_opens_the_story_with_both_hosts_and_the_evidence_marked(world: World, look: Look) -> None:
    window = look(world).open()
    page = window.page
    verdict = next(each for each in world.agents.published() if each.word == "completed")

    window.row("past", "web01").get_by_role("link").first.click()
    page.wait_for_selector(".axis li")
    assert page.locator("h2").last.inner_text() == "web01: host1-a → host2-a"
    left = " ".join(page.locator(".axis .left .what").all_inner_texts())
    right = " ".join(page.locator(".axis .right .what").all_inner_texts())
    assert "left by migration" in left
    assert "incoming migration prepared" in right
    assert page.locator(".axis .evidence").count() == len(verdict.data["evidence"])
    times = [seconds(each.get_attribute("datetime") or "") for each in page.locator(".axis time").all()]
    assert times == sorted(times)
    middle = WIDE[0] / 2
    assert all(box["x"] + box["width"] <= middle for box in boxes(page, ".axis .left .what"))
    assert all(box["x"] >= middle for box in boxes(page, ".axis .right .what"))

    page.go_back()
    expect(window.row("past", "web01")).to_be_visible()
    expect(window.row("past", "web01").get_by_role("link").first).to_be_focused()


def test_a_guest_has_its_history_over_all_hosts(world: World, look: Look) -> None:
    window = look(world).open()
    page = window.page
    page.get_by_label("Guest, by name or UUID").fill("web01")
    page.keyboard.press("Enter")
    page.locator(".guests").get_by_role("link", name="web01").click()

    expect(page.locator("h2").last).to_have_text("web01")
    expect(page.locator(".detail .past li", has_text="completed")).to_have_count(1)
    events = page.locator(".events li:has(.who)")
    window.until(lambda: events.count() >= 4, "its events")
    hosts = set(page.locator(".events .who").all_inner_texts())
    assert {"host1-a", "host2-a"} <= hosts


def test_a_host_has_its_guests(world: World, look: Look) -> None:
    window = look(world).open()
    page = window.page
    window.row("hosts", "host2-a").get_by_role("link").click()

    expect(page.locator(".guests li")).to_have_count(1)
    expect(page.locator(".guests li")).to_contain_text("web01")
    expect(page.locator(".detail dl")).to_contain_text("1 guest, 1 running")
    page.get_by_role("link", name="Past migrations of this host").click()
    window.until(lambda: [row.split()[0] for row in window.rows("past")] == ["web01"])


def test_everything_is_reached_by_the_keyboard(world: World, look: Look) -> None:
    window = look(world).open()
    page = window.page
    window.until(lambda: len(window.rows("past")) >= 3)

    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.locator(".past").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("End")
    expect(window.row("past", "web01").get_by_role("link").first).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".detail h2")).to_be_focused()
    page.go_back()
    expect(window.row("past", "web01").get_by_role("link").first).to_be_focused()
    page.keyboard.press("Home")
    expect(page.locator("#past li:has(.who)").first.get_by_role("link").first).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_axe_finds_nothing_and_nothing_is_wider_than_the_window(
    world: World, look: Look, size: tuple[int, int], scheme: str
) -> None:
    window = look(world, size, color_scheme=scheme)
    verdict = next(each for each in world.agents.published() if each.word == "failed")
    found: dict[str, list[str]] = {}
    for search in (
        "",
        "?outcome=failed",
        f"?view=migration&of={verdict.data['migration']}",
        f"?view=guest&of={verdict.uuid}",
        "?view=host&of=host2-a",
        "?view=guests&of=",
    ):
        window.open(search)
        window.page.wait_for_selector("li")
        found[search] = window.violations()
        if window.overflow_px() > 0:
            found[search].append(f"{window.overflow_px()} px too wide")

    assert {search: faults for search, faults in found.items() if faults} == {}


def boxes(page: Page, selector: str) -> list[FloatRect]:
    """Where the elements are."""
    found = [each.bounding_box() for each in page.locator(selector).all()]
    return [box for box in found if box is not None]
