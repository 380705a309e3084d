"""The messages of the hosts that tests play, as their agents make them (`bridge.demo.memory_agent`)."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any, Final

from bridge.agent.inventory.domains import ListedDomain
from bridge.agent.inventory.drafts import Draft
from bridge.agent.inventory.encoder import Encoder
from bridge.agent.inventory.reports import IncomingCompleted, JobEnded, Occurrence
from bridge.agent.inventory.resync import Change
from bridge.agent.publish.status import StatusData
from bridge.correlator.rules.observations import Observation
from bridge.demo.memory_agent import HostMessages
from bridge.mqtt.messages import Publication
from bridge.wire import messages
from bridge.wire.messages import Libvirt
from bridge.wire.topics import Topics
from bridge.wire.vocabulary import UNKNOWN, lifecycle_codes, state_codes
from tests.unit.verdicts.stage import START, Sent

TOPICS: Final = Topics()


@cache
def messages_of(host: str) -> HostMessages:
    """What makes the messages of a host."""
    return HostMessages(TOPICS, host, "1.0")


def publication(sent: Sent, *, began_s: float, retains: bool = True) -> Publication:
    """The message; `began_s` is the moment at which the played time began, in seconds since the epoch.

    retains: whether states and statuses are retained, as an agent's are.
    """
    observation = sent.observation
    if observation is None:
        return status(sent, at_s=began_s + sent.t)
    message = of_domain(observation, sent.uuid, shift_s=began_s - START)
    return message if retains else replace(message, retain=False)


def epoch(host: str, ordinal: int) -> str:
    """The epoch's id."""
    return f"{host}-e{ordinal}"


def event_id(observation: Observation) -> str:
    """The id of a message of the event stream."""
    return messages.event_id(epoch(observation.host, observation.epoch), observation.sequence)


def status(sent: Sent, *, at_s: float) -> Publication:
    """An agent's status, or its Will; stamped at `at_s`."""
    ordinal, last_sequence = sent.place or (None, 0)
    name = None if ordinal is None else epoch(sent.host, ordinal)
    libvirt = Libvirt(connected=bool(sent.sees))
    data = StatusData(name, libvirt, None, last_sequence)  # type: ignore[arg-type]  # the contract allows null
    return messages_of(sent.host).status(data, "offline" if sent.why == "agent" else "online", at_s)


def of_domain(observation: Observation, uuid: str, *, shift_s: float | None = None) -> Publication:
    """The message of an observation.

    shift_s: how much later everything happened; None: it keeps its stamp.
    """
    made = messages_of(observation.host)
    if observation.kind == "cleared":
        return made.cleared(uuid)
    place = epoch(observation.host, observation.epoch), observation.sequence
    at_ns = round((observation.at + (shift_s or 0.0)) * 1e6) * 1000
    if observation.kind == "state":
        state = state_codes(*observation.what.split("/"))
        listed = ListedDomain(uuid, observation.name or "", None, *state, observation.persistent)
        name = observation.id if shift_s is None else f"{observation.id}-{uuid}"
        return made.state(listed, observation.driver, at_ns, place, message_id=name)
    return made.event(_draft(made.encoder, observation, uuid, at_ns, shift_s or 0.0), place)


def _draft(encoder: Encoder, observation: Observation, uuid: str, at_ns: int, shift_s: float) -> Draft:
    driver, name = observation.driver, observation.name or ""
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
