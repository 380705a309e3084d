"""How far a migration is: what the agent says of the job, over the correlator, as a bar that moves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.page.conftest import Look
from tests.page.parts import World, recorded

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as world:
        yield world


def test_a_bar_moves_with_the_job_and_goes_with_it(world: World, look: Look) -> None:
    uuid, _ = recorded("live", "copied", "web01")
    window = look(world).open()
    row, bar = window.row("running", "web01"), window.page.locator("#running progress")
    end = world.begin("live", "copied", "web01")
    row.wait_for()

    world.publish_job("host1-copied", uuid, "web01", percent=41, eta_s=26, bandwidth_bytes_per_s=118 << 20)
    expect(bar).to_have_attribute("value", "41")
    expect(row).to_contain_text("copying 41 %")
    expect(row).to_contain_text("26 s left · 118 MiB/s · converging")
    world.publish_job("host1-copied", uuid, "web01", percent=57, eta_s=None, trend="stalled")
    expect(bar).to_have_attribute("value", "57")
    expect(row).to_contain_text("stalled")
    expect(row).not_to_contain_text("left")
    row.get_by_role("link").first.click()
    expect(window.page.locator(".detail dl")).to_contain_text("57 %")
    world.publish_job("host1-copied", uuid, "web01", percent=83)
    expect(window.page.locator(".detail dl")).to_contain_text("83 %")

    end()
    expect(window.page.locator(".detail .verdict")).to_contain_text("completed")
    expect(window.page.locator(".detail dl")).not_to_contain_text("Copied")
    window.page.go_back()
    expect(row).to_have_count(0)
