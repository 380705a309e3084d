"""Events that a guest can cause at will: stored while its domain's quota has room, else counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import structlog

from bridge.agent.inventory.drafts import Draft
from bridge.agent.inventory.encoder import Encoder
from bridge.agent.inventory.quotas import Quotas
from bridge.agent.inventory.reports import Occurrence

_log = structlog.get_logger()


class GuestEvents:
    """What was left out of each domain, reported by `events_left_out` once there is room again."""

    def __init__(self, encoder: Encoder, quotas: Quotas) -> None:
        self._encoder = encoder
        self._quotas = quotas
        self._left_out: dict[str, tuple[Occurrence, Counter[str]]] = {}
        self.left_out = 0
        """How many events were left out."""

    def admit(self, occurrence: Occurrence, domains: int) -> list[Draft] | None:
        """The drafts that precede the event's own; None where it is left out. There are so many domains."""
        uuid = occurrence.uuid
        if self._quotas.has_room(uuid, domains):
            self._quotas.take(uuid)
            return self._report([uuid])
        _, counts = self._left_out.pop(uuid, (occurrence, Counter()))
        if not counts:
            _log.warning(
                "outbox.events_left_out", uuid=uuid, name=occurrence.name, event_name=occurrence.kind
            )
        counts[occurrence.kind] += 1
        self._left_out[uuid] = (occurrence, counts)
        self.left_out += 1
        return None

    def sent(self, acknowledged: int, last_sequence: int, domains: int) -> list[Draft]:
        """No message up to `acknowledged` waits for the broker: reports on domains that have room again."""
        if not self._quotas.sent(acknowledged, last_sequence) or not self._left_out:
            return []
        return self._report([uuid for uuid in self._left_out if self._quotas.has_room(uuid, domains)])

    def end(self) -> list[Draft]:
        """The last reports."""
        return self._report([*self._left_out])

    def _report(self, uuids: Iterable[str]) -> list[Draft]:
        return [self._encoder.left_out(*self._left_out.pop(uuid)) for uuid in uuids if uuid in self._left_out]
