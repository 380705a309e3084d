"""One connection to a broker, from CONNECT to its end. The only import of paho.

paho connects (TLS, WebSocket, CONNECT with its properties), subscribes and disconnects, driven by its
external loop on a wire of ours. It reads only what `let_paho_read` passes to it. What it reports is returned
as a list: no callback of the session's owner ever runs inside paho.
"""

import math
import socket
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from select import POLLIN, POLLOUT, poll
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from bridge.mqtt import packets, reasons
from bridge.mqtt.backoff import BackOff
from bridge.mqtt.burst import Burst
from bridge.mqtt.features import Features
from bridge.mqtt.keepalive import KeepAlive
from bridge.mqtt.messages import Publication, Subscription
from bridge.mqtt.nodes import Nodes
from bridge.mqtt.packets import PacketReader
from bridge.mqtt.queued import Queued
from bridge.mqtt.settings import BrokerSettings
from bridge.mqtt.transport import ReadAhead, Wire, connect_tcp, resolve, wrap_tls

CONNECT_TIMEOUT_S = 5.0
"""The limit for name resolution, TCP, TLS and WebSocket together, and again for the CONNACK."""

_WRONG_VERSION = b"\x20\x02\x00\x01"
"""CONNACK of MQTT 3.1.1 with return code 1, unacceptable protocol version."""


@dataclass(frozen=True, slots=True)
class Greeting:
    """The session's parameters in CONNECT. `keepalive_s` and `session_expiry_s` in seconds."""

    client_id: str
    clean_start: bool
    session_expiry_s: int
    keepalive_s: int
    receive_maximum: int
    maximum_packet_bytes: int | None


@dataclass(frozen=True, slots=True)
class Accepted:
    """A CONNACK that accepts, with the broker's features; `keepalive_s` None where it sets none."""

    session_present: bool
    keepalive_s: int | None
    features: Features


@dataclass(frozen=True, slots=True)
class Refused:
    """A CONNACK that refuses, with its reason code as MQTT 5 has it."""

    code: int


@dataclass(frozen=True, slots=True)
class Subscribed:
    """SUBACK: for each subscription, in order, the QoS granted or a reason code from 0x80 on."""

    mid: int
    codes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Unsubscribed:
    """UNSUBACK."""

    mid: int


@dataclass(frozen=True, slots=True)
class Disconnected:
    """DISCONNECT from the broker (MQTT 5)."""

    code: int


@dataclass(frozen=True, slots=True)
class Broken:
    """paho failed on what the broker sent."""

    why: str


Report = Accepted | Refused | Subscribed | Unsubscribed | Disconnected | Broken


class _Client(paho.Client):
    """paho on our wire: TCP without delay, one time limit for connecting, no system call per packet."""

    wire: Wire | None = None
    bottom: socket.socket | None = None
    ahead: ReadAhead | None = None
    deadline: float = 0.0
    nodes: Nodes | None = None

    # paho's own annotations name types that aren't public, hence Any.
    def _create_socket_connection(self) -> Any:  # noqa: ANN401
        assert self.nodes is not None
        records = self.nodes.arrange(resolve(self.host, self.port, self.deadline))
        self.bottom, reached = connect_tcp(records, self.deadline)
        self.nodes.reached(reached)
        return self.bottom if self._ssl else self._read_ahead(self.bottom)

    def _ssl_wrap_socket(self, tcp_sock: Any) -> Any:  # noqa: ANN401
        assert self._ssl_context is not None
        self.bottom = wrap_tls(tcp_sock, self._ssl_context, self.host, self.deadline)
        return self._read_ahead(self.bottom)

    def _read_ahead(self, bottom: socket.socket) -> socket.socket | ReadAhead:
        if self.transport != "websockets":
            return bottom
        self.ahead = ReadAhead(bottom, self.deadline)
        return self.ahead

    def _create_socket(self) -> Any:  # noqa: ANN401
        stream: Any = super()._create_socket()
        assert self.bottom is not None
        self.wire = Wire(stream, self.bottom, self.ahead)
        return self.wire


class Link:
    """A connection to the current one of `nodes`, over which CONNECT was sent. Opening one takes at most
    `CONNECT_TIMEOUT_S`.

    Raises OSError (`ssl.SSLError` is one) or UnicodeError (an invalid host name).
    """

    def __init__(
        self,
        nodes: Nodes,
        greeting: Greeting,
        will: Publication | None,
        generation: int,
        wake_fd: int,
    ) -> None:
        self.generation = generation
        self.began = time.monotonic()
        self.features = Features()
        settings = nodes.current
        v5 = settings.version == "5"
        limit_bytes = greeting.maximum_packet_bytes if v5 else None
        self.reader = PacketReader(limit_bytes or packets.LARGEST_PACKET_BYTES)
        self._v5 = v5
        self._reports: list[Report] = []
        self._client = client = self._make_client(settings, greeting, will)
        options: dict[str, Any] = {}
        if v5:
            options = {"clean_start": greeting.clean_start, "properties": _connect_properties(greeting)}
        client.nodes = nodes
        client.deadline = self.began + CONNECT_TIMEOUT_S
        try:
            client.connect(settings.host, settings.effective_port, greeting.keepalive_s, **options)
            client.loop_write()
        except BaseException:
            if client.bottom is not None:
                client.bottom.close()
            raise
        assert client.wire is not None
        self.wire = client.wire
        now = time.monotonic()
        self.connack_due = now + CONNECT_TIMEOUT_S
        self.keepalive = KeepAlive(greeting.keepalive_s, now)
        self.burst = Burst()
        self.queued = Queued()
        self.subscribing: Sequence[Subscription] = ()
        self.subscribe_due = math.inf
        self.subscribe_back_off = BackOff()
        self._blocked = False
        self._poll = poll()
        self._poll.register(self.wire.fileno(), POLLIN)
        self._poll.register(wake_fd, POLLIN)

    def wait(self, timeout_s: float, also: int | None = None) -> tuple[bool, bool]:
        """Waits for the broker, for space to write if needed, for the wake-up, or until there is something to
        read from the descriptor `also`: (readable, woken).
        """
        readable = woken = False
        fd = self.wire.fileno()
        if also is not None:
            self._poll.register(also, POLLIN)
        for ready, events in self._poll.poll(0 if self.wire.has_more() else max(0.0, timeout_s) * 1000):
            if ready == fd:
                readable = bool(events & ~POLLOUT)
            elif ready != also:
                woken = True
        if also is not None:
            self._poll.unregister(also)
        return readable or self.wire.has_more(), woken

    def flush(self) -> bool:
        """Writes what is queued; False when some of it has to wait for the network. Raises OSError."""
        if not self.wire.outgoing:
            return not self._blocked
        done = self.wire.flush()
        self.keepalive.sent(time.monotonic())
        if done is self._blocked:
            self._blocked = not done
            self._poll.modify(self.wire.fileno(), POLLIN if done else POLLIN | POLLOUT)
        return done

    def let_paho_read(self, packet: bytes) -> list[Report]:
        """Passes paho one packet, neither PUBLISH nor PUBACK, and returns its reports."""
        self.wire.offer(packet)
        result = self._client.loop_read()
        if not self._v5 and not self._reports and packet == _WRONG_VERSION:
            # paho would try 3.1 next, and as it may not, reports nothing.
            self._reports.append(Refused(reasons.UNSUPPORTED_PROTOCOL_VERSION))
        elif not self._reports and (result != MQTTErrorCode.MQTT_ERR_SUCCESS or self.wire.closed_by_paho):
            self._reports.append(Broken(paho.error_string(result)))
        reports, self._reports = self._reports, []
        return reports

    def subscribe(self, subscriptions: Sequence[Subscription]) -> int:
        """Sends one SUBSCRIBE for all of them and returns its packet identifier."""
        wanted: list[Any] = [
            (
                each.filter,
                SubscribeOptions(each.qos, each.no_local, each.retain_as_published, each.retain_handling)
                if self._v5
                else each.qos,
            )
            for each in subscriptions
        ]
        _, mid = self._client.subscribe(wanted)
        assert mid is not None  # the wire stands
        self._client.loop_write()
        return mid

    def unsubscribe(self, filters: Sequence[str]) -> int:
        """Sends one UNSUBSCRIBE for all of them and returns its packet identifier."""
        _, mid = self._client.unsubscribe(list(filters))
        assert mid is not None  # the wire stands
        self._client.loop_write()
        return mid

    def disconnect(self) -> None:
        """Queues DISCONNECT behind what is to be written: the broker then doesn't publish the Will."""
        self._client.disconnect()
        self._client.loop_write()

    def close(self) -> None:
        """Closes the socket, at once."""
        self.wire.really_close()

    def _make_client(self, settings: BrokerSettings, greeting: Greeting, will: Publication | None) -> _Client:
        client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=greeting.client_id,
            clean_session=None if self._v5 else greeting.clean_start,
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
            client.tls_set_context(tls_context(settings))
        if will is not None:
            properties = None
            if self._v5 and will.content_type is not None:
                properties = Properties(PacketTypes.WILLMESSAGE)  # type: ignore[no-untyped-call]
                properties.ContentType = will.content_type
            client.will_set(will.topic, will.payload, 1, will.retain, properties)
        client.on_connect = self._report_connack
        client.on_subscribe = self._report_suback
        client.on_unsubscribe = self._report_unsuback
        client.on_disconnect = self._report_disconnect
        return client

    def _report_connack(
        self,
        _client: paho.Client,
        _userdata: object,
        flags: paho.ConnectFlags,
        code: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if code.value >= reasons.REFUSAL:
            self._reports.append(Refused(code.value))
            return
        self._reports.append(
            Accepted(
                session_present=flags.session_present,
                keepalive_s=getattr(properties, "ServerKeepAlive", None),
                features=Features(
                    qos1=getattr(properties, "MaximumQoS", 1) != 0,
                    retain=getattr(properties, "RetainAvailable", 1) != 0,
                    wildcards=getattr(properties, "WildcardSubscriptionAvailable", 1) != 0,
                    shared=getattr(properties, "SharedSubscriptionAvailable", 1) != 0,
                    receive_maximum=getattr(properties, "ReceiveMaximum", 65_535),
                    largest_packet_bytes=getattr(
                        properties, "MaximumPacketSize", packets.LARGEST_PACKET_BYTES
                    ),
                    session_expiry_s=getattr(properties, "SessionExpiryInterval", None),
                ),
            )
        )

    def _report_suback(
        self,
        _client: paho.Client,
        _userdata: object,
        mid: int,
        codes: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        self._reports.append(Subscribed(mid, tuple(code.value for code in codes)))

    def _report_unsuback(
        self,
        _client: paho.Client,
        _userdata: object,
        mid: int,
        _codes: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        self._reports.append(Unsubscribed(mid))

    def _report_disconnect(
        self,
        _client: paho.Client,
        _userdata: object,
        flags: paho.DisconnectFlags,
        code: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            self._reports.append(Disconnected(code.value))


def _connect_properties(greeting: Greeting) -> Properties:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.ReceiveMaximum = greeting.receive_maximum
    if greeting.session_expiry_s:
        properties.SessionExpiryInterval = greeting.session_expiry_s
    if greeting.maximum_packet_bytes is not None:
        properties.MaximumPacketSize = greeting.maximum_packet_bytes
    return properties


def tls_context(settings: BrokerSettings) -> ssl.SSLContext:
    """The TLS context from the settings' files. Raises `FileUnusableError`, which names the option, the file
    and what is wrong with it.
    """
    ca, cert, key = settings.ca_file, settings.cert_file, settings.key_file
    for option, file in (("ca", ca), ("cert", cert), ("key", key)):
        if file is not None:
            try:
                Path(file).read_bytes()
            except OSError as error:
                raise FileUnusableError(option, file, error.strerror or str(error)) from error
    try:
        context = ssl.create_default_context(cafile=ca)
    except ssl.SSLError as error:
        raise FileUnusableError("ca", str(ca), _NO_CERTIFICATE) from error
    if cert is None:
        return context
    try:
        ssl.create_default_context(cafile=cert)
    except ssl.SSLError as error:
        raise FileUnusableError("cert", cert, _NO_CERTIFICATE) from error
    try:
        context.load_cert_chain(cert, key, password="")
    except ssl.SSLError as error:
        if key is None:
            why = "it holds no key to its certificate, and there is no --broker-key-file"
            raise FileUnusableError("cert", cert, why) from error
        is_another = error.reason == "KEY_VALUES_MISMATCH"
        why = f"it is not the key to --broker-cert-file {cert}" if is_another else _NO_KEY
        raise FileUnusableError("key", key, why) from error
    return context


_NO_CERTIFICATE: Final = "it holds no certificate as PEM"
_NO_KEY: Final = "it holds no key as PEM, or one with a passphrase"


class FileUnusableError(OSError):
    """A certificate or key file can't be read, or has the wrong content."""

    def __init__(self, option: str, file: str, why: str) -> None:
        super().__init__(f"--broker-{option}-file {file} can't be used: {why}")
