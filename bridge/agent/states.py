"""The retained state of each domain: read after each event, published, cleared when the domain is gone.

The thread `states` reads from libvirt, which can block; then only states are late. Reads are coalesced:
however many events a domain had since the last round, it is read once.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Final

import msgspec
import structlog

from bridge.agent.domains import Seen
from bridge.agent.hypervisor import CallFailed, Connection
from bridge.agent.reports import Looked
from bridge.agent.tell import Teller
from bridge.agent.worker import Worker

ROUND_S: Final = 0.05
"""At most one round of reads in this time: a domain's state is published at most twenty times a second."""
RETRY_S: Final = 1.0
"""A domain that could not be read is tried again after this time."""
BULK: Final = 64
"""From this many domains on, one list is cheaper than reading each."""

_log = structlog.get_logger()

Publish = Callable[[str, bytes | None, int], None]
"""Takes a topic, the payload (None: clear it) and the last sequence that it takes account of."""


class States:
    """Publishes the states of one host's domains.

    `position` gives the epoch and the last committed sequence; it is asked before each read, so a state
    never claims to take account of more than it does.
    """

    def __init__(
        self,
        teller: Teller,
        connection: Callable[[], Connection | None],
        position: Callable[[], tuple[str, int]],
        publish: Publish,
    ) -> None:
        self._teller = teller
        self._connection = connection
        self._position = position
        self._publish = publish
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self.worker = Worker("states", self._run)
        self._dirty: set[str] = set()
        self._failed: set[str] = set()
        self._published: dict[str, Seen] = {}
        self._retry_at_s = 0.0

    def start(self) -> None:
        """Begins; returns at once."""
        self.worker.start()

    def stop(self, timeout_s: float = 0.5) -> None:
        """Ends, or lets the thread go if libvirt keeps it."""
        self._inbox.put(None)
        self.worker.join(timeout_s)

    def changed(self, uuids: Iterable[str]) -> None:
        """These domains had an event, which is committed."""
        self._inbox.put(partial(self._dirty.update, uuids))

    def listed(self, looked: Looked, epoch: str, as_of: int) -> None:
        """A list was read that takes account of all up to `as_of`: its states are published as they are."""
        self._inbox.put(partial(self._publish_list, looked, epoch, as_of))

    def compared(self, seen: Mapping[str, Seen]) -> None:
        """A later list: what it shows otherwise than it was published is read again.

        A reason can change without an event.
        """
        self._inbox.put(partial(self._compare, seen))

    def gone(self, uuids: Iterable[str]) -> None:
        """The host doesn't have these domains any more: their states are cleared."""
        self._inbox.put(partial(self._clear, uuids))

    def _run(self) -> None:
        while self._take(self._pause_s()):
            now = time.monotonic()
            if self._failed and now >= self._retry_at_s:
                self._dirty |= self._failed
                self._failed.clear()
            if self._dirty:
                self._read()
                time.sleep(max(0.0, ROUND_S - (time.monotonic() - now)))

    def _pause_s(self) -> float | None:
        if self._dirty:
            return 0.0
        return max(0.0, self._retry_at_s - time.monotonic()) if self._failed else None

    def _take(self, pause_s: float | None) -> bool:
        """Takes what there is, or comes within this time; False when the end was asked for."""
        try:
            task = self._inbox.get(timeout=pause_s) if pause_s != 0.0 else self._inbox.get(block=False)
            while task is not None:
                task()
                task = self._inbox.get(block=False)
        except queue.Empty:
            return True
        return False

    def _read(self) -> None:
        uuids = set(self._dirty)
        self._dirty.clear()
        connection = self._connection()
        if connection is None:
            # The next connection begins with a list of all.
            return
        epoch, as_of = self._position()
        for uuid, seen in self._found(connection, uuids).items():
            if seen is None:
                self._clear([uuid])
            else:
                self._publish_one(seen, connection.driver, time.time_ns(), (epoch, as_of))

    def _found(self, connection: Connection, uuids: set[str]) -> dict[str, Seen | None]:
        """What could be read, by UUID; None for a domain that isn't there."""
        found: dict[str, Seen | None] = {}
        try:
            if len(uuids) >= BULK:
                listed = connection.list_domains()
                return {uuid: listed.get(uuid) for uuid in uuids}
        except CallFailed as error:
            _log.debug("states.not_listed", error=str(error))
        for uuid in uuids:
            try:
                found[uuid] = connection.read(uuid)
            except CallFailed as error:
                if connection is not self._connection():
                    break
                _log.debug("states.not_read", uuid=uuid, error=str(error))
                self._failed.add(uuid)
                self._retry_at_s = time.monotonic() + RETRY_S
        return found

    def _publish_list(self, looked: Looked, epoch: str, as_of: int) -> None:
        for seen in looked.seen.values():
            self._publish_one(seen, looked.driver, looked.at_ns, (epoch, as_of))

    def _publish_one(self, seen: Seen, driver: str, at_ns: int, position: tuple[str, int]) -> None:
        epoch, as_of = position
        self._published[seen.uuid] = _shown(seen)
        self._publish(self._topic(seen.uuid), self._teller.state(seen, driver, at_ns, epoch, as_of), as_of)

    def _compare(self, seen: Mapping[str, Seen]) -> None:
        self._dirty.update(
            uuid for uuid, domain in seen.items() if self._published.get(uuid) != _shown(domain)
        )

    def _clear(self, uuids: Iterable[str]) -> None:
        _, as_of = self._position()
        for uuid in uuids:
            self._published.pop(uuid, None)
            self._publish(self._topic(uuid), None, as_of)

    def _topic(self, uuid: str) -> str:
        return self._teller.topics.state(self._teller.host, uuid)


def _shown(seen: Seen) -> Seen:
    """What of a domain its state shows."""
    return msgspec.structs.replace(seen, incoming=None)
