"""The settings of each program: one declaration an option.

From a field's declaration come the option on the command line, the variable, the key of the TOML file, the
line of `check-config` and the line of the configuration page (`bridge.options` does that). A setting is
complete and checked when its program starts; nothing reads the environment later.
"""

import os
import re
import shlex
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal, Self
from urllib.parse import quote, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    InstanceOf,
    PrivateAttr,
    StringConstraints,
    model_validator,
)
from pydantic_core import PydanticCustomError

from bridge.addresses import BrokerAddress, HttpAddress
from bridge.errors import ConfigError
from bridge.mqtt.settings import BrokerSettings
from bridge.options import Option
from bridge.wire.events import chosen
from bridge.wire.topics import Topics, encode_level
from bridge.wire.triggers import ACCEPTED, is_trigger

_STORES: Final = {
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}
"""The stores that there are, and SQLAlchemy's full name of each."""

_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:([^\s%]|%[0-9A-Fa-f]{2})+")

_BYTES: Final = "bytes, or with a unit: 2GB, or 2G, is 2 billion, 2GiB is 2147483648"
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


def _broker(value: object) -> object:
    return BrokerAddress.parse(value) if isinstance(value, str) else value


def _http(value: object) -> object:
    return HttpAddress.parse(value) if isinstance(value, str) else value


def _lowered(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _prefix(value: str) -> str:
    for level in value.split("/"):
        if not level or encode_level(level) != level:
            raise ValueError(f"{level!r} can't be a level of it")
    return value


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


def _store(value: str) -> str:
    scheme, separator, rest = value.partition("://")
    if not separator or scheme not in _STORES:
        raise ValueError("not a URL of SQLite or PostgreSQL")
    return f"{_STORES[scheme]}://{rest}"


def _path(value: object) -> object:
    """A path that stays right when the working directory changes; `~` is the user's home."""
    if not isinstance(value, str):
        return value
    if not value:
        raise ValueError("an empty path")
    try:
        return Path(value).expanduser().absolute()
    except RuntimeError:
        raise ValueError("there is no such user, or none with a home") from None


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


def _conflict(option: str, reason: str, accepted: str) -> PydanticCustomError:
    """An option that can't go with another; `bridge.options` finds out where the first came from."""
    context = {"option": option, "reason": reason, "accepted": accepted}
    return PydanticCustomError("conflict", "{reason}", context)


def _read_secret(option: str, path: Path) -> str:
    """The first line of a file, without its end."""
    try:
        secret = path.read_text(encoding="utf-8").split("\n", 1)[0].rstrip("\r")
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is no UTF-8"
        raise _conflict(option, f"can't be read: {cause}", _FIRST_LINE) from None
    if not secret:
        raise _conflict(option, "its first line is empty", _FIRST_LINE)
    return secret


File = Annotated[
    Path | None,
    BeforeValidator(_path),
    AfterValidator(_readable),
    Option("FILE", "a file that can be read"),
]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
StateDir = Annotated[
    Path,
    BeforeValidator(_path),
    Option("DIR", "a directory", default="/var/lib/libvirt-mqtt; $XDG_STATE_HOME/libvirt-mqtt when not root"),
]
Http = Annotated[
    InstanceOf[HttpAddress] | None,
    BeforeValidator(_http),
    Option("ADDRESS:PORT", "address:port, [IPv6]:port or :port"),
]


class LogSettings(BaseModel):
    """What every program has."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    log_format: Annotated[
        Literal["text", "json"] | None,
        BeforeValidator(_lowered),
        Option("FORMAT", "text or json", default="text on a terminal, else json"),
    ] = Field(None, description="How log lines are written, to standard error.")
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        BeforeValidator(_lowered),
        Option("LEVEL", "debug, info, warning or error"),
    ] = Field("info", description="The least serious lines that are written.")

    def secrets(self) -> list[str]:
        """The texts that must not be seen anywhere."""
        return []


class BrokerUserSettings(LogSettings):
    """What every program has that speaks to the broker of the user's choice."""

    broker: Annotated[
        InstanceOf[BrokerAddress],
        BeforeValidator(_broker),
        Option("URL", "mqtt[s]://[user@]host[:port][,host[:port]…] or ws[s]://[user@]host[:port][,…][/path]"),
    ] = Field(
        BrokerAddress("mqtt", "127.0.0.1", 1883),
        description="The MQTT broker; of a cluster any number of nodes, the next of which is tried after any "
        "failure.",
    )
    broker_password_file: File = Field(
        None, description="A file whose first line is the broker user's password."
    )
    broker_ca_file: File = Field(
        None,
        description="The CA that signed the broker's certificate, PEM; without it the system's CAs count.",
    )
    broker_cert_file: File = Field(
        None, description="Our own certificate for the broker, PEM; it may hold the key, too."
    )
    broker_key_file: File = Field(None, description="The key to our own certificate, PEM.")
    broker_version: Annotated[Literal["5", "3.1.1"], Option("VERSION", "5 or 3.1.1")] = Field(
        "5", description="The version of MQTT to speak."
    )
    prefix: Annotated[
        Name, AfterValidator(_prefix), Option("PREFIX", "levels of A-Z a-z 0-9 . _ ~ -, with / between them")
    ] = Field("libvirt", description="What all topics begin with.")
    encode_dots: Annotated[bool, Option("", "true or false")] = Field(
        default=False,
        description="Write `%2E` for a dot in topics, for brokers that give it a meaning of their own (NATS "
        "before 2.10, RabbitMQ); for all programs at that broker.",
    )

    _broker_password: str | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _check_broker(self) -> Self:
        for option in ("broker_ca_file", "broker_cert_file", "broker_key_file"):
            if getattr(self, option) and self.broker.scheme not in ("mqtts", "wss"):
                raise _conflict(
                    option, f"of no use for {self.broker}, which is not encrypted", "a broker of mqtts or wss"
                )
        if self.encode_dots and "." in self.prefix:
            raise _conflict("encode_dots", f"the prefix {self.prefix} has one", "a prefix without dots")
        if self.broker_key_file and not self.broker_cert_file:
            raise _conflict(
                "broker_key_file", "there is no certificate that it belongs to", "broker_cert_file beside it"
            )
        if self.broker_password_file:
            if not self.broker.user:
                raise _conflict(
                    "broker_password_file",
                    f"no user in {self.broker} whose password it could be",
                    "a broker as in mqtt://user@host",
                )
            self._broker_password = _read_secret("broker_password_file", self.broker_password_file)
        return self

    def broker_settings(self) -> BrokerSettings:
        """What a session with the broker is opened with. Holds the password."""

        def name(path: Path | None) -> str | None:
            return str(path) if path else None

        return BrokerSettings(
            scheme=self.broker.scheme,
            host=self.broker.host,
            port=self.broker.port,
            path=self.broker.path,
            user=self.broker.user,
            password=self._broker_password,
            ca_file=name(self.broker_ca_file),
            cert_file=name(self.broker_cert_file),
            key_file=name(self.broker_key_file),
            version=self.broker_version,
            others=self.broker.others,
        )

    def topics(self) -> Topics:
        """The topics below the prefix, spelled as this broker takes them."""
        return Topics(self.prefix, self.encode_dots)

    def secrets(self) -> list[str]:
        """The texts that must not be seen anywhere."""
        return [*super().secrets(), *filter(None, [self._broker_password])]


class StoreSettings(LogSettings):
    """What every program has that keeps a store: a file of its own, or a database."""

    store_name: ClassVar[str]
    """What the names of its files begin with."""

    id: Annotated[Name, Option("ID", "a name of 1 to 200 characters")] = Field(
        "main", description="Its name, where there are several: its session's, its store's, its messages'."
    )
    state_dir: StateDir = Field(
        default_factory=default_state_dir, description="Where the SQLite store lives."
    )
    store: Annotated[
        str | None,
        AfterValidator(lambda value: value and _store(value)),
        Option(
            "URL", "sqlite:///file or postgresql://[user@]host/database", default="SQLite in the state dir"
        ),
    ] = Field(None, description="The store, as an SQLAlchemy URL.")
    store_password_file: File = Field(
        None, description="A file whose first line is the PostgreSQL user's password."
    )

    _store_password: str | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _check_store(self) -> Self:
        if self.store_password_file:
            if not self.is_on_postgresql or not urlsplit(self.store or "").username:
                raise _conflict(
                    "store_password_file",
                    "no user in store whose password it could be",
                    "store as in postgresql://user@host/database",
                )
            self._store_password = _read_secret("store_password_file", self.store_password_file)
        return self

    @property
    def is_on_postgresql(self) -> bool:
        """Whether the store is PostgreSQL; else it is SQLite."""
        return self.store is not None and self.store.startswith("postgresql")

    def store_url(self) -> str:
        """The store's SQLAlchemy URL, the default filled in. May hold a password."""
        if self.store is None:
            name = f"{self.store_name}-{self.id.replace('/', encode_level('/'))}.db"
            return f"sqlite:///{quote(f'{self.state_dir}/{name}')}"
        if self._store_password is None:
            return self.store
        password = quote(self._store_password, safe="")
        return re.sub(
            r"(://[^/@:]*)(?::[^@]*)?@", lambda found: f"{found[1]}:{password}@", self.store, count=1
        )

    def secrets(self) -> list[str]:
        """The texts that must not be seen anywhere."""
        inline = urlsplit(self.store or "").password
        return [*super().secrets(), *filter(None, (self._store_password, inline))]


class AgentSettings(BrokerUserSettings):
    """The agent: watches one libvirt connection."""

    host: Annotated[
        Name, Option("NAME", "a name of 1 to 200 characters", default="the hostname, lowercased")
    ] = Field(default_factory=default_host, description="The name of this host in topics and messages.")
    connect: Annotated[str, AfterValidator(_connect), Option("URI", "a libvirt URI, as virsh has it")] = (
        Field("qemu:///system", description="The libvirt connection to watch.")
    )
    state_dir: StateDir = Field(default_factory=default_state_dir, description="Where the outbox lives.")
    reconcile_s: Annotated[
        float, Field(ge=0.1, le=86400), Option("SECONDS", "seconds, 0.1 to 86400", name="reconcile")
    ] = Field(30, description="Seconds between two looks for changes that libvirt doesn't announce.")
    events: Annotated[
        str,
        AfterValidator(_events),
        Option(
            "LIST",
            "names of events with commas between them, all, and -name to leave one out",
            default="none beyond those that are on by default",
        ),
    ] = Field(
        "",
        description="Which events of libvirt to publish beside those that are on by default; "
        "[all of them](messages.md#which-events).",
    )
    http: Http = Field(None, description="Where to serve /livez, /readyz and /metrics.")
    outbox_max_rows: Annotated[int, Field(ge=1000), Option("ROWS", "a number, 1000 or more")] = Field(
        5_000_000, description="How many messages the outbox holds at most."
    )
    outbox_max_bytes: Annotated[ByteSize, Field(ge=1_000_000), Option("BYTES", f"{_BYTES}; 1MB or more")] = (
        Field(ByteSize(2 << 30), description="How much the outbox holds at most.")
    )
    outbox_policy: Annotated[
        Literal["newest", "oldest"], BeforeValidator(_lowered), Option("WHICH", "newest or oldest")
    ] = Field("newest", description="Which unsent messages are kept when the outbox is full.")
    retain_hours: Annotated[float, Field(ge=0, le=8760), Option("HOURS", "hours, 0 to 8760")] = Field(
        24, description="How long sent messages are kept for a replay."
    )
    retain_bytes: Annotated[ByteSize, Field(ge=0), Option("BYTES", f"{_BYTES}; 0 or more")] = Field(
        ByteSize(512 << 20), description="Sent messages are kept only while the outbox is smaller than this."
    )
    homeassistant: Annotated[bool, Option("", "true or false")] = Field(
        default=False, description="Describe each domain to Home Assistant, by MQTT discovery."
    )
    homeassistant_prefix: Annotated[
        Name, AfterValidator(_prefix), Option("PREFIX", "levels of A-Z a-z 0-9 . _ ~ -, with / between them")
    ] = Field("homeassistant", description="What Home Assistant's discovery topics begin with.")


class CorrelatorSettings(BrokerUserSettings, StoreSettings):
    """The correlator: tells what became of each migration."""

    store_name = "correlator"

    group: Annotated[Name | None, Option("NAME", "a name of 1 to 200 characters")] = Field(
        None, description="The group of correlators to share the work with; needs MQTT 5 and PostgreSQL."
    )
    settle_s: Annotated[
        float, Field(ge=0, le=86400), Option("SECONDS", "seconds, 0 to 86400", name="settle")
    ] = Field(10, description="Seconds to wait for the other side once one side is conclusive.")
    patience_s: Annotated[
        float,
        Field(gt=0, le=31536000),
        Option("SECONDS", "seconds, more than 0, to 31536000", name="patience"),
    ] = Field(600, description="Seconds of missing evidence before a migration is told as unresolved.")
    http: Http = Field(None, description="Where to serve /livez, /readyz and /metrics.")

    @model_validator(mode="after")
    def _check_group(self) -> Self:
        if self.group and not self.is_on_postgresql:
            raise _conflict(
                "group", "a group shares a store on PostgreSQL", "store as in postgresql://user@host/database"
            )
        if self.group and self.broker_version != "5":
            raise _conflict("group", "shared subscriptions need MQTT 5", "broker_version 5 beside it")
        return self


class DashboardSettings(BrokerUserSettings, StoreSettings):
    """The dashboard: keeps what happened, and shows it and the fleet in a browser."""

    store_name = "dashboard"

    keep_days: Annotated[float, Field(gt=0, le=36500), Option("DAYS", "days, more than 0, to 36500")] = Field(
        30, description="How long what happened is kept."
    )
    keep_bytes: Annotated[ByteSize, Field(ge=1_000_000), Option("BYTES", f"{_BYTES}; 1MB or more")] = Field(
        ByteSize(10 << 30), description="How large the store may become; the oldest rows go first."
    )
    http: Annotated[
        InstanceOf[HttpAddress],
        BeforeValidator(_http),
        Option("ADDRESS:PORT", "address:port, [IPv6]:port or :port"),
    ] = Field(HttpAddress("127.0.0.1", 9473), description="Where to serve the page and its API.")
    http_password_file: File = Field(
        None, description="A file whose first line is the password of whoever wants to look."
    )
    http_open: Annotated[bool, Option("", "true or false")] = Field(
        default=False, description="Serve everybody: something before it asks for a password."
    )
    http_cert_file: File = Field(None, description="A certificate for HTTPS, PEM; it may hold the key, too.")
    http_key_file: File = Field(None, description="The key to the certificate, PEM.")

    _http_password: str | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _check_http(self) -> Self:
        if self.http_password_file:
            self._http_password = _read_secret("http_password_file", self.http_password_file)
        elif not self.http.is_loopback and not self.http_open:
            raise _conflict(
                "http",
                "others than this machine would see everything",
                "http_password_file beside it, or http_open, or a loopback address",
            )
        if self.http_key_file and not self.http_cert_file:
            raise _conflict(
                "http_key_file", "there is no certificate that it belongs to", "http_cert_file beside it"
            )
        if self.http_cert_file:
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
                    self.http_cert_file, self.http_key_file
                )
            except (ssl.SSLError, OSError) as error:
                accepted = "a certificate with its key, PEM, the key without a passphrase"
                raise _conflict("http_cert_file", f"can't be used: {error}", accepted) from None
        return self

    @property
    def http_password(self) -> str | None:
        """What whoever wants to look has to know; None: nothing."""
        return self._http_password

    def secrets(self) -> list[str]:
        """The texts that must not be seen anywhere."""
        return [*super().secrets(), *filter(None, [self._http_password])]


def _triggers(value: str) -> str:
    for name in value.split(","):
        if not is_trigger(name):
            raise ValueError(f"{name!r} is none")
    return value


def _filled(value: str | None) -> str | None:
    """Names or patterns, none of which is empty or longer than a name can be."""
    for name in (value or "").split(",") if value is not None else ():
        if not 1 <= len(name) <= 200:
            raise ValueError("one of them is empty, or longer than 200 characters")
    return value


def _command(value: str) -> str:
    if not any(shlex.split(value)[:1]):
        raise ValueError("no program")
    return value


Patterns = Annotated[
    str | None,
    AfterValidator(_filled),
    Option("PATTERNS", "names, or patterns as web*, with commas between them", default="all"),
]


class HookSettings(BrokerUserSettings, StoreSettings):
    """The hook runner: runs programs for what is published."""

    store_name = "hook"

    run: Annotated[
        str | None,
        AfterValidator(lambda value: value and _command(value)),
        Option("COMMAND", "a program and its arguments, quoted as for a shell"),
    ] = Field(
        None,
        description="What to run, without a shell in between; on the command line it may also stand at the "
        "end, after `--`.",
    )
    on: Annotated[
        str | None,
        AfterValidator(lambda value: value and _triggers(value)),
        Option("NAMES", f"{ACCEPTED}; with commas between them", default="completed,failed"),
    ] = Field(None, description="What the command is run for.")
    hooks_dir: Annotated[Path, BeforeValidator(_path), Option("DIR", "a directory")] = Field(
        Path("/etc/libvirt-mqtt/hooks.d"),
        description="Without a command: whose executables are run, each for what its name begins with.",
    )
    domain: Patterns = Field(None, description="Run only for these domains, by UUID or name.")
    host: Patterns = Field(None, description="Run only for what names one of these hosts.")
    reason: Patterns = Field(None, description="Run only for these reasons.")
    timeout_s: Annotated[
        float, Field(gt=0, le=86400), Option("SECONDS", "seconds, more than 0, up to 86400", name="timeout")
    ] = Field(60, description="How long a program may run; then its process group gets TERM, then KILL.")
    tries: Annotated[int, Field(ge=1, le=100), Option("NUMBER", "a number, 1 to 100")] = Field(
        8, description="How often a program is tried before its message is put aside."
    )
    retry_s: Annotated[
        float, Field(gt=0, le=86400), Option("SECONDS", "seconds, more than 0, up to 86400", name="retry")
    ] = Field(5, description="Seconds before the second try; twice as many before each next one.")
    parallel: Annotated[int, Field(ge=1, le=100), Option("NUMBER", "a number, 1 to 100")] = Field(
        4, description="Programs that run at the same time; of one domain never more than one."
    )
    max_age_s: Annotated[
        float | None, Field(gt=0), Option("SECONDS", "seconds, more than 0", name="max_age")
    ] = Field(None, description="What is older than this when its turn comes runs nothing.")
    group: Annotated[Name | None, Option("NAME", "a name of 1 to 200 characters")] = Field(
        None, description="The group of runners to share the work with, on PostgreSQL."
    )
    http: Http = Field(None, description="Where to serve /livez, /readyz and /metrics.")
    parked: Annotated[bool, Option("", "true or false")] = Field(
        default=False, description="Don't run: print what was put aside."
    )
    again: Annotated[
        str | None, AfterValidator(_filled), Option("ID", "the id of a message that was put aside, or all")
    ] = Field(None, description="Don't run: have the runner try this one anew.")

    @model_validator(mode="after")
    def _check_hook(self) -> Self:
        if self.on and not self.run:
            raise _conflict("on", "of no use for a folder: files' names say it", "run beside it")
        if self.group and not self.is_on_postgresql:
            raise _conflict(
                "group", "a group shares a store on PostgreSQL", "store as in postgresql://user@host/database"
            )
        return self

    def command(self) -> list[str]:
        """The program and its arguments; empty where the folder's are meant."""
        return shlex.split(self.run or "")

    def triggers(self) -> list[str]:
        """What the command is run for."""
        return (self.on or "completed,failed").split(",")


class HistorySettings(StoreSettings):
    """What `history` reads: a dashboard's store."""

    store_name = "dashboard"


class WatchSettings(BrokerUserSettings):
    """The watcher: prints what happens."""

    as_json: Annotated[bool, Option("", "true or false", name="json")] = Field(
        default=False, description="Print each message as one JSON line."
    )
    host: Patterns = Field(None, description="Show only what names one of these hosts.")
    domain: Patterns = Field(None, description="Show only what is about these domains, by UUID or name.")
    only: Annotated[
        Literal["migrations", "events", "states"] | None,
        Option("KIND", "migrations, events or states", default="all"),
    ] = Field(None, description="Show only this kind of messages.")


class CheckSettings(BrokerUserSettings):
    """The check of a broker: who the programs would be there."""

    host: Annotated[
        Name, Option("NAME", "a name of 1 to 200 characters", default="the hostname, lowercased")
    ] = Field(default_factory=default_host, description="The agent's host.")
    id: Annotated[Name, Option("ID", "a name of 1 to 200 characters")] = Field(
        "main", description="The correlator's id."
    )
    group: Annotated[Name | None, Option("NAME", "a name of 1 to 200 characters")] = Field(
        None, description="The correlators' group, if there is to be one."
    )


class DemoSettings(LogSettings):
    """The demo: it brings its own broker, so that there is little to set."""

    keep: Annotated[bool, Option("", "true or false")] = Field(
        default=False, description="Go on until Ctrl-C, with a fleet that lives, to look at in a browser."
    )


PROGRAMS: Final[Mapping[str, type[LogSettings]]] = {
    "agent": AgentSettings,
    "correlator": CorrelatorSettings,
    "dashboard": DashboardSettings,
    "hook": HookSettings,
    "watch": WatchSettings,
    "demo": DemoSettings,
}
"""The subcommands that have settings; also the names of the tables in the TOML file."""
