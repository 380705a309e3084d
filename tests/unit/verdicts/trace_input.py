"""Recorded messages of agents as the correlator's input, decoded as it decodes them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

from bridge.consumer.inputs import Cleared, Status
from bridge.consumer.intake import Intake
from bridge.correlator.input.messages import DomainMessage, HostInput, message_of
from bridge.correlator.rules.observations import Observation
from bridge.demo.player import Cast
from bridge.demo.trace import Trace
from bridge.wire.messages import stamp
from bridge.wire.topics import Topics
from tests.unit.verdicts.stage import START, Sent

_INTAKE: Final = Intake(Topics())


def decoded(topic: str, payload: bytes, *, retain: bool) -> HostInput:
    """A message as the correlator takes it in."""
    return message_of(_INTAKE.read(topic, payload, retain))


def sent_in(trace: Trace) -> list[Sent]:
    """All that the agents of a trace send, including what they find by polling."""
    seen = trace.as_agents_saw_it()
    cast = Cast(epochs=dict.fromkeys(seen.hosts, "e0"))
    timed = ((each.at_s, each.publication) for each in cast.messages(seen, started_s=START))
    return sent_of((at_s, decoded(each.topic, each.payload, retain=each.retain)) for at_s, each in timed)


def sent_of(received: Iterable[tuple[float, HostInput]]) -> list[Sent]:
    """What agents sent, of messages and when they were sent, in seconds after START."""
    sent: list[Sent] = []
    last: dict[str, int] = {}
    for at_s, message in received:
        at = START + at_s
        if isinstance(message, Status):
            sees = message.online and message.sees_libvirt
            why: Literal["", "libvirt", "agent"] = "" if sees else "libvirt" if message.online else "agent"
            sent.append(Sent(at_s, message.host, sees=sees, why=why, place=(0, message.last_sequence)))
        elif isinstance(message, Cleared):
            gone = Observation(
                message.host, 0, last.get(message.host, 0), "cleared", "gone", "state", "", None, at, at,
                stamp(at), "cleared",
            )  # fmt: skip
            sent.append(Sent(at_s, message.host, message.uuid, gone))
        elif isinstance(message, DomainMessage) and message.kind is not None:
            last[message.host] = max(last.get(message.host, 0), message.sequence)
            sent.append(Sent(at_s, message.host, message.uuid, _observation_of(message, at)))
    return sent


def _observation_of(message: DomainMessage, received: float) -> Observation:
    assert message.kind is not None
    assert message.kind != "job"
    return Observation(
        message.host, 0, message.sequence, message.kind, message.what, message.origin, message.driver,
        message.name, message.at, received, message.stamp, message.id, message.persistent, message.figures,
    )  # fmt: skip
