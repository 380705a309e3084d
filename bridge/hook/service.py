"""The runner as a whole: one thread that reads, stores, acknowledges and decides; programs run in others.

A message is acknowledged after it is stored, and stays in the store until its programs have succeeded, or one
failed for the last time. Each success is stored before the next program begins, so a killed runner repeats
only programs that were running.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from select import select
from typing import TYPE_CHECKING, Final

from bridge.consumer.reader import Gap, Message
from bridge.consumer.subscriber import Delivery, Subscriber
from bridge.database import StoreTrouble, StoreTroubleError
from bridge.hook.counters import Counters
from bridge.hook.programs import Command, Folder, Programs
from bridge.hook.running import STOPPED, Ended, Stop, run
from bridge.hook.store import Job, SharedStore, Store
from bridge.hook.triggers import Filters, subscribed, variables
from bridge.hook.verdicts import LAST, VERDICTS, NewestVerdicts, as_published
from bridge.log import get_logger
from bridge.mqtt.settings import DURABLE_EXPIRY_S
from bridge.systemd import Notifier
from bridge.wire.messages import seconds, stamp
from bridge.wire.triggers import trigger_of

if TYPE_CHECKING:
    from bridge.config import HookSettings

TICK_S: Final = 1.0
"""How often the folder is read, and the store for messages that other members added."""
LONGEST_RETRY_S: Final = 3600.0

_log = get_logger()


class Runner:
    """One runner. `run` works in the caller's thread.

    Raises `ConfigError` if the store can't be used; neither an absent broker nor a store that fails for a
    while is an error.
    """

    def __init__(self, settings: HookSettings, reload: Callable[[], bool] = bool) -> None:
        """reload: called in the loop's thread after `ask_to_reload`; whether to connect again."""
        self._settings = settings
        self._reload = reload
        self._reload_asked = False
        self._topics = settings.topics()
        self._programs: Programs = (
            Command(settings.triggers(), settings.command()) if settings.run else Folder(settings.hooks_dir)
        )
        self._filters = Filters(
            domains=_patterns(settings.domain),
            hosts=_patterns(settings.host),
            reasons=_patterns(settings.reason),
        )
        self._store = new_store(settings)
        self.counters = Counters()
        self._trouble = StoreTrouble(str(self._store), self.counters)
        self._subscriber: Subscriber | None = None
        self._wanted: frozenset[str] = frozenset()
        self._newest: NewestVerdicts | None = None
        self._session_kept = False
        self._unstored: list[Delivery | Gap] = []
        self._streams: dict[str, bytes] = {}
        self._busy: dict[str, Job] = {}
        self._ended: deque[tuple[Job, str, Ended]] = deque()
        self._pool = ThreadPoolExecutor(settings.parallel, thread_name_prefix="program")
        self._stop = Stop()
        self._next_tick_s = 0.0
        self._next_due: float | None = None
        self._last_loop_s = time.monotonic()
        self._absence_logged = ""

    def ask_to_stop(self) -> None:
        """Lets `run` return soon. From any thread, and from a signal's handler."""
        self._stop.set()
        self._wake()

    def ask_to_reload(self) -> None:
        """Has the settings read again soon. From any thread, and from a signal's handler."""
        self._reload_asked = True
        self._wake()

    def run(self, notifier: Notifier | None = None) -> None:
        """Works until `ask_to_stop`. Programs that run then are ended, and run again at the next start."""
        notifier = notifier or Notifier({})
        try:
            notifier.ready()  # neither a store nor a broker that isn't there is a reason not to be
            while not self._stop.is_set:
                self._turn()
                notifier.watchdog()
            notifier.stopping()
        finally:
            self._stop.set()
            self._pool.shutdown()
            self._finish()
        _log.info("hook.stopped")

    # One turn of the loop

    def _turn(self) -> None:
        self._last_loop_s = time.monotonic()
        if self._reload_asked:
            self._reload_asked = False
            if self._reload() and self._subscriber is not None:
                self._subscriber.reconnect()
        if self._subscriber is None:
            select([self._stop], [], [], self._patience_s())
        else:
            self._unstored += self._subscriber.receive(self._patience_s())
        if self._trouble.left_s > 0:
            return
        try:
            self._work()
        except StoreTroubleError as error:
            self._trouble.note(error)
        else:
            self._trouble.over()

    def _patience_s(self) -> float:
        """How long the broker may keep us waiting."""
        if self._trouble.why is not None:
            return min(TICK_S, self._trouble.left_s)
        if self._unstored or self._ended:
            return 0.0
        patience_s = max(0.0, self._next_tick_s - time.monotonic())
        if self._next_due is not None and len(self._busy) < self._settings.parallel:
            patience_s = min(patience_s, max(0.0, self._next_due - time.time()))
        return patience_s

    def _work(self) -> None:
        self._take_in()
        while self._ended:
            self._store_end(*self._ended[0])
            self._ended.popleft()
        self._start_programs()
        if time.monotonic() >= self._next_tick_s:
            self._next_tick_s = time.monotonic() + TICK_S
            self._look_for_triggers()
            self.counters.waiting = self._store.count("waiting")
            self.counters.parked = self._store.count("parked")

    # What comes

    def _take_in(self) -> None:
        """Stores what is to be worked on, and only then acknowledges what came."""
        subscriber, newest = self._subscriber, self._newest
        if subscriber is None or newest is None:
            return
        self._streams |= subscriber.changed_streams()
        if not self._unstored and not self._streams:
            return
        deliveries = [item for item in self._unstored if isinstance(item, Delivery)]
        newest.discard()
        messages = [
            wanted
            for each in deliveries
            if each.message is not None and (wanted := self._wanted_of(each.message, newest)) is not None
        ]
        self.counters.messages += self._store.add(messages, self._streams, newest.changed)
        newest.keep()
        self._streams = {}
        for item in self._unstored:
            if isinstance(item, Gap):
                self._note_gap(item)
            else:
                self._note_rejected(item)
                subscriber.acknowledge(item.received)
        self._unstored = []

    def _wanted_of(self, message: Message, newest: NewestVerdicts) -> Message | None:
        """The message, if programs are to run for it.

        A retained verdict is one that the broker lost if the session was lost, too: else it may have come
        before others of its domain that still wait in the session.
        """
        name = message.address.name if message.address.kind == "migration" else ""
        if name == LAST:
            if not newest.is_later(message):
                return None
            message = as_published(message, self._topics)
        wanted = self._runs_for(message)
        if name == LAST and wanted and self._session_kept:
            return None
        if name in (LAST, *VERDICTS):
            newest.note(message)
        return message if wanted else None

    def _runs_for(self, message: Message) -> bool:
        trigger = trigger_of(message.address)
        if trigger is None or message.event is None or not self._programs.of(trigger):
            return False
        return self._filters.match(message)

    def _note_rejected(self, delivery: Delivery) -> None:
        rejected = delivery.rejected
        if rejected is None:
            return
        self.counters.rejected[rejected.kind] += 1
        if self.counters.rejected[rejected.kind] == 1:
            topic = delivery.received.topic[:300]
            _log.warning(
                "message.rejected", kind=rejected.kind, topic=topic, why=rejected.why, logged="once a kind"
            )

    def _note_gap(self, gap: Gap) -> None:
        self.counters.lost_sequences += gap.last - gap.first + 1
        _log.error(
            "host.messages_lost", host=gap.host, epoch=gap.epoch, first=gap.first, last=gap.last, why=gap.why
        )

    # What is run

    def _start_programs(self) -> None:
        now = time.time()
        while len(self._busy) < self._settings.parallel:
            job = self._store.claim(now, self._busy.keys())
            if job is None:
                self._next_due = self._store.next_due(now)
                return
            if not self._start(job, now):
                self._store.done(job)
                self._store.release(job)

    def _start(self, job: Job, now: float) -> bool:
        """Starts the next program for a message; False where there is none left to run."""
        message = Message(job.topic, job.payload, retain=False, address=self._topics.parse(job.topic))
        trigger = trigger_of(message.address)
        assert trigger is not None
        assert message.event is not None
        max_age_s = self._settings.max_age_s
        if max_age_s is not None and not job.tries and now - seconds(message.event.time) > max_age_s:
            self.counters.too_old += 1
            _log.info("hook.too_old", trigger=trigger, id=message.event.id, time=message.event.time)
            return False
        for name in self._programs.of(trigger):
            command = None if name in job.programs else self._programs.command(name)
            if command is not None:
                self._busy[job.domain] = job
                self.counters.running = len(self._busy)
                future = self._pool.submit(
                    run,
                    command,
                    variables(message, trigger),
                    job.payload,
                    timeout_s=self._settings.timeout_s,
                    stop=self._stop,
                )
                future.add_done_callback(partial(self._note_ended, job, name))
                return True
        return False

    def _note_ended(self, job: Job, program: str, done: Future[Ended]) -> None:
        """In the thread that ran it."""
        defect = done.exception()
        self._ended.append((job, program, Ended(repr(defect), "", 0.0) if defect else done.result()))
        self._wake()

    def _store_end(self, job: Job, program: str, ended: Ended) -> None:
        """Stores how a program ended."""
        about = {"program": program, "domain": job.domain, "topic": job.topic}
        if ended.why is None:
            self._store.keep_program(job, program)
            _log.debug("hook.ended", **about, lasted_s=round(ended.lasted_s, 3))
            self.counters.ended["well"] += 1
        elif ended.why != STOPPED:
            why = f"{program}: {ended.why}\n{ended.output}".rstrip()
            tries = job.tries + 1
            if tries < self._settings.tries:
                wait_s = retry_after_s(tries, self._settings.retry_s)
                self._store.retry(job, time.time() + wait_s, why)
                _log.warning("hook.failed", **about, why=ended.why, tries=tries, again_in_s=wait_s)
                self.counters.ended["badly"] += 1
            else:
                self._store.park(job, why)
                _log.error("hook.parked", **about, why=ended.why, tries=tries, output=ended.output)
                self.counters.ended["parked"] += 1
        self._store.release(job)
        self._busy.pop(job.domain, None)
        self.counters.running = len(self._busy)

    # What is subscribed to

    def _look_for_triggers(self) -> None:
        """Subscribes anew where the folder has something for a trigger that nothing ran for."""
        wanted = self._programs.wanted()
        if self._subscriber is not None:
            if wanted <= self._wanted or self._unstored:
                return
            self._subscriber.close()
        if self._newest is None:
            self._newest = self._store.verdicts(stamp(time.time()))
        self._wanted |= wanted
        what, outcomes = subscribed(self._wanted)
        name = self._settings.id
        if isinstance(self._store, SharedStore):
            name = f"{self._settings.group}-{self._store.member_name}"
        self._subscriber = Subscriber(
            self._settings.broker_settings(),
            client_id=f"{self._topics.prefix}-mqtt-hook-{name}",
            topics=self._topics,
            what=what,
            outcomes=outcomes,
            session_expiry_s=DURABLE_EXPIRY_S,
            streams=self._store.streams(),
            on_connected=self._on_connected,
            on_disconnected=self._on_disconnected,
            on_failed=self._on_failed,
        )
        _log.info("hook.started", triggers=sorted(self._wanted), store=str(self._store), id=name)

    def _on_connected(self, session_present: bool) -> None:
        address = self._settings.broker_settings().address
        _log.info("broker.connected", broker=address, session_present=session_present)
        self._absence_logged = ""
        self._session_kept = session_present
        self.counters.broker_connected = True
        self.counters.broker_connections += 1

    def _on_disconnected(self, why: str) -> None:
        _log.warning("broker.lost", broker=self._settings.broker_settings().address, why=why)
        self.counters.broker_connected = False

    def _on_failed(self, why: str) -> None:
        if why != self._absence_logged:  # each attempt says the same
            self._absence_logged = why
            _log.warning("broker.absent", broker=self._settings.broker_settings().address, why=why)

    # The end

    def _wake(self) -> None:
        subscriber = self._subscriber
        if subscriber is not None:
            subscriber.wake()

    def _finish(self) -> None:
        try:
            while self._ended:
                self._store_end(*self._ended.popleft())
        except StoreTroubleError as error:
            self._trouble.note(error)
        if self._subscriber is not None:
            self._subscriber.close()
        self._store.close()

    # For health and metrics; from any thread

    def live(self) -> dict[str, str | None]:
        """Whether the loop turns."""
        still_s = time.monotonic() - self._last_loop_s
        return {"loop": None if still_s < 30 else f"blocked for {still_s:.0f} s"}

    def ready(self) -> dict[str, str | None]:
        """Whether messages are taken in."""
        subscriber = self._subscriber
        failure = subscriber and subscriber.last_failure
        connected = subscriber is not None and subscriber.connected
        broker = None if connected else f"not connected: {failure}" if failure else "not connected"
        programs = None if self._wanted else "none to run"
        return {"store": self._trouble.why, "broker": broker, "programs": programs}


def new_store(settings: HookSettings) -> Store:
    """The store of this runner, or of its group."""
    if settings.group is None:
        return Store(settings.store_url(), owner=f"hook {settings.id}")
    return SharedStore(settings.store_url(), owner=f"hook group {settings.group}", wish=settings.id)


def retry_after_s(tries: int, first_s: float) -> float:
    """How long to wait before the next try, after so many."""
    return min(LONGEST_RETRY_S, first_s * 2.0 ** (tries - 1))


def _patterns(value: str | None) -> list[str]:
    return value.split(",") if value else []
