"""A minimal MQTT 5 broker over a real socket, for what a good broker never does: staying silent, refusing
one message, counting what is in flight, breaking the protocol. Its bytes are made and read by itself, not by
the code under test.
"""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self


@dataclass(frozen=True)
class Publish:
    """A PUBLISH as it came or goes. `properties` are the raw bytes."""

    topic: str
    payload: bytes
    qos: int
    mid: int
    retain: bool = False
    duplicate: bool = False
    properties: bytes = b""


@dataclass
class Behaviour:
    """What the broker does; may be changed while it runs."""

    answers_connect: bool = True
    connack_code: int = 0
    session_present: bool = False
    receive_maximum: int | None = None
    maximum_packet_bytes: int | None = None
    server_keep_alive_s: int | None = None
    retain_available: bool = True
    wildcards_available: bool = True
    shared_available: bool = True
    session_expiry_s: int | None = None
    maximum_qos: int | None = None
    suback_code: int = 1
    answers_pings: bool = True
    puback: Callable[[Publish], int | None] = field(default=lambda _: 0)
    """The reason code for a publication; None leaves it without an answer."""


def length(number: int) -> bytes:
    """A variable byte integer."""
    packed = b""
    while True:
        number, low = divmod(number, 128)
        packed += bytes([low | (0x80 if number else 0)])
        if not number:
            return packed


def text(value: str) -> bytes:
    """A UTF-8 string with its length before it."""
    encoded = value.encode()
    return struct.pack("!H", len(encoded)) + encoded


def packet(first: int, body: bytes) -> bytes:
    """A whole packet."""
    return bytes([first]) + length(len(body)) + body


def publish_packet(publish: Publish, *, v5: bool = True) -> bytes:
    """The bytes of a PUBLISH."""
    first = 0x30 | publish.duplicate << 3 | publish.qos << 1 | publish.retain
    body = text(publish.topic) + (struct.pack("!H", publish.mid) if publish.qos else b"")
    if v5:
        body += length(len(publish.properties)) + publish.properties
    return packet(first, body + publish.payload)


def read_publish(first: int, body: bytes, *, v5: bool = True) -> Publish:
    """A PUBLISH from its bytes."""
    size = struct.unpack_from("!H", body)[0]
    topic, at = body[2 : 2 + size].decode(), 2 + size
    qos = first >> 1 & 3
    mid = 0
    if qos:
        mid = struct.unpack_from("!H", body, at)[0]
        at += 2
    properties = b""
    if v5:
        size, at = read_length(body, at)
        properties, at = body[at : at + size], at + size
    return Publish(topic, body[at:], qos, mid, bool(first & 1), bool(first & 8), properties)


def read_length(body: bytes, at: int) -> tuple[int, int]:
    """A variable byte integer and where it ends."""
    value = shift = 0
    while True:
        byte = body[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


class FakeBroker:
    """One at a time: a new connection takes the place of the one before. What was seen stays over
    connections.
    """

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        self.behaviour = behaviour or Behaviour()
        self.connects = 0
        self.connect_flags = 0
        self.published: list[Publish] = []
        self.unanswered: list[Publish] = []
        self.most_in_flight = 0
        self.acknowledged: list[int] = []
        self.subscribed: list[bytes] = []
        self.pings = 0
        self.clean_disconnects = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._connection: socket.socket | None = None
        self._threads = [threading.Thread(target=self._accept, name="fake-broker", daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self.drop()
        for thread in self._threads:
            thread.join(5)
        self._listener.close()

    def send(self, data: bytes) -> None:
        """Sends any bytes to the client."""
        assert self._connection is not None, "nobody is connected"
        self._connection.sendall(data)

    def deliver(self, publish: Publish) -> None:
        """Sends the client a message."""
        self.send(publish_packet(publish))

    def disconnect(self, code: int) -> None:
        """DISCONNECT with a reason, then closes."""
        self.send(packet(0xE0, bytes([code])))
        self.drop()

    def drop(self) -> None:
        """Closes the connection without a word."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(OSError):  # the other side was quicker
                connection.shutdown(socket.SHUT_RDWR)

    def answer_all(self, code: int = 0) -> None:
        """Answers all that was left without an answer, in one write."""
        waiting, self.unanswered = self.unanswered, []
        self.send(b"".join(_puback(publish.mid, code) for publish in waiting))

    def wait_until(self, condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
        """Waits for something that the broker has seen."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "the broker hasn't seen it"
            time.sleep(0.005)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.drop()
            self._connection = connection
            self.unanswered.clear()
            thread = threading.Thread(target=self._serve, args=(connection,), name="fake-client", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            try:
                while header := stream.read(1):
                    size = shift = 0
                    while True:
                        byte = stream.read(1)[0]
                        size |= (byte & 0x7F) << shift
                        shift += 7
                        if byte < 0x80:
                            break
                    self._handle(connection, header[0], stream.read(size))
            except (OSError, IndexError):
                return

    def _handle(self, connection: socket.socket, first: int, body: bytes) -> None:
        behaviour = self.behaviour
        match first & 0xF0:
            case 0x10:
                self.connects += 1
                self.connect_flags = body[7]
                if behaviour.answers_connect:
                    connection.sendall(self._connack())
            case 0x30:
                publish = read_publish(first, body)
                self.published.append(publish)
                self.unanswered.append(publish)
                self.most_in_flight = max(self.most_in_flight, len(self.unanswered))
                code = behaviour.puback(publish)
                if code is not None:
                    self.unanswered.remove(publish)
                    connection.sendall(_puback(publish.mid, code))
            case 0x40:
                self.acknowledged.append(struct.unpack_from("!H", body)[0])
            case 0x80:
                self.subscribed.append(body)
                connection.sendall(packet(0x90, body[:2] + b"\x00" + bytes([behaviour.suback_code])))
            case 0xC0:
                self.pings += 1
                if behaviour.answers_pings:
                    connection.sendall(packet(0xD0, b""))
            case 0xE0:
                self.clean_disconnects += 1
                connection.shutdown(socket.SHUT_RDWR)

    def _connack(self) -> bytes:
        behaviour = self.behaviour
        properties = b""
        if behaviour.receive_maximum is not None:
            properties += b"\x21" + struct.pack("!H", behaviour.receive_maximum)
        if behaviour.maximum_packet_bytes is not None:
            properties += b"\x27" + struct.pack("!I", behaviour.maximum_packet_bytes)
        if behaviour.server_keep_alive_s is not None:
            properties += b"\x13" + struct.pack("!H", behaviour.server_keep_alive_s)
        if not behaviour.retain_available:
            properties += b"\x25\x00"
        if not behaviour.wildcards_available:
            properties += b"\x28\x00"
        if not behaviour.shared_available:
            properties += b"\x2a\x00"
        if behaviour.session_expiry_s is not None:
            properties += b"\x11" + struct.pack("!I", behaviour.session_expiry_s)
        if behaviour.maximum_qos is not None:
            properties += b"\x24" + bytes([behaviour.maximum_qos])
        head = bytes([behaviour.session_present, behaviour.connack_code])
        return packet(0x20, head + length(len(properties)) + properties)


def _puback(mid: int, code: int) -> bytes:
    return packet(0x40, struct.pack("!H", mid) + (bytes([code]) if code else b""))
