"""A browser for all tests of a process, and windows on the page that are held to do nothing forbidden."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.page.parts import WIDE, Window, World
from tests.support.broker import program

Look = Callable[..., Window]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, without a window."""
    options = ["--no-sandbox"] if os.geteuid() == 0 else []  # it refuses to be root otherwise
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program("chromium"), args=options)
        yield browser
        browser.close()


@pytest.fixture
def look(browser: Browser) -> Iterator[Look]:
    """Opens windows on a world's page; after the test none of them may have done what it never must."""
    windows: list[Window] = []

    def look(world: World, size: tuple[int, int] = WIDE, **options: Any) -> Window:
        context = browser.new_context(viewport={"width": size[0], "height": size[1]}, **options)
        windows.append(Window(context, world.dashboard.url))
        return windows[-1]

    yield look
    faults = [fault for window in windows for fault in window.faults]
    for window in windows:
        window.page.context.close()
    assert faults == []
