"""A correlator's word about itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, Final, Literal

from bridge import __version__
from bridge.correlator.counters import Counters
from bridge.correlator.input.hosts import Host
from bridge.mqtt.messages import Publication
from bridge.wire.messages import CONTENT_TYPE, CORRELATOR_STATUS, CorrelatorStatus, build, stamp
from bridge.wire.topics import Topics

STATUS_EVERY_S: Final = 10.0
TOLD_HOLES: Final = 100


class Status:
    """Makes the status messages of one correlator, and knows when one is due.

    name: the correlator's id at the time; hosts: those whose holes are told of; instance: what the messages'
    ids begin with, another one for each process.
    """

    def __init__(
        self,
        topics: Topics,
        *,
        source: str,
        instance: str,
        group: str | None,
        name: Callable[[], str],
        counters: Counters,
        hosts: Callable[[], Iterable[Host]],
    ) -> None:
        self._topics = topics
        self._source = source
        self._instance = instance
        self._group = group
        self._name = name
        self._counters = counters
        self._hosts = hosts
        self._number = 0
        self._said: object = None
        self._due_s = 0.0

    def begin(self) -> None:
        """A new connection: a status is due at once."""
        self._said = None

    def due(self) -> Publication | None:
        """The status on each connection, and then when something in it changed, not too often."""
        holes = self._holes()
        self._counters.holes = len(holes)
        says = (self._counters.open_migrations, dict(self._counters.rejected), holes)
        now = time.monotonic()
        if says == self._said or (self._said is not None and now < self._due_s):
            return None
        self._said, self._due_s = says, now + STATUS_EVERY_S
        return self._make("online", holes)

    def offline(self) -> Publication:
        """The last word, or the Will."""
        return self._make("offline", [])

    def _holes(self) -> list[dict[str, Any]]:
        return [
            {"host": host.name, "epoch": epoch, "first": first, "last": last}
            for host in self._hosts()
            for epoch, first, last in host.missing()
        ][-TOLD_HOLES:]

    def _make(self, state: Literal["online", "offline"], holes: list[dict[str, Any]]) -> Publication:
        self._number += 1
        name = self._name()
        data = CorrelatorStatus(
            correlator=name,
            state=state,
            version=__version__,
            group=self._group,
            open_migrations=self._counters.open_migrations,
            rejected=dict(self._counters.rejected),
            holes=holes,
        )
        payload = build(
            CORRELATOR_STATUS,
            id=f"{self._instance}-{self._number}",
            source=self._source,
            time=stamp(time.time()),
            data=data,
        )
        topic = self._topics.correlator_status(name)
        return Publication(topic, payload, retain=True, content_type=CONTENT_TYPE)
