"""What comes in is handed on once, and acknowledged only when the owner says so."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from bridge.mqtt.session import BrokerSettings, Publication, Subscription
from tests.support.broker import Broker
from tests.support.fake_broker import Behaviour, FakeBroker, Publish, publish_packet
from tests.support.session_recorder import Recorder

pytestmark = pytest.mark.server

VERSIONS: list[Literal["5", "3.1.1"]] = ["5", "3.1.1"]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker", keeps_data=True) as broker:
        yield broker


def test_a_session_waits_for_another_one_too(broker: Broker) -> None:
    waiting, other = (
        Recorder(broker.settings(), "waiting"),
        Recorder(broker.settings(), "other", subscriptions=[Subscription("t")]),
    )
    for each in (waiting, other):
        each.connect()
        each.steps(0.2)
    waiting.publish("t", b"1")
    waiting.until(lambda: b"1" in waiting.acknowledged)
    began = time.monotonic()
    waiting.session.step(5.0, other.session.fileno)
    assert time.monotonic() - began < 1.0
    other.until(lambda: other.payloads == [b"1"])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("ending", ["drop", "broker restart"])
def test_what_was_not_acknowledged_is_delivered_again(
    broker: Broker, version: Literal["5", "3.1.1"], ending: str
) -> None:
    talker = Recorder(broker.settings(), "talker")
    listener = Recorder(
        broker.settings(version=version),
        clean_start=False,
        session_expiry_s=300,
        subscriptions=[Subscription("t")],
        acknowledges=False,
    )
    listener.connect()
    listener.steps(0.2)
    talker.connect()
    talker.publish_all("t", [b"%d" % number for number in range(10)])
    listener.until(lambda: len(listener.received) == 10)
    for received in listener.received[:4]:
        listener.session.acknowledge(received)
    listener.steps(0.2)
    if ending == "broker restart":
        broker.restart()
        listener.until(lambda: bool(listener.disconnected))
        assert listener.session.last_refusal is None
    else:
        assert listener.session._link is not None
        listener.session._link.wire.finish_writing()
        listener.until(lambda: bool(listener.disconnected))
    old = listener.received.copy()
    listener.received.clear()
    listener.connect()
    listener.until(lambda: len(listener.received) == 6)
    assert listener.payloads == [b"4", b"5", b"6", b"7", b"8", b"9"]
    assert all(received.duplicate for received in listener.received)
    assert listener.connected == [False, True]
    assert {received.generation for received in old} != {
        received.generation for received in listener.received
    }
    talker.close()
    listener.close()


def test_an_acknowledgement_for_an_earlier_connection_is_not_sent() -> None:
    """The number may stand for another message by now."""
    with FakeBroker() as fake:
        client = Recorder(BrokerSettings(port=fake.port), acknowledges=False)
        client.connect()
        fake.deliver(Publish("t", b"old", 1, 1))
        client.until(lambda: bool(client.received))
        fake.drop()
        client.until(lambda: bool(client.disconnected))
        (old,) = client.received
        client.session.acknowledge(old)
        client.connect()
        client.session.acknowledge(old)
        client.steps(0.1)
        fake.deliver(Publish("t", b"new", 1, 1))
        client.until(lambda: len(client.received) == 2)
        assert fake.acknowledged == []
        client.session.acknowledge(client.received[1])
        client.steps(0.05)
        fake.wait_until(lambda: fake.acknowledged == [1])
        client.close()


def test_hundreds_of_messages_come_in_one_step_in_any_pieces() -> None:
    publishes = [Publish("t", b"%d" % number * (number % 40), 1, number + 1) for number in range(300)]
    stream = b"".join(map(publish_packet, publishes))
    with FakeBroker() as fake:
        client = Recorder(BrokerSettings(port=fake.port))
        client.connect()
        for size in (len(stream), 1000, 7):
            client.received.clear()
            fake.acknowledged.clear()
            for at in range(0, len(stream), size):
                fake.send(stream[at : at + size])
            client.until(lambda: len(client.received) == 300)
            assert client.payloads == [publish.payload for publish in publishes]
            client.steps(0.05)
            fake.wait_until(lambda: fake.acknowledged == list(range(1, 301)))
        client.close()


def test_messages_that_come_with_the_connack_follow_on_connected() -> None:
    with FakeBroker(Behaviour(answers_connect=False)) as fake:
        client = Recorder(BrokerSettings(port=fake.port))
        client.session.step(0.1)
        fake.wait_until(lambda: fake.connects == 1)
        fake.send(b"\x20\x03\x01\x00\x00" + publish_packet(Publish("t", b"early", 1, 7)))
        client.until(lambda: bool(client.received))
        assert client.connected == [True]
        client.close()


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        (b"", None),
        (b"\x03\x00\x04a/b;", "a/b;"),
        (b"\x01\x01\x02\x00\x00\x00\x09\x23\x00\x01\x03\x00\x01j", "j"),
        (b"\x26\x00\x01k\x00\x01v\x0b\x81\x01\x08\x00\x02rt\x09\x00\x01\xff\x03\x00\x01j", "j"),
    ],
)
def test_the_content_type_is_found_among_other_properties(properties: bytes, expected: str | None) -> None:
    with FakeBroker() as fake:
        client = Recorder(BrokerSettings(port=fake.port))
        client.connect()
        fake.deliver(Publish("t", b"payload", 1, 1, retain=True, duplicate=True, properties=properties))
        client.until(lambda: bool(client.received))
        (received,) = client.received
        assert (received.content_type, received.payload) == (expected, b"payload")
        assert received.retain
        assert received.duplicate
        client.close()


def test_a_refused_subscription_ends_the_connection_and_is_said() -> None:
    with FakeBroker(Behaviour(suback_code=0x87)) as fake:
        client = Recorder(BrokerSettings(port=fake.port), subscriptions=[Subscription("t/#")])
        client.until(lambda: bool(client.disconnected))
        assert client.session.last_refusal is not None
        assert client.session.last_refusal.startswith("subscription to t/# refused: not authorized (0x87)")
        fake.behaviour.suback_code = 1
        client.connect()
        client.steps(0.1)
        assert not client.session.last_refusal
        client.close()


def test_without_a_subscription_that_isn_t_needed_the_session_goes_on() -> None:
    refused: list[tuple[str, int]] = []
    with FakeBroker(Behaviour(suback_code=0x87)) as fake:
        client = Recorder(
            BrokerSettings(port=fake.port),
            subscriptions=[Subscription("t/#", needed=False)],
            on_subscription_refused=lambda *said: refused.append(said),
        )
        client.connect()
        client.until(lambda: bool(refused))
        client.publish_all("t", [b"payload"])
        assert refused == [("t/#", 0x87)]
        assert client.disconnected == []
        client.close()


def test_a_subscription_that_is_refused_without_a_reason_is_requested_again() -> None:
    """As a cluster of NATS does for a moment after a node's death."""
    complete: list[bool] = []
    with FakeBroker(Behaviour(suback_code=0x80)) as fake:
        client = Recorder(
            BrokerSettings(port=fake.port),
            subscriptions=[Subscription("t/#", needed=False)],
            on_retained_complete=lambda: complete.append(True),
        )
        client.connect()
        client.until(lambda: len(fake.subscribed) == 3)
        fake.behaviour.suback_code = 1
        client.until(lambda: len(fake.subscribed) == 4)
        client.steps(1.0)
        assert len(fake.subscribed) == 4
        assert all(b"t/#" in each for each in fake.subscribed)
        assert complete == [True]
        assert client.disconnected == []
        client.close()


def test_two_members_of_a_group_share_the_messages(broker: Broker) -> None:
    members = [
        Recorder(broker.settings(), f"m{number}", subscriptions=[Subscription("$share/group/t")])
        for number in range(2)
    ]
    for member in members:
        member.connect()
        member.steps(0.1)
    talker = Recorder(broker.settings(), "talker")
    talker.connect()
    payloads = [b"%d" % number for number in range(20)]
    talker.publish_all("t", payloads)

    def all_there() -> bool:
        for member in members:
            member.session.step(0.01)
        return sum(len(member.received) for member in members) >= 20

    talker.until(all_there)
    assert sorted(members[0].payloads + members[1].payloads) == sorted(payloads)
    assert all(member.received for member in members)
    for each in (*members, talker):
        each.close()


def test_our_own_messages_can_be_left_out(broker: Broker) -> None:
    client = Recorder(broker.settings(), subscriptions=[Subscription("t", no_local=True)])
    client.connect()
    client.publish_all("t", [b"mine"])
    client.steps(0.2)
    assert client.received == []
    client.close()


def test_retained_messages_come_as_the_subscription_asks(broker: Broker) -> None:
    talker = Recorder(broker.settings(), "talker")
    talker.connect()
    talker.publish("t", b"kept", retain=True)
    talker.until(lambda: bool(talker.acknowledged))
    talker.close()
    seen = []
    for handling in (0, 2):
        client = Recorder(broker.settings(), subscriptions=[Subscription("t", retain_handling=handling)])
        client.connect()
        client.steps(0.3)
        seen.append(client.payloads)
        client.close()
    assert seen == [[b"kept"], []]


def test_a_packet_larger_than_agreed_ends_the_connection() -> None:
    with FakeBroker() as fake:
        client = Recorder(BrokerSettings(port=fake.port), maximum_packet_bytes=1000)
        client.connect()
        fake.deliver(Publish("t", b"x" * 900, 1, 1))
        client.until(lambda: bool(client.received))
        fake.send(publish_packet(Publish("t", b"x" * 1_000_000, 1, 2))[:2000])
        client.until(lambda: bool(client.disconnected))
        assert "at most 1000 were agreed" in client.disconnected[0]
        client.close()


@pytest.mark.parametrize("topic_filter", ["#", "a/+/b/#", "$share/g/a/#", "/", "a//b"])
def test_the_filters_that_pass_leave_a_real_broker_content(broker: Broker, topic_filter: str) -> None:
    client = Recorder(broker.settings(), subscriptions=[Subscription(topic_filter)])
    client.connect()
    client.steps(0.1)
    assert client.disconnected == []
    client.close()


@pytest.mark.parametrize(
    "wrong",
    [
        {"client_id": ""},
        {"receive_maximum": 0},
        {"keepalive_s": 0},
        {"session_expiry_s": -1},
        {"maximum_packet_bytes": 0},
        {"window": 0},
        {"subscriptions": [Subscription("a#")]},
        {"will": lambda: Publication("a/#", b"")},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_what_no_broker_could_accept_is_refused_when_the_session_is_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Recorder(BrokerSettings(), **wrong)
