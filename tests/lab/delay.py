"""A TCP forwarder that keeps what a client sends for some seconds: a host whose messages come late."""

import contextlib
import queue
import socket
import threading
import time
from types import TracebackType
from typing import Self


class Delay:
    """Forwards a free port (`port`) to `target_port`, what the client sends `delay_s` later; both local."""

    def __init__(self, target_port: int, delay_s: float) -> None:
        self.target_port, self.delay_s = target_port, delay_s
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, name="delay", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in [self._listener, *self._sockets]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self.target_port))
                except OSError:
                    client.close()
                    continue
                self._sockets += [client, server]
                waiting: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
                for work in (
                    lambda c=client, w=waiting: self._take(c, w),
                    lambda s=server, w=waiting: self._send_late(s, w),
                    lambda s=server, c=client: self._forward(s, c),
                ):
                    threading.Thread(target=work, name="delay", daemon=True).start()

    def _take(self, client: socket.socket, waiting: "queue.SimpleQueue[tuple[float, bytes]]") -> None:
        data = b"-"
        while data:
            try:
                data = client.recv(65536)
            except OSError:
                data = b""
            waiting.put((time.monotonic() + self.delay_s, data))

    def _send_late(self, server: socket.socket, waiting: "queue.SimpleQueue[tuple[float, bytes]]") -> None:
        while True:
            due_s, data = waiting.get()
            time.sleep(max(0.0, due_s - time.monotonic()))
            with contextlib.suppress(OSError):
                if not data:
                    server.shutdown(socket.SHUT_RDWR)
                    return
                server.sendall(data)

    def _forward(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                client.sendall(data)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)
