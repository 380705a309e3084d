"""One real-looking message of each kind: the examples in the schemas and in the documentation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from bridge.wire import messages
from bridge.wire.events import EVENTS, OBJECTS, Event, Object
from bridge.wire.messages import (
    Amount,
    CorrelatorStatus,
    Current,
    Domain,
    DomainEvent,
    DomainName,
    DomainState,
    Evidence,
    Guest,
    HostRef,
    HostStatus,
    Job,
    Libvirt,
    Lifecycle,
    Location,
    Migration,
    Missing,
    Outcome,
    Progress,
    Resolved,
    build,
)

_UUID: Final = "c7a5fdbd-edaf-9455-926a-d65c16db1809"
_EPOCH: Final = "8f14e45fceea467d9a3c5b0e7d21f684"
_OTHER_EPOCH: Final = "45c48cce2e2d7fbdea1afc51c7c6ad26"
_MIGRATION: Final = "0b5e1a52c9d04d0c8f0b5f6a0d5b8f7e"
_TIME: Final = "2026-11-22T18:04:31.207114Z"
_DOMAIN: Final = Domain(uuid=_UUID, name="web01", id=3)
_NAME: Final = DomainName(uuid=_UUID, name="web01")


def _migration(outcome: Outcome, **changes: object) -> Migration:
    base = Migration(
        migration=_MIGRATION,
        revision=0,
        outcome=outcome,
        domain=_NAME,
        source=HostRef(host="host1"),
        destination=HostRef(host="host2"),
        mode="precopy",
        reason=None,
        attention=None,
        guest=Guest(host="host2", state="running"),
        started_at="2026-11-22T18:04:29.561872Z",
        ended_at=_TIME,
        duration_ms=1644,
        downtime_ms=27,
        confirmed_by=["source", "destination"],
        evidence=[
            Evidence(source="/hosts/host2", id=f"{_OTHER_EPOCH}-17"),
            Evidence(source="/hosts/host1", id=f"{_EPOCH}-9"),
        ],
    )
    return base.model_copy(update=changes)


_OPEN: Final[dict[str, object]] = {
    "ended_at": None,
    "duration_ms": None,
    "downtime_ms": None,
    "confirmed_by": [],
}

_PROGRESS: Final = Progress(
    total_bytes=4312604672,
    processed_bytes=1824522240,
    remaining_bytes=2505703424,
    memory=Amount(total_bytes=4312604672, processed_bytes=1824522240, remaining_bytes=2505703424),
    percent=41,
    bandwidth_bytes_per_s=117178368,
    dirty_bytes_per_s=21913600,
    iteration=1,
    throttle_percent=0,
    downtime_ms=300,
    trend="converging",
    eta_s=26,
)

_MIGRATIONS: Final = {
    "started": _migration(
        "started",
        mode=None,
        guest=Guest(host="host1", state="running"),
        evidence=[Evidence(source="/hosts/host2", id=f"{_OTHER_EPOCH}-16")],
        **_OPEN,
    ),
    "interrupted": _migration(
        "interrupted", mode="postcopy", **(_OPEN | {"confirmed_by": ["source", "destination"]})
    ),
    "unresolved": _migration(
        "unresolved",
        guest=Guest(host="host1", state="running"),
        missing=[Missing(side="destination", host="host2", code="blind", text="destination: host2 is blind")],
        **_OPEN,
    ),
    "completed": _migration("completed"),
    "failed": _migration(
        "failed",
        reason="destination_failed",
        guest=Guest(host="host1", state="running"),
        duration_ms=5349,
        downtime_ms=None,
    ),
    "conflict": _migration("conflict", guest=Guest(host=None, state="running"), downtime_ms=None),
    "resolved": Resolved.model_validate(
        {
            **dict(_migration("conflict", mode=None, started_at=None, duration_ms=None, downtime_ms=None)),
            "migration": None,
            "outcome": "resolved",
            "supersedes": "d9428888122b5f5a8c3d7f0a1b2c3d4e-conflict-0",
        }
    ),
    "current": Current.model_validate(
        {
            **dict(_migration("started", guest=Guest(host="host1", state="running"))),
            **_OPEN,
            "outcome": None,
            "phase": "copying",
            "progress": _PROGRESS,
        }
    ),
}

_ID_ENDS: Final = {
    "started": "started",
    "interrupted": "interrupted-1",
    "unresolved": "unresolved-1",
    "current": "current-7-5f2b1a9c4d3e",
}


_STATE: Final = {"active": True, "persistent": True, "autostart": True, "epoch": _EPOCH, "as_of": 9}
_STATES: Final[dict[str, dict[str, Any]]] = {
    "networks": {},
    "pools": {
        "state": "running",
        "state_code": 2,
        "capacity": 105089261568,
        "allocation": 31457280000,
        "available": 73631981568,
    },
}
_OBJECT_NAMES: Final = {
    "networks": "default",
    "pools": "images",
    "nodedevs": "pci_0000_00_1f_2",
    "secrets": "client.libvirt secret",
}


def _of_object(each: Object, kind: messages.Kind, **facts: object) -> bytes:
    named: dict[str, str] = {"name": _OBJECT_NAMES[each.plural]}
    if each.has_uuid:
        named["uuid"] = _UUID
    is_state = kind in messages.OBJECT_STATE.values()
    return build(
        kind,
        id="7d9c2a52-13f5-4a27-9f3f-0d6a7f1f2c11" if is_state else messages.event_id(_EPOCH, 11),
        source=messages.host_source("host1"),
        time=_TIME,
        subject=_UUID if each.has_uuid else None,
        sequence=None if is_state else 11,
        data=kind.model.model_validate({"host": "host1", "driver": "QEMU", each.singular: named, **facts}),
    )


def of_events(plural: str | None = None) -> dict[str, bytes]:
    """The bytes of one message of each event of libvirt of one class, None for domains, by its name."""
    return {event.name: _of_event(event) for event in _events(plural)}


def _events(plural: str | None) -> Iterator[Event]:
    for event in EVENTS.values():
        if (event.object.plural if event.object else None) == plural:
            yield event


def _of_event(event: Event) -> bytes:
    said: dict[str, Any] = {"event": event.name, "origin": "event", "params": event.params(event.example)}
    if event.object:
        return _of_object(event.object, messages.OBJECT_EVENT[event.object.plural], **said)
    return build(
        messages.EVENT,
        id=messages.event_id(_EPOCH, 10),
        source=messages.host_source("host1"),
        time=_TIME,
        subject=_UUID,
        sequence=10,
        data=DomainEvent(host="host1", driver="QEMU", domain=_DOMAIN, **said),
    )


def examples() -> dict[str, bytes]:
    """The bytes of one message of each `type`."""
    host, correlator = messages.host_source("host1"), messages.correlator_source("main")
    built = {
        messages.LIFECYCLE: build(
            messages.LIFECYCLE,
            id=messages.event_id(_EPOCH, 9),
            source=host,
            time=_TIME,
            subject=_UUID,
            sequence=9,
            data=Lifecycle(
                host="host1",
                driver="QEMU",
                domain=_DOMAIN,
                event="stopped",
                event_code=5,
                detail="migrated",
                detail_code=3,
                origin="event",
            ),
        ),
        messages.EVENT: _of_event(EVENTS["job_completed"]),
        messages.STATE: build(
            messages.STATE,
            id="526e313b-5d3d-4ac7-a120-bf4e90ee36c5",
            source=host,
            time=_TIME,
            subject=_UUID,
            data=DomainState(
                host="host1",
                driver="QEMU",
                domain=_DOMAIN,
                state="running",
                state_code=1,
                reason="migrated",
                reason_code=2,
                persistent=True,
                epoch=_EPOCH,
                as_of=9,
            ),
        ),
        messages.JOB: build(
            messages.JOB,
            id="0c7f2f2c-6f0e-4a53-9a43-6d3c9a3c2f75",
            source=host,
            time=_TIME,
            subject=_UUID,
            data=Job(
                host="host1",
                driver="QEMU",
                domain=_DOMAIN,
                operation="migration_out",
                started_at="2026-11-22T18:04:15.561872Z",
                time_elapsed_ms=15645,
                **dict(_PROGRESS),
            ),
        ),
        messages.HOST_STATUS: build(
            messages.HOST_STATUS,
            id=f"{_EPOCH}-status-1795370671207114",
            source=host,
            time=_TIME,
            data=HostStatus(
                host="host1",
                state="online",
                epoch=_EPOCH,
                version="0.2.0",
                libvirt=Libvirt(
                    connected=True,
                    uri="qemu:///system",
                    hypervisor_version="7.2.22",
                    since="2026-11-22T17:58:02.114518Z",
                ),
                last_sequence=10,
            ),
        ),
        messages.LOCATION: build(
            messages.LOCATION,
            id=f"{_UUID}-location-2-40325ede34b1",
            source=correlator,
            time=_TIME,
            subject=_UUID,
            data=Location(domain=_NAME, host="host2", migration=_MIGRATION),
        ),
        messages.CORRELATOR_STATUS: build(
            messages.CORRELATOR_STATUS,
            id="b7d55ee686a7457f-1",
            source=correlator,
            time=_TIME,
            data=CorrelatorStatus(correlator="main", state="online", version="0.2.0"),
        ),
    }
    for plural, kind in messages.OBJECT_LIFECYCLE.items():
        each = OBJECTS[plural]
        built[kind] = _of_object(each, kind, event=each.lifecycle[0], event_code=0, origin="event")
    for plural, kind in messages.OBJECT_EVENT.items():
        built[kind] = next(iter(of_events(plural).values()))
    for plural, kind in messages.OBJECT_STATE.items():
        built[kind] = _of_object(OBJECTS[plural], kind, **_STATE, **_STATES[plural])
    for outcome, data in _MIGRATIONS.items():
        built[messages.MIGRATION[outcome]] = build(
            messages.MIGRATION[outcome],
            id=f"{_MIGRATION}-{_ID_ENDS.get(outcome, f'{outcome}-0')}",
            source=correlator,
            time=_TIME,
            subject=_UUID,
            data=data,
        )
    return {kind.type: payload for kind, payload in built.items()}
