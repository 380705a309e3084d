"""Ours: the dashboard as it is, with its store on the disk and its web server."""

from __future__ import annotations

import sys
import threading
import time

from bridge import log
from bridge.config import PROGRAMS, DashboardSettings
from bridge.dashboard.server import Server
from bridge.dashboard.service import Dashboard
from bridge.dashboard.web import Web
from bridge.options import load
from tests.bench.programs import answers


def main(port: str, folder: str) -> None:
    log.configure("json", "error")
    given: dict[str, object] = {"broker": f"mqtt://127.0.0.1:{port}", "state_dir": folder}
    settings = load(DashboardSettings, "dashboard", given | {"http": "127.0.0.1:0"}, {}, PROGRAMS).settings
    dashboard = Dashboard(settings)
    web = Web(settings, dashboard)
    dashboard.listener = web.feed.put
    with Server(settings, web, dashboard.ask_to_stop) as server:
        thread = threading.Thread(target=dashboard.run, name="dashboard")
        thread.start()
        counters = dashboard.counters
        while not counters.broker_connected:
            time.sleep(0.01)
        time.sleep(0.3)
        for command, *numbers in answers.words(url=server.url):
            if command == "consume":
                until = counters.messages + int(numbers[0])
                cpu, own = time.process_time(), time.thread_time()
                while counters.messages < until:
                    time.sleep(0.001)
                done = time.time()
                cpu = time.process_time() - cpu - (time.thread_time() - own)
                answers.say(done=done, cpu_us=cpu / int(numbers[0]) * 1e6)
            elif command == "count":
                answers.say(messages=counters.messages, cpu_s=time.process_time(), streams=counters.streams)
        dashboard.ask_to_stop()
        thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
