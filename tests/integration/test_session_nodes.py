"""A broker with several nodes: the next one is tried after any failure."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bridge.mqtt.session import BrokerSettings
from tests.support.broker import Broker, free_port
from tests.support.fake_broker import Behaviour, FakeBroker
from tests.support.outbox_sender import Stream, Subscriber
from tests.support.session_recorder import Recorder

pytestmark = pytest.mark.server


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as running:
        yield running


def first_at(settings: BrokerSettings, port: int) -> Recorder:
    """A client of two nodes that begins with the one at `port`."""
    for number in range(100):
        client = Recorder(settings, f"client{number}")
        if client.session.address.endswith(f":{port}"):
            return client
        client.close()
    raise AssertionError("a fleet doesn't spread")


@pytest.mark.parametrize(
    ("behaviour", "why"),
    [
        (Behaviour(answers_connect=False), "sent nothing for 5 s"),
        (Behaviour(connack_code=0x88), "server unavailable"),
        (Behaviour(connack_code=0x87), "not authorized"),
        (None, "connection refused"),
    ],
    ids=["no CONNACK", "not ready", "not authorized", "nobody listens"],
)
def test_after_any_failure_the_next_node_is_tried(
    broker: Broker, behaviour: Behaviour | None, why: str
) -> None:
    with ExitStack() as stack:
        port = stack.enter_context(FakeBroker(behaviour)).port if behaviour else free_port()
        client = first_at(replace(broker.settings(), others=(("127.0.0.1", port),)), port)
        took_s = client.connect()
        (failed,) = client.failed
        assert why in failed
        assert str(port) in failed
        assert client.session.address == f"mqtt://127.0.0.1:{broker.port}"
        assert took_s < 7.0
        client.close()


def test_a_node_that_dies_is_left_for_the_other_at_once(broker: Broker, tmp_path: Path) -> None:
    with Broker(tmp_path / "other") as other:
        client = first_at(replace(broker.settings(), others=(("127.0.0.1", other.port),)), other.port)
        client.connect()
        other.kill()
        died_s = time.monotonic()
        client.until(lambda: client.connected == [False, False])
        assert time.monotonic() - died_s < 1.5
        assert str(broker.port) in client.session.address
        client.close()


def test_the_records_of_one_name_are_tried_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that takes the connection and says nothing."""
    with Broker(tmp_path / "broker", address="127.0.0.2") as broker:
        silent = socket.create_server(("127.0.0.3", broker.port))
        asked = socket.getaddrinfo

        def answer(host: str, port: int, **options: Any) -> Any:
            if host != "cluster.test" or options.get("flags"):
                return asked(host, port, **options)
            return [each for ip in ("127.0.0.2", "127.0.0.3") for each in asked(ip, port, **options)]

        monkeypatch.setattr(socket, "getaddrinfo", answer)
        tried = set()
        for number in range(8):
            client = Recorder(broker.settings(host="cluster.test"), f"client{number}")
            client.connect()
            assert client.session.address == f"mqtt://cluster.test:{broker.port} (127.0.0.2)"
            tried.update(client.failed)
            client.close()
            if tried:
                break
        silent.close()
        (failed,) = tried
        assert failed.startswith(f"mqtt://cluster.test:{broker.port} (127.0.0.3): ")


def test_an_agents_status_says_which_node_it_uses(broker: Broker, tmp_path: Path) -> None:
    nobody = free_port()
    with (
        Subscriber(broker.settings()) as subscriber,
        Stream(tmp_path, replace(broker.settings(), others=(("127.0.0.1", nobody),))),
    ):
        subscriber.until(lambda: bool(subscriber.statuses))
        assert subscriber.statuses[-1].reason == f"connected to mqtt://127.0.0.1:{broker.port}"
