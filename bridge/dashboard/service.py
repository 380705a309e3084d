"""The dashboard as a subscriber: one thread that reads, stores and acknowledges, in that order.

While the store can't be written nothing is acknowledged, so the messages stay with the broker.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from bridge.consumer.rejected import Rejected
from bridge.consumer.streams import AgentStream
from bridge.dashboard.counters import Counters
from bridge.dashboard.moments import micros
from bridge.dashboard.present import Broker, Change, Present
from bridge.dashboard.reading import Batch, Reading, subscriptions
from bridge.dashboard.store import Store, Stored
from bridge.database import StoreTrouble, StoreTroubleError
from bridge.log import get_logger
from bridge.mqtt.retained import WildcardProbe
from bridge.mqtt.session import Received, Session
from bridge.mqtt.settings import DURABLE_EXPIRY_S
from bridge.systemd import Notifier
from bridge.wire.topics import Topics

if TYPE_CHECKING:
    from bridge.config import DashboardSettings

RECEIVE_MAXIMUM: Final = 2000
BATCH: Final = 500
"""Messages that one transaction takes in at most."""
GATHERED_S: Final = 0.05
"""What trickles in is stored together, as a commit costs ten times what a row does (`make bench`): for a
twentieth of the second in which a row has to be on the page.
"""
WAITING_MESSAGES: Final = 5000
"""With more messages waiting while the store fails, the broker's connection isn't read any more."""
TICK_S: Final = 1.0
CLOSE_S: Final = 1.0
NAMED_HOSTS: Final = 10
FEW_STATES: Final = (
    "the broker sent fewer states than it retains; a correlator that lacks them too requests them, else "
    "restart the agent, which publishes them again"
)
NO_RETAINED: Final = (
    "the broker doesn't send retained messages to subscriptions with wildcards: hosts, guests and verdicts "
    "of before are unknown until they are published again; use another broker (docs/brokers.md)"
)
_DAY_US: Final = 86_400_000_000

Listener = Callable[[Sequence[Stored], Sequence[Change]], None]
"""Takes stored rows and changes of the present; called in the dashboard's thread."""

_log = get_logger()


class Dashboard:
    """One dashboard. `run` works in the caller's thread."""

    def __init__(self, settings: DashboardSettings, reload: Callable[[], bool] = bool) -> None:
        """reload: called in the loop's thread after `ask_to_reload`; whether to connect again."""
        self._settings = settings
        self._reload = reload
        self._reload_asked = False
        self._topics = Topics(settings.prefix)
        self.counters = Counters()
        self.present = Present()
        self.broker = Broker(connected=False, since=time.time(), why=None)
        self.listener: Listener = lambda _rows, _changes: None
        self._reading = Reading(self._topics, self.present)
        self._store = Store(settings.store_url(), id=settings.id)
        self._trouble = StoreTrouble(str(self._store), self.counters)
        self._waiting: deque[tuple[Received, float]] = deque()
        self._gathered_at = 0.0
        self._taken: list[Received] = []
        self._batch: Batch | None = None
        self._next_n = 1
        self._session: Session | None = None
        self._stopping = threading.Event()
        self._last_loop = time.monotonic()
        self._next_tick = 0.0
        self._absence_logged = ""
        self._is_complete = False
        self._hosts_without_states: list[str] = []
        self._heard_retained = False
        self._sends_no_retained = False
        self._probe: WildcardProbe | None = None

    @property
    def streams(self) -> dict[str, AgentStream]:
        """Which sequences came from each host."""
        return self._reading.streams

    def ask_to_stop(self) -> None:
        """Lets `run` return soon. From any thread, and from a signal's handler."""
        self._stopping.set()
        if self._session is not None:
            self._session.wake()

    def ask_to_reload(self) -> None:
        """Has the settings read again soon. From any thread, and from a signal's handler."""
        self._reload_asked = True
        if self._session is not None:
            self._session.wake()

    def run(self, notifier: Notifier | None = None) -> None:
        """Works until `ask_to_stop`."""
        notifier = notifier or Notifier({})
        notifier.ready()  # neither a store nor a broker that isn't there is a reason not to be
        try:
            if not self._open_store(notifier):
                return
            self._session = self._new_session()
            _log.info("dashboard.started", id=self._settings.id, store=str(self._store))
            while not self._stopping.is_set():
                self._turn(self._session)
                notifier.watchdog()
            notifier.stopping()
        finally:
            if self._probe is not None:
                self._probe.stop()
            if self._session is not None:
                self._session.close(CLOSE_S)
            self._store.close()
        _log.info("dashboard.stopped")

    def _open_store(self, notifier: Notifier) -> bool:
        """False when asked to stop before the store was there."""
        while not self._stopping.is_set():
            self._last_loop = time.monotonic()
            notifier.watchdog()
            try:
                with self._store.begin() as transaction:
                    self._next_n = transaction.last() + 1
                    hosts = transaction.hosts()
            except StoreTroubleError as error:
                self._trouble.note(error)
                self._stopping.wait(self._trouble.left_s)
            else:
                self._trouble.over()
                self.streams.update({host: AgentStream.load(host, data) for host, data in hosts.items()})
                return True
        return False

    def _new_session(self) -> Session:
        return Session(
            self._settings.broker_settings(),
            client_id=f"{self._topics.prefix}-mqtt-dashboard-{self._settings.id}",
            clean_start=False,
            session_expiry_s=DURABLE_EXPIRY_S,
            subscriptions=subscriptions(self._topics),
            receive_maximum=RECEIVE_MAXIMUM,
            on_connected=self._on_connected,
            on_disconnected=self._on_disconnected,
            on_failed=self._on_failed,
            on_message=self._on_message,
            on_acknowledged=lambda _token, _code: None,
            on_retained_complete=self._on_retained_complete,
        )

    # The session's callbacks, in our own thread

    def _on_connected(self, session_present: bool) -> None:
        address = self._settings.broker_settings().address
        _log.info("broker.connected", broker=address, session_present=session_present)
        self._absence_logged = ""
        self.counters.broker_connected = True
        self.counters.broker_connections += 1
        self.broker = Broker(connected=True, since=time.time(), why=None)
        self.present.begin()
        self._reading.state_counts.begin()
        self._is_complete = False
        self._hosts_without_states = []
        self._heard_retained = self._sends_no_retained = False
        if self._probe is not None:
            self._probe.stop()
        self._probe = None
        self.listener((), (_BROKER,))

    def _on_disconnected(self, why: str) -> None:
        _log.warning("broker.lost", broker=self._settings.broker_settings().address, why=why)
        self.counters.broker_connected = False
        self.broker = Broker(connected=False, since=time.time(), why=why)
        self.listener((), (_BROKER,))

    def _on_failed(self, why: str) -> None:
        if why != self._absence_logged:  # each attempt says the same
            self._absence_logged = why
            _log.warning("broker.absent", broker=self._settings.broker_settings().address, why=why)
            self.broker = Broker(connected=False, since=self.broker.since, why=why)
            self.listener((), (_BROKER,))

    def _on_message(self, received: Received) -> None:
        if not self._waiting:
            self._gathered_at = time.monotonic() + GATHERED_S
        self._waiting.append((received, time.time()))
        self._heard_retained = self._heard_retained or received.retain
        if not self._heard_retained and self._probe is None and received.topic.endswith("/status"):
            self._probe = self._new_probe(received.topic)

    def _new_probe(self, topic: str) -> WildcardProbe:
        """A host's status came live, and nothing retained: checks whether the broker sends that."""
        return WildcardProbe(
            self._settings.broker_settings(),
            client_id=f"{self._topics.prefix}-mqtt-dashboard-{self._settings.id}-probe",
            topic=topic,
            wildcard=f"{self._topics.root}/hosts/+/status",
        )

    def _on_retained_complete(self) -> None:
        while self._waiting or self._batch is not None:
            if not self._take_batch():
                return  # a store in trouble: what was cleared meanwhile is seen on the next connection
        self.listener((), tuple(self.present.complete()))
        self._is_complete = True

    # One turn of the loop

    def _turn(self, session: Session) -> None:
        self._last_loop = time.monotonic()
        if self._reload_asked:
            self._reload_asked = False
            if self._reload():
                session.reconnect()
        if len(self._waiting) < WAITING_MESSAGES:
            session.step(self._patience_s())
        else:
            self._stopping.wait(0.1)
        full = len(self._waiting) >= BATCH or self._batch is not None
        while (full or self._gathers_s() == 0) and self._take_batch():
            full = len(self._waiting) >= BATCH
        if time.monotonic() >= self._next_tick and self._trouble.left_s == 0:
            self._next_tick = time.monotonic() + TICK_S
            self._look_for_holes()
            self._look_at_probe()
            if self._is_complete:
                self._look_for_states()
            self._prune()

    def _patience_s(self) -> float:
        """How long the broker may keep us waiting."""
        if self._trouble.why is not None:
            return min(TICK_S, self._trouble.left_s)
        return max(0.0, min(self._next_tick - time.monotonic(), self._gathers_s()))

    def _gathers_s(self) -> float:
        """How long what waits is to be gathered still."""
        if not self._waiting:
            return TICK_S
        return max(0.0, self._gathered_at - time.monotonic())

    def _take_batch(self) -> bool:
        """Reads messages, stores what they change, and only then acknowledges them. False: not now."""
        if self._trouble.left_s > 0:
            return False
        if self._batch is None:
            self._batch = self._read_batch()
        try:
            rows = self._keep(self._batch)
        except StoreTroubleError as error:
            self._trouble.note(error)
            return False
        self._trouble.over()
        assert self._session is not None
        for received in self._taken:
            self._session.acknowledge(received)
        self.counters.messages += len(self._taken)
        batch, self._batch, self._taken = self._batch, None, []
        self.listener(rows, batch.changes)
        return True

    def _read_batch(self) -> Batch:
        batch = Batch()
        for _ in range(min(BATCH, len(self._waiting))):
            received, at = self._waiting.popleft()
            self._taken.append(received)
            try:
                self._reading.read(received, at, batch)
            except Rejected as rejected:
                self._reject(rejected.kind, received, rejected.why)
            except Exception as error:  # noqa: BLE001 - one message must not stop all others
                self._reject("not_read", received, repr(error))
            self.present.came_at = at
        return batch

    def _reject(self, kind: str, received: Received, why: str) -> None:
        self.counters.rejected[kind] += 1
        if self.counters.rejected[kind] == 1:
            topic = received.topic[:300]
            _log.warning("message.rejected", kind=kind, topic=topic, why=why, logged="once a kind")

    def _keep(self, batch: Batch) -> list[Stored]:
        if not (batch.moments or batch.names or batch.streams):
            return []
        came = micros(time.time())
        with self._store.begin() as transaction:
            known = transaction.known(batch.possible_duplicates)
            new = [
                m
                for m in {(m.source, m.id): m for m in batch.moments}.values()
                if (m.source, m.id) not in known
            ]
            attempts = transaction.add(self._next_n, came, new)
            transaction.keep_names(batch.names)
            transaction.keep_hosts([(host, self.streams[host].dump()) for host in batch.streams])
        rows = [
            Stored(n, moment.at, attempts.get(n), moment.payload)
            for n, moment in enumerate(new, self._next_n)
        ]
        self._next_n += len(new)
        self.counters.stored += len(new)
        self.counters.duplicates += len(batch.moments) - len(new)
        return rows

    def _look_for_holes(self) -> None:
        now = time.time()
        suspect = [stream for stream in self.streams.values() if stream.suspect]
        self.listener((), [Change("host", stream.name) for stream in suspect if stream.look(now)])

    def _look_for_states(self) -> None:
        counts, now = self._reading.state_counts, time.monotonic()
        missing = counts.missing(now)
        self._hosts_without_states = [
            f"{status.host} ({counts.came(status.host)} of {status.states})" for status in missing
        ]
        self.counters.hosts_without_states = len(missing)
        for status in counts.news(now, len(missing)):
            came = counts.came(status.host)
            _log.warning("host.states_missing", host=status.host, came=came, of=status.states)

    def _look_at_probe(self) -> None:
        answer = self._probe.answer if self._probe is not None else None
        if answer == "by_name_only" and not self._sends_no_retained:
            self._sends_no_retained = True
            _log.error("broker.sends_no_retained", why=NO_RETAINED)

    def _prune(self) -> None:
        """Deletes the oldest rows, by `--keep-days` and `--keep-bytes`."""
        before = micros(time.time()) - round(self._settings.keep_days * _DAY_US)
        try:
            with self._store.begin() as transaction:
                pruned = transaction.prune(before, self._settings.keep_bytes)
                self.counters.store_bytes = transaction.size()
        except StoreTroubleError as error:
            self._trouble.note(error)
            return
        self.counters.pruned += pruned
        if pruned:
            self._next_tick = 0.0

    # For health; from any thread

    def live(self) -> dict[str, str | None]:
        """Whether the loop turns."""
        still_s = time.monotonic() - self._last_loop
        return {"loop": None if still_s < 30 else f"blocked for {still_s:.0f} s"}

    def ready(self) -> dict[str, str | None]:
        """Whether messages are taken in."""
        broker = self.broker
        wrong = None if broker.connected else f"not connected: {broker.why or 'not yet'}"
        retained = NO_RETAINED if self._sends_no_retained else None
        return {"store": self._trouble.why, "broker": wrong, "retained": retained}

    def detail(self) -> dict[str, str | None]:
        """What is missing though messages are taken in."""
        few = self._hosts_without_states
        if not few:
            return {}
        more = f" and {len(few) - NAMED_HOSTS} more" if len(few) > NAMED_HOSTS else ""
        return {"states": f"{FEW_STATES}: {', '.join(few[:NAMED_HOSTS])}{more}"}


_BROKER: Final = Change("broker", "")
