"""What the agents of a played fleet send, as the messages of the contract."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from bridge.correlator.rules.observations import Observation
from bridge.mqtt.messages import Publication
from bridge.wire import messages
from bridge.wire.messages import CONTENT_TYPE
from bridge.wire.topics import Topics
from bridge.wire.vocabulary import UNKNOWN, lifecycle_codes, state_codes
from tests.unit.verdicts.stage import START, Sent

TOPICS: Final = Topics()


def publication(sent: Sent, *, began_s: float, retains: bool = True) -> Publication:
    """The message; `began_s` is the moment at which the played time began, in seconds since the epoch.

    retains: whether states and statuses are retained, as an agent's are.
    """
    observation = sent.observation
    if observation is None:
        return status(sent, at_s=began_s + sent.t)
    topic, payload = of_domain(observation, sent.uuid, shift_s=began_s - START)
    retain = retains and observation.kind in ("state", "cleared")
    return Publication(topic, payload, retain=retain, content_type=CONTENT_TYPE if payload else None)


def epoch(host: str, ordinal: int) -> str:
    """The epoch's id."""
    return f"{host}-e{ordinal}"


def event_id(observation: Observation) -> str:
    """The id of a message of the event stream."""
    return messages.event_id(epoch(observation.host, observation.epoch), observation.sequence)


def status(sent: Sent, *, at_s: float) -> Publication:
    """An agent's status, or its Will; stamped at `at_s`."""
    data = {
        "host": sent.host,
        "state": "offline" if sent.why == "agent" else "online",
        "epoch": None if sent.place is None else epoch(sent.host, sent.place[0]),
        "version": "1.0",
        "libvirt": None if sent.why == "agent" else {"connected": bool(sent.sees)},
        "last_sequence": 0 if sent.place is None else sent.place[1],
    }
    payload = _encoded(
        messages.HOST_STATUS, sent.host, f"{sent.host}-status-{sent.t}", messages.stamp(at_s), data
    )
    return Publication(TOPICS.host_status(sent.host), payload, retain=True, content_type=CONTENT_TYPE)


def of_domain(observation: Observation, uuid: str, *, shift_s: float | None = None) -> tuple[str, bytes]:
    """The topic and the bytes of an observation's message. shift_s: how much later everything happened; None:
    it keeps its stamp.
    """
    host, kind = observation.host, observation.kind
    if kind == "cleared":
        return TOPICS.state(host, uuid), b""
    stamp = observation.stamp if shift_s is None else messages.stamp(observation.at + shift_s)
    first, _, second = observation.what.partition("/")
    data: dict[str, Any] = {
        "host": host,
        "driver": observation.driver,
        "domain": {"uuid": uuid, "name": observation.name or "", "id": None},
    }
    if kind == "state":
        codes = state_codes(first, second)
        data |= {"state": first, "state_code": codes[0], "reason": second, "reason_code": codes[1]}
        data |= {"persistent": observation.persistent, "epoch": epoch(host, observation.epoch)}
        data |= {"as_of": observation.sequence}
        name = observation.id if shift_s is None else f"{observation.id}-{uuid}"
        payload = _encoded(messages.STATE, host, name, stamp, data, subject=uuid, partitionkey=uuid)
        return TOPICS.state(host, uuid), payload
    data["origin"] = observation.origin
    order = {"subject": uuid, "partitionkey": uuid, "sequence": f"{observation.sequence:020d}"}
    if kind == "lifecycle":
        codes = lifecycle_codes(first, second or UNKNOWN)
        data |= {"event": first, "event_code": codes[0], "detail": second, "detail_code": codes[1]}
        payload = _encoded(messages.LIFECYCLE, host, event_id(observation), stamp, data, **order)
        return TOPICS.lifecycle(host, uuid, first), payload
    event = {"iteration": "migration_iteration"}.get(kind, kind)
    data |= {"event": event, "params": _params(observation, shift_s or 0.0)}
    payload = _encoded(messages.EVENT, host, event_id(observation), stamp, data, **order)
    return TOPICS.event(host, uuid, event), payload


def _params(observation: Observation, shift_s: float) -> dict[str, Any]:
    first, second = observation.figures
    if observation.kind == "iteration":
        params: dict[str, Any] = {"iteration": first}
    elif observation.kind == "job_failed":
        began = messages.stamp(first / 1e6 + shift_s) if first is not None else None
        params = {"operation": observation.what, "started_at": began}
    else:
        params = {"operation": observation.what, "time_elapsed": first, "downtime": second}
    return {key: value for key, value in params.items() if value is not None}


def _encoded(
    kind: messages.Kind, host: str, name: str, stamp: str, data: dict[str, Any], **more: str
) -> bytes:
    """Not validated: the correlator does that, and thousands of fleets are played."""
    message: dict[str, Any] = {
        "specversion": "1.0",
        "id": name,
        "source": messages.host_source(host),
        "type": kind.type,
        "time": stamp,
        "dataschema": kind.dataschema,
        "data": data,
        **more,
    }
    return msgspec.json.encode(message)
