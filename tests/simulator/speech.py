"""What the agents of a played fleet sent, as the messages of the contract."""

from __future__ import annotations

from typing import Any, Final

from bridge.correlator.rules.observations import Observation
from bridge.mqtt.messages import Publication
from bridge.wire import messages
from bridge.wire.messages import (
    CONTENT_TYPE,
    Domain,
    DomainEvent,
    DomainState,
    HostStatus,
    Libvirt,
    Lifecycle,
)
from bridge.wire.topics import Topics
from bridge.wire.vocabulary import lifecycle_codes, state_codes
from tests.unit.verdicts.stage import START, Sent

TOPICS: Final = Topics()
_EVENTS: Final = {
    "iteration": "migration_iteration",
    "job_completed": "job_completed",
    "job_failed": "job_failed",
}


def publication(sent: Sent, *, began_s: float, retains: bool = True) -> Publication:
    """The message; `began_s` is the moment at which the played time began, in seconds since the epoch.

    retains: whether states and statuses are retained, as an agent's are.
    """
    if sent.observation is None:
        return status(sent, began_s=began_s)
    observation = sent.observation
    if observation.kind == "cleared":
        return Publication(TOPICS.state(observation.host, sent.uuid), b"", retain=retains)
    at = messages.stamp(observation.at - START + began_s)
    source = messages.host_source(observation.host)
    domain = Domain(uuid=sent.uuid, name=observation.name or "guest", id=7)
    if observation.kind == "state":
        topic = TOPICS.state(observation.host, sent.uuid)
        payload = messages.build(
            messages.STATE,
            id=f"{observation.id}-{sent.uuid}",
            source=source,
            time=at,
            subject=sent.uuid,
            data=_state(observation, domain),
        )
        return Publication(topic, payload, retain=retains, content_type=CONTENT_TYPE)
    kind, topic, data = _event(observation, domain)
    payload = messages.build(
        kind,
        id=messages.event_id(epoch(observation.host, observation.epoch), observation.sequence),
        source=source,
        time=at,
        subject=sent.uuid,
        sequence=observation.sequence,
        data=data,
    )
    return Publication(topic, payload, content_type=CONTENT_TYPE)


def epoch(host: str, number: int) -> str:
    """The epoch's id."""
    return f"{host}-e{number}"


def status(sent: Sent, *, began_s: float) -> Publication:
    """An agent's word about itself, or the broker's about an agent that is gone."""
    data = HostStatus(
        host=sent.host,
        state="offline" if sent.why == "agent" else "online",
        epoch=None if sent.place is None else epoch(sent.host, sent.place[0]),
        version="0",
        libvirt=Libvirt(connected=bool(sent.sees)),
        last_sequence=0 if sent.place is None else sent.place[1],
    )
    payload = messages.build(
        messages.HOST_STATUS,
        id=f"{sent.host}-status-{sent.t}",
        source=messages.host_source(sent.host),
        time=messages.stamp(began_s + sent.t),
        data=data,
    )
    return Publication(TOPICS.host_status(sent.host), payload, retain=True, content_type=CONTENT_TYPE)


def _state(observation: Observation, domain: Domain) -> DomainState:
    state, reason = observation.what.split("/")
    code, reason_code = state_codes(state, reason)
    return DomainState(
        host=observation.host,
        driver=observation.driver,
        domain=domain,
        state=state,
        state_code=code,
        reason=reason,
        reason_code=reason_code,
        persistent=observation.persistent,
        epoch=epoch(observation.host, observation.epoch),
        as_of=observation.sequence,
    )


def _event(observation: Observation, domain: Domain) -> tuple[messages.Kind, str, messages.Model]:
    if observation.kind == "lifecycle":
        event, detail = observation.what.split("/")
        code, detail_code = lifecycle_codes(event, detail)
        lifecycle = Lifecycle(
            host=observation.host,
            driver=observation.driver,
            domain=domain,
            event=event,
            event_code=code,
            detail=detail,
            detail_code=detail_code,
            origin="resync" if observation.origin == "resync" else "event",
        )
        return messages.LIFECYCLE, TOPICS.lifecycle(observation.host, domain.uuid, event), lifecycle
    name = _EVENTS[observation.kind]
    params: dict[str, Any] = {"operation": observation.what} if observation.what else {}
    first, second = observation.figures
    if observation.kind == "iteration":
        params["iteration"] = first
    elif observation.kind == "job_completed":
        params |= {"time_elapsed": first, "downtime": second}
    other = DomainEvent(
        host=observation.host,
        driver=observation.driver,
        domain=domain,
        event=name,
        origin="poll" if observation.origin == "poll" else "event",
        params=params,
    )
    return messages.EVENT, TOPICS.event(observation.host, domain.uuid, name), other
