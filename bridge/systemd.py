"""sd_notify(3) for a service of Type=notify."""

import os
import socket
from collections.abc import Mapping


class Notifier:
    """Notifies systemd of the service's state. Does nothing, and returns False, where systemd doesn't listen.

    Thread-safe: each message is one datagram. A message that can't be sent is dropped: the service's work
    never depends on it.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        found = os.environ if environ is None else environ
        path = found.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self.watchdog_s = _watchdog_s(found)
        """Seconds after which systemd kills a service that sent no `watchdog()`; None: no watchdog."""

    def ready(self) -> bool:
        """Start-up is complete."""
        return self._send("READY=1")

    def stopping(self) -> bool:
        """The service is stopping. From now on TimeoutStopSec bounds it, and the watchdog doesn't."""
        return self._send("STOPPING=1\nWATCHDOG_USEC=0")

    def watchdog(self) -> bool:
        """The service is alive; to be called at least twice in `watchdog_s`."""
        return self._send("WATCHDOG=1")

    def status(self, text: str) -> bool:
        """One line for `systemctl status`."""
        return self._send("STATUS=" + text.replace("\n", " "))

    def _send(self, message: str) -> bool:
        if not self._address:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
                notify.setblocking(False)
                notify.sendto(message.encode(), self._address)
        except OSError:
            return False
        return True


def _watchdog_s(environ: Mapping[str, str]) -> float | None:
    """As sd_watchdog_enabled(3): the interval applies only if WATCHDOG_PID is absent or ours."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 1e6 if microseconds.isdecimal() and int(microseconds) > 0 else None
