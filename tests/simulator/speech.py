"""What the agents of a played fleet sent, as the messages of the contract."""

from __future__ import annotations

from typing import Any, Final

from bridge.correlator.rules.observations import Fact
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
    if sent.fact is None:
        return status(sent, began_s=began_s)
    fact = sent.fact
    if fact.kind == "cleared":
        return Publication(TOPICS.state(fact.host, sent.uuid), b"", retain=retains)
    at = messages.stamp(fact.at - START + began_s)
    source = messages.host_source(fact.host)
    domain = Domain(uuid=sent.uuid, name=fact.name or "guest", id=7)
    if fact.kind == "state":
        topic = TOPICS.state(fact.host, sent.uuid)
        payload = messages.build(
            messages.STATE,
            id=f"{fact.id}-{sent.uuid}",
            source=source,
            time=at,
            subject=sent.uuid,
            data=_state(fact, domain),
        )
        return Publication(topic, payload, retain=retains, content_type=CONTENT_TYPE)
    kind, topic, data = _event(fact, domain)
    payload = messages.build(
        kind,
        id=messages.event_id(epoch(fact.host, fact.epoch), fact.sequence),
        source=source,
        time=at,
        subject=sent.uuid,
        sequence=fact.sequence,
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


def _state(fact: Fact, domain: Domain) -> DomainState:
    state, reason = fact.what.split("/")
    code, reason_code = state_codes(state, reason)
    return DomainState(
        host=fact.host,
        driver=fact.driver,
        domain=domain,
        state=state,
        state_code=code,
        reason=reason,
        reason_code=reason_code,
        persistent=fact.persistent,
        epoch=epoch(fact.host, fact.epoch),
        as_of=fact.sequence,
    )


def _event(fact: Fact, domain: Domain) -> tuple[messages.Kind, str, messages.Model]:
    if fact.kind == "lifecycle":
        event, detail = fact.what.split("/")
        code, detail_code = lifecycle_codes(event, detail)
        lifecycle = Lifecycle(
            host=fact.host,
            driver=fact.driver,
            domain=domain,
            event=event,
            event_code=code,
            detail=detail,
            detail_code=detail_code,
            origin="resync" if fact.origin == "resync" else "event",
        )
        return messages.LIFECYCLE, TOPICS.lifecycle(fact.host, domain.uuid, event), lifecycle
    name = _EVENTS[fact.kind]
    params: dict[str, Any] = {"operation": fact.what} if fact.what else {}
    first, second = fact.figures
    if fact.kind == "iteration":
        params["iteration"] = first
    elif fact.kind == "job_completed":
        params |= {"time_elapsed": first, "downtime": second}
    other = DomainEvent(
        host=fact.host,
        driver=fact.driver,
        domain=domain,
        event=name,
        origin="poll" if fact.origin == "poll" else "event",
        params=params,
    )
    return messages.EVENT, TOPICS.event(fact.host, domain.uuid, name), other
