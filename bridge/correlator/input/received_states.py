"""Which states were received of each host. Sans-I/O."""

from __future__ import annotations

from bridge.consumer.inputs import Cleared, Forgotten, Status
from bridge.consumer.state_counts import StateCounts
from bridge.correlator.input.messages import DomainMessage, HostInput


class ReceivedStates:
    """Of one connection. `counts` compares them with what the statuses count."""

    def __init__(self, settle_s: float) -> None:
        self._came: dict[str, set[str]] = {}
        self.counts = StateCounts(settle_s, lambda host: len(self._came.get(host, ())))

    def begin(self) -> None:
        """A new connection: the broker sends all retained messages again."""
        self._came.clear()
        self.counts.begin()

    def take(self, message: HostInput) -> None:
        """A host's message was received."""
        match message:
            case DomainMessage(kind="state"):
                self._came.setdefault(message.host, set()).add(message.uuid)
            case Cleared():
                self._came.get(message.host, set()).discard(message.uuid)
            case Status():
                self.counts.note_status(message.host, message)
            case Forgotten():
                self.counts.note_status(message.host, None)
