"""The types of values that several programs' settings share, with what each accepts."""

import os
import socket
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, InstanceOf, StringConstraints
from pydantic_core import PydanticCustomError

from bridge.addresses import HttpAddress
from bridge.errors import ConfigError
from bridge.options import Option
from bridge.wire.topics import encode_level

BYTES: Final = "bytes, or with a unit: 2GB, or 2G, is 2 billion, 2GiB is 2147483648"
_FIRST_LINE: Final = "a file whose first line is the password"


def default_host() -> str:
    """The machine's hostname, lowercased."""
    return socket.gethostname().lower()


def default_state_dir() -> Path:
    """`/var/lib/libvirt-mqtt` for root; else below XDG_STATE_HOME (XDG base directories, 0.8)."""
    if os.geteuid() == 0:
        return Path("/var/lib/libvirt-mqtt")
    state_home = os.environ.get("XDG_STATE_HOME", "")
    if state_home.startswith("/"):
        return Path(state_home) / "libvirt-mqtt"
    try:
        return Path.home() / ".local" / "state" / "libvirt-mqtt"
    except RuntimeError:
        raise ConfigError("state_dir (default): this user has no home; accepted: a directory") from None


def http_address(value: object) -> object:
    """An address to serve HTTP on, from its text."""
    return HttpAddress.parse(value) if isinstance(value, str) else value


def lowered(value: object) -> object:
    """Text in lower case."""
    return value.lower() if isinstance(value, str) else value


def prefix_levels(value: str) -> str:
    """Topic levels that need no encoding, with `/` between them."""
    for level in value.split("/"):
        if not level or encode_level(level) != level:
            raise ValueError(f"{level!r} can't be a level of it")
    return value


def absolute_path(value: object) -> object:
    """A path that stays right when the working directory changes; `~` is the user's home."""
    if not isinstance(value, str):
        return value
    if not value:
        raise ValueError("an empty path")
    try:
        return Path(value).expanduser().absolute()
    except RuntimeError:
        raise ValueError("no such user, or one without a home") from None


def _readable(value: Path | None) -> Path | None:
    if value is None:
        return None
    try:
        is_file = value.is_file()
    except OSError as error:  # a folder on the way there can't be entered
        raise ValueError(f"can't be read: {error.strerror}") from None
    if not is_file:
        raise ValueError("there is no such file")
    if not os.access(value, os.R_OK):
        raise ValueError("not readable for this user")
    return value


def conflict(option: str, reason: str, accepted: str) -> PydanticCustomError:
    """The error of an option that can't go with another; `bridge.options` adds where the first came from."""
    context = {"option": option, "reason": reason, "accepted": accepted}
    return PydanticCustomError("conflict", "{reason}", context)


def read_secret(option: str, path: Path) -> str:
    """The first line of a file, without its end."""
    try:
        secret = path.read_text(encoding="utf-8").split("\n", 1)[0].rstrip("\r")
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is no UTF-8"
        raise conflict(option, f"can't be read: {cause}", _FIRST_LINE) from None
    if not secret:
        raise conflict(option, "its first line is empty", _FIRST_LINE)
    return secret


File = Annotated[
    Path | None,
    BeforeValidator(absolute_path),
    AfterValidator(_readable),
    Option("FILE", "a file that can be read"),
]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
StateDir = Annotated[
    Path,
    BeforeValidator(absolute_path),
    Option("DIR", "a directory", default="/var/lib/libvirt-mqtt; $XDG_STATE_HOME/libvirt-mqtt when not root"),
]
Http = Annotated[
    InstanceOf[HttpAddress] | None,
    BeforeValidator(http_address),
    Option("ADDRESS:PORT", "address:port, [IPv6]:port or :port"),
]


def names(value: str | None) -> str | None:
    """Names or patterns, none of which is empty or longer than a name can be."""
    for name in (value or "").split(",") if value is not None else ():
        if not 1 <= len(name) <= 200:
            raise ValueError("one of them is empty, or longer than 200 characters")
    return value


Patterns = Annotated[
    str | None,
    AfterValidator(names),
    Option("PATTERNS", "names, or patterns as web*, separated by commas", default="all"),
]
