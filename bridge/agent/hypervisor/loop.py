"""libvirt's event loop: one thread for the whole process, for any number of connections.

Source: virEventRegisterDefaultImpl (before the first connection), virEventRunDefaultImpl (which blocks for
ever without a timer or traffic, so there is a timer).
"""

from __future__ import annotations

import atexit
import threading
import time
from typing import Final

import libvirt
import structlog

_TICK_MS: Final = 1000
_STOP_S: Final = 2.0

_log = structlog.get_logger()


class EventLoop:
    """Runs callbacks of all connections in the thread `libvirt-events`."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="libvirt-events", daemon=True)
        libvirt.virEventRegisterDefaultImpl()
        libvirt.registerErrorHandler(_ignore, None)
        self._turned_at_s = time.monotonic()
        self._timer = libvirt.virEventAddTimeout(_TICK_MS, _ignore, None)
        self._thread.start()
        atexit.register(self.stop)

    @property
    def is_alive(self) -> bool:
        """Whether events can arrive."""
        return self._thread.is_alive()

    @property
    def silent_s(self) -> float:
        """Seconds since the loop last ran, which it does every second even when nothing happens."""
        return time.monotonic() - self._turned_at_s

    def stop(self) -> None:
        """Stops the thread, so that no callback runs while the interpreter shuts down."""
        self._stopping.set()
        libvirt.virEventUpdateTimeout(self._timer, 0)
        self._thread.join(_STOP_S)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._turned_at_s = time.monotonic()
            try:
                libvirt.virEventRunDefaultImpl()
            except libvirt.libvirtError as error:
                _log.error("libvirt.event_loop_failed", error=str(error))
                self._stopping.wait(0.1)


def _ignore(*_args: object) -> None:
    """Errors are raised as exceptions; libvirt need not print them, too."""


_guard = threading.Lock()
_loops: Final[list[EventLoop]] = []


def running_loop() -> EventLoop:
    """The process's event loop, started by the first call; has to be called before a connection is opened."""
    with _guard:
        if not _loops:
            _loops.append(EventLoop())
        return _loops[0]
