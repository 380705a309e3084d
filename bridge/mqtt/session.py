"""One session with a broker, without threads. The only import of paho.

paho connects (TLS, WebSocket, CONNECT with its properties), subscribes and disconnects, driven by its external loop.
The packets that come by the thousand, PUBLISH and PUBACK, never reach it: `packets` makes and reads them, `SendWindow`
counts them, and what one step has to say leaves in one write. So paho has no list of messages that it might send again
by itself: the owner's outbox is the only queue.

Everything is called in the owner's thread, callbacks too; only `wake` may come from another. What paho reports is noted
and handed on after paho has returned, so an exception in an owner's callback comes out of `step` untouched.
"""

import socket
import ssl
import time
from collections.abc import Callable, Sequence
from select import POLLIN, POLLOUT, poll
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from bridge.mqtt import packets, reasons
from bridge.mqtt.backoff import BackOff
from bridge.mqtt.messages import Publication, Received, Subscription
from bridge.mqtt.packets import MalformedPacket
from bridge.mqtt.settings import BrokerSettings
from bridge.mqtt.transport import ReadAhead, Wire, connect_tcp, wrap_tls
from bridge.mqtt.window import SendWindow

__all__ = ["BrokerSettings", "Publication", "Received", "Session", "Subscription"]

CONNECT_TIMEOUT_S = 5.0
"""For all of TCP, TLS and WebSocket together, and as long again for the CONNACK."""

PING_AFTER = 0.6
"""A PINGREQ is due when nothing was sent, or nothing came, for this part of the keep alive …"""
LOST_AFTER = 1.2
"""… and the connection is lost when nothing at all came for this part of it."""

_PINGREQ = b"\xc0\x00"


class _Client(paho.Client):
    """paho on a wire of ours: TCP without delay, one time limit for all of connecting, no syscall a packet."""

    wire: Wire | None = None
    bottom: socket.socket | None = None
    ahead: ReadAhead | None = None
    deadline: float = 0.0

    def _create_socket_connection(self) -> Any:
        self.bottom = connect_tcp(self.host, self.port, self.deadline)
        return self.bottom if self._ssl or self.transport != "websockets" else self._read_ahead()

    def _ssl_wrap_socket(self, tcp_sock: Any) -> Any:
        assert self._ssl_context is not None
        self.bottom = wrap_tls(tcp_sock, self._ssl_context, self.host, self.deadline)
        return self.bottom if self.transport != "websockets" else self._read_ahead()

    def _read_ahead(self) -> ReadAhead:
        assert self.bottom is not None
        self.ahead = ReadAhead(self.bottom, self.deadline)
        return self.ahead

    def _create_socket(self) -> Any:
        stream: Any = super()._create_socket()
        assert self.bottom is not None
        self.wire = Wire(stream, self.bottom, self.ahead)
        return self.wire


class _Link:
    """One connection, from CONNECT to its end, and what paho reported of it."""

    def __init__(
        self, client: _Client, wire: Wire, generation: int, keepalive_s: float, reader: packets.PacketReader
    ) -> None:
        now = time.monotonic()
        self.client = client
        self.wire = wire
        self.generation = generation
        self.reader = reader
        self.poll = poll()
        self.began = now
        self.last_in = now
        self.last_out = now
        self.keepalive_s = keepalive_s
        self.largest_packet_bytes = packets.LARGEST_PACKET_BYTES
        self.retain_available = True
        self.writing_blocked = False
        self.connack: tuple[bool, int, Any] | None = None
        self.subacks: list[tuple[int, list[int]]] = []
        self.subscribing: dict[int, list[str]] = {}
        self.disconnect_code: int | None = None


class Session:
    """A session with one broker, that connects again by itself for as long as `step` is called.

    `client_id` names the session; with `clean_start` false the broker keeps it for `session_expiry_s` seconds after a
    disconnect (on MQTT 3.1.1 `clean_start` is the clean session flag, and the broker decides how long). `receive_maximum`
    is how many QoS 1 messages the broker may send ahead of their acknowledgement, `maximum_packet_bytes` the largest
    packet it may send (both MQTT 5).

    Callbacks, always inside `step` (`on_acknowledged` inside `close`, too):
    `on_connected(session_present)`; `on_disconnected(why)`, once for each `on_connected`; `on_failed(why)`, for each attempt that
    led to no connection; `on_message(received)`; `on_acknowledged(token, reason_code)`, at most once for each `publish`, where
    a code from 0x80 on is a refusal: the broker doesn't have the message and the connection goes on.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        *,
        client_id: str,
        clean_start: bool,
        session_expiry_s: int,
        will: Publication | None = None,
        subscriptions: Sequence[Subscription] = (),
        receive_maximum: int = 1000,
        window: int = 20,
        keepalive_s: int = 10,
        maximum_packet_bytes: int | None = None,
        on_connected: Callable[[bool], None],
        on_disconnected: Callable[[str], None],
        on_message: Callable[[Received], None],
        on_acknowledged: Callable[[object, int], None],
        on_failed: Callable[[str], None] | None = None,
    ) -> None:
        if not client_id:
            raise ValueError("a client id must not be empty: the session is known by it")
        if not 1 <= receive_maximum <= 65_535:
            raise ValueError(f"receive_maximum is 1 to 65535, not {receive_maximum}")
        if not 1 <= keepalive_s <= 65_535:
            raise ValueError(f"keepalive_s is 1 to 65535, not {keepalive_s}")
        if will is not None:
            packets.pack_topic(will.topic)
        self._settings = settings
        self._v5 = settings.version == "5"
        self._client_id = client_id
        self._clean_start = clean_start
        self._session_expiry_s = session_expiry_s
        self._will = will
        self._subscriptions = tuple(subscriptions)
        self._receive_maximum = receive_maximum
        self._keepalive_s = keepalive_s
        self._maximum_packet_bytes = maximum_packet_bytes
        self._on_connected = on_connected
        self._on_disconnected = on_disconnected
        self._on_message = on_message
        self._on_acknowledged = on_acknowledged
        self._on_failed = on_failed

        self._window = SendWindow(window)
        self._back_off = BackOff()
        self._next_attempt = time.monotonic()
        self._generation = 0
        self._link: _Link | None = None
        self._refused_here: list[tuple[object, int]] = []
        self._closed = False
        self._woken = False
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._idle_poll = poll()
        self._idle_poll.register(self._wake_out, POLLIN)

        self.connected = False
        """Whether the broker has accepted the connection."""
        self.last_refusal: str | None = None
        """What was refused, and what to do about it; None once a connection was accepted again."""
        self.last_failure: str | None = None
        """Why the last attempt or connection ended, refusals included; None once a connection was accepted again."""

    @property
    def generation(self) -> int:
        """The number of the connection, counted from 1; 0 before the first."""
        return self._generation

    @property
    def in_flight(self) -> int:
        """Publications that were sent and that the broker hasn't answered."""
        return len(self._window) + len(self._refused_here)

    def wake(self) -> None:
        """Lets the `step` that is waiting, or else the next one, return without waiting. From any thread."""
        if self._woken:
            return
        self._woken = True
        try:
            self._wake_in.send(b"w")
        except OSError:
            pass  # full: it is awake already; closed: nobody waits any more

    def room(self) -> int:
        """How many publications may be sent now; 0 when not connected."""
        return self._window.room() - len(self._refused_here) if self.connected else 0

    def publish(self, publication: Publication, token: object) -> None:
        """Sends at the next `step`; `token` comes back in `on_acknowledged`.

        What isn't acknowledged when the connection ends is forgotten here: the owner sends it again.
        Raises ValueError for a topic that a broker would end the session over, RuntimeError without `room()`.
        """
        topic = packets.pack_topic(publication.topic)
        link = self._link
        if link is None or self.room() <= 0:
            raise RuntimeError("publish() without room()")
        properties = packets.pack_content_type(publication.content_type) if self._v5 else b""
        payload = publication.payload
        if len(topic) + len(properties) + len(payload) + 7 > link.largest_packet_bytes:
            self._refused_here.append((token, reasons.PACKET_TOO_LARGE))
        elif publication.retain and not link.retain_available:
            self._refused_here.append((token, reasons.RETAIN_NOT_SUPPORTED))
        else:
            mid = self._window.take(token)
            link.wire.outgoing += packets.pack_publish(
                topic, mid, properties, payload, retain=publication.retain
            )

    def acknowledge(self, received: Received) -> None:
        """Tells the broker, at the next `step`, that `received` has been dealt with. Nothing happens for a message of an
        earlier connection: the broker sends it again on this one."""
        link = self._link
        if link is not None and received.qos and received.generation == link.generation and self.connected:
            link.wire.outgoing += packets.pack_puback(received.mid)

    def step(self, timeout_s: float) -> None:
        """Does all that is due: connects, writes, waits at most `timeout_s` seconds for the broker or `wake`, reads one batch
        (`transport.READ_BYTES`), calls back, writes again.

        An attempt to connect may take `CONNECT_TIMEOUT_S` longer. Trouble with the network or the broker is never raised;
        what a callback raises is.
        """
        if self._closed:
            raise RuntimeError("step() after close()")
        link = self._link
        if link is None:
            self._step_without_connection(timeout_s)
            return
        if self._refused_here:
            refused, self._refused_here = self._refused_here, []
            for token, code in refused:
                self._on_acknowledged(token, code)
            timeout_s = 0.0
        if not self._flush(link):
            return
        ready = dict(link.poll.poll(self._wait_ms(link, timeout_s)))
        if self._wake_out.fileno() in ready:
            self._drain_wake()
        if ready.get(link.wire.fileno(), 0) & ~POLLOUT or link.wire.has_more():
            self._read(link)
            if self._link is not link:
                return
        if self._flush(link):
            self._keep_alive(link)

    def close(self, timeout_s: float) -> None:
        """Writes what waits and disconnects cleanly, so that the Will isn't published; gives up on a silent broker after
        `timeout_s` seconds. Acknowledgements that still come are handed on, messages aren't. The session is over."""
        if self._closed:
            return
        self._closed = True
        deadline = time.monotonic() + timeout_s
        link = self._link
        try:
            if link is not None:
                if self.connected:
                    self._say_goodbye(link, deadline)
                self._drop(link)
        finally:
            self._wake_in.close()
            self._wake_out.close()

    # Connecting

    def _step_without_connection(self, timeout_s: float) -> None:
        wait_s = self._next_attempt - time.monotonic()
        if wait_s > 0:
            if self._idle_poll.poll(max(0.0, min(wait_s, timeout_s)) * 1000):
                self._drain_wake()
            if time.monotonic() < self._next_attempt:
                return
        self._attempt()

    def _attempt(self) -> None:
        self._generation += 1
        client = None
        try:
            client = self._make_client()
            client.deadline = time.monotonic() + CONNECT_TIMEOUT_S
            options: dict[str, Any] = {}
            if self._v5:
                options = {"clean_start": self._clean_start, "properties": self._connect_properties()}
            client.connect(self._settings.host, self._settings.effective_port, self._keepalive_s, **options)
            client.loop_write()
        except (OSError, UnicodeError) as error:
            if client is not None and client.bottom is not None:
                client.bottom.close()
            refusal = (
                reasons.describe_tls_error(error, self._settings) if isinstance(error, ssl.SSLError) else None
            )
            self._failed(refusal or reasons.describe_network_error(error), refused=refusal is not None)
            return
        assert client.wire is not None
        limit = (
            packets.LARGEST_PACKET_BYTES if self._maximum_packet_bytes is None else self._maximum_packet_bytes
        )
        reader = packets.PacketReader(limit if self._v5 else packets.LARGEST_PACKET_BYTES)
        link = _Link(client, client.wire, self._generation, self._keepalive_s, reader)
        link.poll.register(link.wire.fileno(), POLLIN)
        link.poll.register(self._wake_out, POLLIN)
        client.user_data_set(link)
        self._link = link
        self._flush(link)

    def _make_client(self) -> _Client:
        settings = self._settings
        client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            clean_session=None if self._v5 else self._clean_start,
            protocol=MQTTProtocolVersion.MQTTv5 if self._v5 else MQTTProtocolVersion.MQTTv311,
            transport="websockets" if settings.websocket else "tcp",
            reconnect_on_failure=False,
            manual_ack=True,
        )
        if settings.user is not None:
            client.username_pw_set(settings.user, settings.password)
        if settings.websocket:
            client.ws_set_options(path=settings.path)
        if settings.tls:
            client.tls_set_context(_tls_context(settings))
        if self._will is not None:
            properties = None
            if self._v5 and self._will.content_type is not None:
                properties = Properties(PacketTypes.WILLMESSAGE)
                properties.ContentType = self._will.content_type
            client.will_set(self._will.topic, self._will.payload, 1, self._will.retain, properties)
        client.on_connect = _note_connack
        client.on_subscribe = _note_suback
        client.on_disconnect = _note_disconnect
        return client

    def _connect_properties(self) -> Properties:
        properties = Properties(PacketTypes.CONNECT)
        properties.ReceiveMaximum = self._receive_maximum
        if self._session_expiry_s:
            properties.SessionExpiryInterval = self._session_expiry_s
        if self._maximum_packet_bytes is not None:
            properties.MaximumPacketSize = self._maximum_packet_bytes
        return properties

    def _accepted(self, link: _Link, session_present: bool, properties: Any) -> None:
        receive_maximum = getattr(properties, "ReceiveMaximum", None)
        link.keepalive_s = getattr(properties, "ServerKeepAlive", link.keepalive_s) or link.keepalive_s
        link.largest_packet_bytes = getattr(properties, "MaximumPacketSize", link.largest_packet_bytes)
        link.retain_available = bool(getattr(properties, "RetainAvailable", 1))
        if getattr(properties, "MaximumQoS", 1) < 1:
            self._refused(link, f"connection refused: {reasons.describe_reason(0x9B)}")
            return
        if self._subscriptions:
            self._subscribe(link)
        self._window.open(receive_maximum)
        self.connected = True
        self.last_refusal = self.last_failure = None
        self._on_connected(session_present)

    def _subscribe(self, link: _Link) -> None:
        wanted: list[Any] = []
        for subscription in self._subscriptions:
            options = SubscribeOptions(
                subscription.qos,
                subscription.no_local,
                subscription.retain_as_published,
                subscription.retain_handling,
            )
            wanted.append((subscription.filter, options if self._v5 else subscription.qos))
        _, mid = link.client.subscribe(wanted)
        if mid is not None:
            self._window.reserve(mid)
            link.subscribing[mid] = [subscription.filter for subscription in self._subscriptions]
        link.client.loop_write()

    def _subscribed(self, link: _Link, mid: int, codes: list[int]) -> None:
        self._window.release(mid)
        for topic_filter, code in zip(link.subscribing.pop(mid, []), codes, strict=False):
            if code >= reasons.REFUSAL:
                self._refused(
                    link, f"subscription to {topic_filter} refused: {reasons.describe_reason(code)}"
                )
                return

    # Reading

    def _read(self, link: _Link) -> None:
        try:
            chunk = link.wire.receive()
        except OSError as error:
            self._lost_by(link, error)
            return
        if chunk is None:
            return
        if chunk:
            link.last_in = time.monotonic()
            link.reader.feed(chunk)
            try:
                self._dispatch(link)
            except MalformedPacket as error:
                self._ended(link, f"the broker broke the protocol: {error}")
        elif self.connected:
            self._ended(link, "the broker closed the connection")
        else:
            hint = (
                ""
                if self._settings.tls
                else ": is it a port for TLS (mqtts://), or for something else than MQTT?"
            )
            self._ended(link, f"the broker closed the connection before it answered{hint}")

    def _dispatch(self, link: _Link) -> None:
        reader, window, v5, generation = link.reader, self._window, self._v5, link.generation
        while self._link is link and (packet := reader.next()) is not None:
            first, begin, start, stop = packet
            kind = first & 0xF0
            if kind == packets.PUBLISH and self.connected:
                topic, mid, content_type, payload = packets.unpack_publish(
                    reader.data, first, start, stop, v5=v5
                )
                qos = first >> 1 & 3
                if qos > 1:
                    raise MalformedPacket("a message at QoS 2, which was not subscribed to")
                if self._closed:
                    continue
                self._on_message(
                    Received(
                        topic, payload, first & 1 == 1, first & 8 == 8, mid, qos, content_type, generation
                    )
                )
            elif kind == packets.PUBACK and self.connected:
                mid, code = packets.unpack_puback(reader.data, start, stop)
                try:
                    token = window.settle(mid)
                except KeyError:
                    continue
                self._on_acknowledged(token, code)
            else:
                self._let_paho_read(link, first, reader.data[begin:stop])

    def _let_paho_read(self, link: _Link, first: int, packet: bytes) -> None:
        link.wire.offer(packet)
        result = link.client.loop_read()
        if link.connack is not None:
            session_present, code, properties = link.connack
            link.connack = None
            if code >= reasons.REFUSAL:
                self._refused(link, f"connection refused: {reasons.describe_reason(code)}")
            else:
                self._accepted(link, session_present, properties)
        elif first == packets.CONNACK and not self.connected:
            # paho has no word for it: 3.1.1, code 1
            self._refused(
                link, f"connection refused: {reasons.describe_reason(reasons.UNSUPPORTED_PROTOCOL_VERSION)}"
            )
        for mid, codes in link.subacks:
            if self._link is link:
                self._subscribed(link, mid, codes)
        link.subacks.clear()
        if self._link is not link:
            return
        if link.disconnect_code is not None:
            code = link.disconnect_code
            self._ended(
                link,
                f"the broker ended the connection: {reasons.describe_reason(code)}",
                taken_over=code == reasons.SESSION_TAKEN_OVER,
            )
        elif result != MQTTErrorCode.MQTT_ERR_SUCCESS or link.wire.closed_by_paho:
            self._ended(link, f"the broker broke the protocol: {paho.error_string(result)}")

    # Writing and staying alive

    def _flush(self, link: _Link) -> bool:
        """False when that was the end of the connection."""
        if not link.wire.outgoing:
            return True
        try:
            done = link.wire.flush()
        except OSError as error:
            self._lost_by(link, error)
            return False
        link.last_out = time.monotonic()
        if done is link.writing_blocked:
            link.writing_blocked = not done
            link.poll.modify(link.wire.fileno(), POLLIN if done else POLLIN | POLLOUT)
        return True

    def _wait_ms(self, link: _Link, timeout_s: float) -> float:
        if link.wire.has_more() or self._refused_here:
            return 0.0
        now = time.monotonic()
        if self.connected:
            due = min(link.last_in, link.last_out) + PING_AFTER * link.keepalive_s
            if due <= now:
                due = link.last_in + LOST_AFTER * link.keepalive_s
        else:
            due = link.began + CONNECT_TIMEOUT_S
        return max(0.0, min(timeout_s, due - now)) * 1000

    def _keep_alive(self, link: _Link) -> None:
        now = time.monotonic()
        if not self.connected:
            if now - link.began >= CONNECT_TIMEOUT_S:
                self._ended(
                    link, f"the broker took the connection and said nothing for {CONNECT_TIMEOUT_S:g} s"
                )
            return
        silent_s = now - link.last_in
        if silent_s >= LOST_AFTER * link.keepalive_s:
            self._ended(link, f"nothing came from the broker for {silent_s:.1f} s")
        elif (
            now - min(link.last_in, link.last_out) >= PING_AFTER * link.keepalive_s and not link.wire.outgoing
        ):
            if now - link.last_out >= 0.3 * link.keepalive_s:
                link.wire.outgoing += _PINGREQ
                self._flush(link)

    def _drain_wake(self) -> None:
        self._woken = False
        try:
            self._wake_out.recv(4096)
        except BlockingIOError:
            pass

    # Ending

    def _lost_by(self, link: _Link, error: OSError) -> None:
        words = reasons.describe_tls_error(error, self._settings) if isinstance(error, ssl.SSLError) else None
        if words is not None:
            self._refused(link, words)
        else:
            self._ended(link, f"the connection broke: {reasons.describe_network_error(error)}")

    def _refused(self, link: _Link, why: str) -> None:
        self.last_refusal = why
        self._ended(link, why)

    def _ended(self, link: _Link, why: str, *, taken_over: bool = False) -> None:
        was_connected = self.connected
        self._drop(link)
        if not was_connected:
            self._failed(why, refused=self.last_refusal == why)
            return
        if taken_over:
            self.last_refusal = why
        self.last_failure = why
        now = time.monotonic()
        self._next_attempt = now + self._back_off.lost(now - link.began, taken_over=taken_over)
        self._on_disconnected(why)

    def _failed(self, why: str, *, refused: bool) -> None:
        said = f"{self._settings.address}: {why}"
        self.last_failure = said
        if refused:
            self.last_refusal = said
        self._next_attempt = time.monotonic() + self._back_off.failed()
        if self._on_failed is not None:
            self._on_failed(said)

    def _drop(self, link: _Link) -> None:
        self.connected = False
        self._link = None
        self._window.close()
        self._refused_here.clear()
        link.wire.really_close()

    def _say_goodbye(self, link: _Link, deadline: float) -> None:
        """DISCONNECT, then reading until the broker closes: closing with bytes unread would reset the connection, and the
        broker might never see the DISCONNECT."""
        link.client.disconnect()
        link.client.loop_write()
        said = False
        try:
            while (left_s := deadline - time.monotonic()) > 0:
                if not said and link.wire.flush():
                    said = True
                    link.wire.finish_writing()
                link.poll.modify(link.wire.fileno(), POLLIN if said else POLLIN | POLLOUT)
                link.poll.poll(left_s * 1000)
                chunk = link.wire.receive()
                if chunk:
                    link.reader.feed(chunk)
                    self._dispatch(link)
                elif chunk is not None:
                    return
        except (OSError, MalformedPacket):
            return


def _tls_context(settings: BrokerSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise OSError(None, f"--broker-ca-file {settings.ca_file} can't be used: {error}") from error
    if settings.cert_file is not None:
        try:
            context.load_cert_chain(settings.cert_file, settings.key_file)
        except (OSError, ssl.SSLError) as error:
            files = " with ".join(file for file in (settings.cert_file, settings.key_file) if file)
            raise OSError(None, f"--broker-cert-file {files} can't be used: {error}") from error
    return context


def _note_connack(
    _: paho.Client, link: _Link, flags: paho.ConnectFlags, code: ReasonCode, properties: Properties | None
) -> None:
    link.connack = (flags.session_present, code.value, properties)


def _note_suback(
    _: paho.Client, link: _Link, mid: int, codes: list[ReasonCode], __: Properties | None
) -> None:
    link.subacks.append((mid, [code.value for code in codes]))


def _note_disconnect(
    _: paho.Client, link: _Link | None, flags: paho.DisconnectFlags, code: ReasonCode, __: Properties | None
) -> None:
    if link is not None and flags.is_disconnect_packet_from_server:
        link.disconnect_code = code.value
