"""Ours: the agent as it is, on the test hypervisor, whose domains are driven from the same process."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from bridge import log
from bridge.agent.hypervisor.loop import running_loop
from bridge.agent.service import Agent
from bridge.config import PROGRAMS, AgentSettings
from bridge.options import load
from tests.bench.programs import answers
from tests.bench.programs.driver import Driver, timed


def main(port: str, folder: str, domains: str, events: str = "") -> None:
    log.configure("json", "error")
    running_loop()
    driver = Driver(int(domains))
    given = {"broker": f"mqtt://127.0.0.1:{port}", "state_dir": folder, "connect": "test:///default"}
    given |= {"events": events}
    settings = load(AgentSettings, "agent", given | {"host": "bench"}, {}, PROGRAMS).settings
    Path(folder).mkdir(exist_ok=True)
    agent = Agent(settings)
    try:
        _serve(agent, driver)
    finally:
        agent.stop()


def _serve(agent: Agent, driver: Driver) -> None:
    for command, *numbers in answers.words():
        if command == "start":
            began = time.time()
            agent.start()
            while not agent.hypervisor.status.connected or agent.writer.waits_for_list:
                time.sleep(0.005)
            answers.say(began=began)
        elif command == "burst":
            answers.say(**_burst(agent, driver, int(numbers[0])))
        elif command == "trickle":
            driver.drive(int(numbers[0]), float(numbers[1]))
            answers.say()


def _burst(agent: Agent, driver: Driver, events: int) -> dict[str, float]:
    answered = agent.sender.counters.answers
    until = answered.total() + events
    return timed(driver, events, lambda: answered.total() >= until)


if __name__ == "__main__":
    main(*sys.argv[1:])
