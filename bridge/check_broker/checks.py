"""Tests what each program needs of a broker, one need after the other, with its credentials.

A role that publishes tests on one topic that its access rules let it both write and read: the state or the
location of a domain that doesn't exist. It clears that topic in the end.
"""

from __future__ import annotations

import contextlib
import secrets
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID

from bridge.check_broker.client import WAIT_S, Client, NoConnectionError
from bridge.config import CheckSettings
from bridge.consumer.subscriber import subscriptions
from bridge.dashboard.reading import subscriptions as dashboard_subscriptions
from bridge.hook.triggers import subscribed
from bridge.mqtt import packets
from bridge.mqtt.features import Features
from bridge.mqtt.messages import Publication
from bridge.mqtt.reasons import REFUSAL, SHARED_NOT_SUPPORTED, describe_reason
from bridge.mqtt.retained import WildcardProbe
from bridge.mqtt.settings import DURABLE_EXPIRY_S, BrokerSettings
from bridge.wire.topics import Topics
from bridge.wire.triggers import ANY, BY_PREFIX

NOBODY: Final = str(UUID(int=0))
ROUND_TRIPS: Final = 20
BURST: Final = 1000
_OTHER_BROKER: Final = "take another broker (docs/brokers.md)"
_RULES: Final = "see docker/mosquitto/acl for the rules that each program needs"

Mark = Literal["ok", "missing", "note", "unknown"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result for one need. `missing` makes the broker unsuitable for the role, a `note` doesn't."""

    need: str
    mark: Mark
    text: str


@dataclass(frozen=True, slots=True)
class Role:
    """What a program does at a broker. `echo` is a topic that it may write and read, which `own` matches;
    None for one that only reads. `status` is its Will's, `forbidden` what it should not be able to write.
    `has_two_sessions`: side by side, at the same node.
    """

    name: str
    status: str | None
    echo: str | None
    own: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    forbidden: tuple[str, ...]
    session_expiry_s: int
    has_two_sessions: bool = False
    group: str | None = None


def roles(settings: CheckSettings) -> dict[str, Role]:
    """Each role by its name, with the topics of these settings."""
    topics = settings.topics()
    host, state, location = settings.host, topics.state(settings.host, NOBODY), topics.location(NOBODY)
    agent = Role(
        name="agent",
        status=topics.host_status(host),
        echo=state,
        own=topics.retained_of(host)[0],
        reads=topics.replays_of(host),
        writes=(topics.lifecycle(host, NOBODY, "check"), topics.event(host, NOBODY, "check")),
        forbidden=(topics.state(f"{host}-other", NOBODY), location),
        session_expiry_s=0,
    )
    correlator = Role(
        name="correlator",
        status=topics.correlator_status(settings.id),
        echo=location,
        own=topics.retained_by_correlators()[0],
        reads=topics.from_hosts(),
        writes=(topics.migration(NOBODY, "check"), topics.replay(host)),
        forbidden=(state,),
        session_expiry_s=DURABLE_EXPIRY_S,
        has_two_sessions=True,
        group=settings.group,
    )

    def reader(name: str, filters: Sequence[str], session_expiry_s: int, *writes: str) -> Role:
        return Role(
            name=name,
            status=None,
            echo=None,
            own=filters[0],
            reads=tuple(filters[1:]),
            writes=writes,
            forbidden=(location, state),
            session_expiry_s=session_expiry_s,
        )

    seen = [each.filter for each in dashboard_subscriptions(topics)]
    hooked = [each.filter for each in subscriptions(topics, *subscribed((ANY, *BY_PREFIX)))]
    readers = (
        reader("dashboard", seen, DURABLE_EXPIRY_S),
        reader("hook", hooked, DURABLE_EXPIRY_S, topics.replay(NOBODY)),
        reader("watch", (topics.everything(),), 0),
    )
    return {role.name: role for role in (agent, correlator, *readers)}


def examine(
    settings: CheckSettings, node: BrokerSettings, name: str, *, sends_retained: bool = True
) -> list[Finding]:
    """Tests all that one role needs of one of the broker's nodes. A failure of the broker is a finding, never
    raised.

    sends_retained: False if another role found that the broker sends no retained message to a wildcard, which
    a role that only reads can't detect.
    """
    role = roles(settings)[name]
    return list(_Examination(settings, node, role, sends_retained=sends_retained).findings())


def finds_retained(findings: Sequence[Finding]) -> bool:
    """Whether a role found nothing wrong with retained messages."""
    return not any(each.need == "retained messages" and each.mark in ("missing", "note") for each in findings)


class _Examination:
    def __init__(
        self, settings: CheckSettings, node: BrokerSettings, role: Role, *, sends_retained: bool
    ) -> None:
        self._sends_retained = sends_retained
        self._broker = node
        self._topics: Topics = settings.topics()
        self._role = role
        self._v5 = settings.broker_version == "5"
        self._mark = f"check-{secrets.token_hex(6)}"
        self._open: list[Client] = []
        self._left_out: tuple[str, ...] = ()

    def findings(self) -> Iterator[Finding]:
        role = self._role
        will = Publication(role.status, self._payload("status"), retain=True) if role.status else None
        client = self._client("main", (role.own, *role.reads), will=will)
        try:
            features = client.connect()
        except NoConnectionError as error:
            yield Finding("connects", "missing", str(error))
            return
        yield Finding("connects", "ok", self._described(features))
        for shortfall in client.shortfalls:
            yield Finding("limits", "note", shortfall)
        for need, check in self._checks(features):
            if need in self._left_out:
                continue
            try:
                found = list(check(client))
            except NoConnectionError as error:
                found = [self._ended(need, error)]
                client = self._client("main", (role.own, *role.reads))
                with contextlib.suppress(NoConnectionError):  # the next check finds it again
                    client.connect()
            if any(each.mark != "ok" for each in found):
                self._left_out += _UNTESTABLE_WITHOUT.get(need, ())
            yield from found
        self._clean_up()

    def _checks(self, features: Features) -> Iterator[tuple[str, Callable[[Client], Iterator[Finding]]]]:
        role = self._role
        yield "reads", self._reads
        if role.echo is None:
            if role.writes:
                yield "writes", self._writes
            yield "retained messages", self._any_retained
        else:
            yield "QoS 1", self._qos_1
            yield "two sessions", self._two_sessions
            yield "writes", self._writes
            yield "speed", self._speed
            yield "retained messages", self._retained
            yield "Will", self._dies
        if role.group is not None:
            shared = self._v5 and features.shared
            yield ("shared subscriptions", self._shares) if shared else ("group", self._shares_nothing)
        yield "access rules", self._forbidden
        if role.session_expiry_s:
            yield "kept session", self._keeps_session

    def _client(
        self, name: str, filters: tuple[str, ...] = (), *, will: Publication | None = None, expiry_s: int = 0
    ) -> Client:
        client = Client(
            self._broker,
            f"{self._topics.prefix}-mqtt-check-{self._role.name}-{self._mark[-6:]}-{name}",
            filters,
            will=will,
            session_expiry_s=expiry_s,
        )
        self._open.append(client)
        return client

    def _ended(self, need: str, error: NoConnectionError) -> Finding:
        if need != "two sessions":
            return Finding(need, "missing", f"the broker ended the connection: {error}{self._dot_hint}")
        why = (
            f"the second one ended the first ({error}): the client id is the user here, as with mosquitto's "
            "use_username_as_clientid"
        )
        if self._role.has_two_sessions:
            return Finding(need, "missing", f"{why}; use a listener without it (docs/brokers.md)")
        return Finding(need, "note", f"{why}; the {self._role.name} needs only one, {_NOT_TESTED}")

    def _payload(self, what: str) -> bytes:
        return f"{self._mark} {what}".encode()

    @property
    def _dot_hint(self) -> str:
        dotted = any("." in topic for topic in (*self._role.writes, self._role.status or ""))
        return (
            "; a topic has a dot, which RabbitMQ and NATS before 2.10 don't accept: set --encode-dots"
            if dotted
            else ""
        )

    @property
    def _echo(self) -> str:
        assert self._role.echo is not None
        return self._role.echo

    def _described(self, features: Features) -> str:
        if not self._v5:
            return "MQTT 3.1.1, which reports neither a broker's limits nor refused publications"
        limits = [f"accepts {features.receive_maximum} unacknowledged messages"]
        if features.largest_packet_bytes < packets.LARGEST_PACKET_BYTES:
            limits.append(f"packets up to {features.largest_packet_bytes} bytes")
        return f"MQTT 5; {', '.join(limits)}"

    def _reads(self, client: Client) -> Iterator[Finding]:
        for topic_filter, code in client.refused_filters.items():
            mark: Mark = (
                "note" if topic_filter in self._role.reads and self._role.name == "agent" else "missing"
            )
            yield Finding("reads", mark, f"not {topic_filter}: {describe_reason(code)}; {_RULES}")
        if not client.refused_filters:
            yield Finding("reads", "ok", "all subscriptions are granted")

    def _qos_1(self, client: Client) -> Iterator[Finding]:
        code = client.publish(self._echo, payload := self._payload("echo"))
        if code is None:
            yield Finding("QoS 1", "missing", f"a message is not acknowledged within {WAIT_S:g} s")
        elif code >= REFUSAL:
            yield Finding("QoS 1", "missing", f"{self._echo} can't be written: {describe_reason(code)}")
        elif not client.receives(payload):
            yield Finding(
                "QoS 1",
                "missing",
                f"what was acknowledged on {self._echo} isn't delivered: may this user read it? {_RULES}",
            )
        else:
            came = next(each for each in client.received if each.payload == payload)
            if came.topic != self._echo:
                yield Finding(
                    "topics", "missing", f"{self._echo} is delivered as {came.topic}{self._dot_hint}"
                )
            yield Finding(
                "QoS 1",
                "ok" if came.qos == 1 else "missing",
                f"acknowledged, and delivered at QoS {came.qos}",
            )

    def _two_sessions(self, client: Client) -> Iterator[Finding]:
        self._client("second").connect()
        client.publish(self._echo, b"")
        yield Finding("two sessions", "ok", "of one user, side by side")

    def _writes(self, client: Client) -> Iterator[Finding]:
        codes = {topic: client.publish(topic, b"") for topic in self._role.writes}
        refused = {topic: code for topic, code in codes.items() if code is None or code >= REFUSAL}
        for topic, code in refused.items():
            why = "no acknowledgement" if code is None else describe_reason(code)
            mark: Mark = "missing" if self._role.echo else "note"
            yield Finding("writes", mark, f"not {topic}: {why}; {_RULES}")
        if not refused:
            yield Finding(
                "writes", "ok" if self._v5 else "unknown", "all its topics" if self._v5 else _SILENT
            )

    def _speed(self, client: Client) -> Iterator[Finding]:
        trips_ms = []
        for number in range(ROUND_TRIPS):
            began_s = time.monotonic()
            client.publish(self._echo, payload := self._payload(f"trip {number}"))
            if not client.receives(payload):
                yield Finding("speed", "missing", "a message was lost")
                return
            trips_ms.append((time.monotonic() - began_s) * 1000)
        rate = client.publish_many(self._echo, [self._payload(f"burst {n}") for n in range(BURST)])
        if rate is None:
            yield Finding("speed", "missing", f"{BURST} messages at once are not all acknowledged")
            return
        yield Finding(
            "speed",
            "ok",
            f"{statistics.median(trips_ms):.1f} ms there and back; {rate:,.0f} messages a second",
        )

    def _retained(self, client: Client) -> Iterator[Finding]:
        client.publish(self._echo, self._payload("retained"), retain=True)
        probe = WildcardProbe(
            self._broker,
            client_id=f"{self._topics.prefix}-mqtt-check-{self._mark[-6:]}-probe",
            topic=self._echo,
            wildcard=self._role.own,
        )
        while probe.answer is None:
            client.session.step(0.1)
        if probe.answer == "sent":
            yield Finding("retained messages", "ok", "kept, and sent to subscriptions with wildcards")
        elif probe.answer == "not_readable":
            yield Finding("retained messages", "missing", f"none is sent: it keeps none; {_OTHER_BROKER}")
        else:
            yield self._unsent

    def _any_retained(self, client: Client) -> Iterator[Finding]:
        if any(each.retain for each in client.received):
            yield Finding("retained messages", "ok", "sent")
        elif not self._sends_retained:
            yield self._unsent
        else:
            yield Finding("retained messages", "unknown", "nothing is retained below the prefix yet")

    @property
    def _unsent(self) -> Finding:
        mark, consequence = _WITHOUT_RETAINED.get(self._role.name, ("missing", _OTHER_BROKER))
        return Finding(
            "retained messages", mark, f"none is sent to subscriptions with wildcards: {consequence}"
        )

    def _dies(self, client: Client) -> Iterator[Finding]:
        payload = self._payload("will")
        dying = self._client("dying", will=Publication(self._echo, payload, retain=True))
        dying.connect()
        dying.vanish()
        if not client.receives(payload):
            yield Finding("Will", "missing", f"not published for a client that is gone: {_OTHER_BROKER}")
            return
        reader = self._client("reader", (self._echo,))
        reader.connect()
        kept = reader.receives(payload, retained=True)
        yield Finding(
            "Will", "ok" if kept else "missing", "published" + (" and retained" if kept else ", not retained")
        )

    def _keeps_session(self, client: Client) -> Iterator[Finding]:
        echo, payload = self._role.echo, self._payload("meanwhile")
        if echo is not None:
            client.publish(echo, b"", retain=True)
        first = self._client("kept", (self._role.own,), expiry_s=self._role.session_expiry_s)
        first.connect()
        for shortfall in first.shortfalls:
            if shortfall not in client.shortfalls:
                yield Finding("limits", "note", shortfall)
        first.close()
        if echo is not None:
            client.publish(echo, payload)
        again = self._client("kept", (self._role.own,), expiry_s=self._role.session_expiry_s)
        again.connect()
        kept = again.session_present and (echo is None or again.receives(payload))
        again.close()
        self._client("kept").connect()  # a clean start ends what was kept
        if kept:
            found = "messages are kept and delivered later" if echo else "it is there at the next connect"
            yield Finding("kept session", "ok", found)
        else:
            yield Finding("kept session", "missing", f"messages while disconnected are lost: {_OTHER_BROKER}")

    def _shares_nothing(self, _client: Client) -> Iterator[Finding]:
        yield Finding("shared subscriptions", "missing", describe_reason(SHARED_NOT_SUPPORTED))

    def _shares(self, client: Client) -> Iterator[Finding]:
        shared = f"$share/{self._topics.level(self._role.group or '')}/{self._role.own}"
        member = self._client("member", (shared,))
        member.connect()
        payload = self._payload("shared")
        client.publish(self._echo, payload)
        if member.refused_filters or not member.receives(payload):
            yield Finding(
                "shared subscriptions", "missing", "not delivered: run one correlator without --group"
            )
        else:
            yield Finding("shared subscriptions", "ok", "delivered")

    def _forbidden(self, client: Client) -> Iterator[Finding]:
        if not self._v5:
            yield Finding("access rules", "unknown", _SILENT)
            return
        codes = {topic: client.publish(topic, b"") for topic in self._role.forbidden}
        allowed = [topic for topic, code in codes.items() if code is not None and code < REFUSAL]
        if allowed:
            yield Finding(
                "access rules", "note", f"this user may write {' and '.join(allowed)}, too; {_RULES}"
            )
        else:
            yield Finding("access rules", "ok", "it may not write other users' topics")

    def _clean_up(self) -> None:
        for client in self._open:
            client.close()
        if self._role.echo is not None:
            last = self._client("last")
            try:
                last.connect()
                last.publish(self._role.echo, b"", retain=True)
            except NoConnectionError:
                pass
            last.close()


_UNTESTABLE_WITHOUT: Final = {
    "QoS 1": ("two sessions", "speed", "retained messages", "Will", "kept session", "shared subscriptions"),
    "two sessions": ("retained messages", "Will", "kept session", "shared subscriptions"),
}
"""The needs whose test takes one that is missing."""
_NOT_TESTED: Final = "but retained messages and the Will can't be tested"
_WITHOUT_RETAINED: Final[dict[str, tuple[Mark, str]]] = {
    "agent": ("note", "the agent publishes all its states at each connect"),
    "hook": ("note", "if the broker loses the session, what it missed isn't run"),
}
"""The roles that can do without retained messages, with the consequence."""
_SILENT: Final = "MQTT 3.1.1 doesn't report refusals"
