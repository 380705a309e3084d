"""`libvirt-mqtt agent`: an agent as a process, with its signals, its supervision and its HTTP endpoint."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Final, Literal

from bridge.agent.service import Agent
from bridge.config import AgentSettings
from bridge.signals import signals
from bridge.systemd import Notifier

SUPERVISE_S: Final = 0.5
Request = Literal["stop", "reload"]


def run(settings: AgentSettings, reload: Callable[[], bool]) -> int:
    """Runs an agent until SIGTERM or SIGINT; returns the exit status. SIGHUP: see `bridge.reload`.

    Raises bridge.errors.BridgeError where it can't start or a thread died; the error has the exit status.
    """
    asked: queue.SimpleQueue[Request] = queue.SimpleQueue()  # its `put` may interrupt its `get`
    with signals(partial(asked.put, "stop"), partial(asked.put, "reload")):
        agent = Agent(settings)
        notifier = Notifier()
        agent.start()
        try:
            with _health(settings, agent):
                notifier.ready()
                _supervise(agent, asked, reload, notifier)
        finally:
            notifier.stopping()
            agent.stop()
    return 0


def _supervise(
    agent: Agent, asked: queue.SimpleQueue[Request], reload: Callable[[], bool], notifier: Notifier
) -> None:
    while True:
        with suppress(queue.Empty):
            if asked.get(timeout=SUPERVISE_S) == "stop":
                return
            if reload():
                agent.sender.reconnect()
        agent.check()
        if not any(agent.live().values()):
            notifier.watchdog()


@contextmanager
def _health(settings: AgentSettings, agent: Agent) -> Iterator[None]:
    if settings.http is None:
        yield
        return
    from bridge.agent.metrics import registry
    from bridge.health import HealthServer

    with HealthServer(
        settings.http, registry=registry(agent), live=agent.live, ready=agent.ready, detail=agent.detail
    ):
        yield
