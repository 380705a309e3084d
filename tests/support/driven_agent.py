"""An agent on the test hypervisor, in a process that drives its domains as it is told on standard input.

The test hypervisor lives inside a process, so whatever an agent is to see of it has to be done in its own.
Each line `DOMAIN CYCLES` is answered by a line of JSON when the agent has stored all of it: what an
independent listener on the same hypervisor heard, and the sequence that the outbox had reached.
"""

import json
import signal
import sys
import time
from typing import Any

import libvirt

from bridge import log
from bridge.agent.service import Agent
from bridge.config import PROGRAMS, AgentSettings
from bridge.options import load
from bridge.wire import vocabulary

ACTIONS = ("suspend", "resume", "destroy", "create")


class Driver:
    """The test hypervisor's domains, and what they emitted by a listener's account."""

    def __init__(self) -> None:
        self._connection: Any = libvirt.open("test:///default")
        self._heard: list[str] = []
        self._caused = 0
        self._told = 0
        self._connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._hear, None)

    def domain(self, number: int) -> Any:
        """A domain that runs; number 0 is the one that the hypervisor has by itself."""
        name = "test" if number == 0 else f"driven{number}"
        try:
            return self._connection.lookupByName(name)
        except libvirt.libvirtError:
            domain = self._connection.defineXML(
                f"<domain type='test'><name>{name}</name><memory>8192</memory>"
                "<os><type>hvm</type></os></domain>"
            )
            domain.create()
            self._caused += 2
            return domain

    def drive(self, number: int, cycles: int) -> list[str]:
        """Does everything so often; returns what the listener heard since the last time, all of it."""
        domain = self.domain(number)
        for _ in range(cycles):
            for action in ACTIONS:
                getattr(domain, action)()
        self._caused += cycles * len(ACTIONS)
        while len(self._heard) < self._caused:
            time.sleep(0.001)
        before, self._told = self._told, self._caused
        return self._heard[before : self._caused]

    def _hear(self, _connection: Any, domain: Any, event: int, detail: int, _opaque: Any) -> None:
        said = f"{vocabulary.lifecycle_name(event)}/{vocabulary.detail_name(event, detail)}"
        self._heard.append(f"{domain.UUIDString()} {said}")


def main(arguments: list[str]) -> None:
    """Runs until standard input ends."""
    given = dict(argument.removeprefix("--").split("=", 1) for argument in arguments)
    given = {name.replace("-", "_"): value for name, value in given.items()}
    settings = load(AgentSettings, "agent", given, {}, PROGRAMS).settings
    log.configure("json", "info")
    agent = Agent(settings)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    agent.start()
    try:
        serve(agent)
    finally:
        agent.stop()


def serve(agent: Agent) -> None:
    """Answers each line of standard input."""
    driver = Driver()
    while not agent.hypervisor.status.connected or agent.writer.waits_for_list:
        time.sleep(0.01)
    for line in sys.stdin:
        number, cycles = map(int, line.split())
        heard = driver.drive(number, cycles)
        if not agent.writer.store_all(60):
            sys.exit("the agent doesn't store")
        epoch, last = agent.outbox.position
        sys.stdout.write(json.dumps({"events": heard, "epoch": epoch, "last_sequence": last}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
