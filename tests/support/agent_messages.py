"""What the agents of a played fleet send, as the messages of the contract."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from bridge.agent.inventory.domains import ListedDomain
from bridge.agent.inventory.drafts import Draft
from bridge.agent.inventory.encoder import Encoder
from bridge.agent.inventory.reports import IncomingCompleted, JobEnded, Occurrence
from bridge.agent.inventory.resync import Change
from bridge.correlator.rules.observations import Observation
from bridge.mqtt.messages import Publication
from bridge.wire import messages
from bridge.wire.messages import CONTENT_TYPE, HostStatus, Libvirt
from bridge.wire.topics import Topics
from bridge.wire.vocabulary import UNKNOWN, lifecycle_codes, state_codes
from tests.unit.verdicts.stage import START, Sent

TOPICS: Final = Topics()
STATE_ID: Final = slice(27, 63)
"""Where in a state its random id stands."""


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
    ordinal, last_sequence = sent.place or (None, 0)
    data = HostStatus(
        host=sent.host,
        state="offline" if sent.why == "agent" else "online",
        epoch=None if ordinal is None else epoch(sent.host, ordinal),
        version="1.0",
        libvirt=None if sent.why == "agent" else Libvirt(connected=bool(sent.sees)),
        last_sequence=last_sequence,
    )
    payload = messages.build(
        messages.HOST_STATUS,
        id=f"{sent.host}-status-{sent.t}",
        source=messages.host_source(sent.host),
        time=messages.stamp(at_s),
        data=data,
    )
    return Publication(TOPICS.host_status(sent.host), payload, retain=True, content_type=CONTENT_TYPE)


def of_domain(observation: Observation, uuid: str, *, shift_s: float | None = None) -> tuple[str, bytes]:
    """The topic and the bytes of an observation's message, by the agent's own encoder.

    shift_s: how much later everything happened; None: it keeps its stamp.
    """
    host = observation.host
    if observation.kind == "cleared":
        return TOPICS.state(host, uuid), b""
    at_ns = round((observation.at + (shift_s or 0.0)) * 1e6) * 1000
    if observation.kind == "state":
        state = state_codes(*observation.what.split("/"))
        listed = ListedDomain(uuid, observation.name or "", None, *state, observation.persistent)
        payload = _encoder(host).state(
            listed, observation.driver, at_ns, epoch(host, observation.epoch), observation.sequence
        )
        name = observation.id if shift_s is None else f"{observation.id}-{uuid}"
        return TOPICS.state(host, uuid), payload[: STATE_ID.start] + name.encode() + payload[STATE_ID.stop :]
    draft = _draft(observation, uuid, at_ns, shift_s or 0.0)
    return draft.topic, draft.build(epoch(host, observation.epoch), observation.sequence)


def _draft(observation: Observation, uuid: str, at_ns: int, shift_s: float) -> Draft:
    encoder, driver, name = _encoder(observation.host), observation.driver, observation.name or ""
    first, second = observation.figures
    if observation.kind == "lifecycle":
        event, _, detail = observation.what.partition("/")
        if observation.origin == "resync":
            return encoder.change(Change(uuid, name, None, event, detail), driver, at_ns, None)
        codes = lifecycle_codes(event, detail or UNKNOWN)
        return encoder.lifecycle(Occurrence(at_ns, 0.0, "lifecycle", driver, uuid, name, None, *codes), None)
    if observation.kind == "job_failed":
        since_ns = None if first is None else round((first / 1e6 + shift_s) * 1e6) * 1000
        ended = JobEnded(at_ns, 0.0, driver, uuid, name, None, {"operation": observation.what})
        return encoder.job_failed(ended, since_ns, None)
    params: dict[str, Any] = {"operation": observation.what, "time_elapsed": first, "downtime": second}
    params = {key: value for key, value in params.items() if value is not None}
    if observation.origin == "poll":
        return encoder.arrived(IncomingCompleted(at_ns, driver, uuid, name, None, params))
    kind, argument = (
        ("migration_iteration", first) if observation.kind == "iteration" else ("job_completed", params)
    )
    return encoder.event(Occurrence(at_ns, 0.0, kind, driver, uuid, name, None, arguments=(argument,)), None)


@cache
def _encoder(host: str) -> Encoder:
    return Encoder(TOPICS, host)
