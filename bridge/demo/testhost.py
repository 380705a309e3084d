"""The demo's own host, a process of its own: an agent on the test hypervisor, and a domain that is driven.

Each line on standard input is done to the domain (`hypervisor.testing.ACTIONS`). It stops as an agent does
when standard input ends, so also when the demo dies.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from bridge import log
from bridge.addresses import BrokerAddress
from bridge.agent.hypervisor.testing import TEST_URI, DrivenDomain
from bridge.agent.service import Agent
from bridge.config import AgentSettings


def main(broker: str, state_dir: str, host: str, name: str, uuid: str) -> int:
    """Runs until standard input ends; returns the exit status."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the end of standard input is what stops it
        signal.signal(number, signal.SIG_IGN)
    log.configure("text", "info")
    agent = Agent(
        AgentSettings(
            broker=BrokerAddress.parse(broker), host=host, connect=TEST_URI, state_dir=Path(state_dir)
        )
    )
    agent.start()
    domain = DrivenDomain(name, uuid)
    try:
        for line in sys.stdin:
            domain.do(line.strip())
    finally:
        domain.close()
        agent.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
