"""A TCP proxy in front of a libvirtd that knows enough of its protocol to stop at a chosen message.

`python proxy.py HOST PORT DIRECTION:STEP` forwards to HOST:PORT, prints `listening PORT`, and holds the first
message of a migration's STEP that goes in DIRECTION (`call` or `reply`), printing `held`. It then obeys lines
on its standard input: `release` sends the message on, `cut` resets both connections. Keepalive messages
always pass. The header is that of libvirt's src/rpc/virnetprotocol.x.
"""

import contextlib
import socket
import struct
import sys
import threading

# remote_procedure in libvirt's src/remote/remote_protocol.x
STEPS = {
    "begin": {213, 302},
    "prepare": {214, 303},
    "prepare_tunnel": {215, 304},
    "perform": {216, 305},
    "finish": {217, 306},
    "confirm": {218, 307},
}
REMOTE_PROGRAM = 0x20008086
TYPES = {0: "call", 1: "reply"}
HEADER = struct.Struct(">IIIIIiI")


class Gate:
    """Where the chosen message waits for an order."""

    def __init__(self, direction: str, step: str) -> None:
        self.direction, self.step = direction, step
        self.order = ""
        self._ordered = threading.Event()
        self._used = False

    def holds(self, message: bytes) -> bool:
        """Whether this is the chosen message, the first of its kind."""
        if self._used or len(message) < HEADER.size:
            return False
        _, program, _, procedure, kind, _, _ = HEADER.unpack_from(message)
        if program != REMOTE_PROGRAM or TYPES.get(kind) != self.direction:
            return False
        self._used = procedure in STEPS[self.step]
        return self._used

    def wait(self) -> str:
        """Wait for the order."""
        self._ordered.wait()
        return self.order

    def give(self, order: str) -> None:
        """Let the held message be dealt with."""
        self.order = order
        self._ordered.set()


class Pipe:
    """One client's connection and its other half."""

    def __init__(self, client: socket.socket, server: socket.socket, gate: Gate) -> None:
        self.client, self.server, self.gate = client, server, gate
        self.sending = threading.Lock()

    def start(self) -> None:
        """Pump both ways from threads of their own."""
        for one, other in ((self.client, self.server), (self.server, self.client)):
            threading.Thread(target=self.pump, args=(one, other), daemon=True).start()

    def pump(self, one: socket.socket, other: socket.socket) -> None:
        """Forward message by message until either end closes."""
        with contextlib.suppress(OSError):
            while (message := read_message(one)) is not None:
                if self.gate.holds(message):
                    threading.Thread(target=self.hold, args=(message, other), daemon=True).start()
                    continue
                with self.sending:
                    other.sendall(message)
        self.close()

    def hold(self, message: bytes, other: socket.socket) -> None:
        """Keep the message until an order comes, and obey."""
        say("held")
        order = self.gate.wait()
        if order == "release":
            with contextlib.suppress(OSError), self.sending:
                other.sendall(message)
        elif order == "cut":
            for end in (self.client, self.server):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close()
        say(f"done {order}")

    def close(self) -> None:
        """Close both ends."""
        for end in (self.client, self.server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def read_message(connection: socket.socket) -> bytes | None:
    """One message with its length, or None at the end."""
    length = read_bytes(connection, 4)
    if length is None:
        return None
    body = read_bytes(connection, int.from_bytes(length, "big") - 4)
    return None if body is None else length + body


def read_bytes(connection: socket.socket, count: int) -> bytes | None:
    """Exactly `count` bytes, or None at the end."""
    data = b""
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            return None
        data += piece
    return data


def say(line: str) -> None:
    """One line to the harness."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def accept(listener: socket.socket, target: tuple[str, int], gate: Gate) -> None:
    """Take connections for ever."""
    while True:
        client, _ = listener.accept()
        Pipe(client, socket.create_connection(target, timeout=None), gate).start()


def main(host: str, port: str, held: str) -> None:
    """See the module's docstring."""
    direction, step = held.split(":")
    gate = Gate(direction, step)
    listener = socket.create_server(("127.0.0.1", 0))
    say(f"listening {listener.getsockname()[1]}")
    threading.Thread(target=accept, args=(listener, (host, int(port)), gate), daemon=True).start()
    for order in sys.stdin:
        gate.give(order.strip())


if __name__ == "__main__":
    main(*sys.argv[1:])
