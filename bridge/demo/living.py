"""An agent on the test hypervisor with a domain that lives: for `docker/compose.yaml`.

    python -m bridge.demo.living

has the agent's settings from the environment. libvirt's test hypervisor lives inside one process, so what
drives its domain has to be there, too.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from functools import partial
from typing import Final

from bridge import log
from bridge.agent import program
from bridge.agent.hypervisor.loop import running_loop
from bridge.agent.hypervisor.testing import TEST_URI, DrivenDomain
from bridge.config import PROGRAMS, AgentSettings
from bridge.errors import BridgeError
from bridge.options import load
from bridge.reload import Reload

NAME: Final = "demo01"
UUID: Final = "0d1ed0d0-0000-4000-8000-000000000001"
LIFE: Final = ("define", "start", "pause", "resume", "shutdown", "undefine")
"""What is done to the domain, over and over."""
PAUSE_S: Final = 2.0


def main() -> int:
    """Runs until SIGTERM or SIGINT; returns the exit status."""
    try:
        read = partial(load, AgentSettings, "agent", {"connect": TEST_URI}, os.environ, PROGRAMS)
        settings = read().settings
        log.configure(settings.log_format, settings.log_level)
        for secret in settings.secrets():
            log.hide(secret)
        running_loop()  # libvirt wants it before the first connection
        threading.Thread(target=_live, name="domain", daemon=True).start()
        return program.run(settings, Reload(settings, read))
    except BridgeError as error:
        print(f"libvirt-mqtt: {log.mask(str(error))}", file=sys.stderr)
        return error.exit_status


def _live() -> None:
    domain = DrivenDomain(NAME, UUID)
    for action in itertools.cycle(LIFE):
        time.sleep(PAUSE_S)
        domain.do(action)


if __name__ == "__main__":
    sys.exit(main())
