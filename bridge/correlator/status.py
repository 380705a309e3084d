"""A correlator's own status messages."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final, Literal

import msgspec

from bridge import __version__
from bridge.correlator.counters import Counters
from bridge.correlator.input.hosts import Host
from bridge.log import get_logger
from bridge.mqtt.messages import Publication
from bridge.mqtt.name_conflict import NameConflict
from bridge.wire.messages import CONTENT_TYPE, CORRELATOR_STATUS, CorrelatorStatus, build, stamp
from bridge.wire.topics import Topics

STATUS_EVERY_S: Final = 10.0
REPORTED_GAPS: Final = 100

_log = get_logger()


class _Id(msgspec.Struct):
    id: str


_decode_id: Final = msgspec.json.Decoder(_Id).decode


class Status:
    """Builds the status messages of one correlator, and decides when one is due.

    name: the correlator's id at the time; hosts: those whose gaps are reported; instance: the first part of
    the messages' ids, a different one for each process.
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
        self.namesake = NameConflict()
        """Detects another correlator with our id."""
        self._number = 0
        self._last: object = None
        self._due_s = 0.0

    def begin(self) -> None:
        """A new connection: a status is due at once."""
        self._last = None
        self.namesake.begin(time.monotonic())

    @property
    def topic(self) -> str:
        """The status topic."""
        return self._topics.correlator_status(self._name())

    def holds(self, payload: bytes) -> None:
        """The broker had retained this status when we connected."""
        with suppress(msgspec.MsgspecError):
            other = _decode_id(payload).id.rpartition("-")[0]
            if self.namesake.holds(other, self._instance):
                self._counters.id_conflicts += 1
                if self._counters.id_conflicts == 1:
                    _log.error("correlator.id_conflict", id=self._name(), other_instance=other)

    def published(self) -> None:
        """The broker has acknowledged a status."""
        self.namesake.published(self._instance)

    def due(self) -> Publication | None:
        """The status on each connection, then after changes, at most every `STATUS_EVERY_S`."""
        holes = self._holes()
        self._counters.holes = len(holes)
        now = time.monotonic()
        self.namesake.due(now)
        content = (self._counters.open_migrations, dict(self._counters.rejected), holes, self.namesake.found)
        if content == self._last or (self._last is not None and now < self._due_s):
            return None
        self._last, self._due_s = content, now + STATUS_EVERY_S
        return self._make("online", holes)

    def offline(self) -> Publication:
        """The last status before the end, or the Will."""
        return self._make("offline", [])

    def _holes(self) -> list[dict[str, Any]]:
        return [
            {"host": host.name, "epoch": epoch, "first": first, "last": last}
            for host in self._hosts()
            for epoch, first, last in host.missing()
        ][-REPORTED_GAPS:]

    def _make(self, state: Literal["online", "offline"], holes: list[dict[str, Any]]) -> Publication:
        self._number += 1
        name, other = self._name(), self.namesake.found
        data = CorrelatorStatus(
            correlator=name,
            state=state,
            version=__version__,
            group=self._group,
            open_migrations=self._counters.open_migrations,
            rejected=dict(self._counters.rejected),
            holes=holes,
            reason=f"another correlator has this --id, too: {other}" if other else None,
        )
        payload = build(
            CORRELATOR_STATUS,
            id=f"{self._instance}-{self._number}",
            source=self._source,
            time=stamp(time.time()),
            data=data,
        )
        return Publication(self.topic, payload, retain=True, content_type=CONTENT_TYPE)
