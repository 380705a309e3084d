"""libvirt's events as one table: the name of each, the arguments of its callback, and what is published.

From an entry come the registration, the message's `params`, the schema, the AsyncAPI document, the metrics'
labels, what `watch` prints, and the line in the documentation. A new event is one entry with its example.

Names are libvirt's own constants, lowercased, without their common prefix; an enumeration is a name with
libvirt's number beside it (`action`, `action_code`), as in lifecycle events. A number that no entry names is
`unknown`; an argument that no entry names is published as `argument_3` and so on. Source: libvirt's
`include/libvirt/libvirt-domain.h` and its sisters, up to 12.8, and libvirt-python's dispatchers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from bridge.wire import vocabulary
from bridge.wire.vocabulary import UNKNOWN

Published = Literal["always", "default", "on request"]
Schema = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Text:
    """A string; null where libvirt gave none."""

    name: str

    def read(self, value: str | None) -> dict[str, Any]:
        """The published value."""
        return {self.name: value}

    def schema(self) -> dict[str, Schema]:
        """The properties that `read` makes."""
        return {self.name: {"type": ["string", "null"]}}


@dataclass(frozen=True, slots=True)
class Number:
    """A number, under libvirt's name for it; `unit` is its unit."""

    name: str
    unit: str = ""

    def read(self, value: int) -> dict[str, Any]:
        """The published value."""
        return {self.name: value}

    def schema(self) -> dict[str, Schema]:
        """The properties that `read` makes."""
        described = {"description": f"In {self.unit}."} if self.unit else {}
        return {self.name: {"type": "integer", **described}}


@dataclass(frozen=True, slots=True)
class Choice:
    """A number of an enumeration: `prefix` is its constants', `names` are theirs from 0 on."""

    name: str
    prefix: str
    names: tuple[str, ...]

    def read(self, value: int) -> dict[str, Any]:
        """Its name, and the number beside it."""
        return {self.name: vocabulary.name_at(self.names, value), f"{self.name}_code": value}

    def schema(self) -> dict[str, Schema]:
        """The properties that `read` makes. Names are open: a newer agent may know more."""
        names = ", ".join(dict.fromkeys((*self.names, UNKNOWN)))
        return {
            self.name: {"type": "string", "description": f"One of {names}."},
            f"{self.name}_code": {"type": "integer"},
        }


@dataclass(frozen=True, slots=True)
class Flags:
    """A number of flags: `names` are those of 1, 2, 4 and so on."""

    name: str
    prefix: str
    names: tuple[str, ...]

    def read(self, value: int) -> dict[str, Any]:
        """The names of those that are set, and the number beside them."""
        set_ = [name for bit, name in enumerate(self.names) if value >> bit & 1]
        if value >> len(self.names):
            set_.append(UNKNOWN)
        return {self.name: set_, f"{self.name}_code": value}

    def schema(self) -> dict[str, Schema]:
        """The properties that `read` makes."""
        return {
            self.name: {
                "type": "array",
                "items": {"type": "string"},
                "description": f"Of {', '.join((*self.names, UNKNOWN))}.",
            },
            f"{self.name}_code": {"type": "integer"},
        }


@dataclass(frozen=True, slots=True)
class Parameters:
    """libvirt's typed parameters: published under their own names, a job's operation by name."""

    name: str

    def read(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """The published values."""
        if isinstance(value.get("operation"), int):
            return {**value, "operation": vocabulary.operation_name(value["operation"])}
        return dict(value)

    def schema(self) -> dict[str, Schema]:
        """The properties that `read` makes; which exist is libvirt's choice each time."""
        return {}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One end of a graphics client's connection."""

    name: str

    def read(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """Its family by name, node and service."""
        family = vocabulary.name_at(FAMILIES.names, value["family"])
        return {self.name: {**value, "family": family, "family_code": value["family"]}}

    def schema(self) -> dict[str, Schema]:
        """The properties that `read` makes."""
        inner = {**FAMILIES.schema(), "node": {"type": "string"}, "service": {"type": "string"}}
        return {self.name: {"type": "object", "properties": inner}}


@dataclass(frozen=True, slots=True)
class Identities:
    """Who a graphics client is: pairs of a type and a name."""

    name: str

    def read(self, value: Iterable[tuple[str, str]]) -> dict[str, Any]:
        """One object for each."""
        return {self.name: [{"type": type_, "name": name} for type_, name in value]}

    def schema(self) -> dict[str, Schema]:
        """The properties that `read` makes."""
        inner = {"type": {"type": "string"}, "name": {"type": "string"}}
        return {self.name: {"type": "array", "items": {"type": "object", "properties": inner}}}


Argument = Text | Number | Choice | Flags | Parameters | Endpoint | Identities

FAMILIES: Final = Choice("family", "VIR_DOMAIN_EVENT_GRAPHICS_ADDRESS_", ("ipv4", "ipv6", "unix"))


@dataclass(frozen=True, slots=True)
class Object:
    """A class of libvirt's objects other than domains.

    `plural` is its level in topics, `singular` its name in types and data, `prefix` that of its constants.
    `lifecycle` are its lifecycle events in the order of their numbers. Those with `keeps_state` have a
    retained state, and a resync. Node devices have a name and no UUID.
    """

    plural: str
    singular: str
    prefix: str
    lifecycle: tuple[str, ...]
    keeps_state: bool
    has_uuid: bool = True


NETWORK: Final = Object(
    "networks", "network", "VIR_NETWORK_EVENT_", ("defined", "undefined", "started", "stopped"), True
)
POOL: Final = Object(
    "pools",
    "pool",
    "VIR_STORAGE_POOL_EVENT_",
    ("defined", "undefined", "started", "stopped", "created", "deleted"),
    True,
)
POOL_STATES: Final = Choice(
    "state", "VIR_STORAGE_POOL_", ("inactive", "building", "running", "degraded", "inaccessible")
)
NODEDEV: Final = Object(
    "nodedevs",
    "nodedev",
    "VIR_NODE_DEVICE_EVENT_",
    ("created", "deleted", "defined", "undefined"),
    False,
    has_uuid=False,
)
SECRET: Final = Object("secrets", "secret", "VIR_SECRET_EVENT_", ("defined", "undefined"), False)
OBJECTS: Final[dict[str, Object]] = {each.plural: each for each in (NETWORK, POOL, NODEDEV, SECRET)}
"""Every class other than domains, by its level in topics."""


@dataclass(frozen=True, slots=True)
class Event:
    """One entry.

    `constant` is libvirt's, `name` ours, `arguments` what the callback gets after connection and object,
    `since` the first release of libvirt that has it. `always` is what the correlator needs; the rest is
    selected by `--events`. `means` is a sentence for the documentation, `words` what `watch` prints, with
    parameters in braces. `example` are arguments as the binding passes them. `warns` where a person should
    look at it.
    """

    constant: str
    name: str
    published: Published
    since: str
    means: str
    words: str
    arguments: tuple[Argument, ...] = ()
    example: tuple[Any, ...] = ()
    object: Object | None = None
    warns: bool = False
    option: str = field(init=False)

    def __post_init__(self) -> None:
        option = f"{self.object.singular}_{self.name}" if self.object else self.name
        object.__setattr__(self, "option", option)

    def params(self, arguments: Iterable[Any]) -> dict[str, Any]:
        """The arguments under their names. One that the table doesn't name is kept under its position, one of
        an unexpected type unchanged. Never raises.
        """
        values: dict[str, Any] = {}
        for position, value in enumerate(arguments):
            if position >= len(self.arguments):
                values[f"argument_{position + 1}"] = value
                continue
            argument = self.arguments[position]
            try:
                values.update(argument.read(value))
            except (TypeError, ValueError, LookupError, AttributeError):
                values[argument.name] = value
        return values

    def schema(self) -> Schema:
        """The JSON Schema of `params`, open to what a later version adds."""
        properties: dict[str, Schema] = {}
        for argument in self.arguments:
            properties.update(argument.schema())
        return {"type": "object", "properties": properties, "required": list(properties)}


_ID: Final = "VIR_DOMAIN_EVENT_ID_"
_AGENT: Final = "VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_"
_CHANNEL: Final = "VIR_CONNECT_DOMAIN_EVENT_CHANNEL_LIFECYCLE_"
_FAILURE: Final = "VIR_DOMAIN_EVENT_MEMORY_FAILURE_"
_ALIAS: Final = Text("alias")
_METADATA: Final = (
    Choice("type", "VIR_DOMAIN_METADATA_", ("description", "title", "element")),
    Text("uri"),
)

TABLE: Final[tuple[Event, ...]] = (
    Event(
        _ID + "REBOOT",
        "reboot",
        "default",
        "0.8.0",
        "The guest was reset, by itself or from outside.",
        "rebooted",
    ),
    Event(
        _ID + "RTC_CHANGE",
        "rtc_change",
        "on request",
        "0.8.0",
        "The guest set its clock.",
        "set its clock to UTC {utcoffset} s",
        (Number("utcoffset", "seconds"),),
        (3600,),
    ),
    Event(
        _ID + "WATCHDOG",
        "watchdog",
        "default",
        "0.8.0",
        "The guest's watchdog fired, and what was done.",
        "its watchdog fired: {action}",
        (
            Choice(
                "action",
                "VIR_DOMAIN_EVENT_WATCHDOG_",
                ("none", "pause", "reset", "poweroff", "shutdown", "debug", "injectnmi"),
            ),
        ),
        (1,),
        warns=True,
    ),
    Event(
        _ID + "IO_ERROR_REASON",
        "io_error",
        "default",
        "0.8.1",
        "An I/O error of a disk, and the action taken. `reason` is `enospc` if the space is used up; QEMU"
        " reports no others. After a blind time again if libvirt keeps it (11.1), as `resync`.",
        "I/O error on {alias}: {action} {reason}",
        (
            Text("path"),
            _ALIAS,
            Choice("action", "VIR_DOMAIN_EVENT_IO_ERROR_", ("none", "pause", "report")),
            Text("reason"),
        ),
        ("/var/lib/libvirt/images/web01.qcow2", "virtio-disk0", 1, "enospc"),
        warns=True,
    ),
    Event(
        _ID + "GRAPHICS",
        "graphics",
        "on request",
        "0.8.0",
        "A graphics client connected, authenticated, or disconnected, with its identity and address.",
        "graphics client: {phase}",
        (
            Choice("phase", "VIR_DOMAIN_EVENT_GRAPHICS_", ("connect", "initialize", "disconnect")),
            Endpoint("local"),
            Endpoint("remote"),
            Text("scheme"),
            Identities("subject"),
        ),
        (
            1,
            {"family": 0, "node": "192.0.2.1", "service": "5900"},
            {"family": 0, "node": "192.0.2.7", "service": "50872"},
            "vnc",
            [("x509dname", "CN=alice")],
        ),
    ),
    Event(
        _ID + "CONTROL_ERROR",
        "control_error",
        "default",
        "0.9.2",
        "libvirt lost control of the guest's QEMU: its monitor failed.",
        "libvirt lost control of its QEMU",
        warns=True,
    ),
    Event(
        _ID + "BLOCK_JOB_2",
        "block_job",
        "default",
        "1.2.6",
        "A block job is ready, or over.",
        "block job on {target} ({type}): {status}",
        (
            Text("target"),
            Choice(
                "type",
                "VIR_DOMAIN_BLOCK_JOB_TYPE_",
                (UNKNOWN, "pull", "copy", "commit", "active_commit", "backup"),
            ),
            Choice("status", "VIR_DOMAIN_BLOCK_JOB_", ("completed", "failed", "canceled", "ready")),
        ),
        ("vda", 2, 3),
    ),
    Event(
        _ID + "DISK_CHANGE",
        "disk_change",
        "default",
        "0.9.7",
        "A disk's source was dropped because it was missing.",
        "disk {alias} was dropped: {reason}",
        (
            Text("old"),
            Text("new"),
            _ALIAS,
            Choice("reason", "VIR_DOMAIN_EVENT_DISK_CHANGE_", ("missing_on_start", "drop_missing_on_start")),
        ),
        ("/srv/images/install.iso", None, "ide0-1-0", 0),
    ),
    Event(
        _ID + "TRAY_CHANGE",
        "tray_change",
        "on request",
        "0.9.11",
        "A tray of a removable disk was opened or closed.",
        "tray of {alias}: {reason}",
        (_ALIAS, Choice("reason", "VIR_DOMAIN_EVENT_TRAY_CHANGE_", ("open", "close"))),
        ("ide0-1-0", 0),
    ),
    Event(
        _ID + "PMWAKEUP",
        "pmwakeup",
        "default",
        "0.9.11",
        "The guest woke up. libvirt gives no reason: `reason_code` is 0.",
        "woke up",
        (Choice("reason", "VIR_DOMAIN_EVENT_PMWAKEUP_", (UNKNOWN,)),),
        (0,),
    ),
    Event(
        _ID + "PMSUSPEND",
        "pmsuspend",
        "default",
        "0.9.11",
        "The guest went to sleep, in memory.",
        "went to sleep, in memory",
        (Choice("reason", "VIR_DOMAIN_EVENT_PMSUSPEND_", (UNKNOWN,)),),
        (0,),
    ),
    Event(
        _ID + "BALLOON_CHANGE",
        "balloon_change",
        "on request",
        "0.10.0",
        "The guest's memory balloon changed.",
        "has {actual} KiB of memory",
        (Number("actual", "KiB"),),
        (1048576,),
    ),
    Event(
        _ID + "PMSUSPEND_DISK",
        "pmsuspend_disk",
        "default",
        "1.0.0",
        "The guest went to sleep, on disk.",
        "went to sleep, on disk",
        (Choice("reason", "VIR_DOMAIN_EVENT_PMSUSPEND_DISK_", (UNKNOWN,)),),
        (0,),
    ),
    Event(
        _ID + "DEVICE_REMOVED",
        "device_removed",
        "default",
        "1.1.1",
        "A device is out of the guest.",
        "device {alias} was removed",
        (_ALIAS,),
        ("net1",),
    ),
    Event(
        _ID + "TUNABLE",
        "tunable",
        "on request",
        "1.2.9",
        "The guest's tunables were changed: CPU pinning, I/O limits. `params` are the changed ones.",
        "tuned",
        (Parameters("params"),),
        ({"blkdeviotune.disk": "vda", "blkdeviotune.total_iops_sec": 500},),
    ),
    Event(
        _ID + "AGENT_LIFECYCLE",
        "agent_lifecycle",
        "default",
        "1.2.11",
        "The guest's agent connected or disconnected.",
        "guest agent: {state}",
        (
            Choice("state", _AGENT + "STATE_", (UNKNOWN, "connected", "disconnected")),
            Choice("reason", _AGENT + "REASON_", (UNKNOWN, "domain_started", "channel")),
        ),
        (1, 2),
    ),
    Event(
        _ID + "DEVICE_ADDED",
        "device_added",
        "default",
        "1.2.15",
        "A device was added to the guest.",
        "device {alias} was added",
        (_ALIAS,),
        ("net1",),
    ),
    Event(
        _ID + "MIGRATION_ITERATION",
        "migration_iteration",
        "always",
        "1.3.2",
        "A pass over the guest's memory begins: of a migration, a save or a dump.",
        "copying memory, pass {iteration}",
        (Number("iteration"),),
        (1,),
    ),
    Event(
        _ID + "JOB_COMPLETED",
        "job_completed",
        "always",
        "1.3.3",
        "A job completed on this host; `params` are libvirt's figures of it.",
        "{operation} completed",
        (Parameters("params"),),
        ({"operation": 5, "time_elapsed": 1644, "downtime": 27},),
    ),
    Event(
        _ID + "DEVICE_REMOVAL_FAILED",
        "device_removal_failed",
        "default",
        "1.3.4",
        "The guest refused to release a device.",
        "device {alias} could not be removed",
        (_ALIAS,),
        ("net1",),
        warns=True,
    ),
    Event(
        _ID + "METADATA_CHANGE",
        "metadata_change",
        "on request",
        "3.0.0",
        "The domain's title, description or other metadata were changed.",
        "metadata changed: {type}",
        _METADATA,
        (2, "http://example.com/app"),
    ),
    Event(
        _ID + "BLOCK_THRESHOLD",
        "block_threshold",
        "default",
        "3.2.0",
        "A disk was written beyond its configured threshold.",
        "{dev} was written beyond its threshold of {threshold} bytes",
        (Text("dev"), Text("path"), Number("threshold", "bytes"), Number("excess", "bytes")),
        ("vda", "/var/lib/libvirt/images/web01.qcow2", 10737418240, 65536),
        warns=True,
    ),
    Event(
        _ID + "MEMORY_FAILURE",
        "memory_failure",
        "default",
        "6.9.0",
        "The host's memory failed under the guest.",
        "memory failed, for the {recipient}: {action}",
        (
            Choice("recipient", _FAILURE + "RECIPIENT_", ("hypervisor", "guest")),
            Choice("action", _FAILURE + "ACTION_", ("ignore", "inject", "fatal", "reset")),
            Flags("flags", "VIR_DOMAIN_MEMORY_FAILURE_", ("action_required", "recursive")),
        ),
        (1, 1, 1),
        warns=True,
    ),
    Event(
        _ID + "MEMORY_DEVICE_SIZE_CHANGE",
        "memory_device_size_change",
        "on request",
        "7.9.0",
        "The guest changed how much of a memory device it uses.",
        "memory device {alias} has {size} KiB",
        (_ALIAS, Number("size", "KiB")),
        ("virtiomem0", 1048576),
    ),
    Event(
        _ID + "NIC_MAC_CHANGE",
        "nic_mac_change",
        "on request",
        "11.2.0",
        "The guest changed a network card's address.",
        "{alias} has the address {new}",
        (_ALIAS, Text("old"), Text("new")),
        ("net0", "52:54:00:12:34:56", "52:54:00:65:43:21"),
    ),
    Event(
        _ID + "VCPU_REMOVED",
        "vcpu_removed",
        "on request",
        "12.4.0",
        "A virtual CPU is out of the guest.",
        "CPU {vcpu} was removed",
        (Number("vcpu"),),
        (3,),
    ),
    Event(
        _ID + "CHANNEL_LIFECYCLE",
        "channel_lifecycle",
        "on request",
        "12.4.0",
        "A channel of the guest connected or disconnected; libvirt's Python binding doesn't name it.",
        "channel: {state}",
        (
            Choice("state", _CHANNEL + "STATE_", (UNKNOWN, "connected", "disconnected")),
            Choice("reason", _CHANNEL + "REASON_", (UNKNOWN, "domain_started", "channel")),
        ),
        (1, 2),
    ),
    Event(
        "VIR_NETWORK_EVENT_ID_METADATA_CHANGE",
        "metadata_change",
        "on request",
        "9.8.0",
        "The network's title, description or other metadata were changed.",
        "metadata changed: {type}",
        _METADATA,
        (2, "http://example.com/app"),
        object=NETWORK,
    ),
    Event(
        "VIR_STORAGE_POOL_EVENT_ID_REFRESH",
        "refresh",
        "default",
        "2.0.0",
        "The pool was looked through: its state has the new figures.",
        "refreshed",
        object=POOL,
    ),
    Event(
        "VIR_NODE_DEVICE_EVENT_ID_UPDATE",
        "update",
        "on request",
        "2.2.0",
        "What is known of the device changed.",
        "updated",
        object=NODEDEV,
    ),
    Event(
        "VIR_SECRET_EVENT_ID_VALUE_CHANGED",
        "value_changed",
        "on request",
        "3.0.0",
        "The secret has another value. It is never read.",
        "has another value",
        object=SECRET,
    ),
)
"""Every event of libvirt that is no lifecycle event."""

LIFECYCLES: Final[dict[str, tuple[str, Object | None, Published, str]]] = {
    "lifecycle": (_ID + "LIFECYCLE", None, "always", "0.8.0"),
    "network_lifecycle": ("VIR_NETWORK_EVENT_ID_LIFECYCLE", NETWORK, "default", "1.2.1"),
    "pool_lifecycle": ("VIR_STORAGE_POOL_EVENT_ID_LIFECYCLE", POOL, "default", "2.0.0"),
    "nodedev_lifecycle": ("VIR_NODE_DEVICE_EVENT_ID_LIFECYCLE", NODEDEV, "on request", "2.2.0"),
    "secret_lifecycle": ("VIR_SECRET_EVENT_ID_LIFECYCLE", SECRET, "on request", "3.0.0"),
}
"""The lifecycle events by their names for `--events`: constant, class, whether published, since when."""

SUPERSEDED: Final[dict[str, str]] = {
    _ID + "IO_ERROR": "io_error",
    _ID + "BLOCK_JOB": "block_job",
}
"""Constants of events for which another event has more information: the same happening, under its name."""

EVENTS: Final[Mapping[str, Event]] = {each.option: each for each in TABLE}
"""The table by the names that `--events` takes."""

CHOICES: Final[Mapping[str, Published]] = {
    **{name: entry[2] for name, entry in LIFECYCLES.items()},
    **{name: event.published for name, event in EVENTS.items()},
}
"""When each name is published: always, by default, or on request."""

JOB_FAILED: Final = "job_failed"
LEFT_OUT: Final = "events_left_out"
OWN: Final[dict[str, tuple[str, str]]] = {
    JOB_FAILED: (
        "An outgoing migration ended without completing; `started_at` identifies it. Detected by polling.",
        "outgoing migration did not complete",
    ),
    LEFT_OUT: (
        "The domain's events filled its share of the outbox: `count`, in `events` by name, were left out.",
        "{count} events were left out",
    ),
}
"""The agent's own events of a domain: what they mean, and what `watch` prints."""


def chosen(text: str) -> frozenset[str]:
    """The events that `--events` selects: those on by default, and then each entry of a list with commas.

    A name adds one, `all` adds every one, `-name` leaves one out. Raises ValueError, naming the entry.
    """
    names = {name for name, published in CHOICES.items() if published != "on request"}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        name = entry.removeprefix("-")
        if entry == "all":
            names.update(CHOICES)
        elif name not in CHOICES:
            raise ValueError(f"there is no event {name!r}")
        elif entry == name:
            names.add(name)
        elif CHOICES[name] == "always":
            raise ValueError(f"{name!r} can't be left out: the correlator needs it")
        else:
            names.discard(name)
    return frozenset(names)
