"""`libvirt-mqtt hook`: a runner as a process; and listing and retrying parked messages."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bridge.errors import BridgeError
from bridge.hook.service import Runner
from bridge.hook.store import Job, OpenedBeside
from bridge.signals import signals
from bridge.systemd import Notifier
from bridge.view.text import harmless

if TYPE_CHECKING:
    from bridge.config import HookSettings


def run(settings: HookSettings, reload: Callable[[], bool]) -> int:
    """Runs a runner until SIGTERM or SIGINT, or lists or retries parked messages; returns the exit status.
    SIGHUP: see `bridge.reload`.
    """
    if settings.parked or settings.again is not None:
        return _list_or_retry(settings)
    runner = Runner(settings, reload)
    with signals(runner.ask_to_stop, runner.ask_to_reload), _health(settings, runner):
        runner.run(Notifier())
    return 0


def _list_or_retry(settings: HookSettings) -> int:
    owner = f"hook {settings.id}" if settings.group is None else f"hook group {settings.group}"
    store = OpenedBeside(settings.store_url(), owner=owner)
    try:
        parked = store.parked()
        if settings.again is None:
            for job in parked:
                print(_shown(job))
            return 0
        chosen = [job for job in parked if settings.again in ("all", _id(job))]
        for job in chosen:
            store.again(job)
            print(f"{_id(job)} is retried")
        if not chosen:
            raise BridgeError(f"no parked message has the id {settings.again}")
    finally:
        store.close()
    return 0


def _id(job: Job) -> str:
    return str(json.loads(job.payload)["id"])


def _shown(job: Job) -> str:
    """A line of what it is, and below it what its program wrote last."""
    why, *output = (harmless(line) for line in job.why.splitlines())
    head = f"{harmless(_id(job))}  {job.topic}  after {job.tries} tries: {why}"
    return "\n".join([head, *(f"    {line}" for line in output)])


@contextmanager
def _health(settings: HookSettings, runner: Runner) -> Iterator[None]:
    if settings.http is None:
        yield
        return
    from bridge.health import HealthServer
    from bridge.hook.metrics import registry

    with HealthServer(
        settings.http, registry=registry(runner.counters), live=runner.live, ready=runner.ready
    ):
        yield
