"""A TCP forwarder that keeps what a client sends for some seconds: a host whose messages come late."""

import contextlib
import queue
import socket
import threading
import time

from tests.support.proxy import Proxy

_Waiting = queue.SimpleQueue[tuple[float, bytes]]


class Delay(Proxy):
    """Relays what the client sends `delay_s` later."""

    def __init__(self, broker_port: int, delay_s: float) -> None:
        super().__init__(broker_port)
        self.delay_s = delay_s

    def _to_broker(self, client: socket.socket, broker: socket.socket) -> None:
        waiting: _Waiting = queue.SimpleQueue()
        threading.Thread(target=self._send_late, args=(broker, waiting), name="delay", daemon=True).start()
        data = b"-"
        while data:
            try:
                data = client.recv(65_536)
            except OSError:
                data = b""
            waiting.put((time.monotonic() + self.delay_s, data))

    def _send_late(self, broker: socket.socket, waiting: _Waiting) -> None:
        while True:
            due_s, data = waiting.get()
            time.sleep(max(0.0, due_s - time.monotonic()))
            with contextlib.suppress(OSError):
                if not data:
                    broker.shutdown(socket.SHUT_RDWR)
                    return
                broker.sendall(data)
