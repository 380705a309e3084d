"""Network addresses as options give them: the broker's URL, and where to serve HTTP."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Final, Self
from urllib.parse import SplitResult, quote, unquote, urlsplit

from bridge.mqtt.settings import DEFAULT_PORTS, Scheme

_HOST: Final = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]+)?")
_AUTHORITY: Final = re.compile(r"\[[^][]*\](:.*)?|[^][]*")
"""Host and port, without the user: brackets only around the whole host (RFC 3986, section 3.2.2)."""
_WEBSOCKET_PATH: Final = "/mqtt"


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """A broker's address, complete: what the URL omitted is filled in.

    That is the scheme's own port and, for WebSockets, the path `/mqtt`. `others` are host and port of the
    further nodes of a cluster.
    """

    scheme: Scheme
    host: str
    port: int
    user: str | None = None
    path: str = ""
    others: tuple[tuple[str, int], ...] = ()

    @classmethod
    def parse(cls, url: str) -> Self:
        """Parses `mqtt[s]://[user@]host[:port]` or `ws[s]://[user@]host[:port][/path]`.

        Further nodes of a cluster follow after commas, each with its own port or the scheme's. An IPv6
        address stands in brackets, its zone after `%25` (RFC 6874) or a plain `%`; the user may be
        percent-encoded. Raises ValueError, with what is wrong; a password is refused, because command lines
        and environments can be read by others.
        """
        nodes = [cls._parse_node(each) for each in _each_node(url)]
        if len(set(nodes)) < len(nodes):
            raise ValueError("one address twice")
        return replace(nodes[0], others=tuple((node.host, node.port) for node in nodes[1:]))

    @classmethod
    def _parse_node(cls, url: str) -> Self:
        parts = urlsplit(url)
        if parts.scheme not in DEFAULT_PORTS:
            raise ValueError("the scheme is none of mqtt, mqtts, ws, wss")
        scheme: Scheme = parts.scheme
        if parts.password is not None:
            raise ValueError("a password goes into a file (broker_password_file), never into the URL")
        host = _without_escape(parts.hostname or "")
        if not _HOST.fullmatch(host) or not _AUTHORITY.fullmatch(parts.netloc.rpartition("@")[2]):
            raise ValueError("no host's name or address in it")
        if parts.query or parts.fragment:
            raise ValueError("neither ? nor # has a meaning here")
        websocket = scheme in ("ws", "wss")
        if parts.path not in ("", "/") and not websocket:
            raise ValueError("a path has a meaning for ws and wss only")
        port = _port(parts)
        return cls(
            scheme=scheme,
            host=host,
            port=port or DEFAULT_PORTS[scheme],
            user=unquote(parts.username) if parts.username else None,
            path=(parts.path or _WEBSOCKET_PATH) if websocket else "",
        )

    def __str__(self) -> str:
        user = f"{quote(self.user, safe='')}@" if self.user else ""
        nodes = ",".join(f"{_shown(host)}:{port}" for host, port in ((self.host, self.port), *self.others))
        return f"{self.scheme}://{user}{nodes}{self.path}"


def _each_node(url: str) -> Iterator[str]:
    """The same URL for each of its nodes."""
    head, separator, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    user, at, nodes = authority.rpartition("@")
    if "," in user:
        raise ValueError("the user comes once, before all addresses; a comma in it is %2C")
    for node in nodes.split(","):
        yield f"{head}{separator}{user}{at}{node}{slash}{path}"


def _without_escape(host: str) -> str:
    """An IPv6 address's zone after a plain `%`, as getaddrinfo wants it, where a URL has `%25` (RFC 6874)."""
    return re.sub(r"%25(?=.)", "%", host, count=1) if ":" in host else host


def _shown(host: str) -> str:
    return f"[{host.replace('%', '%25')}]" if ":" in host else host


def _port(parts: SplitResult) -> int | None:
    """The URL's port. The error doesn't repeat it: it may be a part of a password."""
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0 or parts.netloc.endswith(":"):
        raise ValueError("its port is no number from 1 to 65535")
    return port


@dataclass(frozen=True, slots=True)
class HttpAddress:
    """Where to serve HTTP. Port 0 takes a free one; an empty host means every address of the machine."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parses `address:port`, `[IPv6]:port` or `:port`. Raises ValueError, with what is wrong."""
        host, colon, port = text.rpartition(":")
        bare = _without_escape(host[1:-1]) if host.startswith("[") and host.endswith("]") else host
        if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
            raise ValueError("no port from 0 to 65535 at its end")
        if ":" in bare and bare == host:
            raise ValueError("an IPv6 address stands in brackets")
        if bare and not _HOST.fullmatch(bare):
            raise ValueError("no host's name or address in it")
        return cls(bare, int(port))

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it (RFC 6761, section 6.3, of the name)."""
        try:
            return ip_address(self.host.partition("%")[0]).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"

    def __str__(self) -> str:
        return f"{_shown(self.host)}:{self.port}"
