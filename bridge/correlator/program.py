"""`libvirt-mqtt correlator`: a correlator as a process, with its signals and its HTTP endpoint."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bridge.correlator.service import Correlator
from bridge.signals import signals
from bridge.systemd import Notifier

if TYPE_CHECKING:
    from bridge.config import CorrelatorSettings


def run(settings: CorrelatorSettings, reload: Callable[[], bool]) -> int:
    """Runs a correlator until SIGTERM or SIGINT; returns the exit status. SIGHUP: see `bridge.reload`."""
    # Domain records hold no reference cycles, and are many: searching them for some took a third of the time.
    gc.set_threshold(100_000, 50, 100)
    correlator = Correlator(settings, reload)
    with signals(correlator.ask_to_stop, correlator.ask_to_reload), _health(settings, correlator):
        correlator.run(Notifier())
    return 0


@contextmanager
def _health(settings: CorrelatorSettings, correlator: Correlator) -> Iterator[None]:
    if settings.http is None:
        yield
        return
    from bridge.correlator.metrics import registry
    from bridge.health import HealthServer

    with HealthServer(
        settings.http, registry=registry(correlator.counters), live=correlator.live, ready=correlator.ready
    ):
        yield
