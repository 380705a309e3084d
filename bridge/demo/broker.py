"""A mosquitto of one's own: on a free port of 127.0.0.1, without persistence, gone when its block ends."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bridge.errors import BridgeError

_START_S: Final = 5.0
_STOP_S: Final = 3.0
_TRIES: Final = 3


class BrokerMissingError(BridgeError):
    """No mosquitto on this machine."""

    def __init__(self) -> None:
        super().__init__(
            "the demo needs the broker mosquitto: apt-get install mosquitto (or your system's package)"
        )


class BrokerFailedError(BridgeError):
    """mosquitto is there and doesn't start; the message has its last words."""


def find_mosquitto() -> str:
    """Where mosquitto is; Debian has it in /usr/sbin, which a PATH may lack. Raises BrokerMissingError."""
    found = shutil.which("mosquitto", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise BrokerMissingError
    return found


@contextmanager
def private_broker(folder: Path) -> Iterator[int]:
    """Runs a broker and yields its port. Its files are in `folder`.

    Raises BrokerMissingError and BrokerFailedError.
    """
    program = find_mosquitto()
    for attempt in range(_TRIES):
        port = free_port()
        process = _start(program, folder, port)
        try:
            if _accepts(process, port):
                yield port
                return
        finally:
            _stop(process)
        if attempt == _TRIES - 1:  # else somebody else took the port meanwhile
            words = (folder / "mosquitto.log").read_text("utf-8", "replace").strip().splitlines()
            raise BrokerFailedError(f"mosquitto doesn't start: {words[-1] if words else 'no output'}")


def _start(program: str, folder: Path, port: int) -> subprocess.Popen[bytes]:
    config = folder / "mosquitto.conf"
    lines = [f"listener {port} 127.0.0.1", "allow_anonymous true", "persistence false", "log_dest stderr"]
    config.write_text("\n".join([*lines, ""]), "utf-8")
    with (folder / "mosquitto.log").open("wb") as log:
        # A session of its own: Ctrl-C is for the demo, which stops everything in order.
        return subprocess.Popen(  # noqa: S603 - found by name, started without a shell
            [program, "-c", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _accepts(process: subprocess.Popen[bytes], port: int) -> bool:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as sock:
            sock.settimeout(1)
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return process.poll() is None
        time.sleep(0.02)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listened on a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
