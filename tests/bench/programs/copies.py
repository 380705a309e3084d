"""Ours: the agent as it is, on a host from which so many guests are copied at once.

The test hypervisor knows no jobs, so what libvirt would say of them is played; it changes with each ask.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from bridge import log
from bridge.agent.hypervisor import Connection, Job
from bridge.agent.hypervisor.loop import running_loop
from bridge.agent.jobs.topics import JobTopics
from bridge.agent.service import Agent
from bridge.config import PROGRAMS, AgentSettings
from bridge.options import load
from tests.bench.programs import answers
from tests.bench.programs.driver import Driver

GIB = 1 << 30
BEGAN = time.monotonic()


def played(_connection: Connection, _uuid: str) -> Job:
    """A copy of 64 GiB in its second pass."""
    elapsed_ms = round((time.monotonic() - BEGAN) * 1000)
    left = 32 * GIB - elapsed_ms * 100_000
    figures = {
        f"{of}_{key}": value
        for of in ("data", "memory")
        for key, value in (("total", 64 * GIB), ("processed", 96 * GIB - left), ("remaining", left))
    }
    rates = {"memory_bps": 10**8, "memory_dirty_rate": 9_000, "memory_page_size": 4096}
    more = {"memory_iteration": 2, "downtime": 340_000, "time_elapsed": elapsed_ms}
    return Job("outgoing", {"operation": "migration_out", **figures, **rates, **more})


def main(port: str, folder: str, copies: str, mode: str) -> None:
    """told: `asked` for an agent that only asks, to find out that a migration failed."""
    log.configure("json", "error")
    running_loop()
    driver = Driver(int(copies))
    assert driver.connection.numOfDomains() > int(copies)
    setattr(Connection, "job", played)  # noqa: B010 - mypy refuses the assignment
    if mode == "asked":
        setattr(JobTopics, "show", lambda *_, **__: None)  # noqa: B010
    given = {"broker": f"mqtt://127.0.0.1:{port}", "state_dir": folder, "connect": "test:///default"}
    settings = load(AgentSettings, "agent", given | {"host": "bench"}, {}, PROGRAMS).settings
    Path(folder).mkdir(exist_ok=True)
    agent = Agent(settings)
    agent.start()
    try:
        for _ in answers.words():
            answers.say()
    finally:
        agent.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
