"""A thousand hosts with a hundred thousand domains: the first view, a new row, the page's memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

import pytest
from playwright.sync_api import Browser, expect

from tests.page.conftest import Look
from tests.page.parts import World, verdict
from tests.simulator.fleet import PLACED_BY_S, Fleet
from tests.support.agent_messages import publication
from tests.support.processes import wait_until
from tests.support.session_recorder import Client

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(400)]

HOSTS, DOMAINS = 1_000, 100_000
FIRST_VIEW_S = 2.0
TRIES = 10  # other programs run on this machine, too
SEEN_S = 1.0
MEMORY_MB = 200


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    fleet = Fleet(3, hosts=HOSTS, domains=DOMAINS, attempts=2, seconds=4.0)
    with World(tmp_path_factory.mktemp("large"), correlates=False) as world:
        client, began_s = Client(world.broker.settings(), client_id="hosts", window=1000), time.time()
        client.connect()
        placed = [each.sent for each in fleet.arrivals if each.t <= PLACED_BY_S]
        for number, sent in enumerate(placed):
            client.until(lambda: client.session.room() > 0)
            client.session.publish(publication(sent, began_s=began_s), number)
        client.until(lambda: client.session.in_flight == 0)
        wait_until(lambda: world.dashboard.read("summary")["domains"] >= DOMAINS, timeout_s=120)
        yield world


def test_first_view_new_row_and_memory(world: World, look: Look, browser: Browser) -> None:
    window = look(world)
    page = window.page
    first_views_s: list[float] = []
    while len(first_views_s) < TRIES and min(first_views_s, default=FIRST_VIEW_S) >= FIRST_VIEW_S:
        began = time.perf_counter()
        window.open()
        expect(page.locator("#hosts .count")).to_have_text("1,000")
        first_views_s.append(time.perf_counter() - began)

    late_s: list[float] = []
    while len(late_s) < TRIES and min(late_s, default=SEEN_S) >= SEEN_S:
        name, published_at = f"new{len(late_s)}", time.time()
        world.agents.publish([verdict(name, published_at)])
        window.row("past", name).wait_for()
        late_s.append(time.time() - published_at)

    page.get_by_label("Guest, by name or UUID").press("Enter")
    guests = page.locator(".guests")
    window.until(lambda: guests.evaluate(_AT_THE_END), "all guests", timeout_s=200)
    drawn = guests.locator("li").count()
    memory_mb = window.private_mb(browser)

    assert guests.evaluate("list => list.items.length") == DOMAINS
    assert min(first_views_s) < FIRST_VIEW_S
    assert min(late_s) < SEEN_S
    assert drawn < 100
    assert memory_mb < MEMORY_MB


_AT_THE_END: Final = "list => (list.scrollTop = list.scrollHeight, list.complete && list.items.length > 0)"
