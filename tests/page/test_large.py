"""A thousand hosts with a hundred thousand domains: the first view, a new row, the page's memory."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.integration.session_recorder import Client
from tests.page.conftest import Look
from tests.page.parts import World
from tests.processes import wait_until
from tests.simulator.fleet import PLACED_BY_S, Fleet
from tests.simulator.speech import publication

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(400)]

HOSTS, DOMAINS = 1_000, 100_000
FIRST_VIEW_S = 2.0
SEEN_S = 1.0
MEMORY_MB = 200


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    fleet = Fleet(3, hosts=HOSTS, domains=DOMAINS, attempts=2, seconds=4.0)
    with World(tmp_path_factory.mktemp("large")) as world:
        client, began_s = Client(world.broker.settings(), client_id="hosts", window=1000), time.time()
        client.connect()
        for arrival in fleet.arrivals:
            if arrival.t <= PLACED_BY_S:
                client.until(lambda: client.session.room() > 0)
                client.session.publish(publication(arrival.sent, began_s=began_s), None)
        client.until(lambda: client.session.in_flight == 0)
        wait_until(lambda: world.dashboard.read("summary")["domains"] >= DOMAINS, timeout_s=120)
        yield world


def test_first_view_new_row_and_memory(world: World, look: Look, browser: Browser) -> None:
    window = look(world)
    page = window.page
    began = time.perf_counter()
    window.open()
    expect(page.locator("#hosts .count")).to_have_text("1,000")
    first_view_s = time.perf_counter() - began

    world.migrate("live", "large", "web03")
    window.row("past", "web03").wait_for()
    late_s = world.since_told()

    page.get_by_label("Guest, by name or UUID").press("Enter")
    guests = page.locator(".guests")
    drawn = 0
    for _ in range(12):
        guests.press("End")
        page.wait_for_timeout(300)
        drawn = max(drawn, guests.locator("li").count())
    length = guests.evaluate("list => list.items.length")
    memory_mb = window.private_mb(browser)

    assert first_view_s < FIRST_VIEW_S
    assert late_s < SEEN_S
    assert length >= 10_000
    assert drawn < 100
    assert memory_mb < MEMORY_MB
