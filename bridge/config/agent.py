"""The agent's settings."""

import os
import re
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, ByteSize, Field

from bridge.config.broker import BrokerUserSettings
from bridge.config.values import (
    BYTES,
    Http,
    Name,
    StateDir,
    default_host,
    default_state_dir,
    lowered,
    prefix_levels,
)
from bridge.options import Option
from bridge.wire.events import chosen

_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:([^\s%]|%[0-9A-Fa-f]{2})+")


def _connect(value: str) -> str:
    if not _URI.fullmatch(value) and not _is_alias(value):
        raise ValueError("neither a URI nor an alias in libvirt.conf")
    return value


def _is_alias(name: str) -> bool:
    """Whether libvirt's client settings give this name to a URI (`uri_aliases`, libvirt.org/uri.html)."""
    folder = Path("/etc") if os.geteuid() == 0 else Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config")
    try:
        text = (folder.expanduser() / "libvirt" / "libvirt.conf").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, RuntimeError):
        return False
    return name in re.findall(r"""["']\s*([\w-]+)\s*=""", re.sub(r"(?m)^\s*#.*", "", text))


def _events(value: str) -> str:
    chosen(value)
    return value


class AgentSettings(BrokerUserSettings):
    """The agent: watches one libvirt connection."""

    host: Annotated[
        Name, Option("NAME", "a name of 1 to 200 characters", default="the hostname, lowercased")
    ] = Field(default_factory=default_host, description="The name of this host in topics and messages.")
    connect: Annotated[str, AfterValidator(_connect), Option("URI", "a libvirt URI, as virsh has it")] = (
        Field("qemu:///system", description="The libvirt connection to watch.")
    )
    state_dir: StateDir = Field(default_factory=default_state_dir, description="The directory of the outbox.")
    reconcile_s: Annotated[
        float, Field(ge=0.1, le=86400), Option("SECONDS", "seconds, 0.1 to 86400", name="reconcile")
    ] = Field(30, description="Seconds between two polls for changes without an event of libvirt.")
    events: Annotated[
        str,
        AfterValidator(_events),
        Option(
            "LIST",
            "names of events, separated by commas; all; -name to leave one out",
            default="none beyond those that are on by default",
        ),
    ] = Field(
        "",
        description="Events of libvirt to publish beyond those that are on by default; "
        "[all of them](messages.md#which-events).",
    )
    http: Http = Field(None, description="The address that serves /livez, /readyz and /metrics.")
    outbox_max_rows: Annotated[int, Field(ge=1000), Option("ROWS", "a number, 1000 or more")] = Field(
        5_000_000, description="The most messages that the outbox holds."
    )
    outbox_max_bytes: Annotated[ByteSize, Field(ge=1_000_000), Option("BYTES", f"{BYTES}; 1MB or more")] = (
        Field(ByteSize(2 << 30), description="The most bytes that the outbox holds.")
    )
    outbox_policy: Annotated[
        Literal["newest", "oldest"], BeforeValidator(lowered), Option("WHICH", "newest or oldest")
    ] = Field("newest", description="The unsent messages that are kept when the outbox is full.")
    retain_hours: Annotated[float, Field(ge=0, le=8760), Option("HOURS", "hours, 0 to 8760")] = Field(
        24, description="How long sent messages are kept for a replay."
    )
    retain_bytes: Annotated[ByteSize, Field(ge=0), Option("BYTES", f"{BYTES}; 0 or more")] = Field(
        ByteSize(512 << 20), description="Sent messages are kept only while the outbox is smaller than this."
    )
    homeassistant: Annotated[bool, Option("", "true or false")] = Field(
        default=False, description="Describe each domain to Home Assistant, by MQTT discovery."
    )
    homeassistant_prefix: Annotated[
        Name,
        AfterValidator(prefix_levels),
        Option("PREFIX", "levels of A-Z a-z 0-9 . _ ~ -, separated by /"),
    ] = Field("homeassistant", description="The prefix of Home Assistant's discovery topics.")
