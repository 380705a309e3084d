"""The page in trouble: markup in names, passwords, a broker or dashboard that is away, an hour of sleep."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Route, expect

from bridge.dashboard.feed import MOST_AT_ONCE, SUMMARY_EVERY_S
from tests.page.conftest import Look
from tests.page.parts import Window, World, verdict
from tests.support.processes import wait_until

pytestmark = [pytest.mark.server, pytest.mark.slow]

MARKUP = '<script>document.title="taken"</script><img src=x onerror=alert(1)>" onclick="x\u202e&amp;'
SILENT_S = 2.5 * SUMMARY_EVERY_S
"""After so long without a summary the page says that nothing comes."""


@contextmanager
def hanging(world: World, window: Window) -> Iterator[None]:
    """Stops the dashboard's process; the page has taken by then what was sent before."""
    os.kill(world.dashboard.pid, signal.SIGSTOP)
    try:
        window.page.wait_for_timeout(1000)
        yield
    finally:
        os.kill(world.dashboard.pid, signal.SIGCONT)


def unanswered(_route: Route) -> None:
    """Neither goes on with a request nor refuses it."""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as world:
        yield world


def test_a_name_full_of_markup_is_only_a_name(world: World, look: Look) -> None:
    uuid = world.migrate("live", "<b>host</b>", MARKUP)
    world.published(uuid, "completed")
    window = look(world).open()
    page = window.page
    page.on("dialog", lambda dialog: window.faults.append(dialog.message))

    window.row("past", MARKUP).get_by_role("link").first.click()
    expect(page.locator(".detail h2")).to_contain_text(MARKUP)
    page.get_by_role("link", name=MARKUP).first.click()
    expect(page.locator(".detail h2")).to_have_text(MARKUP)
    page.locator(".detail").get_by_role("link", name="host2-<b>host</b>").first.click()
    expect(page.locator(".guests .who")).to_have_text(MARKUP)

    assert page.locator("main script, main img, main b:not(.sides b)").count() == 0
    assert page.title() != "taken"


def test_a_stopped_broker_is_said_and_comes_back(world: World, look: Look) -> None:
    world.published(world.migrate("live", "a"), "completed")
    window = look(world).open()
    trouble = window.page.locator("#trouble")
    expect(trouble).to_be_hidden()

    world.broker.stop()
    expect(trouble).to_contain_text("As of ", timeout=15_000)
    expect(trouble).to_contain_text("no connection to the broker")
    expect(window.row("past", "web01")).to_be_visible()
    world.broker.start()
    expect(trouble).to_be_hidden(timeout=40_000)
    world.migrate("live", "b", "web02")
    window.row("past", "web02").wait_for()


def test_a_stopped_dashboard_is_said_and_what_came_meanwhile_is_caught_up(world: World, look: Look) -> None:
    world.published(world.migrate("live", "a"), "completed")
    window = look(world).open()
    trouble = window.page.locator("#trouble")
    window.row("past", "web01").wait_for()

    world.dashboard.kill()
    expect(trouble).to_contain_text("no data from the dashboard")
    expect(window.row("past", "web01")).to_be_visible()
    world.published(world.migrate("live", "b", "web02"), "completed")
    world.dashboard.start()
    window.row("past", "web02").wait_for()
    expect(trouble).to_be_hidden()
    assert sorted(row.split()[0] for row in window.rows("past")) == ["web01", "web02"]
    window.faults[:] = [fault for fault in window.faults if "ERR_" not in fault]  # it says so of each try


@pytest.mark.parametrize(("seconds", "says"), [(SILENT_S - 5, False), (SILENT_S + 5, True)])
def test_a_dashboard_that_hangs_is_found_out_when_two_summaries_are_missed(
    world: World, look: Look, seconds: float, says: bool
) -> None:
    window = look(world)
    window.page.clock.install()
    window.open()
    trouble = window.page.locator("#trouble")
    with hanging(world, window):
        window.page.clock.run_for(int(seconds * 1000))
        if says:
            expect(trouble).to_be_visible()
        else:
            window.page.wait_for_timeout(500)
            expect(trouble).to_be_hidden()
    window.page.clock.resume()
    expect(trouble).to_be_hidden(timeout=15_000)


def test_a_dashboard_that_hangs_while_the_page_reads_its_lists_is_found_out(world: World, look: Look) -> None:
    window = look(world)
    page = window.page
    page.clock.install()
    with page.expect_request("**/api/v1/hosts?*"):
        page.route("**/api/v1/hosts?*", unanswered)
        page.goto(world.dashboard.url)
    with hanging(world, window):
        page.clock.run_for(int((SILENT_S + 5) * 1000))
        expect(page.locator("#trouble")).to_contain_text("no data from the dashboard")
        page.unroute("**/api/v1/hosts?*", unanswered)
    page.clock.resume()
    expect(page.locator("#as-of")).to_be_visible(timeout=15_000)
    window.faults[:] = [fault for fault in window.faults if "ERR_" not in fault]


def test_after_an_hour_asleep_it_shows_what_happened_meanwhile_once(world: World, look: Look) -> None:
    world.published(world.migrate("live", "a"), "completed")
    window = look(world)
    window.page.clock.install()
    window.open()
    window.row("past", "web01").wait_for()

    window.page.context.set_offline(True)
    window.page.clock.pause_at(time.time() + 1)
    for number in (2, 3):
        world.published(world.migrate("live", f"night{number}", f"web0{number}"), "completed")
    window.page.clock.fast_forward(3600_000)
    window.page.context.set_offline(False)
    window.page.clock.resume()

    for number in (2, 3):
        window.row("past", f"web0{number}").wait_for()
    assert sorted(row.split()[0] for row in window.rows("past")) == ["web01", "web02", "web03"]
    expect(window.page.locator("#trouble")).to_be_hidden()
    window.faults[:] = [fault for fault in window.faults if "ERR_" not in fault]


class TestWithAPassword:
    """A dashboard that wants one."""

    @pytest.fixture
    def world(self, tmp_path: Path) -> Iterator[World]:
        file = tmp_path / "password"
        file.write_text("a good one\n")
        file.chmod(0o600)
        with World(tmp_path, http_password_file=file) as world:
            yield world

    def test_nothing_is_shown_without_it_nor_with_a_wrong_one(self, world: World, look: Look) -> None:
        world.published(world.migrate("live", "a"), "completed")
        window = look(world)
        page = window.page
        page.goto(window.url)
        password = page.get_by_label("Password", exact=True).last

        expect(password).to_be_focused()
        page.keyboard.press("Escape")
        expect(password).to_be_visible()
        assert window.violations() == []
        password.fill("a bad one")
        page.keyboard.press("Enter")
        expect(page.get_by_text("Wrong password.")).to_be_visible()
        assert window.rows("past") == []

        password.fill("a good one")
        page.keyboard.press("Enter")
        window.row("past", "web01").wait_for()
        (cookie,) = page.context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        window.open()
        window.row("past", "web01").wait_for()
        window.faults[:] = [fault for fault in window.faults if "401" not in fault]


def test_a_page_that_nobody_sees_has_no_stream_and_catches_up_when_it_is_seen(
    world: World, look: Look
) -> None:
    """Six tabs would else take all connections that a browser has with one server."""
    world.published(world.migrate("live", "a"), "completed")
    window = look(world).open()
    window.row("past", "web01").wait_for()
    assert world.dashboard.streams() == 1

    window.page.evaluate(_SHOW, False)
    wait_until(lambda: world.dashboard.streams() == 0)
    expect(window.page.locator("#trouble")).to_be_hidden()
    world.published(world.migrate("live", "b", "web02"), "completed")
    window.page.evaluate(_SHOW, True)
    window.row("past", "web02").wait_for()
    assert world.dashboard.streams() == 1
    assert sorted(row.split()[0] for row in window.rows("past")) == ["web01", "web02"]


_SHOW: Final = """is_seen => {
    Object.defineProperty(document, "hidden", {value: !is_seen, configurable: true});
    document.dispatchEvent(new Event("visibilitychange"));
}"""


def test_a_page_that_missed_more_than_is_sent_again_reads_its_lists_anew(world: World, look: Look) -> None:
    window = look(world)
    began_s = time.time() - 100_000
    world.agents.publish([verdict("before", began_s)])
    window.open()
    window.row("past", "before").wait_for()

    window.page.evaluate(_SHOW, False)
    missed = (verdict(f"web{number:05d}", began_s + number) for number in range(MOST_AT_ONCE + 1))
    world.agents.publish(missed)
    wait_until(lambda: world.dashboard.read("summary")["store"]["rows"] == MOST_AT_ONCE + 2)
    window.page.evaluate(_SHOW, True)

    window.row("past", f"web{MOST_AT_ONCE:05d}").wait_for()
    expect(window.page.locator("#past .count")).to_have_text("200+")
    world.agents.publish([verdict("after", time.time())])
    window.row("past", "after").wait_for()
