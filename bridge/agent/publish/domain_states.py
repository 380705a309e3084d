"""The retained state of each domain: read after each event, published, cleared when the domain is gone.

Reads are coalesced: however many events a domain had since the last round, it is read once. A read can block
as long as libvirt does, so callers make it for the thread `states`: one that blocks delays its own domains'
states and no others.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Final

import msgspec
import structlog

from bridge.agent.hypervisor import Callers, CallFailed, Connection
from bridge.agent.inventory.domains import ListedDomain
from bridge.agent.inventory.encoder import Encoder
from bridge.agent.inventory.reports import DomainsListed
from bridge.agent.worker import Worker

ROUND_S: Final = 0.05
"""At most one round of reads in this time: a domain's state is published at most twenty times a second."""
RETRY_S: Final = 1.0
"""A domain that could not be read is retried after this time."""
MOST_CALLERS: Final = 2
"""With a list and a ping this stays below the five requests that libvirtd serves of one client at a time."""
CHUNK: Final = 16
"""One caller reads this many domains, one after the other."""
BULK: Final = 64
"""From this many domains on, one list is cheaper than reading each."""
REST: Final = 9.0
LONGEST_REST_S: Final = 1.0
"""After a list nothing is read for this many times its duration, up to the limit below: in a storm of events
lists take a tenth of the time, here and in libvirtd.
"""

_log = structlog.get_logger()

Found = dict[str, ListedDomain | CallFailed | None]

Publish = Callable[[str, bytes | None, int], None]
"""Takes a topic, the payload (None clears it) and the last sequence that it takes account of."""


class DomainStatePublisher:
    """Publishes the states of one host's domains.

    `position` returns the epoch and the last committed sequence. It is called before each read, so a state
    never claims to take account of more than it does.
    """

    def __init__(
        self,
        encoder: Encoder,
        connection: Callable[[], Connection | None],
        position: Callable[[], tuple[str, int]],
        publish: Publish,
    ) -> None:
        self._encoder = encoder
        self._connection = connection
        self._position = position
        self._publish = publish
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self.worker = Worker("states", self._run)
        self._dirty: set[str] = set()
        self._failed: set[str] = set()
        self._published: dict[str, ListedDomain] = {}
        self._retry_at_s = 0.0
        self._next_round_s = 0.0
        self._callers = Callers("states", MOST_CALLERS)
        self._asked: Connection | None = None
        self._awaited: set[str] = set()

    def start(self) -> None:
        """Starts the thread; returns at once."""
        self.worker.start()

    def stop(self, timeout_s: float = 0.5) -> None:
        """Stops the thread, or abandons it if libvirt blocks it."""
        self._inbox.put(None)
        self.worker.join(timeout_s)

    def changed(self, uuids: Iterable[str]) -> None:
        """These domains had an event, which is committed."""
        self._inbox.put(partial(self._dirty.update, uuids))

    def listed(self, listed: DomainsListed, epoch: str, as_of: int) -> None:
        """A list that takes account of everything up to `as_of`: its states are published as they are."""
        self._inbox.put(partial(self._publish_list, listed, epoch, as_of))

    def compared(self, seen: Mapping[str, ListedDomain]) -> None:
        """A later list: domains that it shows otherwise than published are read again.

        A reason can change without an event.
        """
        self._inbox.put(partial(self._compare, seen))

    def gone(self, uuids: Iterable[str]) -> None:
        """The host no longer has these domains: their states are cleared."""
        self._inbox.put(partial(self._clear, uuids))

    def _run(self) -> None:
        while self._take(self._pause_s()):
            self._follow()
            now = time.monotonic()
            if self._failed and now >= self._retry_at_s:
                self._dirty |= self._failed
                self._failed.clear()
            if now >= self._next_round_s and not self._dirty <= self._awaited:
                self._next_round_s = now + ROUND_S
                self._read(now)

    def _follow(self) -> None:
        """Reads over an earlier connection are not waited for."""
        connection = self._connection()
        if connection is not None and connection is not self._asked:
            self._asked = connection
            self._awaited.clear()

    def _pause_s(self) -> float | None:
        """How long until something is due."""
        due = []
        if not self._dirty <= self._awaited:
            due.append(self._next_round_s)
        if self._failed:
            due.append(self._retry_at_s)
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _take(self, pause_s: float | None) -> bool:
        """Runs the tasks that arrive within this time; False when the thread is to stop."""
        try:
            task = self._inbox.get(timeout=pause_s)
            while task is not None:
                task()
                task = self._inbox.get(block=False)
        except queue.Empty:
            return True
        return False

    def _read(self, now: float) -> None:
        """Reads everything that is due and not already being read."""
        connection = self._connection()
        if connection is None or connection is not self._asked:
            self._dirty.clear()  # the next connection begins with a list of all
            return
        uuids = [*(self._dirty - self._awaited)]
        if len(uuids) >= BULK:
            self._next_round_s = now + LONGEST_REST_S
            self._send(connection, uuids)
            return
        for first in range(0, len(uuids), CHUNK):
            self._send(connection, uuids[first : first + CHUNK])

    def _send(self, connection: Connection, uuids: list[str]) -> None:
        position = self._position()
        asked_s = time.monotonic()

        def answered(found: Found) -> None:
            if len(found) >= BULK:
                self._inbox.put(partial(self._rest, time.monotonic() - asked_s))
            self._inbox.put(partial(self._answered, connection, position, found))

        def failed(error: Exception) -> None:
            answered({uuid: CallFailed(repr(error)) for uuid in uuids})

        if self._callers.call(partial(_find, connection, uuids), answered, failed):
            self._dirty.difference_update(uuids)
            self._awaited.update(uuids)

    def _rest(self, took_s: float) -> None:
        """A list has arrived: the next round waits this many times its duration."""
        rest_s = min(LONGEST_REST_S, max(ROUND_S, REST * took_s))
        self._next_round_s = time.monotonic() + rest_s

    def _answered(self, connection: Connection, position: tuple[str, int], found: Found) -> None:
        if connection is not self._asked:
            return
        self._awaited.difference_update(found)
        for uuid, seen in found.items():
            if isinstance(seen, CallFailed):
                _log.debug("states.not_read", uuid=uuid, error=str(seen))
                self._failed.add(uuid)
                self._retry_at_s = time.monotonic() + RETRY_S
            elif seen is None:
                self._clear([uuid])
            else:
                self._publish_one(seen, connection.driver, time.time_ns(), position)

    def _publish_list(self, listed: DomainsListed, epoch: str, as_of: int) -> None:
        for seen in listed.seen.values():
            self._publish_one(seen, listed.driver, listed.at_ns, (epoch, as_of))

    def _publish_one(self, seen: ListedDomain, driver: str, at_ns: int, position: tuple[str, int]) -> None:
        epoch, as_of = position
        self._published[seen.uuid] = _shown(seen)
        self._publish(self._topic(seen.uuid), self._encoder.state(seen, driver, at_ns, epoch, as_of), as_of)

    def _compare(self, seen: Mapping[str, ListedDomain]) -> None:
        self._dirty.update(
            uuid for uuid, domain in seen.items() if self._published.get(uuid) != _shown(domain)
        )

    def _clear(self, uuids: Iterable[str]) -> None:
        _, as_of = self._position()
        for uuid in uuids:
            self._published.pop(uuid, None)
            self._publish(self._topic(uuid), None, as_of)

    def _topic(self, uuid: str) -> str:
        return self._encoder.topics.state(self._encoder.host, uuid)


def _find(connection: Connection, uuids: Collection[str]) -> Found:
    """What libvirt says of each now, None for one that doesn't exist; in a caller's thread."""
    if len(uuids) >= BULK:
        try:
            listed = connection.list_domains()
        except CallFailed as error:
            return dict.fromkeys(uuids, error)
        return {uuid: listed.get(uuid) for uuid in uuids}
    found: Found = {}
    for uuid in uuids:
        try:
            found[uuid] = connection.read(uuid)
        except CallFailed as error:
            found[uuid] = error
    return found


def _shown(seen: ListedDomain) -> ListedDomain:
    """The part of a domain that its state shows."""
    return msgspec.structs.replace(seen, incoming=None)
