"""The messages: a CloudEvents 1.0 envelope and the models of its data.

Models accept added fields, so that an older reader accepts a newer writer. Host names, UUIDs and domains'
names are untrusted input; a name can hold any character. Source of the envelope: CloudEvents 1.0.2, JSON
event format, and its `sequence` and `partitioning` extensions.
"""

from __future__ import annotations

import builtins
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, Final, Generic, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, create_model

from bridge.wire.events import OBJECTS, Object
from bridge.wire.topics import encode_level

CONTENT_TYPE: Final = "application/cloudevents+json; charset=utf-8"
TYPE_PREFIX: Final = "io.github.libvirt-mqtt."
SCHEMA_BASE: Final = "https://libvirt-mqtt.github.io/schemas/v1/"

Uuid = Annotated[
    str,
    Field(
        pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
        description="A domain's or another object's UUID, lowercase with dashes.",
    ),
]
Stamp = Annotated[
    str,
    Field(
        pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$",
        description="RFC 3339, UTC, microseconds.",
    ),
]
Code = Annotated[int, Field(ge=-(2**31), le=2**31 - 1)]
Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
Origin = Literal["event", "resync"]
Outcome = Literal["started", "interrupted", "unresolved", "completed", "failed", "conflict"]
FinalOutcome = Literal["completed", "failed"]
Mode = Literal["precopy", "postcopy", "offline"]
GuestState = Literal["running", "paused", "shutoff", "lost", "unknown"]
Attention = Literal["source_left_paused", "guest_left_paused", "postcopy_incomplete"]
Reason = Literal[
    "source_crashed",
    "source_stopped",
    "postcopy_failed",
    "destination_failed",
    "destination_crashed",
    "destination_destroyed",
    "destination_stopped",
    "destination_vanished",
    "source_resumed",
    "source_job_ended",
]
Side = Literal["source", "destination"]
Phase = Literal["preparing", "copying", "switching", "postcopy", "interrupted", "unresolved", "conflict"]
Trend = Literal["converging", "stalled", "diverging"]


class Model(BaseModel):
    """A part of a message: immutable, and open to fields that a later version adds."""

    model_config = ConfigDict(extra="allow", frozen=True)


class Domain(Model):
    """A virtual machine on one host. `id` is null if libvirt reports -1 (not running)."""

    uuid: Uuid
    name: str
    id: int | None = None


class DomainName(Model):
    """A virtual machine, independent of its host."""

    uuid: Uuid
    name: str | None = Field(default=None, description="Null if no message named it.")


class HostRef(Model):
    """A host; null if it is unknown (or no host has the guest)."""

    host: str | None = None


class Lifecycle(Model):
    """One lifecycle event of a domain, emitted by libvirt or concluded by the agent after a blind time."""

    host: str
    driver: str = Field(description="libvirt's virConnectGetType, for example QEMU.")
    domain: Domain
    event: str
    event_code: Code
    detail: str
    detail_code: Code
    origin: Origin


class DomainEvent(Model):
    """Another event of a domain, by libvirt's name, or an event of the agent's own."""

    host: str
    driver: str
    domain: Domain
    event: str
    origin: Literal["event", "poll", "resync"] = Field(
        description="`poll`: found by polling; `resync`: found after a blind time."
    )
    params: dict[str, Any] = Field(description="By event: see the table of events.")


class DomainState(Model):
    """The state of a domain on this host. Retained; an empty payload clears it."""

    host: str
    driver: str
    domain: Domain
    state: str
    state_code: Code
    reason: str
    reason_code: Code
    persistent: bool | None = Field(description="Null if libvirt did not report it.")
    epoch: str
    as_of: int = Field(ge=0, description="The last sequence that this state includes.")


class Named(Model):
    """An object of libvirt that has a UUID, on one host."""

    uuid: Uuid
    name: str


class NamedOnly(Model):
    """An object of libvirt that has no UUID."""

    name: str


class Amount(Model):
    """Bytes of one part of a copy. QEMU sends a page again after the guest has written to it, so more than
    the total may be processed.
    """

    total_bytes: Count
    processed_bytes: Count
    remaining_bytes: Count


class Progress(Model):
    """The progress of a copy. Unknown values are null."""

    total_bytes: Count | None = Field(
        default=None, description="Memory and disks together, as in the next two."
    )
    processed_bytes: Count | None = None
    remaining_bytes: Count | None = None
    memory: Amount | None = None
    disk: Amount | None = None
    percent: int | None = Field(
        default=None, ge=0, le=99, description="The part of the total that doesn't remain; 99 at most."
    )
    bandwidth_bytes_per_s: Count | None = Field(default=None, description="Smoothed, as is the next one.")
    dirty_bytes_per_s: Count | None = Field(default=None, description="The guest's writes to its memory.")
    iteration: Count | None = Field(default=None, description="Counted from the start of this attempt.")
    throttle_percent: Count | None = Field(
        default=None, description="By how much QEMU throttles the guest so that the copy converges."
    )
    downtime_ms: Count | None = Field(default=None, description="QEMU's estimate.")
    trend: Trend | None = None
    eta_s: Count | None = Field(
        default=None, description="Time until the switch-over; null unless the copy converges."
    )


class _Job(Model):
    host: str
    driver: str
    domain: Domain
    operation: str = Field(description="`migration_out`, `save`, `dump`, `backup`, …")
    started_at: Stamp | None
    time_elapsed_ms: Count | None


class Job(Progress, _Job):
    """The job under way and its progress. Retained; an empty payload clears it."""


class ObjectLifecycle(Model):
    """One lifecycle event of a network, pool, node device or secret, in the field of its class."""

    host: str
    driver: str
    event: str
    event_code: Code
    origin: Origin


class ObjectEvent(Model):
    """Another event of a network, pool, node device or secret, in the field of its class."""

    host: str
    driver: str
    event: str
    origin: Literal["event"]
    params: dict[str, Any]


class ObjectState(Model):
    """The state of a network or pool on this host. Retained; an empty payload clears it."""

    host: str
    driver: str
    active: bool
    persistent: bool
    autostart: bool
    epoch: str
    as_of: int = Field(ge=0, description="The last sequence that this state includes.")


class _Pool(ObjectState):
    state: str
    state_code: Code
    capacity: int | None = Field(description="Bytes, at the last refresh; null while inactive.")
    allocation: int | None = Field(description="Bytes in use.")
    available: int | None = Field(description="Bytes free.")


class Libvirt(Model):
    """An agent's connection to libvirt."""

    connected: bool
    uri: str | None = None
    hypervisor_version: str | None = None
    since: str | None = Field(
        None,
        description="When it began, by the host's clock. What happened just before may have gone unseen; "
        "the states of all domains are published anew.",
    )


class Span(Model):
    """A range of sequences, both ends included."""

    epoch: str | None = None
    first: int
    last: int


class HostStatus(Model):
    """An agent's status. Retained; its Will sets it to offline."""

    host: str
    state: Literal["online", "offline"]
    epoch: str | None
    version: str
    libvirt: Libvirt | None = Field(description="Null while offline.")
    last_sequence: int = Field(ge=0)
    dropped: list[Span] = Field(
        default_factory=list, description="Sequences that were dropped at the outbox's limit."
    )
    lost: list[Span] = Field(
        default_factory=list, description="Sequences that were requested by replay and are no longer stored."
    )
    parked: int = Field(default=0, description="Messages that the broker refused; they are kept.")
    states: int | None = Field(
        default=None, ge=0, description="The number of domains' states that the broker has retained."
    )
    reason: str | None = Field(default=None, description="What is wrong, if anything.")


class Guest(Model):
    """The guest's host and state; host is null if none has the guest or it is unknown."""

    host: str | None
    state: GuestState


class Evidence(Model):
    """One message that the verdict is based on, by its CloudEvents source and id."""

    source: str
    id: str


class Missing(Model):
    """Evidence that did not arrive: its side and host, a stable code, and a text for people."""

    side: Side
    host: str | None
    code: str = Field(
        description="`not_seen` (no host reported being this side), `no_end` (how it ended there), `blind`"
        " (the host's agent is offline, or without libvirt), `gap` (messages of its event stream are"
        " missing). May gain codes."
    )
    text: str


class Migration(Model):
    """The outcome of one attempt to migrate a domain. Unknown values are null."""

    migration: str | None = Field(description="The attempt's id; null for a conflict without one.")
    revision: int = Field(ge=0)
    outcome: Outcome
    domain: DomainName
    source: HostRef
    destination: HostRef
    mode: Mode | None
    reason: Reason | None
    attention: Attention | None
    guest: Guest
    started_at: Stamp | None
    ended_at: Stamp | None
    duration_ms: int | None
    downtime_ms: int | None
    confirmed_by: list[Side]
    evidence: list[Evidence]
    supersedes: str | None = Field(default=None, description="The id of the message that this one replaces.")
    missing: list[Missing] | None = Field(
        default=None, description="Of `unresolved`: the evidence that did not arrive."
    )


class Resolved(Migration):
    """The end of a conflict without a migration: the two no longer both run. `supersedes` is the conflict's
    id.
    """

    outcome: Literal["resolved"]  # type: ignore[assignment]  # a topic and a schema of its own


class Current(Migration):
    """The attempt under way. Retained; an empty payload clears it when the verdict is published."""

    outcome: None  # type: ignore[assignment]  # there is none yet
    phase: Phase
    progress: Progress | None = Field(description="The progress of the source's `job`.")


class Location(Model):
    """The host that has the domain now. Retained; an empty payload if none has."""

    domain: DomainName
    host: str
    migration: str | None = Field(default=None, description="The attempt that brought it there, if known.")


class CorrelatorStatus(Model):
    """A correlator's status. Retained; its Will sets it to offline."""

    correlator: str
    state: Literal["online", "offline"]
    version: str
    group: str | None = None
    open_migrations: int = 0
    rejected: dict[str, int] = Field(default_factory=dict, description="Invalid messages, by kind.")
    holes: list[dict[str, Any]] = Field(
        default_factory=list,
        description="Missing sequences that no agent has any more: host, epoch, first, last.",
    )
    reason: str | None = Field(default=None, description="What is wrong, if anything.")


class ReplayRequest(BaseModel):
    """Requests messages of an agent again: plain JSON on `hosts/{host}/replay`, both ends included."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    epoch: str
    first: int = Field(alias="from", ge=1)
    last: int = Field(alias="to", ge=1)
    states: bool = Field(default=False, description="Whether to publish all domains' states again, too.")

    def payload(self) -> bytes:
        """The request as sent, without defaults."""
        return self.model_dump_json(by_alias=True, exclude_defaults=True).encode()


Data = TypeVar("Data", bound=Model)


class Envelope(BaseModel, Generic[Data]):
    """A CloudEvents 1.0 event in structured JSON."""

    model_config = ConfigDict(extra="allow", frozen=True)

    specversion: Literal["1.0"] = "1.0"
    id: str = Field(min_length=1)
    source: str = Field(min_length=1)
    type: str
    subject: Uuid | None = None
    time: Stamp
    dataschema: str
    sequence: Annotated[str, Field(pattern=r"^\d{20}$")] | None = None
    partitionkey: str | None = None
    data: Data


@cache
def _envelope(model: builtins.type[Model]) -> builtins.type[Envelope[Any]]:
    """The cache keeps it alive: pydantic drops a parametrised model that nothing else references, and
    building one takes milliseconds.
    """
    return Envelope[model]  # type: ignore[valid-type]


class Kind(Model):
    """One kind of message: the suffix of its `type`, its schema's file and its model."""

    type: str
    schema_name: str
    model: builtins.type[Model]

    @property
    def dataschema(self) -> str:
        """The `$id` of the schema that its messages name."""
        return f"{SCHEMA_BASE}{self.schema_name}.schema.json"

    @property
    def envelope(self) -> builtins.type[Envelope[Any]]:
        """The model of a whole message of this kind."""
        return _envelope(self.model)


def _kind(suffix: str, model: type[Model], schema_name: str | None = None) -> Kind:
    return Kind(type=f"{TYPE_PREFIX}{suffix}.v1", schema_name=schema_name or suffix, model=model)


LIFECYCLE = _kind("domain.lifecycle", Lifecycle)
EVENT = _kind("domain.event", DomainEvent)
STATE = _kind("domain.state", DomainState)
JOB = _kind("domain.job", Job)
HOST_STATUS = _kind("host.status", HostStatus)


def _object_kind(each: Object, what: str, base: type[Model]) -> Kind:
    """One kind of message of a class: its data has the object under the class's name."""
    name = f"{each.singular.capitalize()}{what.capitalize()}"
    about: Any = (Named if each.has_uuid else NamedOnly, ...)
    model = create_model(name, __base__=base, __doc__=base.__doc__, **{each.singular: about})
    return _kind(f"{each.singular}.{what}", model)


OBJECT_LIFECYCLE: Final[dict[str, Kind]] = {
    plural: _object_kind(each, "lifecycle", ObjectLifecycle) for plural, each in OBJECTS.items()
}
OBJECT_EVENT: Final[dict[str, Kind]] = {
    plural: _object_kind(each, "event", ObjectEvent) for plural, each in OBJECTS.items()
}
OBJECT_STATE: Final[dict[str, Kind]] = {
    plural: _object_kind(each, "state", _Pool if plural == "pools" else ObjectState)
    for plural, each in OBJECTS.items()
    if each.keeps_state
}
"""The kinds of messages of other objects than domains, each by the class's level in topics."""

LOCATION = _kind("domain.location", Location)
CORRELATOR_STATUS = _kind("correlator.status", CorrelatorStatus)
MIGRATION: Final[dict[str, Kind]] = {
    **{outcome: _kind(f"migration.{outcome}", Migration, "migration") for outcome in get_args(Outcome)},
    "resolved": _kind("migration.resolved", Resolved),
    "current": _kind("migration.current", Current),
}
"""The kinds of a correlator's messages of migrations by their topics' last level; `last` holds a verdict."""
KINDS: Final[dict[str, Kind]] = {
    kind.type: kind
    for kind in (
        LIFECYCLE,
        EVENT,
        STATE,
        JOB,
        *OBJECT_LIFECYCLE.values(),
        *OBJECT_EVENT.values(),
        *OBJECT_STATE.values(),
        HOST_STATUS,
        LOCATION,
        CORRELATOR_STATUS,
        *MIGRATION.values(),
    )
}
"""Every kind of message by its `type`."""
STREAM: Final = (LIFECYCLE, EVENT, *OBJECT_LIFECYCLE.values(), *OBJECT_EVENT.values())
"""The kinds of an agent's event stream: they are numbered."""


def stamp(seconds: float) -> str:
    """RFC 3339 in UTC with microseconds, of seconds since the epoch."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def seconds(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 stamp. Raises ValueError for anything else."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment.timestamp()


def host_source(host: str) -> str:
    """The CloudEvents `source` of an agent; percent-encoded, since a source is a URI reference."""
    return f"/hosts/{encode_level(host)}"


def correlator_source(name: str) -> str:
    """The CloudEvents `source` of a correlator, or of its group."""
    return f"/correlators/{encode_level(name)}"


def event_id(epoch: str, sequence: int) -> str:
    """The id of a message of an agent's event stream."""
    return f"{epoch}-{sequence}"


def build(
    kind: Kind,
    *,
    id: str,  # noqa: A002  (CloudEvents' name)
    source: str,
    time: str,
    data: Model,
    subject: str | None = None,
    sequence: int | None = None,
) -> bytes:
    """The bytes of one message, validated. Absent attributes are omitted, as CloudEvents requires.

    Raises pydantic.ValidationError where the data breaks the contract.
    """
    envelope = kind.envelope(
        id=id,
        source=source,
        type=kind.type,
        subject=subject,
        time=time,
        dataschema=kind.dataschema,
        sequence=None if sequence is None else f"{sequence:020d}",
        partitionkey=subject,
        data=data,
    )
    head = envelope.model_dump_json(exclude_none=True, exclude={"data"})
    body = envelope.data.model_dump_json()
    return f'{head[:-1]},"data":{body}}}'.encode()


def parse(payload: bytes) -> Envelope[Any]:
    """The message in these bytes, with the model of its `type`.

    Raises pydantic.ValidationError for anything that isn't a message of this contract, and
    UnknownTypeError for a `type` that it doesn't have.
    """
    bare = Envelope[Model].model_validate_json(payload)
    kind = KINDS.get(bare.type)
    if kind is None:
        raise UnknownTypeError(bare.type)
    return kind.envelope.model_validate_json(payload)


class UnknownTypeError(ValueError):
    """A message whose `type` this version doesn't have; carries the type."""
