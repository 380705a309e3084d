"""`libvirt-mqtt dashboard`: a dashboard as a process, with its signals and its web server."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from bridge.errors import ConfigError
from bridge.signals import stop_signals
from bridge.systemd import Notifier

if TYPE_CHECKING:
    from bridge.config import DashboardSettings


def run(settings: DashboardSettings) -> int:
    """Runs a dashboard until SIGTERM or SIGINT; returns the exit status."""
    try:
        from bridge.dashboard.server import Server
        from bridge.dashboard.service import Dashboard
        from bridge.dashboard.web import Web
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn"):
            raise
        raise ConfigError(f"{error.name} is not installed: pip install 'libvirt-mqtt[dashboard]'") from error
    # What is known of domains holds no cycles, and there is much of it.
    gc.set_threshold(100_000, 50, 100)
    dashboard = Dashboard(settings)
    web = Web(settings, dashboard)
    dashboard.listener = web.feed.put
    with stop_signals(dashboard.ask_to_stop), Server(settings, web, dashboard.ask_to_stop):
        dashboard.run(Notifier())
    return 0
