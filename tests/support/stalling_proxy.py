"""Between clients and a real broker: a network on which, for a while, nothing comes from the broker."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from types import TracebackType

from tests.support.proxy import Proxy


class StallingProxy(Proxy):
    """Holds back what the broker sends while it is `stalled`."""

    def __init__(self, broker_port: int) -> None:
        super().__init__(broker_port)
        self._flows = threading.Event()
        self._flows.set()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._flows.set()
        super().__exit__(kind, error, trace)

    @contextlib.contextmanager
    def stalled(self) -> Iterator[None]:
        """What the broker sends meanwhile comes afterwards."""
        self._flows.clear()
        try:
            yield
        finally:
            self._flows.set()

    def _to_client(self, broker: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := broker.recv(65_536):
                self._flows.wait()
                client.sendall(chunk)
            client.shutdown(socket.SHUT_RDWR)
