"""What is published reaches the broker inside its limits; what it refuses is told and holds nothing up."""

import statistics
import time
from pathlib import Path
from typing import Literal

import pytest

from bridge.mqtt.session import BrokerSettings, Publication, Subscription
from bridge.mqtt.transport import Wire
from tests.support.broker import Broker
from tests.support.fake_broker import Behaviour, FakeBroker, Publish
from tests.support.session_recorder import Recorder

pytestmark = pytest.mark.server

VERSIONS: list[Literal["5", "3.1.1"]] = ["5", "3.1.1"]


@pytest.mark.parametrize("version", VERSIONS)
def test_many_publications_arrive_in_order(tmp_path: Path, version: Literal["5", "3.1.1"]) -> None:
    with Broker(tmp_path, "max_queued_messages 0") as broker:
        reader = Recorder(
            broker.settings(version=version),
            "reader",
            clean_start=False,
            session_expiry_s=60,
            subscriptions=[Subscription("t")],
        )
        reader.connect()
        reader.steps(0.2)
        reader.close()
        writer = Recorder(broker.settings(version=version))
        writer.connect()
        payloads = [b"%d" % number for number in range(5000)]
        writer.publish_all("t", payloads)
        writer.close()
        reader = Recorder(broker.settings(version=version), "reader", clean_start=False, session_expiry_s=60)
        reader.until(lambda: len(reader.received) >= len(payloads))
        reader.close()
    assert reader.payloads == payloads
    assert set(writer.acknowledged.values()) <= {0x00, 0x10}


@pytest.mark.parametrize(
    "size", [0, 1, 111, 112, 113, 16_366, 16_367, 16_368, 2_097_134, 2_097_135, 5_000_000]
)
def test_payloads_of_every_size_arrive_whole(tmp_path: Path, size: int) -> None:
    """The lengths around which the packet's header grows, and one that no single write takes."""
    payload = bytes(range(256)) * (size // 256) + bytes(range(size % 256))
    with Broker(tmp_path) as broker:
        client = Recorder(broker.settings(), subscriptions=[Subscription("t")])
        client.connect()
        client.publish("t", payload)
        client.until(lambda: bool(client.received) and bool(client.acknowledged))
        client.close()
    assert client.payloads == [payload]


def test_never_more_in_flight_than_the_brokers_receive_maximum() -> None:
    with FakeBroker(Behaviour(receive_maximum=5, puback=lambda _: None)) as fake:
        client = Recorder(BrokerSettings(port=fake.port), window=20)
        client.connect()
        assert client.session.room() == 5
        sent = 0
        while sent < 200:
            while client.session.room() and sent < 200:
                client.publish("t", b"%d" % sent)
                sent += 1
            assert client.session.room() == 0
            with pytest.raises(RuntimeError, match="room"):
                client.publish("t", b"one too many")
            client.session.step(0.0)
            if len(fake.unanswered) >= 5:
                fake.answer_all()
            client.session.step(0.01)
        client.close()
    assert fake.most_in_flight == 5


def test_mosquittos_receive_maximum_is_heeded(tmp_path: Path) -> None:
    with Broker(tmp_path, "max_inflight_messages 7") as broker:
        client = Recorder(broker.settings(), window=50)
        client.connect()
        assert client.session.room() == 7
        client.close()
        older = Recorder(broker.settings(version="3.1.1"), window=50)
        older.connect()
        assert older.session.room() == 50, "3.1.1 has no such limit"
        older.close()


def test_the_window_is_the_limit_where_the_broker_allows_more() -> None:
    with FakeBroker(Behaviour(puback=lambda _: None)) as fake:
        client = Recorder(BrokerSettings(port=fake.port), window=3)
        client.connect()
        for number in range(3):
            client.publish("t", b"%d" % number)
        client.steps(0.1)
        fake.wait_until(lambda: len(fake.unanswered) == 3)
        assert (client.session.room(), client.session.in_flight) == (0, 3)
        fake.answer_all(0x10)
        client.until(lambda: len(client.acknowledged) == 3)
        assert client.session.room() == 3
        assert set(client.acknowledged.values()) == {0x10}, "no subscribers is no refusal"
        client.close()


def test_a_refused_publication_is_reported_and_the_others_go_on() -> None:
    with FakeBroker(Behaviour(puback=lambda publish: 0x97 if publish.payload == b"3" else 0)) as fake:
        client = Recorder(BrokerSettings(port=fake.port))
        client.connect()
        client.publish_all("t", [b"%d" % number for number in range(6)])
        client.close()
    assert client.acknowledged == {b"%d" % number: 0x97 if number == 3 else 0 for number in range(6)}
    assert client.disconnected == []


def test_a_topic_that_the_access_rules_deny_is_refused_alone(tmp_path: Path) -> None:
    with Broker(tmp_path, users={"agent": "secret"}, acl="user agent\ntopic write allowed/#\n") as broker:
        client = Recorder(broker.settings(user="agent", password="secret"))
        client.connect()
        client.publish("allowed/1", b"1")
        client.publish("denied/2", b"2")
        client.publish("allowed/3", b"3")
        client.until(lambda: len(client.acknowledged) == 3)
        client.close()
    assert client.acknowledged[b"2"] == 0x87
    assert client.acknowledged[b"1"] < 0x80
    assert client.acknowledged[b"3"] < 0x80


def test_a_publication_larger_than_the_broker_takes_is_refused_and_not_sent(tmp_path: Path) -> None:
    """To the byte: what mosquitto still takes is sent, one byte more isn't, and the connection stands."""
    with Broker(tmp_path, "max_packet_size 1000") as broker:
        client = Recorder(broker.settings())
        client.connect()
        fits = b"x" * (1000 - 3 - 3 - 2 - 1)
        client.publish("t", fits)
        client.publish("t", fits + b"x")
        client.until(lambda: len(client.acknowledged) == 2)
        assert client.acknowledged[fits] < 0x80
        assert client.acknowledged[fits + b"x"] == 0x95
        client.publish_all("t", [b"small"])
        assert client.disconnected == []
        client.close()


def test_refusals_of_our_own_fill_the_window_until_they_are_reported() -> None:
    with FakeBroker(Behaviour(maximum_packet_bytes=100)) as fake:
        client = Recorder(BrokerSettings(port=fake.port), window=2)
        client.connect()
        client.publish("t", b"a" * 200)
        client.publish("t", b"b" * 200)
        assert (client.session.room(), client.session.in_flight) == (0, 2)
        client.session.step(5.0)
        assert set(client.acknowledged.values()) == {0x95}
        assert client.session.room() == 2
        client.close()
    assert fake.published == []


def test_a_broker_without_retained_messages_gets_none() -> None:
    with FakeBroker(Behaviour(retain_available=False)) as fake:
        client = Recorder(BrokerSettings(port=fake.port))
        client.connect()
        client.publish("t", b"kept", retain=True)
        client.publish("t", b"passing")
        client.until(lambda: len(client.acknowledged) == 2)
        client.close()
    assert client.acknowledged == {b"kept": 0x9A, b"passing": 0}
    assert [publish.payload for publish in fake.published] == [b"passing"]


def test_an_unasked_puback_means_nothing() -> None:
    with FakeBroker() as fake:
        client = Recorder(BrokerSettings(port=fake.port))
        client.connect()
        fake.send(b"\x40\x02\x12\x34")
        client.publish_all("t", [b"x"])
        client.close()
    assert client.acknowledged == {b"x": 0}
    assert client.disconnected == []


def test_what_is_unanswered_at_a_disconnect_is_never_sent_again_by_the_session() -> None:
    with FakeBroker(Behaviour(puback=lambda _: None)) as fake:
        client = Recorder(BrokerSettings(port=fake.port), clean_start=False, session_expiry_s=60)
        client.connect()
        client.publish("t", b"lost")
        client.steps(0.1)
        fake.wait_until(lambda: len(fake.published) == 1)
        fake.behaviour.session_present = True
        fake.drop()
        client.until(lambda: bool(client.disconnected))
        client.connect()
        client.publish("t", b"new")
        client.until(lambda: len(fake.published) == 2)
        fake.answer_all()
        client.until(lambda: bool(client.acknowledged))
        client.close()
    assert [publish.payload for publish in fake.published] == [b"lost", b"new"]
    assert client.connected == [False, True]


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "a/+/b",
        "a/#",
        "a\tb",
        "a\x00b",
        "a\x7f",
        "a\x9fb",
        "a\ufffeb",
        "a\ud800b",
        "ä" * 32_768,
        "/" * 200,
    ],
    ids=ascii,
)
def test_a_topic_that_would_end_the_session_is_not_sent(topic: str) -> None:
    with FakeBroker() as fake:
        client = Recorder(BrokerSettings(port=fake.port))
        client.connect()
        with pytest.raises(ValueError, match="a topic"):
            client.publish(topic, b"x")
        client.publish_all("fine", [b"x"])
        client.close()
    assert [publish.topic for publish in fake.published] == ["fine"]


@pytest.mark.parametrize("topic", ["x", "a/b c/%2F/ä/漢/😀", "/" * 199, "y" * 65_535, "$x"])
def test_the_topics_that_are_sent_leave_a_real_broker_content(tmp_path: Path, topic: str) -> None:
    with Broker(tmp_path) as broker:
        client = Recorder(broker.settings())
        client.connect()
        client.publish_all(topic, [b"x"])
        assert client.disconnected == []
        client.close()


def test_what_waits_for_a_slow_network_leaves_in_order() -> None:
    """More than any socket buffer holds, to a broker that reads late."""
    with FakeBroker(Behaviour(puback=lambda _: None)) as fake:
        client = Recorder(BrokerSettings(port=fake.port), window=1000)
        client.connect()
        payloads = [b"%04d" % number + b"x" * 20_000 for number in range(500)]
        for payload in payloads:
            client.publish("t", payload)
        client.until(lambda: len(fake.published) == 500)
        fake.answer_all()
        client.until(lambda: len(client.acknowledged) == 500)
        client.close()
    assert [publish.payload for publish in fake.published] == payloads


def test_a_hundred_publications_leave_in_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[int] = []
    flush = Wire.flush

    def counted(wire: Wire) -> bool:
        writes.append(len(wire.outgoing))
        return flush(wire)

    with FakeBroker(Behaviour(puback=lambda _: None)) as fake:
        client = Recorder(BrokerSettings(port=fake.port), window=100)
        client.connect()
        monkeypatch.setattr(Wire, "flush", counted)
        for number in range(100):
            client.publish("t", b"%02d" % number)
        client.steps(0.05)
        fake.wait_until(lambda: len(fake.published) == 100)
        assert writes == [100 * len(b"\x32\x08\x00\x01t\x00\x01\x0000")]
        client.close()
    assert len({publish.mid for publish in fake.published}) == 100


def test_a_burst_does_not_wait_for_the_kernels_delayed_acknowledgement(tmp_path: Path) -> None:
    """The broker leaves Nagle's algorithm on: without a quick ACK each burst of two takes 40 ms."""
    with Broker(tmp_path) as broker:
        client = Recorder(broker.settings())
        client.connect()
        took_s = []
        for burst in range(15):
            began = time.monotonic()
            client.publish_all("t", [b"%d of %d" % (number, burst) for number in range(3)])
            took_s.append(time.monotonic() - began)
            time.sleep(0.01)
        client.close()
    assert statistics.median(took_s) < 0.02


def test_the_content_type_and_nothing_else_goes_with_a_publication() -> None:
    with FakeBroker() as fake:
        client = Recorder(BrokerSettings(port=fake.port))
        client.connect()
        client.publish("a", b"1", content_type="application/json", retain=True)
        client.publish("b", b"2")
        client.until(lambda: len(client.acknowledged) == 2)
        client.close()
    first, second = fake.published
    assert first == Publish("a", b"1", 1, 1, retain=True, properties=b"\x03\x00\x10application/json")
    assert second == Publish("b", b"2", 1, 2)


def test_publishing_without_a_connection_is_the_owners_mistake() -> None:
    client = Recorder(BrokerSettings())
    with pytest.raises(RuntimeError, match="room"):
        client.session.publish(Publication("t", b""), None)
    client.close()
    with pytest.raises(RuntimeError, match="close"):
        client.session.step(0)
