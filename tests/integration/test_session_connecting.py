"""A session finds its broker, loses it in every way there is, and finds it again."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from bridge.mqtt.session import BrokerSettings, Publication, Received, Session, Subscription
from tests.support.broker import Broker, free_port
from tests.support.fake_broker import Behaviour, FakeBroker, Publish, packet
from tests.support.session_recorder import Recorder

pytestmark = pytest.mark.server

VERSIONS: list[Literal["5", "3.1.1"]] = ["5", "3.1.1"]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as broker:
        yield broker


@pytest.mark.parametrize("version", VERSIONS)
def test_it_connects_publishes_and_receives(broker: Broker, version: Literal["5", "3.1.1"]) -> None:
    client = Recorder(broker.settings(version=version), subscriptions=[Subscription("t/#")])
    client.connect()
    client.publish("t/ä/%2F", b"hello", content_type="text/plain")
    client.until(lambda: bool(client.received and client.acknowledged))
    client.close()
    assert client.connected == [False]
    assert client.acknowledged == {b"hello": 0}
    (received,) = client.received
    assert (received.topic, received.payload, received.qos, received.retain) == (
        "t/ä/%2F",
        b"hello",
        1,
        False,
    )
    assert received.content_type == ("text/plain" if version == "5" else None)
    assert client.disconnected == []


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_that_the_broker_kept_is_said_to_be_present(
    broker: Broker, version: Literal["5", "3.1.1"]
) -> None:
    for expected in (False, True):
        client = Recorder(broker.settings(version=version), clean_start=False, session_expiry_s=60)
        client.connect()
        client.close()
        assert client.connected == [expected]


def test_a_broker_that_is_absent_at_the_start_is_waited_for(tmp_path: Path) -> None:
    broker = Broker(tmp_path / "broker")
    client = Recorder(broker.settings())
    client.steps(1.0)
    assert 2 <= len(client.failed) <= 5, "waits that double, with jitter"
    assert client.session.last_failure == f"mqtt://127.0.0.1:{broker.port}: connection refused"
    assert client.session.last_refusal is None
    assert client.session.room() == 0
    with broker:
        client.connect()
        assert not client.session.last_failure
        client.close()


def test_a_name_that_does_not_exist_is_a_failure_like_any_other() -> None:
    client = Recorder(BrokerSettings(host="broker.invalid"))
    client.until(lambda: bool(client.failed))
    assert "can't be resolved" in client.failed[0] or "no answer in time" in client.failed[0]
    client.close()


def test_no_step_blocks_longer_than_asked_while_nobody_listens() -> None:
    client = Recorder(BrokerSettings(port=free_port()))
    client.steps(0.3)
    for _ in range(20):
        began = time.monotonic()
        client.session.step(0.02)
        assert time.monotonic() - began < 0.2
    client.close()


def test_a_stopped_and_started_broker_is_found_again(broker: Broker) -> None:
    client = Recorder(broker.settings(), clean_start=False, session_expiry_s=60)
    client.connect()
    broker.stop()
    client.until(lambda: bool(client.disconnected))
    assert "shutting down" in client.disconnected[0] or "closed" in client.disconnected[0]
    assert client.session.last_refusal is None, "a stop is no refusal"
    broker.start()
    client.connect()
    client.publish_all("t", [b"again"])
    client.close()
    assert client.connected == [False, False], "a broker without data knows no session"


def test_what_was_on_its_way_to_a_killed_broker_is_forgotten(broker: Broker) -> None:
    client = Recorder(broker.settings())
    client.connect()
    broker.hang()
    for number in range(10):
        client.publish("t", b"%d" % number)
    client.steps(0.2)
    assert client.session.in_flight == 10
    broker.kill()
    client.until(lambda: bool(client.disconnected))
    assert (client.session.in_flight, client.session.room()) == (0, 0)
    broker.start()
    client.connect()
    reader = Recorder(broker.settings(), "reader", subscriptions=[Subscription("#")])
    reader.connect()
    reader.steps(0.3)
    client.publish_all("t", [b"after"])
    reader.until(lambda: bool(reader.received))
    reader.close()
    client.close()
    assert reader.payloads == [b"after"], "nothing is sent again that the owner didn't ask for"
    assert client.acknowledged == {b"after": 0}


def test_a_hung_broker_is_noticed_within_15_seconds_and_is_back_when_it_goes_on(broker: Broker) -> None:
    client = Recorder(broker.settings(), keepalive_s=10)
    client.connect()
    broker.hang()
    took_s = client.until(lambda: bool(client.disconnected), 15.0)
    assert took_s < 15.0
    assert client.disconnected[0].startswith("nothing has come from the broker for 12")
    client.until(lambda: bool(client.failed), 10.0)
    assert "sent nothing for 5 s" in client.failed[0], "the kernel accepts, nobody answers"
    broker.go_on()
    client.connect(20.0)
    client.close()


def test_a_missing_pingresp_ends_the_connection_also_while_we_go_on_sending() -> None:
    with FakeBroker(Behaviour(answers_pings=False, puback=lambda _: None)) as fake:
        client = Recorder(BrokerSettings(port=fake.port), keepalive_s=2, window=1000)
        client.connect()
        began = time.monotonic()
        while not client.disconnected and time.monotonic() - began < 5:
            if client.session.room():
                client.publish("t", b"%f" % time.monotonic())
            client.session.step(0.05)
        assert 2.0 < time.monotonic() - began < 3.5
        assert fake.pings == 1
        client.close()


def test_an_idle_connection_is_kept_alive(broker: Broker) -> None:
    client = Recorder(broker.settings(), keepalive_s=1)
    client.connect()
    client.steps(4.0)
    assert client.disconnected == []
    client.close()


def test_a_listener_is_kept_alive_though_it_never_has_anything_to_send(broker: Broker) -> None:
    """The broker wants to hear something of the client, too, not only the other way round."""
    listener = Recorder(broker.settings(), keepalive_s=1, subscriptions=[Subscription("t", qos=0)])
    talker = Recorder(broker.settings(), "talker")
    listener.connect()
    talker.connect()
    for number in range(60):
        talker.publish("t", b"%d" % number)
        talker.session.step(0.03)
        listener.session.step(0.03)
    assert listener.disconnected == []
    talker.close()
    listener.close()


def test_the_broker_may_ask_for_a_shorter_keep_alive() -> None:
    with FakeBroker(Behaviour(server_keep_alive_s=1)) as fake:
        client = Recorder(BrokerSettings(port=fake.port), keepalive_s=60)
        client.connect()
        client.steps(1.5)
        assert fake.pings >= 2
        client.close()


def test_a_broker_that_never_answers_connect_is_given_up_after_five_seconds() -> None:
    with FakeBroker(Behaviour(answers_connect=False)) as fake:
        client = Recorder(BrokerSettings(port=fake.port))
        took_s = client.until(lambda: bool(client.failed), 7.0)
        assert 4.5 < took_s < 6.0
        assert client.failed[0].endswith(
            "sent nothing for 5 s; if it doesn't speak MQTT 5, set --broker-version 3.1.1"
        )
        assert client.connected == []
        fake.behaviour.answers_connect = True
        client.connect()
        client.close()


def test_a_connection_that_is_dropped_at_once_is_not_hammered() -> None:
    with FakeBroker() as fake:
        client = Recorder(BrokerSettings(port=fake.port))
        began = time.monotonic()
        while time.monotonic() - began < 3.0:
            client.session.step(0.05)
            if client.session.connected:
                fake.drop()
        assert 3 <= fake.connects <= 7
        client.close()


def test_two_clients_of_one_id_say_so_and_do_not_throw_each_other_out_in_a_hurry(broker: Broker) -> None:
    """The broker, mosquitto 2.0, doesn't say why it closes; that it does so again and again tells enough."""
    first, second = Recorder(broker.settings()), Recorder(broker.settings())
    first.connect()
    second.connect()
    began = time.monotonic()
    while time.monotonic() - began < 6.0:
        first.session.step(0.02)
        second.session.step(0.02)
    takeovers = first.disconnected + second.disconnected
    assert 4 <= len(takeovers) <= 14, "each of them waits longer and longer"
    assert "gave no reason" in takeovers[0]
    assert "another client uses the same client id, under-test" in first.disconnected[-1]
    first.close()
    second.close()


def test_a_takeover_that_the_broker_names_stays_the_last_refusal_until_the_next_connection() -> None:
    with FakeBroker() as fake:
        client = Recorder(BrokerSettings(port=fake.port))
        client.connect()
        fake.disconnect(0x8E)
        client.until(lambda: bool(client.disconnected))
        assert "session taken over (0x8E)" in client.disconnected[0]
        assert "two programs have the same name" in client.disconnected[0]
        assert client.session.last_refusal == client.disconnected[0]
        client.connect()
        assert not client.session.last_refusal
        client.close()


def test_a_broker_that_restarts_twice_is_not_taken_for_another_client(broker: Broker) -> None:
    client = Recorder(broker.settings(version="3.1.1"))
    for _ in range(3):
        client.connect()
        broker.stop()
        client.until(lambda: bool(client.failed))
        client.failed.clear()
        broker.start()
    assert not any("another client" in why for why in client.disconnected)
    client.close()


def test_wake_ends_a_step_from_another_thread(broker: Broker) -> None:
    client = Recorder(broker.settings())
    client.connect()
    client.steps(0.2)
    for _ in range(3):
        timer = threading.Timer(0.1, client.session.wake)
        timer.start()
        began = time.monotonic()
        client.session.step(5.0)
        assert 0.05 < time.monotonic() - began < 1.0
        timer.join()
    for _ in range(10_000):
        client.session.wake()
    began = time.monotonic()
    client.session.step(5.0)
    assert time.monotonic() - began < 0.5
    began = time.monotonic()
    client.session.step(0.3)
    assert time.monotonic() - began > 0.25, "ten thousand wakes are one"
    client.close()
    client.session.wake()


def test_wake_ends_the_wait_for_the_next_attempt_too() -> None:
    client = Recorder(BrokerSettings(port=free_port()))
    client.steps(1.0)
    threading.Timer(0.05, client.session.wake).start()
    began = time.monotonic()
    client.session.step(5.0)
    assert time.monotonic() - began < 2.0
    client.close()


class OwnersBugError(Exception):
    """What a callback of the owner raises."""


@pytest.mark.parametrize("where", ["on_connected", "on_message", "on_acknowledged", "on_disconnected"])
@pytest.mark.parametrize("kind", [OwnersBugError, OSError, ValueError])
def test_what_a_callback_raises_comes_out_of_step(where: str, kind: type[Exception]) -> None:
    """Also what looks like trouble of the network: a full disk is no reason to connect again."""

    def raise_it(*_: object) -> None:
        raise kind("the owner's own")

    def ignore(*_: object) -> None:
        pass

    callbacks = dict.fromkeys(("on_connected", "on_message", "on_acknowledged", "on_disconnected"), ignore)
    callbacks[where] = raise_it
    with FakeBroker() as fake:
        session = Session(
            BrokerSettings(port=fake.port),
            client_id="c",
            clean_start=True,
            session_expiry_s=0,
            on_connected=callbacks["on_connected"],
            on_message=callbacks["on_message"],
            on_acknowledged=callbacks["on_acknowledged"],
            on_disconnected=callbacks["on_disconnected"],
        )

        def run() -> None:
            while not session.connected:
                session.step(0.1)
            session.publish(Publication("t", b"x"), None)
            fake.deliver(Publish("t", b"x", 1, 1))
            for _ in range(5):
                session.step(0.1)
            fake.drop()
            for _ in range(5):
                session.step(0.1)

        with pytest.raises(kind, match="the owner's own"):
            run()
        session.close(1.0)


@pytest.mark.parametrize(
    "bytes_sent",
    [
        packet(0x20, b"\x00\x00\x00"),
        packet(0x32, b"\x00\x01t\x00\x00\x00"),
        packet(0x34, b"\x00\x01t\x00\x01\x00"),
        packet(0x30, b"\x00\x09t"),
        packet(0x40, b"\x00"),
        packet(0xF0, b"\x00"),
        packet(0x90, b"\x00"),
        packet(0x00, b""),
        b"\x30\xff\xff\xff\xff\xff",
    ],
    ids=[
        "second CONNACK",
        "packet id 0",
        "QoS 2",
        "cut short",
        "PUBACK without id",
        "AUTH",
        "short SUBACK",
        "type 0",
        "length without end",
    ],
)
def test_bytes_that_are_not_mqtt_end_the_connection_and_nothing_else(bytes_sent: bytes) -> None:
    with FakeBroker() as fake:
        client = Recorder(BrokerSettings(port=fake.port))
        client.connect()
        fake.send(bytes_sent)
        client.until(lambda: bool(client.disconnected))
        assert "broke the protocol" in client.disconnected[0]
        client.connect()
        client.close()


def test_a_server_that_speaks_something_else_is_said_to(tmp_path: Path) -> None:
    with Broker(tmp_path / "broker", websockets=True) as broker:
        client = Recorder(BrokerSettings(port=broker.ws_port))
        client.until(lambda: bool(client.failed))
        assert "check the port, it may not be one for MQTT" in client.failed[0]
        client.close()


def test_messages_of_an_odd_kind_are_handed_on(broker: Broker) -> None:
    """QoS 0, no payload, retained: what others publish isn't in our hands."""
    talker = Recorder(broker.settings(), "talker")
    talker.connect()
    talker.publish("t/kept", b"kept", retain=True)
    talker.until(lambda: bool(talker.acknowledged))
    listener = Recorder(broker.settings(), subscriptions=[Subscription("t/#", qos=0)])
    listener.connect()
    listener.until(lambda: bool(listener.received))
    talker.publish_all("t/empty", [b""])
    listener.until(lambda: len(listener.received) == 2)
    kept, empty = listener.received
    assert (kept.retain, kept.qos, kept.mid) == (True, 0, 0)
    assert (empty.payload, empty.retain) == (b"", False)
    assert isinstance(empty, Received)
    talker.close()
    listener.close()
