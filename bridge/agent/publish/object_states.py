"""The retained states of networks and pools: listed after each event and regularly, published.

The thread `lists` decides when a class is listed; `GuestCalls` makes the call, so a pool that hangs is one of
the two calls that may wait. The thread `outbox` gets each list first: it publishes what changed unseen, and
returns what may be published as state.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Collection
from functools import partial
from typing import Final

import structlog

from bridge.agent.hypervisor import CallFailed, Connection, GuestCalls
from bridge.agent.inventory.encoder import Encoder
from bridge.agent.inventory.inventory import CONFIRM_S
from bridge.agent.inventory.reports import ListedObject, ObjectsListed, ObjectsRequested, Report
from bridge.agent.inventory.step import Step
from bridge.agent.publish.domain_states import REST, ROUND_S, Publish
from bridge.agent.worker import Worker
from bridge.wire.events import LIFECYCLES, OBJECTS, Object

_log = structlog.get_logger()

WATCHED: Final = {entry[1].plural: name for name, entry in LIFECYCLES.items() if entry[1] is not None}
"""A class, and the event by which `--events` selects it."""


class ObjectStatePublisher:
    """Lists one host's networks and pools, and publishes their states.

    `names` are the events that are registered: a class whose lifecycle isn't among them has no states.
    """

    def __init__(
        self,
        encoder: Encoder,
        connection: Callable[[], Connection | None],
        guest_calls: GuestCalls,
        put: Callable[[Report], None],
        publish: Publish,
        *,
        names: Collection[str],
        reconcile_s: float,
    ) -> None:
        self._encoder = encoder
        self._connection = connection
        self._guest_calls = guest_calls
        self._put = put
        self._publish = publish
        self._reconcile_s = reconcile_s
        self._watched = {
            plural: each for plural, each in OBJECTS.items() if each.keeps_state and WATCHED[plural] in names
        }
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._due_s: dict[str, float] = {}
        self._awaited: set[str] = set()
        self._asked: Connection | None = None
        self._published: dict[str, dict[str, ListedObject]] = {}
        self._retained: dict[str, set[str]] = {plural: set() for plural in OBJECTS}
        self.worker = Worker("lists", self._run)

    def start(self) -> None:
        """Starts the thread; returns at once."""
        self.worker.start()

    def stop(self, timeout_s: float = 0.5) -> None:
        """Stops the thread; a list under way is not waited for."""
        self._inbox.put(None)
        self.worker.join(timeout_s)

    def stepped(self, step: Step, epoch: str, last_sequence: int) -> None:
        """A step is durable: after a connection's first list all classes are listed, after an event its
        class.
        """
        if step.listed is not None:
            self._inbox.put(self._begin)
        for listed in step.objects:
            self._inbox.put(partial(self._publish_list, listed, epoch, last_sequence))
        if step.relist:
            self._inbox.put(partial(self._want, step.relist, ROUND_S))
        if step.unconfirmed:
            self._inbox.put(partial(self._want, step.unconfirmed, CONFIRM_S))

    def retained(self, plural: str, key: str) -> None:
        """The broker holds a state that this process hasn't published."""
        self._inbox.put(partial(self._found_retained, plural, key))

    def _run(self) -> None:
        while True:
            due_s = [at for plural, at in self._due_s.items() if plural not in self._awaited]
            pause_s = max(0.0, min(due_s) - time.monotonic()) if due_s else None
            try:
                task = self._inbox.get(timeout=pause_s)
            except queue.Empty:
                self._list()
            else:
                if task is None:
                    return
                task()

    def _begin(self) -> None:
        self._asked = self._connection()
        self._awaited.clear()
        now_s = time.monotonic()
        self._due_s = dict.fromkeys(self._watched, now_s)

    def _want(self, plurals: Collection[str], after_s: float) -> None:
        at_s = time.monotonic() + after_s
        for plural in self._due_s.keys() & set(plurals):
            self._due_s[plural] = min(self._due_s[plural], at_s)

    def _list(self) -> None:
        now_s = time.monotonic()
        for plural, at_s in self._due_s.items():
            if at_s <= now_s and plural not in self._awaited:
                self._due_s[plural] = now_s + self._reconcile_s
                if self._asked is not None and self._asked is self._connection():
                    self._awaited.add(plural)
                    self._ask(self._watched[plural], self._asked)

    def _ask(self, each: Object, connection: Connection) -> None:
        def read(asked: Connection) -> ObjectsListed:
            self._put(ObjectsRequested(each))
            return ObjectsListed(each, connection.driver, asked.list_objects(each), time.time_ns())

        def answered(found: ObjectsListed | Exception) -> None:
            took_s = time.monotonic() - asked_s
            self._inbox.put(partial(self._answered, each, connection, found, took_s))

        asked_s = time.monotonic()
        self._guest_calls.ask(None, read, answered, answered)

    def _answered(
        self, each: Object, connection: Connection, found: ObjectsListed | Exception, took_s: float
    ) -> None:
        if connection is not self._asked:
            return
        self._awaited.discard(each.plural)
        self._due_s[each.plural] = max(self._due_s[each.plural], time.monotonic() + REST * took_s)
        if isinstance(found, ObjectsListed):
            self._put(found)
        elif isinstance(found, CallFailed) and found.unsupported:
            self._due_s.pop(each.plural, None)
        else:
            _log.debug("lists.not_read", objects=each.plural, error=str(found))

    def _publish_list(self, listed: ObjectsListed, epoch: str, as_of: int) -> None:
        each = listed.object
        before = self._published.setdefault(each.plural, {})
        gone = (before.keys() | self._retained[each.plural]) - listed.seen.keys() - set(listed.touched)
        self._retained[each.plural].clear()
        for key in gone:
            before.pop(key, None)
            self._publish(self._topic(each.plural, key), None, as_of)
        for key, seen in listed.seen.items():
            if before.get(key) != seen:
                before[key] = seen
                payload = self._encoder.object_state(listed, seen, epoch=epoch, as_of=as_of)
                self._publish(self._topic(each.plural, key), payload, as_of)

    def _found_retained(self, plural: str, key: str) -> None:
        """Cleared at once if the class isn't listed, else after the next list if that doesn't have it."""
        if plural not in self._watched:
            self._publish(self._topic(plural, key), None, 0)
        elif key not in self._published.get(plural, {}):
            self._retained[plural].add(key)
            self._want([plural], ROUND_S)

    def _topic(self, plural: str, key: str) -> str:
        return self._encoder.topics.object_state(self._encoder.host, plural, key)
