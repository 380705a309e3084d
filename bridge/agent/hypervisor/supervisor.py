"""Keeps one connection to libvirt: opens it, has it listened to and listed, gives it up, opens it again.

The thread `hypervisor` calls nothing of libvirt's itself. It waits for what its callers report and for its
own deadlines, so a daemon that hangs is noticed like one that is gone.
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

from bridge.agent.hypervisor.asking import Asking
from bridge.agent.hypervisor.caller import Caller
from bridge.agent.hypervisor.connection import Connection
from bridge.agent.hypervisor.loop import EventLoop, running_loop
from bridge.agent.inventory.domains import Seen
from bridge.agent.inventory.reports import IoErrors, LookBegan, Looked, Lost, Opened, Report
from bridge.agent.worker import Worker
from bridge.wire import vocabulary
from bridge.wire.events import chosen

PING_EVERY_S: Final = 5.0
PING_DEADLINE_S: Final = 5.0
"""Together with the interval: a daemon that hangs is noticed within ten seconds."""
OPEN_HANGS_S: Final = 10.0
"""After this long another attempt is made beside one that hangs; the first to succeed is taken."""
MOST_ATTEMPTS: Final = 2
RETRY_S: Final = (0.2, 1.0)
RETRY_REMOTE_S: Final = (1.0, 10.0)
LOOK_RETRY_S: Final = 1.0
"""A list that failed is tried again after this time; one waits for no guest longer than this."""
GRACE_S: Final = 0.2
"""An event of a change that the first list already shows can come this much after the list."""

_PAUSED_FOR_MIGRATION: Final = frozenset(
    vocabulary.state_codes("paused", reason) for reason in ("migration", "starting_up")
)
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LibvirtStatus:
    """How it stands with libvirt. `problem` is None while connected, else why not, in libvirt's words."""

    connected: bool
    uri: str
    hypervisor_version: str | None = None
    problem: str | None = "not connected yet"


@dataclass(slots=True)
class _Link:
    """The connection in use. Times are monotonic, but for `heard_ns`: when it began to be listened to."""

    generation: int
    connection: Connection
    caller: Caller
    pinger: Caller
    next_ping: float
    next_look: float
    heard_ns: int
    ping_sent: float | None = None
    looking: bool = False
    looked: bool = False


@dataclass(slots=True)
class _Attempts:
    """Connections that are being opened, by generation: since when, and who does it."""

    callers: dict[int, Caller] = field(default_factory=dict)
    newest_began: float = 0.0
    not_before: float = 0.0
    failures: int = 0


class Hypervisor:
    """One libvirt URI, watched for as long as it runs.

    `put` takes the reports, from any thread, in order; `tell` hears of each change of the status, in the
    thread `hypervisor`. `reconcile_s` is the time between two lists, `events` are the names of those that are
    listened to.
    """

    def __init__(
        self,
        uri: str,
        put: Callable[[Report], None],
        tell: Callable[[LibvirtStatus], None],
        *,
        reconcile_s: float = 30.0,
        events: Collection[str] = chosen(""),
    ) -> None:
        self.status = LibvirtStatus(connected=False, uri=uri)
        self._uri = uri
        self._put = put
        self._tell = tell
        self._reconcile_s = reconcile_s
        self._events = events
        self._retry_s = RETRY_REMOTE_S if urlsplit(uri).netloc else RETRY_S
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.asking = Asking(lambda: Connection(uri))
        self.openings = 0
        """How often a connection was opened and listened to."""
        self.worker = Worker("hypervisor", self._run)
        self._loop: EventLoop | None = None
        self._link: _Link | None = None
        self._attempts = _Attempts()
        self._generation = 0
        self._look = 0
        self._stopping = False
        self._said: str | None = None

    @property
    def connection(self) -> Connection | None:
        """The connection in use, if there is one. It may be lost at any moment."""
        link = self._link
        return link.connection if link else None

    @property
    def hears(self) -> bool:
        """Whether libvirt's event loop runs."""
        return self._loop is not None and self._loop.is_alive

    @property
    def deaf_s(self) -> float:
        """Seconds since libvirt's event loop last turned."""
        return 0.0 if self._loop is None else self._loop.silent_s

    def start(self) -> None:
        """Begins; returns at once."""
        self._loop = running_loop()
        self.worker.start()

    def stop(self, timeout_s: float = 1.0) -> None:
        """Takes no more events from now on, and closes the connection if it can be closed in time."""
        link = self._link
        if link:
            link.connection.live = False
        self._inbox.put(self._stop)
        self.asking.stop()
        self.worker.join(timeout_s)
        if link:
            link.caller.join(timeout_s)

    def look_again(self, after_s: float) -> None:
        """Asks for a list sooner than the next would be. Any thread."""

        def ask() -> None:
            if self._link:
                self._link.next_look = min(self._link.next_look, time.monotonic() + after_s)

        self._inbox.put(ask)

    def _run(self) -> None:
        while not self._stopping:
            self.worker.beat()
            pause_s = self._work(time.monotonic())
            with suppress(queue.Empty):
                self._inbox.get(timeout=pause_s)()

    def _work(self, now: float) -> float:
        """Does what is due; returns the seconds until something is due again."""
        link = self._link
        if link is None:
            return self._open(now)
        if link.ping_sent is not None and now - link.ping_sent > PING_DEADLINE_S:
            self._lose(link, f"libvirt gave no sign of life for {PING_DEADLINE_S:g} s")
            return 0.0
        if link.ping_sent is None and now >= link.next_ping:
            self._ping(link, now)
        if not link.looking and now >= link.next_look:
            self._list(link)
        due = [link.next_ping if link.ping_sent is None else link.ping_sent + PING_DEADLINE_S + 0.01]
        if not link.looking:
            due.append(link.next_look)
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
            self._say_problem(f"opening {self._uri} takes more than {OPEN_HANGS_S:g} s")
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
        self._say_problem(str(error))

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
            next_look=now,
            heard_ns=time.time_ns(),
        )
        self._link = link
        self._put(Opened(generation, connection.driver))
        link.looking = True
        link.caller.call(
            lambda: connection.listen(
                lambda reason: self._inbox.put(lambda: self._closed(generation, reason)), self._events
            ),
            lambda _none: self._inbox.put(lambda: self._listening(link)),
            lambda error: self._inbox.put(lambda: self._lose(link, str(error))),
        )

    def _listening(self, link: _Link) -> None:
        if link is not self._link:
            return
        self.openings += 1
        self._say(LibvirtStatus(connected=True, uri=self._uri, problem=None))
        _log.info("libvirt.connected", uri=self._uri, driver=link.connection.driver)
        self._said = None
        link.looking = False
        self.asking.ask(
            None,
            lambda connection: connection.hypervisor_version(),
            lambda version: self._inbox.put(lambda: self._has_version(link, version)),
            lambda error: _log.debug("libvirt.no_version", error=str(error)),
        )

    def _has_version(self, link: _Link, version: str) -> None:
        if link is self._link:
            self._say(replace(self.status, hypervisor_version=version))

    def _list(self, link: _Link) -> None:
        self._look += 1
        look, first = self._look, not link.looked
        link.looking = True

        def read() -> Looked:
            self._put(LookBegan(look))
            seen = self._with_direction(link.connection.list_domains())
            at_ns = time.time_ns()
            if first:
                time.sleep(GRACE_S)
            return Looked(look, link.connection.driver, seen, first, at_ns)

        link.caller.call(
            read,
            lambda looked: self._inbox.put(lambda: self._listed(link, looked)),
            lambda error: self._inbox.put(lambda: self._not_listed(link, error)),
        )

    def _with_direction(self, listed: dict[str, Seen]) -> dict[str, Seen]:
        """The list, with what libvirt says in time of the domains that are paused for a migration."""
        doubtful = [seen for seen in listed.values() if (seen.state, seen.reason) in _PAUSED_FOR_MIGRATION]
        answers: queue.SimpleQueue[tuple[str, bool | None]] = queue.SimpleQueue()

        def ask(seen: Seen) -> None:
            self.asking.ask(
                seen.uuid,
                lambda connection: connection.is_incoming(seen),
                lambda incoming: answers.put((seen.uuid, incoming)),
                lambda _error: answers.put((seen.uuid, None)),
            )

        for seen in doubtful:
            ask(seen)
        end_s = time.monotonic() + LOOK_RETRY_S
        with suppress(queue.Empty):
            for _ in doubtful:
                uuid, incoming = answers.get(timeout=max(0.0, end_s - time.monotonic()))
                listed[uuid] = msgspec.structs.replace(listed[uuid], incoming=incoming)
        return listed

    def _listed(self, link: _Link, looked: Looked) -> None:
        if link is not self._link:
            return
        link.looking, link.looked = False, True
        link.next_look = time.monotonic() + self._reconcile_s
        self._put(looked)
        if looked.first and "io_error" in self._events:
            self._find_io_errors(link, [seen.uuid for seen in looked.seen.values() if seen.id is not None])

    def _find_io_errors(self, link: _Link, running: Collection[str]) -> None:
        """What came of the disks of those that run, while nobody listened."""

        def find() -> IoErrors:
            found = link.connection.io_errors(running)
            return IoErrors(link.connection.driver, link.heard_ns, time.time_ns(), found)

        link.caller.call(find, self._put, lambda error: _log.debug("libvirt.no_io_errors", error=str(error)))

    def _not_listed(self, link: _Link, error: Exception) -> None:
        if link is not self._link:
            return
        _log.warning("libvirt.list_failed", error=str(error))
        link.looking = False
        link.next_look = time.monotonic() + LOOK_RETRY_S

    def _ping(self, link: _Link, now: float) -> None:
        link.ping_sent = now
        link.pinger.call(
            link.connection.ping,
            lambda alive: self._inbox.put(lambda: self._pinged(link, alive)),
            lambda error: self._inbox.put(lambda: self._lose(link, str(error))),
        )

    def _pinged(self, link: _Link, alive: bool) -> None:
        link.ping_sent = None
        link.next_ping = time.monotonic() + PING_EVERY_S
        if not alive:
            self._lose(link, "the connection is down")

    def _closed(self, generation: int, reason: str) -> None:
        if self._link is not None and self._link.generation == generation:
            self._lose(self._link, f"libvirt closed the connection ({reason})")

    def _lose(self, link: _Link, reason: str) -> None:
        if link is not self._link:
            return
        self._give_up(link)
        self._attempts.not_before = time.monotonic() + self._pause_s()
        self._put(Lost(link.generation, reason))
        self._say_problem(reason)

    def _give_up(self, link: _Link) -> None:
        self._link = None
        link.connection.live = False
        link.pinger.end()
        _close(link.caller, link.connection)

    def _stop(self) -> None:
        self._stopping = True
        if self._link is not None:
            self._give_up(self._link)

    def _say_problem(self, problem: str) -> None:
        if problem != self._said:
            self._said = problem
            _log.warning("libvirt.unavailable", uri=self._uri, problem=problem)
        self._say(LibvirtStatus(connected=False, uri=self._uri, problem=problem))

    def _say(self, status: LibvirtStatus) -> None:
        if status != self.status:
            self.status = status
            self._tell(status)


def _close(caller: Caller, connection: Connection) -> None:
    caller.call(connection.close, _done, _done)
    caller.end()


def _done(_result: object) -> None:
    """Nobody waits for the end of a connection."""
