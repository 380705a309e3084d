"""Between clients and a real broker: a network on which, for a while, nothing comes from the broker."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Self


class StallingProxy:
    """Listens on `port` of 127.0.0.1 for a broker on another one."""

    def __init__(self, broker_port: int) -> None:
        self._broker_port = broker_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._flows = threading.Event()
        self._flows.set()
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._flows.set()
        for each in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    @contextlib.contextmanager
    def stalled(self) -> Iterator[None]:
        """What the broker sends meanwhile comes afterwards."""
        self._flows.clear()
        try:
            yield
        finally:
            self._flows.set()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                broker = socket.create_connection(("127.0.0.1", self._broker_port))
                self._open += [client, broker]
                for relay, ends in ((self._to_client, (broker, client)), (self._to_broker, (client, broker))):
                    threading.Thread(target=relay, args=ends, name="proxy", daemon=True).start()

    def _to_client(self, broker: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := broker.recv(65_536):
                self._flows.wait()
                client.sendall(chunk)
            client.shutdown(socket.SHUT_RDWR)

    def _to_broker(self, client: socket.socket, broker: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := client.recv(65_536):
                broker.sendall(chunk)
            broker.shutdown(socket.SHUT_RDWR)
