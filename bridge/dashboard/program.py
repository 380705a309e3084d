"""`libvirt-mqtt dashboard`: a dashboard as a process, with its signals and its web server."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TYPE_CHECKING

from bridge.errors import NotInstalledError
from bridge.signals import signals
from bridge.systemd import Notifier

if TYPE_CHECKING:
    from bridge.config import DashboardSettings


def run(settings: DashboardSettings, reload: Callable[[], bool]) -> int:
    """Runs a dashboard until SIGTERM or SIGINT; returns the exit status. SIGHUP: see `bridge.reload`."""
    try:
        from bridge.dashboard.server import Server
        from bridge.dashboard.service import Dashboard
        from bridge.dashboard.web import Web
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn"):
            raise
        raise NotInstalledError(error.name, pip=error.name, apt=f"python3-{error.name}") from error
    # What is known of domains holds no cycles, and there is much of it.
    gc.set_threshold(100_000, 50, 100)
    dashboard = Dashboard(settings, reload)
    web = Web(settings, dashboard)
    dashboard.listener = web.feed.put
    with (
        signals(dashboard.ask_to_stop, dashboard.ask_to_reload),
        Server(settings, web, dashboard.ask_to_stop),
    ):
        dashboard.run(Notifier())
    return 0
