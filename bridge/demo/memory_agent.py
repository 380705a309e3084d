"""One host's agent without libvirt, disk and broker: reports go in, its MQTT messages come out.

What it knows, concludes and encodes is `bridge.agent`; in place of the outbox are a count and a dictionary.
All that plays hosts makes their messages here: the demo, and the tests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from bridge import __version__
from bridge.agent.inventory.domains import PAUSED_FOR_MIGRATION, Known, ListedDomain
from bridge.agent.inventory.drafts import Draft
from bridge.agent.inventory.encoder import Encoder
from bridge.agent.inventory.inventory import Inventory
from bridge.agent.inventory.reports import Report, StateCleared
from bridge.agent.inventory.step import Step
from bridge.agent.publish import status
from bridge.agent.publish.status import StatusData
from bridge.mqtt.messages import Publication
from bridge.wire.messages import CONTENT_TYPE, Libvirt
from bridge.wire.topics import Topics

State = Literal["online", "offline"]
Place = tuple[str, int]
"""An epoch, and a sequence in it."""


class HostMessages:
    """Makes the messages of one host as its agent hands them to the broker. Immutable."""

    def __init__(self, topics: Topics, host: str, version: str = __version__) -> None:
        self.encoder = Encoder(topics, host)
        self._version = version

    def event(self, draft: Draft, place: Place) -> Publication:
        """A message of the event stream, at its place there."""
        return Publication(draft.topic, draft.build(*place), content_type=CONTENT_TYPE)

    def state(
        self, seen: ListedDomain, driver: str, at_ns: int, as_of: Place, *, message_id: str | None = None
    ) -> Publication:
        """A domain's state, as `Encoder.state`."""
        payload = self.encoder.state(seen, driver, at_ns, *as_of, message_id=message_id)
        return Publication(self._state_topic(seen.uuid), payload, retain=True, content_type=CONTENT_TYPE)

    def cleared(self, uuid: str) -> Publication:
        """Clears the state of a domain that the host no longer has."""
        return Publication(self._state_topic(uuid), b"", retain=True)

    def status(self, data: StatusData, state: State, now_s: float, *, suffix: str = "") -> Publication:
        """The agent's status, as `status.build`."""
        topics, host = self.encoder.topics, self.encoder.host
        payload = status.build(host, self._version, data, state=state, now_s=now_s, suffix=suffix)
        return Publication(topics.host_status(host), payload, retain=True, content_type=CONTENT_TYPE)

    def _state_topic(self, uuid: str) -> str:
        return self.encoder.topics.state(self.encoder.host, uuid)


class MemoryAgent:
    """One host's agent over its lives. `sequence` is the last one given out, `states` what is retained."""

    def __init__(
        self, messages: HostMessages, epoch: str, driver: str, stored: Mapping[str, bytes] | None = None
    ) -> None:
        self.epoch = epoch
        self.driver = driver
        self.sequence = 0
        self.states: dict[str, ListedDomain] = {}
        self.stored = dict(stored or {})
        self._messages = messages
        self.start()

    def start(self) -> None:
        """The agent's process begins, and knows what a former one stored."""
        self.inventory = Inventory(self._messages.encoder, self.stored)

    def take(self, report: Report, now_s: float) -> Iterator[tuple[Step, list[Publication]]]:
        """Each step that follows from a report, once it is stored, with its messages of the event stream."""
        for step in self.inventory.take(report, now_s):
            yield step, self.store(step)

    def store(self, step: Step) -> list[Publication]:
        """Numbers and stores what a step says; its messages of the event stream."""
        published = []
        snapshots = dict(step.snapshots)
        for draft in step.drafts:
            self.sequence += 1
            published.append(self._messages.event(draft, (self.epoch, self.sequence)))
            if draft.known is not None:
                snapshots[draft.uuid] = draft.known
        for uuid, snapshot in snapshots.items():
            if snapshot:
                self.stored[uuid] = snapshot
            else:
                self.stored.pop(uuid, None)
        return published

    def read(
        self, uuid: str, seen: ListedDomain | None, at_ns: int, *, message_id: str | None = None
    ) -> Publication | None:
        """The state of a domain as it was read, or its clearing; None where none is retained either."""
        if seen is not None:
            self.states[uuid] = seen
            as_of = self.epoch, self.sequence
            return self._messages.state(seen, self.driver, at_ns, as_of, message_id=message_id)
        if self.states.pop(uuid, None) is None:
            return None
        for step in self.inventory.take(StateCleared(uuid), 0.0):
            self.store(step)
        return self._messages.cleared(uuid)

    def status(
        self, libvirt: Libvirt, now_s: float, *, state: State = "online", suffix: str = ""
    ) -> Publication:
        """The agent's status. `now_s` is by the wall clock."""
        data = StatusData(self.epoch, libvirt, None, self.sequence)
        return self._messages.status(data, state, now_s, suffix=suffix)


def as_listed(uuid: str, known: Known) -> ListedDomain:
    """The domain as the agent lists it: it asks for the direction of one that is paused for a migration."""
    incoming = known.incoming if (known.state, known.reason) in PAUSED_FOR_MIGRATION else None
    return ListedDomain(uuid, known.name, known.id, known.state, known.reason, known.persistent, incoming)
