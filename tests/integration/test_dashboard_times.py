"""What the second is spent on that a row may take from its message to the page."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest

from bridge.config import PROGRAMS, DashboardSettings
from bridge.dashboard.counters import Counters
from bridge.dashboard.feed import Feed, Wanted
from bridge.dashboard.items import Items
from bridge.dashboard.present import Change, Present
from bridge.dashboard.service import Dashboard
from bridge.dashboard.store import Archive, Stored
from bridge.options import load
from bridge.wire.examples import examples
from bridge.wire.messages import MIGRATION
from bridge.wire.topics import Topics
from tests.support.broker import Broker
from tests.support.processes import wait_until
from tests.support.session_recorder import Client

TRIES = 10
"""The quickest of them is what it takes where nothing else holds it up."""
FAILED = examples()[MIGRATION["failed"].type]
UUID = "c7a5fdbd-edaf-9455-926a-d65c16db1809"


@pytest.mark.server
def test_what_trickles_in_is_gathered_for_a_twentieth_of_a_second(tmp_path: Path) -> None:
    stored_at: list[float] = []
    retained_complete = threading.Event()

    def note(rows: Sequence[Stored], changes: Sequence[Change]) -> None:
        stored_at.extend(time.monotonic() for _ in rows)
        if (rows, changes) == ((), ()):  # nothing was retained; until then what comes is stored at once
            retained_complete.set()

    with Broker(tmp_path / "broker") as broker:
        given: dict[str, object] = {"broker": f"mqtt://127.0.0.1:{broker.port}", "state_dir": str(tmp_path)}
        dashboard = Dashboard(load(DashboardSettings, "dashboard", given, {}, PROGRAMS).settings)
        dashboard.listener = note
        thread = threading.Thread(target=dashboard.run, name="dashboard")
        thread.start()
        try:
            publisher = Client(broker.settings(), client_id="publisher")
            publisher.connect()
            assert retained_complete.wait(10)
            took_s = []
            for number in range(TRIES):
                payload = FAILED.replace(b"-failed-0", b"-failed-%d" % number)
                began = time.monotonic()
                publisher.publish_all(Topics().migration(UUID, "failed"), [payload])
                wait_until(lambda number=number: len(stored_at) > number)  # type: ignore[misc]
                took_s.append(stored_at[-1] - began)
            publisher.close()
        finally:
            dashboard.ask_to_stop()
            thread.join(10)
    assert 0.05 <= min(took_s) < 0.1


def test_what_is_stored_leaves_in_one_piece_after_a_quarter_of_a_second() -> None:
    async def take() -> list[float]:
        news = Feed(Items(Present(), {}), cast("Archive", None), lambda: {"rows": 1}, Counters())
        running = asyncio.create_task(news.run())
        stream = news.stream(Wanted(), None, asyncio.to_thread)
        await anext(stream)
        took_s = []
        for _ in range(TRIES):
            following = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(0)
            began = time.monotonic()
            news.put((), (Change("summary", ""),))
            await following
            took_s.append(time.monotonic() - began)
        news.close()
        assert await anext(stream, None) is None
        running.cancel()
        return took_s

    assert 0.25 <= min(asyncio.run(take())) < 0.5
