"""Between clients and a real broker: no subscription with a wildcard gets retained messages, as at RabbitMQ.

That is what MQTT 5 calls retain handling 2, which the proxy sets in each such subscription on its way.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import Final

from tests.support.fake_broker import length, packet, read_length
from tests.support.proxy import Proxy

_SUBSCRIBE: Final = 0x82
_NEVER: Final = 0x20


class UnretainedProxy(Proxy):
    """For MQTT 5."""

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
