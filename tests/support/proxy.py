"""Between clients and a real broker: what a broken network, or another broker, would do on the way."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self


class Proxy:
    """Listens on `port` of 127.0.0.1 for a broker on another one; subclasses change what is relayed."""

    def __init__(self, broker_port: int) -> None:
        self._broker_port = broker_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    broker = socket.create_connection(("127.0.0.1", self._broker_port))
                except OSError:
                    client.close()
                    continue
                self._open += [client, broker]
                for relay, ends in ((self._to_broker, (client, broker)), (self._to_client, (broker, client))):
                    threading.Thread(target=relay, args=ends, name="proxy", daemon=True).start()

    def _to_client(self, broker: socket.socket, client: socket.socket) -> None:
        self._relay(broker, client)

    def _to_broker(self, client: socket.socket, broker: socket.socket) -> None:
        self._relay(client, broker)

    def _relay(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(65_536):
                sink.sendall(chunk)
            sink.shutdown(socket.SHUT_RDWR)
