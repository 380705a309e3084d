"""The thread `mqtt`: sends what the outbox holds, in order, with retained messages and the agent's status.

`run` is what the thread does. `committed` is called by the outbox's thread after each append; `set_retained`,
`set_status` and `stop` by any thread. After `stop`, this thread is joined before the outbox's ends.

The broker keeps no session: there it could hold QoS 1 subscriptions only (a cluster of RabbitMQ ties one with
QoS 0 to a node), and a limit on queued messages would cut the retained states of a large host. A replay
request made while the agent is offline is lost; its sender waits for the status `online`. Messages in flight
are sent again from the outbox.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Final, Literal

import msgspec
import structlog

from bridge.agent.homeassistant.discovery import HomeAssistant
from bridge.agent.outbox import Outbox, Row
from bridge.agent.publish import replay
from bridge.agent.publish.counters import Counters
from bridge.agent.publish.event_sender import AskOutbox, EventSender
from bridge.agent.publish.replay import MalformedRequestError, Replay
from bridge.agent.publish.retained import Retained
from bridge.agent.publish.status import StatusData, StatusTopic
from bridge.mqtt.name_conflict import NameConflict
from bridge.mqtt.reasons import REFUSAL, describe_reason
from bridge.mqtt.session import BrokerSettings, Publication, Received, Session, Subscription
from bridge.wire.messages import CONTENT_TYPE, Libvirt
from bridge.wire.topics import Topics

log = structlog.get_logger()


class _Status(msgspec.Struct):
    epoch: str


class _StatusMessage(msgspec.Struct):
    data: _Status


_decode_status: Final = msgspec.json.Decoder(_StatusMessage).decode

WINDOW: Final = 100
KEEPALIVE_S: Final = 10
TICK_S: Final = 1.0
"""Changes that don't wake the thread (a full disk, parked messages) are noticed within this time."""
STATUS_CHECK_S: Final = 0.1
LARGEST_FROM_BROKER_BYTES: Final = 65_536
OFFLINE_S: Final = 1.5
"""This much of a stop's time is reserved for publishing `offline` and disconnecting."""
TOPIC_NAME_INVALID: Final = 0x90
UNANNOUNCED: Final = "the agent ended, or lost its connection to the broker, without saying so"
"""The reason in a Will. It is fixed at connect: anything else it named could have changed by then."""


class Sender:
    """Owns the session with the broker. On each connect it sends the status, then rows from the oldest
    unanswered one, and retained messages that differ from what the broker retains.

    A message that the broker refuses is parked with the reason and blocks no other. `counters` and the
    attributes may be read from any thread.
    """

    def __init__(
        self,
        broker: BrokerSettings,
        topics: Topics,
        host: str,
        version: str,
        outbox: Outbox,
        *,
        ask: AskOutbox,
        counters: Counters | None = None,
        window: int = WINDOW,
        replay_rows_a_minute: int = replay.ROWS_A_MINUTE,
        on_cleared: Callable[[str], None] | None = None,
        on_retained: Callable[[str], None] | None = None,
        on_turn: Callable[[], None] | None = None,
        homeassistant: HomeAssistant | None = None,
    ) -> None:
        """Callbacks, all in the thread of `run`: `on_cleared` with each retained topic that the broker has
        cleared, `on_retained` with each state of this host that it holds and that wasn't put here, `on_turn`
        every few seconds at least.
        """
        self._on_cleared = on_cleared
        self._on_retained = on_retained
        self._on_turn = on_turn
        self._homeassistant = homeassistant
        self.counters = counters or Counters()
        self._broker = broker
        self._topics = topics
        self._host = host
        self._status_topic = topics.host_status(host)
        self._status = StatusTopic(host, version)
        self._outbox = outbox
        self._window = window
        self._events = EventSender(outbox, ask, self.counters, Replay(replay_rows_a_minute))
        self._retained = Retained(lambda topic: topics.parse(topic).kind == "state")
        self._name_conflict = NameConflict()
        self._is_complete = False
        self._libvirt: tuple[Libvirt, str | None] = (Libvirt(connected=False), None)
        self._status_check_at_s = 0.0
        self._offline_answered = False
        self._states_first = False
        self._logged: set[tuple[str, object]] = set()
        self._node: str | None = None
        self._stop_at_s: float | None = None
        self._reconnect_asked = False
        self._session = self._make_session()

    def committed(self, rows: Sequence[Row]) -> None:
        """These rows are durable: all that were stored since the last call. For the outbox's thread."""
        self._events.cache.put(rows)
        self._session.wake()

    def set_retained(self, topic: str, payload: bytes | None, as_of: int) -> None:
        """Sets what the topic holds, also after each reconnect; None clears it. From any thread.

        It is published after the rows up to sequence `as_of`.
        """
        self._retained.put(topic, payload, as_of)
        self._session.wake()

    def set_status(self, libvirt: Libvirt, reason: str | None = None) -> None:
        """Sets the status of libvirt, and another reason that the status has to name. From any thread."""
        self._libvirt = (libvirt, reason)
        self._status_check_at_s = 0.0
        self._session.wake()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Makes `run` send what is left, publish `offline`, disconnect and return within `timeout_s`. From
        any thread.
        """
        self._stop_at_s = time.monotonic() + timeout_s
        self._session.wake()

    def reconnect(self) -> None:
        """Makes `run` reconnect, with the current certificates. From any thread."""
        self._reconnect_asked = True
        self._session.wake()

    @property
    def connected(self) -> bool:
        """Whether the broker is connected."""
        return self._session.connected

    @property
    def problem(self) -> str | None:
        """Why the broker isn't connected; None while it is."""
        session = self._session
        return None if session.connected else session.last_failure or "not connected yet"

    @property
    def in_flight(self) -> int:
        """Messages that the broker hasn't answered."""
        return self._session.in_flight

    def run(self) -> None:
        """Works until `stop`. Errors of the broker are never raised."""
        try:
            while self._stop_at_s is None:
                self._turn()
            self._finish(self._stop_at_s)
        finally:
            self._session.close(0.0)
            self._events.close()

    def _turn(self) -> None:
        if self._on_turn is not None:
            self._on_turn()
        if self._events.generation != self._outbox.generation:
            self._begin_epoch()
        if self._reconnect_asked:
            self._reconnect_asked = False
            self._session.reconnect()
        now_s = time.monotonic()
        self._report_retained(now_s)
        self._send_discovery(now_s)
        self._send(now_s)
        replaying = self._events.replay.active and self._session.room() > 1
        self._session.step(0.05 if replaying else TICK_S)
        self._events.report(now_s)

    def _begin_epoch(self) -> None:
        """The outbox has a new file: a new session begins, since the Will names the epoch."""
        self._session.close(0.5)
        self._events.begin()
        self._retained.begin(new_epoch=True)
        self._session = self._make_session()

    def _send(self, now_s: float, *, stopping: bool = False) -> None:
        room = self._room()
        if room <= 0:
            return
        self._retained.receive(self._outbox.last_sequence)
        if now_s >= self._status_check_at_s:
            room -= self._send_status(now_s)
        if room > 0 and not stopping:
            room -= self._events.send_again(self._publish_row, max(1, room // 4), now_s)
        if room > 0:
            self._states_first = not self._states_first
            room -= self._send_states(room // 2 + (room % 2 if self._states_first else 0))
            room -= self._events.send(self._publish_row, room)
            self._send_states(room)

    def _report_retained(self, now_s: float) -> None:
        """Reports states that the broker retains and this process didn't publish: of domains that are gone,
        unless another agent has the same name.
        """
        if self._is_complete:
            for topic in self._name_conflict.due(now_s):
                if self._on_retained is not None:
                    self._on_retained(topic)

    def _send_discovery(self, now_s: float) -> None:
        if self._homeassistant is None or (room := self._room()) <= 0:
            return
        for publication in self._homeassistant.due(now_s, max(1, room // 4)):
            answered = partial(self._homeassistant.answered, publication)
            self._session.publish(publication, answered)

    def _room(self) -> int:
        """How much may be sent now. One place is reserved for the last status, unless there is only one."""
        session = self._session
        room = session.room()
        return room if session.in_flight == 0 else room - 1

    def _send_states(self, room: int) -> int:
        sent = 0
        while sent < room and (entry := self._retained.pop(self._events.sent)) is not None:
            topic, payload, version = entry
            answered = partial(self._state_answered, topic, version)
            code = self._publish(topic, payload or b"", answered, retain=True)
            if code:
                answered(code)
            else:
                sent += 1
        return sent

    def _state_answered(self, topic: str, version: int, code: int) -> None:
        on_cleared = self._retained.answered(topic, version, accepted=code < REFUSAL)
        if on_cleared and self._on_cleared is not None:
            self._on_cleared(topic)
        self._retained_answered(topic, code)

    def _retained_answered(self, topic: str, code: int) -> None:
        self.counters.retained_answers[code] += 1
        if code >= REFUSAL:
            self._log_once("broker.refused_retained", code, topic=topic, code=code, why=describe_reason(code))

    def _status_data(self) -> StatusData:
        outbox = self._outbox
        libvirt, reason = self._libvirt
        aside, other = outbox.set_aside, self._name_conflict.found
        reasons = [
            reason,
            outbox.write_error,
            f"the outbox was damaged and set aside as {aside}" if aside else None,
            "the outbox was removed while the agent ran" if outbox.was_removed else None,
            f"another agent has this --host, too; its epoch is {other}" if other else None,
            self._node,
        ]
        return StatusData(
            epoch=outbox.epoch,
            libvirt=libvirt,
            reason="; ".join(part for part in reasons if part) or None,
            last_sequence=self._events.sent,
            dropped=tuple(outbox.dropped),
            lost=tuple(self._events.replay.lost),
            parked=outbox.parked,
            states=len(self._retained.kept),
        )

    def _send_status(self, now_s: float) -> int:
        """Publishes the status if it is due. Returns how many messages were sent."""
        self._status_check_at_s = now_s + STATUS_CHECK_S
        data = self._status_data()
        if not self._status.is_due(data, now_s):
            return 0
        answered = partial(self._status_answered, data.epoch)
        return 0 if self._publish_status(data, "online", answered) else 1

    def _status_answered(self, epoch: str, code: int) -> None:
        self._retained_answered(self._status_topic, code)
        if code < REFUSAL:
            self._name_conflict.published(epoch)

    def _publish_status(
        self, data: StatusData, state: Literal["online", "offline"], answered: Callable[[int], None]
    ) -> int:
        payload = self._status.message(data, state, now_s=time.time())
        return self._publish(self._status_topic, payload, answered, retain=True)

    def _publish_row(self, topic: str, payload: bytes, token: object) -> int:
        return self._publish(topic, payload, token, retain=False)

    def _publish(self, topic: str, payload: bytes, token: object, *, retain: bool) -> int:
        try:
            self._session.publish(Publication(topic, payload, retain, CONTENT_TYPE), token)
        except ValueError:
            return TOPIC_NAME_INVALID
        return 0

    def _finish(self, stop_at_s: float) -> None:
        """Sends what is left, as far as time allows, then publishes `offline`."""
        session, events = self._session, self._events
        flush_until_s = stop_at_s - OFFLINE_S
        while session.connected and (left_s := flush_until_s - time.monotonic()) > 0:
            now_s = time.monotonic()
            self._status_check_at_s = stop_at_s
            self._send(now_s, stopping=True)
            if events.finished and session.in_flight == 0 and not self._retained.due(events.sent):
                break
            session.step(min(left_s, TICK_S))
        if session.connected and session.room() > 0:
            code = self._publish_status(self._status_data(), "offline", self._offline_answer)
            self._offline_answered = code != 0
            while (
                session.in_flight
                and not self._offline_answered
                and (left_s := stop_at_s - OFFLINE_S / 2 - time.monotonic()) > 0
            ):
                session.step(left_s)
        events.report(time.monotonic(), at_once=True)
        sent = "everything" if events.finished else "not everything"
        if not self.counters.connections:
            sent = "nothing, as the broker was never reached"
        log.info("broker.left", sent=sent, offline_published=self._offline_answered)
        session.close(max(0.0, stop_at_s - OFFLINE_S / 4 - time.monotonic()))
        events.report(time.monotonic(), at_once=True)

    def _offline_answer(self, code: int) -> None:
        self._offline_answered = True
        self._retained_answered(self._status_topic, code)

    def _will(self) -> Publication:
        return Publication(
            self._status_topic,
            self._status.message(
                replace(self._status_data(), reason=UNANNOUNCED),
                "offline",
                now_s=time.time(),
                suffix="-will",
            ),
            retain=True,
            content_type=CONTENT_TYPE,
        )

    def _make_session(self) -> Session:
        return Session(
            self._broker,
            client_id=f"{self._topics.prefix}-mqtt-agent-{self._topics.level(self._host)}",
            clean_start=True,
            session_expiry_s=0,
            will=self._will,
            subscriptions=[
                *(
                    Subscription(requests, retain_handling=2, needed=False)
                    for requests in self._topics.replays_of(self._host)
                ),
                *(
                    Subscription(ours, qos=0, no_local=True, needed=False)
                    for ours in (self._status_topic, *self._topics.retained_of(self._host))
                ),
                *(self._homeassistant.subscriptions if self._homeassistant else ()),
            ],
            receive_maximum=replay.MOST_WAITING,
            window=self._window,
            keepalive_s=KEEPALIVE_S,
            maximum_packet_bytes=LARGEST_FROM_BROKER_BYTES,
            on_connected=self._on_connected,
            on_disconnected=self._on_disconnected,
            on_failed=self._on_failed,
            on_message=self._on_message,
            on_acknowledged=self._on_acknowledged,
            on_subscription_refused=self._on_subscription_refused,
            on_shortfall=self._on_shortfall,
            on_retained_complete=self._on_retained_complete,
        )

    def _on_connected(self, _session_present: bool) -> None:
        self.counters.connections += 1
        self._logged = {line for line in self._logged if line[0] != "broker.absent"}
        log.info("broker.connected", broker=self._session.address, waiting=self._outbox.depth)
        self._node = f"connected to {self._session.address}" if self._session.has_nodes else None
        self._status.begin()
        self._status_check_at_s = 0.0
        self._retained.begin()
        self._name_conflict.begin(time.monotonic())
        self._is_complete = False
        if self._homeassistant:
            self._homeassistant.begin()

    def _on_retained_complete(self) -> None:
        self._is_complete = True
        if lacking := self._retained.complete():
            log.info("broker.lacks", lacking=lacking, of=len(self._retained))
        if self._homeassistant:
            self._homeassistant.complete()

    def _on_disconnected(self, why: str) -> None:
        log.warning("broker.lost", broker=self._session.address, why=why)
        self._node = None
        self._events.rewind()

    def _on_failed(self, why: str) -> None:
        self.counters.failures += 1
        self._log_once("broker.absent", why, broker=self._session.address, why=why)

    def _on_acknowledged(self, token: object, code: int) -> None:
        if isinstance(token, Row):
            self._events.answered(token, code)
        elif callable(token):
            token(code)

    def _on_subscription_refused(self, topic_filter: str, code: int) -> None:
        self._log_once(
            "broker.refused_subscription", topic_filter, filter=topic_filter, why=describe_reason(code)
        )

    def _on_shortfall(self, what: str) -> None:
        self._log_once("broker.falls_short", what, what=what)

    def _on_message(self, received: Received) -> None:
        self._session.acknowledge(received)
        if self._homeassistant and self._homeassistant.take(received):
            return
        if received.topic not in self._topics.replays_of(self._host):
            if received.topic == self._status_topic:
                self._receive_status(received)
            elif received.retain and not self._retained.holds(received.topic, received.payload):
                self._name_conflict.wait(received.topic)
            return
        try:
            if received.retain:
                raise MalformedRequestError("retained")
            request = replay.parse(received.payload)
        except MalformedRequestError as error:
            self.counters.replay_requests["malformed"] += 1
            self._log_once("replay.malformed", str(error), why=str(error), payload=received.payload[:200])
            return
        verdict = self._events.replay.ask(request, self._outbox.epoch, self._events.sent)
        self.counters.replay_requests[verdict] += 1
        if request.states:
            self._retained.publish_again()
        log.debug(
            "replay.asked", epoch=request.epoch, first=request.first, last=request.last, verdict=verdict
        )
        if verdict == "too_many":
            self._log_once("replay.too_many", None, waiting=replay.MOST_WAITING)

    def _receive_status(self, received: Received) -> None:
        with suppress(msgspec.MsgspecError):
            epoch = _decode_status(received.payload).data.epoch
            if received.retain and self._name_conflict.holds(epoch, self._outbox.epoch):
                self.counters.host_conflicts += 1
                self._log_once("agent.host_conflict", None, host=self._host, other_epoch=epoch)

    def _log_once(self, event: str, kind: object, /, **facts: object) -> None:
        """Logs one line for each kind; further ones are only counted."""
        if (event, kind) not in self._logged:
            self._logged.add((event, kind))
            log.warning(event, **facts)
