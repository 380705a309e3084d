"""The correlator as a whole: one thread receives, decides, stores, acknowledges and publishes, in that order.

A message is acknowledged after its effect is stored. While writes to the store fail nothing is acknowledged,
so the messages stay with the broker. While the correlator itself is disconnected its timers stand still: a
timeout is a reason for a verdict only if messages of the other side could have arrived.
"""

from __future__ import annotations

import secrets
import threading
import time
from typing import TYPE_CHECKING, Final

from bridge.correlator.adoption import MEMBER_EXPIRY_S, Adoption
from bridge.correlator.counters import Counters
from bridge.correlator.input.inbound import InboundQueue
from bridge.correlator.input.received_states import ReceivedStates
from bridge.correlator.input.wildcards import WildcardCheck
from bridge.correlator.output.outbound import draft
from bridge.correlator.output.replay_requests import ReplayRequests
from bridge.correlator.output.restorer import Restorer
from bridge.correlator.output.sender import Sender
from bridge.correlator.process.group_processor import PROCESSING_S, RETRY_S, GroupProcessor
from bridge.correlator.process.processor import Processor
from bridge.correlator.process.single_processor import SingleProcessor
from bridge.correlator.rules.record import OutboundMessage, Times
from bridge.correlator.sessions import Handlers, Sessions
from bridge.correlator.status import Status
from bridge.correlator.steady_clock import SteadyClock
from bridge.correlator.store import (
    Draft,
    GroupStore,
    Outgoing,
    Store,
)
from bridge.database import StoreTrouble, StoreTroubleError
from bridge.log import get_logger
from bridge.mqtt.reasons import REFUSAL, describe_reason
from bridge.mqtt.session import Received, Session
from bridge.systemd import Notifier
from bridge.wire.messages import correlator_source

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.config import CorrelatorSettings
    from bridge.correlator.input.messages import Inbound

WAITING_MESSAGES: Final = 5000
"""With more messages waiting while the store fails, the broker's connection isn't read any more."""
TICK_S: Final = 1.0
STOP_S: Final = 3.0

_log = get_logger()


class Correlator:
    """One correlator. `run` works in the caller's thread.

    Raises `ConfigError` where the store can't be used; neither an absent broker nor a store that fails for a
    while is an error.
    """

    def __init__(self, settings: CorrelatorSettings, reload: Callable[[], bool] = bool) -> None:
        """reload: called in the loop's thread after `ask_to_reload`; whether to connect again."""
        self._settings = settings
        self._reload = reload
        self._reload_asked = False
        self._topics = settings.topics()
        self._source = correlator_source(settings.group or settings.id)
        self._instance = secrets.token_hex(8)
        self._clock = SteadyClock()
        self.counters = Counters()
        self._inbound = InboundQueue(
            self._topics, self.counters, settle_s=settings.settle_s, sources=("durable", "retained")
        )
        self._store, self._processor = self._new_processor()
        self._sender = Sender(self._store, self.counters)
        self._status = Status(
            self._topics,
            source=self._source,
            instance=self._instance,
            group=settings.group,
            name=lambda: self.name,
            counters=self.counters,
            hosts=self._processor.sight.hosts.values,
        )
        self._status_topic = ""
        self._sessions = Sessions(settings, self._instance)
        self._restorer = Restorer(
            self._store, self._sessions.retained, self._wake, self._topics, self._source
        )
        self._wildcards = WildcardCheck(self._sessions.probe)
        self._states = ReceivedStates(settings.settle_s)
        self._replay = ReplayRequests(
            self._topics, self.counters, self._states.counts, sees_all=settings.group is None
        )
        self._session: Session | None = None
        self._retained = self._sessions.hosts_retained(
            self._inbound, self._clock, on_begin=self._states.begin
        )
        self._adoption: Adoption | None = None
        self._stopping = threading.Event()
        self._trouble = StoreTrouble(str(self._store), self.counters)
        self._next_tick = 0.0
        self._connected_until = self._clock()
        self._received_until: float | None = None
        self._last_loop = time.monotonic()
        self._record_due = 0.0
        self._looked = self._clock()
        self._absences_logged: set[str] = set()

    def _new_processor(self) -> tuple[Store, Processor]:
        settings = self._settings
        url = settings.store_url()
        if settings.group is None:
            times = Times(settings.settle_s, settings.patience_s)
            store = Store(url, owner=f"correlator {settings.id}")
            return store, SingleProcessor(store, times, self._draft, self.counters)
        times = Times(settings.settle_s, settings.patience_s, PROCESSING_S)
        shared = GroupStore(url, name=settings.group, wish=settings.id, instance=self._instance)
        return shared, GroupProcessor(shared, times, self._draft, self.counters)

    @property
    def name(self) -> str:
        """The correlator's id; in a group the first of `id`, `id-2` … that no other member has."""
        found = self._store.member_name if isinstance(self._store, GroupStore) else None
        return found or self._settings.id

    # Starting and stopping

    def ask_to_stop(self) -> None:
        """Lets `run` return soon. From any thread, and from a signal's handler."""
        self._stopping.set()
        self._wake()

    def ask_to_reload(self) -> None:
        """Has the settings read again soon. From any thread, and from a signal's handler."""
        self._reload_asked = True
        self._wake()

    def _wake(self) -> None:
        session = self._session
        if session is not None:
            session.wake()

    def run(self, notifier: Notifier | None = None) -> None:
        """Works until `ask_to_stop`."""
        notifier = notifier or Notifier({})
        try:
            notifier.ready()  # neither a store nor a broker that isn't there is a reason not to be
            if not self._open_store(notifier):
                return
            self._status_topic = self._status.topic
            handlers = Handlers(
                self._on_connected,
                self._on_disconnected,
                self._on_failed,
                self._on_message,
                self._on_acknowledged,
            )
            self._session = self._sessions.main(self.name, self._status, handlers)
            _log.info("correlator.started", id=self.name, group=self._settings.group, store=str(self._store))
            while not self._stopping.is_set():
                self._turn()
                notifier.watchdog()
            notifier.stopping()
            self._finish()
        finally:
            self._restorer.close()
            self._wildcards.close()
            self._retained.close()
            if self._adoption is not None:
                self._adoption.close()
            if self._session is not None:
                self._session.abandon()  # without DISCONNECT: the Will reports the failure
            self._store.close()
        _log.info("correlator.stopped")

    def _open_store(self, notifier: Notifier) -> bool:
        """False when asked to stop before the store was there."""
        while not self._stopping.is_set():
            notifier.watchdog()
            try:
                self._processor.load(self._clock)
            except StoreTroubleError as error:
                self._trouble.note(error)
                self._stopping.wait(self._trouble.left_s)
                self._last_loop = time.monotonic()
            else:
                self._trouble.over()
                self._inbound.begin(self._processor.stored_until, self._clock())
                return True
        return False

    # The session's callbacks, in our own thread

    @property
    def _broker_address(self) -> str:
        assert self._session is not None  # it is who calls
        return self._session.address

    def _on_connected(self, session_present: bool) -> None:
        _log.info(
            "broker.connected",
            broker=self._broker_address,
            session_present=session_present,
        )
        self._absences_logged.clear()
        self.counters.broker_connected = True
        self.counters.broker_connections += 1
        self._inbound.connected(self._clock())
        self._status.begin()
        self._sender.look_again()
        self._restorer.begin()
        self._wildcards.begin()
        assert self._session is not None
        self._retained.begin(self._session.node)

    def _on_disconnected(self, why: str) -> None:
        _log.warning("broker.lost", broker=self._broker_address, why=why)
        self.counters.broker_connected = False
        self._connected_until = self._clock()
        self._inbound.lost(self._connected_until)
        self._retained.close()

    def _on_failed(self, why: str) -> None:
        if why not in self._absences_logged:  # each attempt fails alike, on each node
            self._absences_logged.add(why)
            _log.warning("broker.absent", broker=self._broker_address, why=why)

    def _on_message(self, received: Received) -> None:
        if received.topic == self._status_topic:
            if received.retain:
                self._status.holds(received.payload)
            assert self._session is not None
            self._session.acknowledge(received)
            return
        self._inbound.add(received, self._clock())

    def _on_acknowledged(self, token: object, code: int) -> None:
        if isinstance(token, Outgoing):
            self._sender.acknowledged(token, code)
            if token.retain and code < REFUSAL:
                self._restorer.published(token.topic, token.payload)
            return
        if code >= REFUSAL:
            _log.error("publish.refused", topic=token, reason=describe_reason(code))
        elif token == self._status_topic:
            self._status.published()
            self._wildcards.published(str(token))

    # One turn of the loop

    def _turn(self) -> None:
        session = self._session
        assert session is not None
        self._last_loop = time.monotonic()
        if self._reload_asked:
            self._reload_asked = False
            if self._reload():
                session.reconnect()
        waiting = len(self._inbound)
        if waiting < WAITING_MESSAGES:
            self._retained.read()
            session.step(self._patience_s(len(self._inbound)), self._retained.fileno)
            before, self._looked = self._looked, self._clock()
            self._inbound.note_drained(self._looked, before)
        else:
            self._stopping.wait(0.1)
        if self._trouble.left_s > 0:
            return
        try:
            self._work(session)
        except StoreTroubleError as error:
            self._trouble.note(error)
        else:
            self._trouble.over()

    def _patience_s(self, waiting: int) -> float:
        """How long to wait for packets of the broker."""
        now = self._clock()
        if self._trouble.why is not None:
            return min(TICK_S, self._trouble.left_s)
        if waiting:
            return 0.0
        until = self._next_tick
        if self._restorer.busy and self._sender.drained:
            return 0.0
        if not self._sender.idle:
            until = min(until, max(self._record_due, now))
        if self._adoption is not None:
            until = min(until, now + RETRY_S)
        patience_s = max(0.0, until - now)
        if self._processor.retry_at is not None:
            patience_s = max(0.0, min(patience_s, self._processor.retry_at - now))
        due = self._processor.next_due
        if due is not None and self._inbound.is_complete(now):
            patience_s = max(0.0, min(patience_s, due - now))
        return patience_s

    def _work(self, session: Session) -> None:
        while self._inbound:
            self._take_batch(session)
            self._sender.send(session)
        if self._adoption is not None:
            self._adoption.step()
        now = self._clock()
        if self._processor.catch_up(now, self._inbound.gap_since or now):
            self._sender.more()
        if self._inbound.is_complete(now):
            self._inbound.gap_since = None
            self._processor.was_complete = True
            if self._processor.evaluate_due(now):
                self._sender.more()
        if self._restorer.busy and self._sender.drained and self._restorer.step():
            self._sender.more()
        self._sender.send(session)
        now = self._clock()
        if now >= self._record_due:
            self._sender.record_answers()
            self._record_due = now + 0.1
        if now >= self._next_tick:
            self._next_tick = now + TICK_S
            self._tick(session)
        if session.received_until != self._received_until:  # the broker has answered
            self._look_around(session, now)

    def _take_batch(self, session: Session) -> None:
        """Takes messages in, stores their effect, and only then acknowledges them."""
        messages = self._inbound.batch()
        batch = [inbound for _, inbound in messages if inbound is not None]
        if batch:
            self._take(batch)
        for received, inbound in messages:
            session.acknowledge(received)
            if inbound is not None and (inbound.retained or self._settings.group is None):
                self._states.take(inbound.message)
        self._inbound.taken()

    def _take(self, batch: Sequence[Inbound]) -> None:
        now = self._clock()
        if self._processor.take(batch, now, self._inbound.gap_since or now):
            self._sender.more()

    # What is due once a second

    def _tick(self, session: Session) -> None:
        now = self._clock()
        self._store.look()
        if isinstance(self._store, GroupStore):
            self._store.take_over_from_the_dead()
            self._sender.look_for_others()
            self._adopt(session)
            session.ask_whether_queued()
        self._look_around(session, now)
        for host, epoch, first, last in self._processor.tend_hosts(now, self._inbound.gap_since or now):
            self._replay.request_messages(session, host, epoch, first, last)
        if not isinstance(self._store, GroupStore) or self._store.try_to_lead():
            self._replay.request_states(session, now)
        self._restorer.start()
        self._wildcards.look()
        if session.room() > 0 and (publication := self._status.due()) is not None:
            session.publish(publication, publication.topic)

    def _look_around(self, session: Session, now: float) -> None:
        """Nothing waits here: what the session has received is stored."""
        self._received_until = session.received_until
        until = None if self._received_until is None else now - (time.monotonic() - self._received_until)
        if not session.connected and now >= self._connected_until + MEMBER_EXPIRY_S:
            until = now  # the broker doesn't keep the session any more
        self._processor.look_around(now, received_until=until)

    def _adopt(self, session: Session) -> None:
        """Takes in what members that are gone left at the broker, one after the other."""
        assert isinstance(self._store, GroupStore)
        if self._adoption is not None and self._adoption.done:
            self._store.forget(self._adoption.name, MEMBER_EXPIRY_S)
            self._adoption = None
        if self._adoption is not None or not session.connected or not self._store.try_to_lead():
            return
        for name in self._store.gone(MEMBER_EXPIRY_S)[:1]:
            _log.info("member.gone", id=name, now="its share is taken over")
            self._adoption = self._sessions.adopted(name, self.counters, self._take, self._clock)

    def _draft(self, message: OutboundMessage, uuid: str, now: float) -> Draft:
        return draft(message, uuid, topics=self._topics, source=self._source, now=self._clock.as_wall(now))

    # The end

    def _finish(self) -> None:
        session = self._session
        assert session is not None
        deadline = time.monotonic() + STOP_S
        try:
            while session.connected and time.monotonic() < deadline:
                self._sender.send(session)
                self._sender.record_answers()
                if self._sender.idle and session.room() > 0:
                    publication = self._status.offline()
                    session.publish(publication, publication.topic)
                    break
                session.step(0.05)
            session.close(1.0)
            self._sender.record_answers()
        except StoreTroubleError as error:
            _log.error("store.trouble", store=str(self._store), why=str(error), now="stopping")
            session.close(1.0)

    # For health and metrics; from any thread

    def live(self) -> dict[str, str | None]:
        """Whether the loop runs."""
        still_s = time.monotonic() - self._last_loop
        return {"loop": None if still_s < 30 else f"blocked for {still_s:.0f} s"}

    def ready(self) -> dict[str, str | None]:
        """Whether messages are processed and verdicts published."""
        session = self._session
        broker = "not connected" if session is None or not session.connected else None
        if session is not None and broker and session.last_failure:
            broker = f"not connected: {session.last_failure}"
        return {
            "store": self._trouble.why,
            "broker": broker,
            "retained": self._wildcards.trouble or self._retained.trouble,
        }
