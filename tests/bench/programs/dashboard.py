"""Ours: the dashboard as it is, with its store on the disk and its web server."""

from __future__ import annotations

import sys

from bridge import log
from bridge.config import PROGRAMS, DashboardSettings
from bridge.dashboard.server import Server
from bridge.dashboard.service import Dashboard
from bridge.dashboard.web import Web
from bridge.options import load
from tests.bench.programs import intake


def main(port: str, folder: str) -> None:
    log.configure("json", "error")
    given: dict[str, object] = {"broker": f"mqtt://127.0.0.1:{port}", "state_dir": folder}
    settings = load(DashboardSettings, "dashboard", given | {"http": "127.0.0.1:0"}, {}, PROGRAMS).settings
    dashboard = Dashboard(settings)
    web = Web(settings, dashboard)
    dashboard.listener = web.feed.put
    counters = dashboard.counters
    with Server(settings, web, dashboard.ask_to_stop) as server:
        intake.serve(dashboard, counters, lambda: {"streams": counters.streams}, url=server.url)


if __name__ == "__main__":
    main(*sys.argv[1:])
