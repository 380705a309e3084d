"""A recorded trace as the correlator hears it: the played agents' messages, read as it reads them."""

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


def heard(trace: Trace) -> list[Sent]:
    """All that the agents of a trace send, what they find out by asking among it."""
    seen = trace.as_agents_saw_it()
    cast = Cast(epochs=dict.fromkeys(seen.hosts, "e0"))
    sent: list[Sent] = []
    last: dict[str, int] = {}
    for timed in cast.messages(seen, started_s=START):
        publication = timed.publication
        word = message_of(_INTAKE.read(publication.topic, publication.payload, publication.retain))
        if isinstance(word, Status):
            sees = word.online and word.sees_libvirt
            why: Literal["", "libvirt", "agent"] = "" if sees else "libvirt" if word.online else "agent"
            sent.append(Sent(timed.at_s, word.host, sees=sees, why=why, place=(0, word.last_sequence)))
        elif isinstance(word, Cleared):
            at = START + timed.at_s
            gone = Observation(
                word.host,
                0,
                last.get(word.host, 0),
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
            sent.append(Sent(timed.at_s, word.host, word.uuid, gone))
        elif isinstance(word, DomainMessage) and word.kind is not None:
            last[word.host] = max(last.get(word.host, 0), word.sequence)
            sent.append(Sent(timed.at_s, word.host, word.uuid, fact_of_said(word, START + timed.at_s)))
    return sent


def fact_of_said(said: DomainMessage, received: float) -> Observation:
    """What a host said, come at that moment."""
    assert said.kind is not None
    assert said.kind != "job"
    return Observation(
        said.host,
        0,
        said.sequence,
        said.kind,
        said.what,
        said.origin,
        said.driver,
        said.name,
        said.at,
        received,
        said.stamp,
        said.id,
        said.persistent,
        said.figures,
    )
