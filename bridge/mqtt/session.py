"""One session with a broker, without threads.

Everything is called in the owner's thread, callbacks too; only `wake` may come from another. PUBLISH and
PUBACK, the packets of high volume, are encoded and decoded here (`packets`) and counted by `SendWindow`; all
output of one step leaves in one write. paho (`link`) does all the rest and never sees them: it has no list of
messages to send again, the owner's outbox is the only queue.
"""

import contextlib
import math
import ssl
import time
from collections.abc import Callable, Sequence

from bridge.mqtt import packets, reasons
from bridge.mqtt.backoff import BackOff
from bridge.mqtt.diagnosis import SilentCloses, explain, explain_early_end
from bridge.mqtt.features import Features, Needs
from bridge.mqtt.link import (
    CONNECT_TIMEOUT_S,
    Accepted,
    Broken,
    Disconnected,
    Greeting,
    Link,
    Refused,
    Report,
    Subscribed,
    Unsubscribed,
)
from bridge.mqtt.messages import Publication, Received, Subscription
from bridge.mqtt.nodes import Nodes
from bridge.mqtt.packets import MalformedPacketError
from bridge.mqtt.settings import BrokerSettings
from bridge.mqtt.wakeup import WakeUp
from bridge.mqtt.window import SendWindow

__all__ = ["BrokerSettings", "Publication", "Received", "Session", "Subscription"]


class Session:
    """A session with one broker, which reconnects as long as `step` is called; where the broker has several
    nodes, to the next one (`nodes`).

    `client_id` names the session. With `clean_start` false the broker keeps it for `session_expiry_s` seconds
    after a connection ends; on MQTT 3.1.1 `clean_start` is the clean session flag, and the broker decides how
    long. `receive_maximum` is how many QoS 1 messages the broker may send ahead of their acknowledgement,
    `maximum_packet_bytes` the largest packet that it may send (both MQTT 5). `window` is how many
    publications may wait for their PUBACK. `unsubscribe` are filters to which a session that
    the broker kept may be subscribed, from an earlier release. `will` makes the Will of each connection when
    it is attempted, so that no two are the same.

    Callbacks, always inside `step`; `on_acknowledged` inside `close`, too:

    - `on_connected(session_present)`, after SUBSCRIBE was sent
    - `on_disconnected(why)`, once for each `on_connected`, except where `close` ends the connection
    - `on_failed(why)`, for each attempt that led to no connection
    - `on_message(received)`
    - `on_subscription_refused(filter, reason_code)`, for one that isn't needed; the session goes on without,
      and requests it again where the reason is unspecified: for a moment a cluster of NATS whose node died
      refuses so, and MQTT 3.1.1 has no other reason
    - `on_shortfall(what)`, once for each feature of which the broker has less than requested, with its
      consequence; what makes it useless ends the connection
    - `on_retained_complete()`, once for each connection: the retained messages that the subscriptions match
      have come (see `burst`)
    - `on_acknowledged(token, reason_code)`, at most once for each `publish`. From 0x80 on it is a refusal:
      the broker doesn't have this message and won't take it; the connection goes on.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        *,
        client_id: str,
        clean_start: bool,
        session_expiry_s: int,
        will: Callable[[], Publication] | None = None,
        subscriptions: Sequence[Subscription] = (),
        unsubscribe: Sequence[str] = (),
        receive_maximum: int = 1000,
        window: int = 100,
        keepalive_s: int = 10,
        maximum_packet_bytes: int | None = None,
        on_connected: Callable[[bool], None],
        on_disconnected: Callable[[str], None],
        on_message: Callable[[Received], None],
        on_acknowledged: Callable[[object, int], None],
        on_failed: Callable[[str], None] | None = None,
        on_subscription_refused: Callable[[str, int], None] | None = None,
        on_shortfall: Callable[[str], None] | None = None,
        on_retained_complete: Callable[[], None] | None = None,
    ) -> None:
        if not client_id:
            raise ValueError("a client id must not be empty: the session is known by it")
        if not 1 <= receive_maximum <= 65_535:
            raise ValueError(f"receive_maximum is 1 to 65535, not {receive_maximum}")
        if not 1 <= keepalive_s <= 65_535:
            raise ValueError(f"keepalive_s is 1 to 65535, not {keepalive_s}")
        if not 0 <= session_expiry_s <= 0xFFFFFFFF:
            raise ValueError(f"session_expiry_s is 0 to 4294967295, not {session_expiry_s}")
        if maximum_packet_bytes is not None and not 1 <= maximum_packet_bytes <= packets.LARGEST_PACKET_BYTES:
            raise ValueError(f"maximum_packet_bytes is 1 or more, not {maximum_packet_bytes}")
        for topic_filter in (*(each.filter for each in subscriptions), *unsubscribe):
            packets.check_filter(topic_filter)
        self.connected = False
        """Whether the broker has accepted the connection."""
        self.last_refusal: str | None = None
        """What was refused and what to do about it; None after a connection was accepted."""
        self.last_failure: str | None = None
        """Why the last attempt or connection ended, refusals included; None after one was accepted."""

        self._nodes = Nodes(settings, client_id)
        self._v5 = settings.version == "5"
        self._greeting = Greeting(
            client_id, clean_start, session_expiry_s, keepalive_s, receive_maximum, maximum_packet_bytes
        )
        self._will = will
        self._needs = Needs(subscriptions, will and will(), session_expiry_s)
        self._shortfalls: set[str] = set()
        self._subscriptions = tuple(subscriptions)
        self._unsubscribe = tuple(unsubscribe)
        self._on_connected = on_connected
        self._on_disconnected = on_disconnected
        self._on_message = on_message
        self._on_acknowledged = on_acknowledged
        self._on_failed = on_failed
        self._on_subscription_refused = on_subscription_refused
        self._on_shortfall = on_shortfall
        self._on_retained_complete = on_retained_complete

        self._window = SendWindow(window)
        self._back_off = BackOff(len(self._nodes))
        self._next_attempt = time.monotonic()
        self._generation = 0
        self._link: Link | None = None
        self._refused_here: list[tuple[object, int]] = []
        self._silent_closes = SilentCloses(client_id)
        self._closed = False
        self._leaving = False
        self._wake_up = WakeUp()

    @property
    def generation(self) -> int:
        """The number of the connection, or of the attempt, counted from 1; 0 before the first."""
        return self._generation

    @property
    def address(self) -> str:
        """The broker, or the node that is tried or in use, for a person to read."""
        return self._nodes.address

    @property
    def node(self) -> BrokerSettings:
        """The settings of the node that is tried or in use."""
        return self._nodes.current

    @property
    def fileno(self) -> int | None:
        """The descriptor of the connection, for another session's `step` to wait for; None without one."""
        return self._link.wire.fileno() if self._link is not None else None

    @property
    def has_nodes(self) -> bool:
        """Whether the broker has several nodes, as far as is known."""
        return self._nodes.several

    @property
    def features(self) -> Features:
        """What the broker's CONNACK says it can do, while connected."""
        return self._link.features if self._link is not None else Features()

    @property
    def in_flight(self) -> int:
        """Publications for which `on_acknowledged` hasn't been called."""
        return len(self._window) + len(self._refused_here)

    @property
    def received_until(self) -> float | None:
        """The moment, by `time.monotonic`, up to which all that the broker had for this session was handed
        over, as far as its answers show (see `queued`); None: none is known on this connection.
        """
        return self._link.queued.received_until if self._link is not None and self.connected else None

    def wake(self) -> None:
        """Makes the `step` that waits, or else the next one, return without waiting. From any thread."""
        self._wake_up.wake()

    def room(self) -> int:
        """How many publications may be sent now; 0 when not connected."""
        return self._window.room() - len(self._refused_here) if self.connected else 0

    def publish(self, publication: Publication, token: object) -> None:
        """Sends at the next `step`, or at the end of this one; `token` comes back in `on_acknowledged`.

        What isn't acknowledged when the connection ends is forgotten here: the owner sends it again. A
        message larger than the broker's limit isn't sent, and refused by the next `step` with 0x95. Raises
        ValueError for a topic that a broker would end the session over, RuntimeError without `room()`.
        """
        topic = packets.pack_topic(publication.topic)
        link = self._link
        if link is None or self.room() <= 0:
            raise RuntimeError("publish() without room()")
        properties = packets.pack_content_type(publication.content_type) if self._v5 else b""
        payload = publication.payload
        if packets.publish_bytes(topic, properties, payload) > link.features.largest_packet_bytes:
            self._refused_here.append((token, reasons.PACKET_TOO_LARGE))
        elif publication.retain and not link.features.retain:
            self._refused_here.append((token, reasons.RETAIN_NOT_SUPPORTED))
        else:
            mid = self._window.take(token)
            link.wire.outgoing += packets.pack_publish(
                topic, mid, properties, payload, retain=publication.retain
            )

    def acknowledge(self, received: Received) -> None:
        """Acknowledges `received` at the next `step`.

        Does nothing for a message of an earlier connection: the broker sends it again on this one.
        """
        link = self._link
        if link is not None and received.qos and received.generation == link.generation and self.connected:
            link.wire.outgoing += packets.pack_puback(received.mid)
            link.queued.acknowledged()

    def ask_whether_queued(self) -> None:
        """Sends a PINGREQ at the next `step`, for `received_until`, unless one isn't answered yet."""
        link = self._link
        if link is not None and self.connected and not link.queued.is_asked:
            self._send_ping(link)

    def unsubscribe(self, filters: Sequence[str]) -> None:
        """Ends these subscriptions until the next connection."""
        if self._link is not None and self.connected:
            self._window.reserve(self._link.unsubscribe(filters))

    def step(self, timeout_s: float, also: int | None = None) -> None:
        """Does what is due: connects, writes, waits at most `timeout_s` seconds for the broker or `wake`,
        reads one batch (`transport.READ_BYTES`), calls back, writes again. While connected, something to read
        from the descriptor `also` ends the wait, too.

        An attempt to connect may take `link.CONNECT_TIMEOUT_S` longer. Errors of the network or the broker
        are never raised; errors of a callback are.
        """
        if self._closed:
            raise RuntimeError("step() after close()")
        link = self._link
        if link is None:
            self._step_without_connection(timeout_s)
            return
        if self._refused_here:
            self._hand_on_refusals()
            timeout_s = 0.0
        if self._link is link and self._flush(link):
            readable, woken = link.wait(min(timeout_s, self._due(link) - time.monotonic()), also)
            if woken:
                self._wake_up.clear()
            if readable:
                self._read(link)
            if self._link is link and self._flush(link):
                self._stay_alive(link)

    def reconnect(self, timeout_s: float = 1.0) -> None:
        """Disconnects cleanly, as `close` does, and lets the next `step` connect again, with the current
        certificates.
        """
        self._next_attempt = time.monotonic()
        link = self._link
        if link is None:
            return
        was_connected, self._leaving = self.connected, True
        try:
            if was_connected:
                self._disconnect_cleanly(link, time.monotonic() + timeout_s)
        finally:
            self._leaving = False
            if self._link is link:
                self._drop(link)
        if was_connected:
            self._on_disconnected("to connect again with the certificates as they are now")

    def close(self, timeout_s: float) -> None:
        """Writes what is queued and disconnects cleanly, so that the Will isn't published; gives up on an
        unresponsive broker after `timeout_s` seconds. The session can't be used again.

        Acknowledgements that still come are passed on, messages aren't: the broker delivers them again.
        """
        if self._closed:
            return
        self._closed = True
        try:
            if self._link is not None and self.connected:
                self._disconnect_cleanly(self._link, time.monotonic() + timeout_s)
        finally:
            self._end()

    def abandon(self) -> None:
        """Closes the connection as if this client had died: the broker publishes its Will. The session can't
        be used again.
        """
        if not self._closed:
            self._closed = True
            self._end()

    def _end(self) -> None:
        if self._link is not None:
            self._drop(self._link)
        self._wake_up.close()

    def _step_without_connection(self, timeout_s: float) -> None:
        wait_s = self._next_attempt - time.monotonic()
        if wait_s > 0:
            self._wake_up.wait(max(0.0, min(wait_s, timeout_s)))
            if time.monotonic() < self._next_attempt:
                return
        self._generation += 1
        will = self._will() if self._will else None
        try:
            link = Link(self._nodes, self._greeting, will, self._generation, self._wake_up.fileno())
        except (OSError, UnicodeError) as error:
            self._failed(*explain(error, self._nodes.current))
        else:
            self._link = link
            self._flush(link)

    def _read(self, link: Link) -> None:
        """Reads what is available, up to `transport.READ_BYTES`, and dispatches it."""
        try:
            chunk = link.wire.receive()
        except OSError as error:
            self._lost_by(link, error)
            return
        if chunk is None:
            return
        if not chunk:
            self._closed_by_broker(link)
            return
        link.keepalive.received(time.monotonic())
        link.reader.feed(chunk)
        try:
            self._dispatch(link)
        except MalformedPacketError as error:
            self._broke_the_protocol(link, str(error))

    def _dispatch(self, link: Link) -> None:
        reader, window, v5, generation = link.reader, self._window, self._v5, link.generation
        while self._link is link and (packet := reader.next()) is not None:
            first, begin, start, stop = packet
            kind = first & 0xF0
            if kind == packets.PUBLISH and self.connected:
                topic, mid, content_type, payload = packets.unpack_publish(
                    reader.data, first, start, stop, v5=v5
                )
                if not self._closed:
                    qos = first >> 1 & 3
                    if first & 1:
                        link.burst.came()
                    if qos:
                        link.queued.came()
                    self._on_message(
                        Received(
                            topic,
                            payload,
                            first & 1 == 1,
                            first & 8 == 8,
                            mid,
                            qos,
                            content_type,
                            generation,
                        )
                    )
            elif kind == packets.PUBACK and self.connected:
                mid, code = packets.unpack_puback(reader.data, start, stop)
                if mid in window:
                    self._on_acknowledged(window.acknowledge(mid), code)
            elif not self._closed:
                for report in link.let_paho_read(reader.data[begin:stop]):
                    if self._link is link:
                        self._take_note(link, report)
                if kind == packets.PINGRESP and self._link is link:
                    self._answered_ping(link)

    def _take_note(self, link: Link, report: Report) -> None:
        match report:
            case Accepted() if self.connected:
                self._broke_the_protocol(link, "a second CONNACK")
            case Accepted():
                self._accepted(link, report)
            case Refused(code):
                self._ended(link, f"connection refused: {reasons.describe_reason(code)}", refused=True)
            case Subscribed(mid, codes):
                self._window.release(mid)
                self._subscribed(link, codes)
            case Unsubscribed(mid):
                self._window.release(mid)
            case Disconnected(code):
                self._ended(
                    link,
                    f"the broker ended the connection: {reasons.describe_reason(code)}",
                    refused=code >= reasons.REFUSAL and code not in reasons.PASSING,
                    taken_over=code == reasons.SESSION_TAKEN_OVER,
                )
            case Broken(why):
                self._broke_the_protocol(link, why)

    def _ask_whether_complete(self, link: Link) -> None:
        link.burst.await_next()
        self._ping(link)

    def _answered_ping(self, link: Link) -> None:
        link.queued.answered()
        complete = link.burst.answered()
        if complete is False:
            self._ask_whether_complete(link)
        elif complete and self._on_retained_complete is not None:
            self._on_retained_complete()

    def _subscribe(self, link: Link, subscriptions: Sequence[Subscription]) -> None:
        link.subscribing, link.subscribe_due = subscriptions, math.inf
        self._window.reserve(link.subscribe(subscriptions))

    def _subscribed(self, link: Link, codes: Sequence[int]) -> None:
        is_first = link.subscribing is self._subscriptions
        answers = list(zip(link.subscribing, codes, strict=False))
        for subscription, code in answers:
            if code >= reasons.REFUSAL and self._link is link:
                self._subscription_refused(link, subscription, code)
        link.subscribing = [each for each, code in answers if code == reasons.UNSPECIFIED]
        if link.subscribing:
            link.subscribe_due = time.monotonic() + link.subscribe_back_off.failed()
        if self._link is link and is_first and self._on_retained_complete is not None:
            self._ask_whether_complete(link)

    def _subscription_refused(self, link: Link, subscription: Subscription, code: int) -> None:
        if subscription.needed:
            why = reasons.describe_reason(code)
            self._ended(link, f"subscription to {subscription.filter} refused: {why}", refused=True)
        elif self._on_subscription_refused is not None:
            self._on_subscription_refused(subscription.filter, code)

    def _broke_the_protocol(self, link: Link, how: str) -> None:
        hint = "" if self.connected else "; check the port, it may not be one for MQTT"
        self._ended(link, f"the broker broke the protocol: {how}{hint}")

    def _accepted(self, link: Link, report: Accepted) -> None:
        missing = self._needs.missing(report.features)
        if missing is not None:
            self._ended(link, f"connection of no use: {missing}", refused=True)
            return
        link.keepalive.limit(report.keepalive_s or 0)
        link.features = report.features
        if self._subscriptions:
            self._subscribe(link, self._subscriptions)
        if self._unsubscribe and report.session_present:
            self._window.reserve(link.unsubscribe(self._unsubscribe))
        self._window.open(report.features.receive_maximum)
        self.connected = True
        if not report.session_present:
            link.queued.began(time.monotonic())
        self.last_refusal = self.last_failure = None
        self._on_connected(report.session_present)
        for shortfall in set(self._needs.shortfalls(report.features)) - self._shortfalls:
            self._shortfalls.add(shortfall)
            if self._on_shortfall is not None:
                self._on_shortfall(shortfall)

    def _hand_on_refusals(self) -> None:
        refused, self._refused_here = self._refused_here, []
        for token, code in refused:
            self._on_acknowledged(token, code)

    def _flush(self, link: Link) -> bool:
        """Writes what is queued; False when that ended the connection."""
        try:
            link.flush()
        except OSError as error:
            self._read_rest(link)
            if self._link is link:
                self._lost_by(link, error)
            return False
        return True

    def _read_rest(self, link: Link) -> None:
        """Writing failed: what the broker sent before it closed may say why."""
        with contextlib.suppress(MalformedPacketError):
            while self._link is link:
                try:
                    chunk = link.wire.receive()
                except ssl.SSLError as error:
                    if reasons.describe_tls_error(error, self._nodes.current):
                        self._lost_by(link, error)
                    return
                except OSError:
                    return
                if not chunk:
                    return
                link.reader.feed(chunk)
                self._dispatch(link)

    def _due(self, link: Link) -> float:
        """When `step` has something to do though nothing is received."""
        return min(link.keepalive.next_due(), link.subscribe_due) if self.connected else link.connack_due

    def _stay_alive(self, link: Link) -> None:
        now = time.monotonic()
        if not self.connected:
            if now >= link.connack_due:
                hint = "; if it doesn't speak MQTT 5, set --broker-version 3.1.1" if self._v5 else ""
                self._ended(
                    link,
                    f"the broker accepted the connection and sent nothing for {CONNECT_TIMEOUT_S:g} s{hint}",
                )
        elif link.keepalive.lost(now):
            self._ended(link, f"nothing has come from the broker for {link.keepalive.silent_s(now):.0f} s")
        elif link.keepalive.ping_due(now):
            self._ping(link)
            self._flush(link)
        elif now >= link.subscribe_due:
            self._subscribe(link, link.subscribing)
            self._flush(link)

    def _ping(self, link: Link) -> None:
        link.keepalive.pinged(time.monotonic())
        self._send_ping(link)

    def _send_ping(self, link: Link) -> None:
        link.burst.asked()
        link.queued.asked(time.monotonic())
        link.wire.outgoing += packets.PINGREQ

    def _lost_by(self, link: Link, error: OSError) -> None:
        why, refused = explain(error, self._nodes.current)
        if not refused:
            why = f"the connection broke: {why}" if self.connected else self._explain_early_end()
        self._ended(link, why, refused=refused)

    def _explain_early_end(self) -> str:
        return explain_early_end(self._nodes.current, self._will() if self._will else None)

    def _closed_by_broker(self, link: Link) -> None:
        """The broker closed without DISCONNECT."""
        if not self.connected:
            self._ended(link, self._explain_early_end())
            return
        why, taken_over = self._silent_closes.add(time.monotonic() - link.began)
        self._ended(link, why, refused=taken_over, taken_over=taken_over, silent=True)

    def _ended(
        self, link: Link, why: str, *, refused: bool = False, taken_over: bool = False, silent: bool = False
    ) -> None:
        was_connected = self.connected
        if not silent:
            self._silent_closes.clear()
        self._drop(link)
        if self._closed or self._leaving:
            return
        if not was_connected:
            self._failed(why, refused)
            return
        self.last_failure = why
        if refused:
            self.last_refusal = why
        now = time.monotonic()
        self._next_attempt = now + self._back_off.lost(now - link.began, taken_over=taken_over)
        self._on_disconnected(why)
        self._nodes.go_on()

    def _failed(self, why: str, refused: bool) -> None:
        self._silent_closes.clear()
        self.last_failure = f"{self.address}: {why}"
        if refused:
            self.last_refusal = self.last_failure
        self._next_attempt = time.monotonic() + self._back_off.failed()
        if self._on_failed is not None:
            self._on_failed(self.last_failure)
        self._nodes.go_on()

    def _drop(self, link: Link) -> None:
        self.connected = False
        self._link = None
        self._window.close()
        self._refused_here.clear()
        link.close()

    def _disconnect_cleanly(self, link: Link, deadline: float) -> None:
        """DISCONNECT, then reading until the broker closes.

        Closing with bytes unread would reset the connection, and the broker might never see the DISCONNECT.
        """
        with contextlib.suppress(OSError):
            link.disconnect()
            while not link.flush() and time.monotonic() < deadline:
                link.wait(deadline - time.monotonic())
            link.wire.finish_writing()
        while self._link is link and (left_s := deadline - time.monotonic()) > 0:
            readable, _ = link.wait(left_s)
            if readable:
                self._read(link)
