"""Between clients and a real broker: no subscription with a wildcard gets retained messages, as at RabbitMQ.

That is what MQTT 5 calls retain handling 2, which the proxy sets in each such subscription on its way.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from types import TracebackType
from typing import Final, Self

from tests.support.fake_broker import length, packet, read_length

_SUBSCRIBE: Final = 0x82
_NEVER: Final = 0x20


class UnretainedProxy:
    """Listens on `port` of 127.0.0.1 for a broker on another one; for MQTT 5."""

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
                broker = socket.create_connection(("127.0.0.1", self._broker_port))
                self._open += [client, broker]
                for relay, ends in ((self._to_broker, (client, broker)), (self._to_client, (broker, client))):
                    threading.Thread(target=relay, args=ends, name="proxy", daemon=True).start()

    def _to_client(self, broker: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := broker.recv(65_536):
                client.sendall(chunk)
            client.shutdown(socket.SHUT_RDWR)

    def _to_broker(self, client: socket.socket, broker: socket.socket) -> None:
        with contextlib.suppress(OSError, IndexError), client.makefile("rb") as stream:
            while header := stream.read(1):
                size = b""
                while not size or size[-1] & 0x80:
                    size += stream.read(1)
                body = stream.read(read_length(size, 0)[0])
                broker.sendall(packet(header[0], _unretained(body) if header[0] == _SUBSCRIBE else body))
        with contextlib.suppress(OSError):
            broker.shutdown(socket.SHUT_RDWR)


def _unretained(body: bytes) -> bytes:
    size, at = read_length(body, 2)
    found = bytearray(body)
    at += size
    assert length(size) == body[2 : at - size]
    while at < len(body):
        end = at + 2 + struct.unpack_from("!H", body, at)[0]
        if b"+" in body[at:end] or b"#" in body[at:end]:
            found[end] |= _NEVER
        at = end + 1
    return bytes(found)
