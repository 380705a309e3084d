"""The bytes below MQTT: connecting within a time limit, and one read and one write for many packets."""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from typing import Any, Protocol

READ_BYTES = 256 * 1024
"""How much is read in one step; about 400 lifecycle messages."""

_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)
"""Linux only. A broker that leaves Nagle's algorithm on, as mosquitto does by default, sends the second of
two PUBACKs when the first has been acknowledged, which the kernel here would put off for 40 ms. Lasts until
the next read.
"""

_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Stream(Protocol):
    """What a socket, a TLS socket and paho's WebSocket have in common, by the socket module's rules."""

    def recv(self, size: int, /) -> bytes:
        """Bytes, up to `size`; empty at the end. Raises OSError, BlockingIOError if none are available."""

    def send(self, data: bytes, /) -> int:
        """How many of the bytes were taken."""

    def setblocking(self, flag: bool, /) -> None:
        """Whether the others wait."""


Address = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]
"""As getaddrinfo gives it."""


def connect_tcp(addresses: Sequence[Address], deadline: float) -> tuple[socket.socket, Address]:
    """A TCP connection, without Nagle's delay, to the first of `addresses` that answers in time, and which.

    `deadline` is by `time.monotonic`. Raises OSError.
    """
    failure: OSError = TimeoutError("no address answered in time")
    for index, address in enumerate(addresses):
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            break
        sock = socket.socket(*address[:3])
        try:
            sock.settimeout(left_s / (len(addresses) - index))
            sock.connect(address[4])
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(max(0.01, deadline - time.monotonic()))
        except OSError as error:
            sock.close()
            failure = error
        else:
            return sock, address
    raise failure


def records_of(host: str, port: int, timeout_s: float) -> list[str]:
    """The addresses that a name has, in their order. Raises as `resolve` does."""
    found = resolve(host, port, time.monotonic() + timeout_s)
    return list(dict.fromkeys(str(record[4][0]) for record in found))


def resolve(host: str, port: int, deadline: float) -> Sequence[Address]:
    """getaddrinfo with a time limit: it has none itself and can block for half a minute, so it runs in a
    thread, which is then abandoned.

    Raises OSError, UnicodeError (an invalid host name).
    """
    with contextlib.suppress(socket.gaierror):
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    outcome: list[Sequence[Address] | OSError | UnicodeError] = []

    def ask() -> None:
        try:
            outcome.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            outcome.append(error)

    thread = threading.Thread(target=ask, name="mqtt-resolve", daemon=True)
    thread.start()
    thread.join(max(0.0, deadline - time.monotonic()))
    if not outcome:
        raise TimeoutError(f"the name {host} wasn't resolved in time")
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]


def wrap_tls(sock: socket.socket, context: ssl.SSLContext, host: str, deadline: float) -> ssl.SSLSocket:
    """TLS on `sock`, with the handshake done before `deadline`. An address's zone is no part of its name.

    Raises OSError (`ssl.SSLError` is one); `sock` is closed then.
    """
    name = host.partition("%")[0]
    secured = context.wrap_socket(sock, server_hostname=name, do_handshake_on_connect=False)
    try:
        secured.settimeout(max(0.01, deadline - time.monotonic()))
        secured.do_handshake()
    except (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
        secured.close()
        raise ConnectionAbortedError(
            None, "the connection ended in the TLS handshake: is TLS spoken at that port?"
        ) from error
    except BaseException:
        secured.close()
        raise
    return secured


class ReadAhead:
    """A socket read in large pieces, for a reader that asks for a byte at a time (paho's WebSocket)."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._deadline: float | None = deadline
        self._memory = b""
        self._at = 0

    def recv(self, size: int, /) -> bytes:
        """As a socket's."""
        if self._at >= len(self._memory):
            if self._deadline is not None:
                self._sock.settimeout(max(0.01, self._deadline - time.monotonic()))
            self._memory, self._at = self._sock.recv(READ_BYTES), 0
        piece = self._memory[self._at : self._at + size]
        self._at += len(piece)
        return piece

    def pending(self) -> int:
        """Bytes that are available without the network."""
        below = self._sock.pending() if isinstance(self._sock, ssl.SSLSocket) else 0
        return len(self._memory) - self._at + below

    def send(self, data: bytes, /) -> int:
        """As a socket's."""
        return self._sock.send(data)

    def close(self) -> None:
        """As a socket's."""
        self._sock.close()

    def fileno(self) -> int:
        """As a socket's."""
        return self._sock.fileno()

    def settimeout(self, timeout_s: float | None, /) -> None:
        """As a socket's."""
        self._sock.settimeout(timeout_s)

    def setblocking(self, flag: bool, /) -> None:
        """As a socket's; from then on the time limit of connecting counts no more."""
        self._deadline = None
        self._sock.setblocking(flag)


class Wire:
    """What paho takes for its socket. The session reads and writes the real one.

    Whatever is sent is queued in `outgoing` until `flush`, which writes it in one piece. paho reads only what
    `offer` put there.
    """

    def __init__(self, stream: Stream, bottom: socket.socket, ahead: ReadAhead | None) -> None:
        self.outgoing = bytearray()
        self.closed_by_paho = False
        self._stream = stream
        self._bottom = bottom
        self._ahead = ahead
        self._offered = b""

    def recv(self, size: int, /) -> bytes:
        """For paho: what was offered."""
        if not self._offered:
            raise BlockingIOError
        piece, self._offered = self._offered[:size], self._offered[size:]
        return piece

    def send(self, data: bytes | bytearray, /) -> int:
        """For paho: takes everything."""
        self.outgoing += data
        return len(data)

    def close(self) -> None:
        """For paho: only noted; what is queued is still written."""
        self.closed_by_paho = True

    def fileno(self) -> int:
        """The real socket's."""
        return self._bottom.fileno()

    def setblocking(self, flag: bool, /) -> None:
        """For paho: the real socket's."""
        self._stream.setblocking(flag)

    def pending(self) -> int:
        """For paho: the bytes that were offered and not read."""
        return len(self._offered)

    def offer(self, packet: bytes) -> None:
        """Lets paho read `packet`."""
        self._offered += packet

    def has_more(self) -> bool:
        """Whether bytes wait above the kernel, where poll doesn't see them."""
        if self._ahead:
            return self._ahead.pending() > 0
        return isinstance(self._bottom, ssl.SSLSocket) and self._bottom.pending() > 0

    def receive(self) -> bytes | None:
        """What is available, up to about `READ_BYTES`; None when nothing is, empty when the broker has
        closed.

        Raises OSError.
        """
        chunks: list[bytes] = []
        size = 0
        while size < READ_BYTES:
            try:
                chunk = self._stream.recv(READ_BYTES)
            except _NOT_NOW:
                if self.has_more():
                    continue
                break
            if not chunk:
                if not chunks:
                    return chunk
                break
            chunks.append(chunk)
            size += len(chunk)
            if not self.has_more():
                break
        if _QUICKACK is not None:
            self._bottom.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
        return b"".join(chunks) if chunks else None

    def flush(self) -> bool:
        """Writes what is queued; False when the network takes no more at present. Raises OSError."""
        outgoing = self.outgoing
        while outgoing:
            try:
                sent = self._stream.send(bytes(outgoing))
            except _NOT_NOW:
                return False
            del outgoing[:sent]
            if not sent:
                return False
        return True

    def finish_writing(self) -> None:
        """Shuts down writing, without closing: what the other side sent can still be read."""
        self._bottom.shutdown(socket.SHUT_WR)

    def really_close(self) -> None:
        """Closes the real socket."""
        self._bottom.close()
