"""The broker's address and credentials."""

from dataclasses import dataclass, field, replace
from typing import Final, Literal

Scheme = Literal["mqtt", "mqtts", "ws", "wss"]
Version = Literal["5", "3.1.1"]

DEFAULT_PORTS: dict[Scheme, int] = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}

DURABLE_EXPIRY_S: Final = 7 * 86400
"""How long the broker keeps the session of a program that must not miss anything: a week."""


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """One broker. `port` None means the scheme's own (`DEFAULT_PORTS`); `path` counts for ws and wss only.
    `others` are host and port of its further nodes, where it is a cluster. `record` is the only address of
    the host's name to connect to; None: any.

    The files are PEM; they are read at each connection, so that a renewed certificate needs no restart.
    `ca_file` None means the system's certificate authorities. `cert_file` may hold the key too.
    """

    scheme: Scheme = "mqtt"
    host: str = "127.0.0.1"
    port: int | None = None
    path: str = "/mqtt"
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    version: Version = "5"
    others: tuple[tuple[str, int | None], ...] = ()
    record: str | None = None

    @property
    def each(self) -> tuple["BrokerSettings", ...]:
        """The settings of each node."""
        nodes = ((self.host, self.port), *self.others)
        return tuple(replace(self, host=host, port=port, others=()) for host, port in nodes)

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.scheme in ("mqtts", "wss")

    @property
    def websocket(self) -> bool:
        """Whether MQTT travels inside a WebSocket."""
        return self.scheme in ("ws", "wss")

    @property
    def effective_port(self) -> int:
        """The TCP port to connect to."""
        return DEFAULT_PORTS[self.scheme] if self.port is None else self.port

    @property
    def address(self) -> str:
        """The broker for a person to read, without user and password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        record = f" ({self.record})" if self.record else ""
        return f"{self.scheme}://{host}:{self.effective_port}{self.path if self.websocket else ''}{record}"
