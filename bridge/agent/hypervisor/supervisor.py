"""Supervises one connection to libvirt: opens it, registers for events, lists domains, reconnects.

The thread `hypervisor` makes no call into libvirt itself. It waits for the results of its callers and for its
own deadlines, so a daemon that hangs is detected like one that is gone.
"""

from __future__ import annotations

import queue
import random
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import urlsplit

import msgspec
import structlog

from bridge.agent.hypervisor.caller import Caller
from bridge.agent.hypervisor.connection import Connection
from bridge.agent.hypervisor.guest_calls import GuestCalls
from bridge.agent.hypervisor.loop import EventLoop, running_loop
from bridge.agent.inventory.domains import PAUSED_FOR_MIGRATION, ListedDomain
from bridge.agent.inventory.reports import (
    ConnectionLost,
    ConnectionOpened,
    DomainsListed,
    DomainsRequested,
    IoErrors,
    Report,
)
from bridge.agent.worker import Worker
from bridge.wire.events import chosen

PING_EVERY_S: Final = 5.0
PING_DEADLINE_S: Final = 5.0
"""With the interval: a daemon that hangs is detected within ten seconds."""
OPEN_HANGS_S: Final = 10.0
"""A second attempt starts beside one that hangs this long; the first to succeed is used."""
MOST_ATTEMPTS: Final = 2
RETRY_S: Final = (0.2, 1.0)
RETRY_REMOTE_S: Final = (1.0, 10.0)
LIST_RETRY_S: Final = 1.0
"""A failed list is retried after this time; a list waits no longer than this for a guest."""
GRACE_S: Final = 0.2
"""An event may arrive this long after a first list that already shows its change."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LibvirtStatus:
    """The state of the connection. `problem` is None while connected, else libvirt's error; `since_ns` when
    it began, by the wall clock.
    """

    connected: bool
    uri: str
    hypervisor_version: str | None = None
    problem: str | None = "not connected yet"
    since_ns: int | None = None


@dataclass(slots=True)
class _Link:
    """The connection in use. Times are monotonic, except `listening_since_ns`, by the wall clock."""

    generation: int
    connection: Connection
    caller: Caller
    pinger: Caller
    next_ping: float
    next_list: float
    listening_since_ns: int
    ping_sent: float | None = None
    listing: bool = False
    was_listed: bool = False


@dataclass(slots=True)
class _Attempts:
    """Connections that are being opened, by generation."""

    callers: dict[int, Caller] = field(default_factory=dict)
    newest_began: float = 0.0
    not_before: float = 0.0
    failures: int = 0


class Hypervisor:
    """Watches one libvirt URI until `stop`.

    `put` gets the reports in order, from any thread; `status_changed` gets each new status in the thread
    `hypervisor`. `reconcile_s` is the time between two lists, `events` the names of the events to register
    for.
    """

    def __init__(
        self,
        uri: str,
        put: Callable[[Report], None],
        status_changed: Callable[[LibvirtStatus], None],
        *,
        reconcile_s: float = 30.0,
        events: Collection[str] = chosen(""),
    ) -> None:
        self.status = LibvirtStatus(connected=False, uri=uri)
        self._uri = uri
        self._put = put
        self._status_changed = status_changed
        self._reconcile_s = reconcile_s
        self._events = events
        self._retry_s = RETRY_REMOTE_S if urlsplit(uri).netloc else RETRY_S
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.guest_calls = GuestCalls(lambda: Connection(uri))
        self.openings = 0
        """How often a connection was opened and registered for events."""
        self.worker = Worker("hypervisor", self._run)
        self._loop: EventLoop | None = None
        self._link: _Link | None = None
        self._attempts = _Attempts()
        self._generation = 0
        self._lists = 0
        self._stopping = False
        self._logged: str | None = None

    @property
    def connection(self) -> Connection | None:
        """The connection in use, if there is one. It may be lost at any moment."""
        link = self._link
        return link.connection if link else None

    @property
    def loop_alive(self) -> bool:
        """Whether libvirt's event loop runs."""
        return self._loop is not None and self._loop.is_alive

    @property
    def loop_silent_s(self) -> float:
        """Seconds since libvirt's event loop last turned."""
        return 0.0 if self._loop is None else self._loop.silent_s

    def start(self) -> None:
        """Starts the thread; returns at once."""
        self._loop = running_loop()
        self.worker.start()

    def stop(self, timeout_s: float = 1.0) -> None:
        """Ignores further events, and closes the connection if that succeeds in time."""
        link = self._link
        if link:
            link.connection.ignore_events()
        self._inbox.put(self._stop)
        self.guest_calls.stop()
        self.worker.join(timeout_s)
        if link:
            link.caller.join(timeout_s)

    def list_again(self, after_s: float) -> None:
        """Schedules a list earlier than the next regular one. From any thread."""

        def ask() -> None:
            if self._link:
                self._link.next_list = min(self._link.next_list, time.monotonic() + after_s)

        self._inbox.put(ask)

    def _run(self) -> None:
        while not self._stopping:
            self.worker.beat()
            pause_s = self._work(time.monotonic())
            with suppress(queue.Empty):
                self._inbox.get(timeout=pause_s)()

    def _work(self, now: float) -> float:
        """Does what is due; returns the seconds until the next deadline."""
        link = self._link
        if link is None:
            return self._open(now)
        if link.ping_sent is not None and now - link.ping_sent > PING_DEADLINE_S:
            self._lost(link, f"libvirt gave no sign of life for {PING_DEADLINE_S:g} s")
            return 0.0
        if link.ping_sent is None and now >= link.next_ping:
            self._ping(link, now)
        if not link.listing and now >= link.next_list:
            self._list(link)
        due = [link.next_ping if link.ping_sent is None else link.ping_sent + PING_DEADLINE_S + 0.01]
        if not link.listing:
            due.append(link.next_list)
        return max(0.0, min(due) - now)

    def _open(self, now: float) -> float:
        attempts = self._attempts
        if attempts.callers:
            hangs = attempts.newest_began + OPEN_HANGS_S - now
            if hangs > 0 or len(attempts.callers) >= MOST_ATTEMPTS:
                return max(hangs, 1.0)
        elif now < attempts.not_before:
            return attempts.not_before - now
        self._generation += 1
        generation = self._generation
        if attempts.callers:
            self._set_problem(f"opening {self._uri} takes more than {OPEN_HANGS_S:g} s")
        caller = Caller(f"libvirt-{generation}")
        attempts.callers[generation] = caller
        attempts.newest_began = now
        caller.call(
            lambda: Connection(self._uri, self._put),
            lambda connection: self._inbox.put(lambda: self._opened(generation, connection)),
            lambda error: self._inbox.put(lambda: self._not_opened(generation, error)),
        )
        return OPEN_HANGS_S

    def _not_opened(self, generation: int, error: Exception) -> None:
        self._attempts.callers.pop(generation).end()
        self._attempts.failures += 1
        self._attempts.not_before = time.monotonic() + self._pause_s()
        self._set_problem(str(error))

    def _pause_s(self) -> float:
        shortest, longest = self._retry_s
        ceiling = min(longest, shortest * 2 ** min(self._attempts.failures, 10))
        return random.uniform(ceiling / 2, ceiling)  # noqa: S311 - spreads attempts, keeps no secret

    def _opened(self, generation: int, connection: Connection) -> None:
        caller = self._attempts.callers.pop(generation)
        if self._link is not None or self._stopping:
            _close(caller, connection)
            return
        self._attempts.failures = 0
        now = time.monotonic()
        link = _Link(
            generation,
            connection,
            caller,
            Caller(f"libvirt-ping-{generation}"),
            next_ping=now + PING_EVERY_S,
            next_list=now,
            listening_since_ns=time.time_ns(),
        )
        self._link = link
        self._put(ConnectionOpened(generation, connection.driver))
        link.listing = True
        link.caller.call(
            lambda: connection.listen(
                lambda reason: self._inbox.put(lambda: self._closed(generation, reason)), self._events
            ),
            lambda _none: self._inbox.put(lambda: self._listening(link)),
            lambda error: self._inbox.put(lambda: self._lost(link, str(error))),
        )

    def _listening(self, link: _Link) -> None:
        if link is not self._link:
            return
        self.openings += 1
        since_ns = link.listening_since_ns
        self._set_status(LibvirtStatus(connected=True, uri=self._uri, problem=None, since_ns=since_ns))
        _log.info("libvirt.connected", uri=self._uri, driver=link.connection.driver)
        self._logged = None
        link.listing = False
        self.guest_calls.ask(
            None,
            lambda connection: connection.hypervisor_version(),
            lambda version: self._inbox.put(lambda: self._has_version(link, version)),
            lambda error: _log.debug("libvirt.no_version", error=str(error)),
        )

    def _has_version(self, link: _Link, version: str) -> None:
        if link is self._link:
            self._set_status(replace(self.status, hypervisor_version=version))

    def _list(self, link: _Link) -> None:
        self._lists += 1
        number, first = self._lists, not link.was_listed
        link.listing = True

        def read() -> DomainsListed:
            self._put(DomainsRequested(number))
            seen = self._with_direction(link.connection.list_domains())
            at_ns = time.time_ns()
            if first:
                time.sleep(GRACE_S)
            return DomainsListed(number, link.connection.driver, seen, first, at_ns)

        link.caller.call(
            read,
            lambda was_listed: self._inbox.put(lambda: self._listed(link, was_listed)),
            lambda error: self._inbox.put(lambda: self._not_listed(link, error)),
        )

    def _with_direction(self, listed: dict[str, ListedDomain]) -> dict[str, ListedDomain]:
        """Adds the direction of domains paused for a migration, as far as libvirt answers in time."""
        ambiguous = [seen for seen in listed.values() if (seen.state, seen.reason) in PAUSED_FOR_MIGRATION]
        answers: queue.SimpleQueue[tuple[str, bool | None]] = queue.SimpleQueue()

        def ask(seen: ListedDomain) -> None:
            self.guest_calls.ask(
                seen.uuid,
                lambda connection: connection.is_incoming(seen),
                lambda incoming: answers.put((seen.uuid, incoming)),
                lambda _error: answers.put((seen.uuid, None)),
            )

        for seen in ambiguous:
            ask(seen)
        end_s = time.monotonic() + LIST_RETRY_S
        with suppress(queue.Empty):
            for _ in ambiguous:
                uuid, incoming = answers.get(timeout=max(0.0, end_s - time.monotonic()))
                listed[uuid] = msgspec.structs.replace(listed[uuid], incoming=incoming)
        return listed

    def _listed(self, link: _Link, was_listed: DomainsListed) -> None:
        if link is not self._link:
            return
        link.listing, link.was_listed = False, True
        link.next_list = time.monotonic() + self._reconcile_s
        self._put(was_listed)
        if was_listed.first and "io_error" in self._events:
            self._find_io_errors(
                link, [seen.uuid for seen in was_listed.seen.values() if seen.id is not None]
            )

    def _find_io_errors(self, link: _Link, running: Collection[str]) -> None:
        """Reads the I/O errors of running domains from before the registration for events."""

        def find() -> IoErrors:
            found = link.connection.io_errors(running)
            return IoErrors(link.connection.driver, link.listening_since_ns, time.time_ns(), found)

        link.caller.call(find, self._put, lambda error: _log.debug("libvirt.no_io_errors", error=str(error)))

    def _not_listed(self, link: _Link, error: Exception) -> None:
        if link is not self._link:
            return
        _log.warning("libvirt.list_failed", error=str(error))
        link.listing = False
        link.next_list = time.monotonic() + LIST_RETRY_S

    def _ping(self, link: _Link, now: float) -> None:
        link.ping_sent = now
        link.pinger.call(
            link.connection.ping,
            lambda alive: self._inbox.put(lambda: self._pinged(link, alive)),
            lambda error: self._inbox.put(lambda: self._lost(link, str(error))),
        )

    def _pinged(self, link: _Link, alive: bool) -> None:
        link.ping_sent = None
        link.next_ping = time.monotonic() + PING_EVERY_S
        if not alive:
            self._lost(link, "the connection is down")

    def _closed(self, generation: int, reason: str) -> None:
        if self._link is not None and self._link.generation == generation:
            self._lost(self._link, f"libvirt closed the connection ({reason})")

    def _lost(self, link: _Link, reason: str) -> None:
        if link is not self._link:
            return
        self._give_up(link)
        self._attempts.not_before = time.monotonic() + self._pause_s()
        self._put(ConnectionLost(link.generation, reason))
        self._set_problem(reason)

    def _give_up(self, link: _Link) -> None:
        self._link = None
        link.connection.ignore_events()
        link.pinger.end()
        _close(link.caller, link.connection)

    def _stop(self) -> None:
        self._stopping = True
        if self._link is not None:
            self._give_up(self._link)

    def _set_problem(self, problem: str) -> None:
        if problem != self._logged:
            self._logged = problem
            _log.warning("libvirt.unavailable", uri=self._uri, problem=problem)
        self._set_status(LibvirtStatus(connected=False, uri=self._uri, problem=problem))

    def _set_status(self, status: LibvirtStatus) -> None:
        if status != self.status:
            self.status = status
            self._status_changed(status)


def _close(caller: Caller, connection: Connection) -> None:
    caller.call(connection.close, _done, _done)
    caller.end()


def _done(_result: object) -> None:
    """Nothing waits for a connection to close."""
