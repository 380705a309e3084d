"""A close is clean where the broker answers, and ends in time where it doesn't."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.mqtt.session import BrokerSettings, Publication, Subscription
from tests.support.broker import Broker
from tests.support.fake_broker import Behaviour, FakeBroker, Publish
from tests.support.session_recorder import Recorder

pytestmark = pytest.mark.server

WILL = Publication("will", b"gone", content_type="text/plain")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as broker:
        yield broker


@pytest.mark.parametrize("clean", [True, False], ids=["close", "dropped"])
def test_the_will_is_published_unless_the_session_was_closed(broker: Broker, clean: bool) -> None:
    witness = Recorder(broker.settings(), "witness", subscriptions=[Subscription("#")])
    witness.connect()
    client = Recorder(broker.settings(), subscriptions=[Subscription("flood")], will=lambda: WILL)
    client.connect()
    client.steps(0.1)
    client.publish("t", b"last words")
    # Unread bytes at a close reset the connection, and a DISCONNECT can be lost with it.
    witness.publish_all("flood", [b"%d" % number * 1000 for number in range(50)])
    if clean:
        client.close()
    else:
        client.session.step(0.0)
        assert client.session._link is not None
        client.session._link.wire.finish_writing()
        client.until(lambda: bool(client.disconnected))
        client.close()
    witness.until(lambda: b"last words" in witness.payloads)
    witness.steps(0.3)
    assert (b"gone" in witness.payloads) is not clean
    if not clean:
        (will,) = [received for received in witness.received if received.payload == b"gone"]
        assert (will.topic, will.content_type, will.qos, will.retain) == ("will", "text/plain", 1, False)
    witness.close()


def test_a_close_hands_on_the_acknowledgements_that_still_come_and_no_message() -> None:
    with FakeBroker() as fake:
        client = Recorder(BrokerSettings(port=fake.port))
        client.connect()
        fake.deliver(Publish("t", b"late", 1, 1))
        for number in range(20):
            client.publish("t", b"%d" % number)
        client.close()
        fake.wait_until(lambda: fake.clean_disconnects == 1)
    assert len(client.acknowledged) == 20
    assert client.received == []
    assert fake.acknowledged == []
    assert client.disconnected == []


def test_a_close_ends_in_time_when_the_broker_is_silent(broker: Broker) -> None:
    client = Recorder(broker.settings())
    client.connect()
    broker.hang()
    client.publish("t", b"x")
    began = time.monotonic()
    client.close(1.0)
    assert 0.9 < time.monotonic() - began < 1.5


def test_a_close_ends_in_time_when_the_broker_takes_no_more_bytes(broker: Broker) -> None:
    client = Recorder(broker.settings())
    client.connect()
    broker.hang()
    client.publish("t", b"x" * 20_000_000)
    client.session.step(0.1)
    began = time.monotonic()
    client.close(1.0)
    assert 0.9 < time.monotonic() - began < 1.5


def test_a_close_without_connection_is_at_once() -> None:
    began = time.monotonic()
    with FakeBroker(Behaviour(answers_connect=False)) as fake:
        client = Recorder(BrokerSettings(port=fake.port))
        client.session.step(0.1)
        client.close(5.0)
        client.close(5.0)
    never = Recorder(BrokerSettings())
    never.close(5.0)
    assert time.monotonic() - began < 1.0


def test_an_error_of_the_owner_inside_close_comes_out_and_leaves_nothing_open() -> None:
    with FakeBroker() as fake:
        client = Recorder(BrokerSettings(port=fake.port))
        client.connect()
        client.publish("t", b"x")
        client.acknowledged[b"x"] = 0
        with pytest.raises(AssertionError, match="acknowledged twice"):
            client.close()
        assert not client.session.connected
