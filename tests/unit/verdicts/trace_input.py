"""A recorded trace as the correlator's input: the played agents' messages, decoded as it decodes them."""

from __future__ import annotations

from typing import Final, Literal

from bridge.consumer.inputs import Cleared, Status
from bridge.consumer.intake import Intake
from bridge.correlator.input.messages import DomainMessage, message_of
from bridge.correlator.rules.observations import Observation
from bridge.demo.player import Cast
from bridge.demo.trace import Trace
from bridge.wire.messages import stamp
from bridge.wire.topics import Topics
from tests.unit.verdicts.stage import START, Sent

_INTAKE: Final = Intake(Topics())


def sent_in(trace: Trace) -> list[Sent]:
    """All that the agents of a trace send, including what they find by polling."""
    seen = trace.as_agents_saw_it()
    cast = Cast(epochs=dict.fromkeys(seen.hosts, "e0"))
    sent: list[Sent] = []
    last: dict[str, int] = {}
    for timed in cast.messages(seen, started_s=START):
        publication = timed.publication
        message = message_of(_INTAKE.read(publication.topic, publication.payload, publication.retain))
        if isinstance(message, Status):
            sees = message.online and message.sees_libvirt
            why: Literal["", "libvirt", "agent"] = "" if sees else "libvirt" if message.online else "agent"
            sent.append(Sent(timed.at_s, message.host, sees=sees, why=why, place=(0, message.last_sequence)))
        elif isinstance(message, Cleared):
            at = START + timed.at_s
            gone = Observation(
                message.host,
                0,
                last.get(message.host, 0),
                "cleared",
                "gone",
                "state",
                "",
                None,
                at,
                at,
                stamp(at),
                "cleared",
            )
            sent.append(Sent(timed.at_s, message.host, message.uuid, gone))
        elif isinstance(message, DomainMessage) and message.kind is not None:
            last[message.host] = max(last.get(message.host, 0), message.sequence)
            sent.append(
                Sent(
                    timed.at_s,
                    message.host,
                    message.uuid,
                    observation_of_message(message, START + timed.at_s),
                )
            )
    return sent


def observation_of_message(message: DomainMessage, received: float) -> Observation:
    """The observation of a message that is received at that moment."""
    assert message.kind is not None
    assert message.kind != "job"
    return Observation(
        message.host,
        0,
        message.sequence,
        message.kind,
        message.what,
        message.origin,
        message.driver,
        message.name,
        message.at,
        received,
        message.stamp,
        message.id,
        message.persistent,
        message.figures,
    )
