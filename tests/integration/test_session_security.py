"""Passwords, TLS, client certificates, WebSocket; and what is said when they don't fit."""

import dataclasses
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from bridge.mqtt.session import BrokerSettings, Publication, Subscription
from bridge.mqtt.settings import Scheme
from bridge.wire.topics import Topics
from tests.matrix.brokers import Nats
from tests.support.broker import Broker
from tests.support.certificates import Certificates
from tests.support.fake_broker import Behaviour, FakeBroker
from tests.support.session_recorder import Recorder

pytestmark = pytest.mark.server

VERSIONS: list[Literal["5", "3.1.1"]] = ["5", "3.1.1"]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[Broker]:
    with Broker(tmp_path_factory.mktemp("broker"), certificates=certificates, websockets=True) as broker:
        yield broker


def refusal(settings: BrokerSettings, **options: Any) -> str:
    """What the session says of the first attempt, which has to be refused."""
    client = Recorder(settings, **options)
    client.until(lambda: bool(client.failed))
    client.close()
    assert client.session.last_refusal == client.failed[0]
    assert client.connected == []
    return client.failed[0]


def exchange(settings: BrokerSettings, count: int = 200, payload: bytes = b"x" * 3000) -> Recorder:
    """Publishes to itself and returns what came of it."""
    client = Recorder(settings, subscriptions=[Subscription("t")])
    client.connect()
    payloads = [b"%d" % number + payload for number in range(count)]
    client.publish_all("t", payloads)
    client.until(lambda: len(client.received) == count)
    client.close()
    assert client.payloads == payloads
    assert client.disconnected == []
    return client


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("user", "password"), [("agent", "wrong"), ("nobody", "secret"), (None, None)], ids=str
)
def test_a_wrong_password_is_said_to_be_one(
    tmp_path: Path, version: Literal["5", "3.1.1"], user: str | None, password: str | None
) -> None:
    with Broker(tmp_path, users={"agent": "secret"}) as broker:
        said = refusal(broker.settings(user=user, password=password, version=version))
        assert "connection refused: not authorized (0x87): check the user, its password" in said
        assert "secret" not in said
        exchange(broker.settings(user="agent", password="secret", version=version), 3)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0x84, "set --broker-version 3.1.1"),
        (0x85, "client identifier not valid (0x85)"),
        (0x86, "check the user in --broker and --broker-password-file"),
        (0x89, "server busy (0x89): the broker is overloaded"),
        (0x8A, "banned (0x8A)"),
        (0x9F, "too many connections"),
    ],
)
def test_each_reason_for_a_refusal_is_put_in_words(code: int, words: str) -> None:
    with FakeBroker(Behaviour(connack_code=code)) as fake:
        assert words in refusal(BrokerSettings(port=fake.port))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_broker_of_another_version_is_said_to_be_one(version: Literal["5", "3.1.1"]) -> None:
    """A broker for 3.1.1 answers MQTT 5 as it answers everything it doesn't know."""
    with FakeBroker(Behaviour(answers_connect=False)) as fake:
        client = Recorder(BrokerSettings(port=fake.port, version=version))
        client.session.step(0.1)
        fake.wait_until(lambda: fake.connects > 0)
        fake.send(b"\x20\x02\x00\x01")
        client.until(lambda: bool(client.failed))
        assert "unsupported protocol version (0x84)" in client.failed[0]
        client.close()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("max_qos 0", "doesn't support QoS 1"),
        ("retain_available false", "keeps no retained messages"),
    ],
)
def test_a_broker_that_lacks_what_is_needed_is_refused_with_it(tmp_path: Path, line: str, words: str) -> None:
    with Broker(tmp_path / "lacking", line) as broker:
        will = Publication("t", b"", retain=True)
        assert words in refusal(broker.settings(), will=lambda: will)


@pytest.mark.parametrize(
    ("behaviour", "topic_filter", "words"),
    [
        (Behaviour(wildcards_available=False), "a/+", "doesn't accept filters with + or #"),
        (Behaviour(shared_available=False), "$share/g/a", "no shared subscriptions"),
    ],
)
def test_a_subscription_of_a_kind_that_the_broker_lacks_is_refused_with_it(
    behaviour: Behaviour, topic_filter: str, words: str
) -> None:
    """mosquitto lacks none of them."""
    with FakeBroker(behaviour) as fake:
        assert words in refusal(BrokerSettings(port=fake.port), subscriptions=[Subscription(topic_filter)])


def test_a_broker_whose_packets_are_too_small_for_a_status_is_refused_with_it() -> None:
    """mosquitto ends the connection over the Will before it says so."""
    will = Publication("t", b"x" * 100)
    with FakeBroker(Behaviour(maximum_packet_bytes=100)) as fake:
        said = refusal(BrokerSettings(port=fake.port), will=lambda: will)
    assert "accepts packets of at most 100 bytes, and a status alone has 108" in said


def test_what_the_broker_has_less_of_is_told_once(tmp_path: Path) -> None:
    told: list[str] = []
    with Broker(tmp_path / "small", "max_inflight_messages 7") as broker:
        client = Recorder(broker.settings(), will=lambda: Publication("t", b""), on_shortfall=told.append)
        for _ in range(2):
            client.connect()
            broker.restart()
            client.until(lambda: bool(client.disconnected))
            client.disconnected.clear()
        client.close()
    (what,) = told
    assert what.startswith("the broker accepts 7 unacknowledged messages, not 20")


def test_a_session_that_is_kept_for_less_is_told() -> None:
    told: list[str] = []
    with FakeBroker(Behaviour(session_expiry_s=86_400)) as fake:
        client = Recorder(
            BrokerSettings(port=fake.port),
            clean_start=False,
            session_expiry_s=7 * 86_400,
            on_shortfall=told.append,
        )
        client.connect()
        client.close()
    assert told == ["the broker keeps our session for 1 day, not 7 days"]


def test_a_will_that_the_broker_refuses_is_told_from_a_wrong_port(tmp_path: Path) -> None:
    """NATS 2.9 takes no dot, and says so in its own log only."""
    with Nats(tmp_path, "bookworm") as nats:
        settings = nats.settings()
        client = Recorder(settings, will=lambda: Publication("hosts/a.b/status", b""))
        client.until(lambda: bool(client.failed))
        client.close()
        assert "doesn't take the Will's topic, hosts/a.b/status, for its dot" in client.failed[0]
        assert "--encode-dots" in client.failed[0]
        encoded = Recorder(
            settings, will=lambda: Publication(Topics(encode_dots=True).host_status("a.b"), b"")
        )
        encoded.connect()
        encoded.close()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("scheme", ["mqtts", "ws"])
def test_tls_and_websocket_carry_the_same(
    broker: Broker, certificates: Certificates, scheme: Scheme, version: Literal["5", "3.1.1"]
) -> None:
    settings = broker.settings(scheme, ca_file=certificates.authority, version=version)
    exchange(settings)
    exchange(settings, 3, b"y" * 20_000)


@pytest.mark.parametrize("scheme", ["mqtts", "ws"])
def test_a_hung_broker_is_noticed_over_tls_and_websocket_too(
    tmp_path: Path, certificates: Certificates, scheme: Scheme
) -> None:
    with Broker(tmp_path, certificates=certificates, websockets=True) as broker:
        settings = broker.settings(scheme, ca_file=certificates.authority)
        client = Recorder(settings, keepalive_s=1)
        client.connect()
        client.steps(2.0)
        assert client.disconnected == []
        broker.hang()
        client.until(lambda: bool(client.disconnected), 2.0)
        client.until(lambda: bool(client.failed), 7.0)
        assert "no answer in time" in client.failed[0]
        broker.go_on()
        client.connect()
        broker.kill()
        client.until(lambda: len(client.disconnected) == 2, 2.0)
        client.close()


def test_the_brokers_certificate_may_be_for_an_address_or_a_name(
    broker: Broker, certificates: Certificates
) -> None:
    for host in ("127.0.0.1", "localhost"):
        exchange(broker.settings("mqtts", host=host, ca_file=certificates.authority), 1)


def test_an_unknown_authority_is_said_to_be_one(broker: Broker, tmp_path: Path) -> None:
    assert "set --broker-ca-file" in refusal(broker.settings("mqtts"))
    other = Certificates(tmp_path / "other", "another authority")
    assert "set --broker-ca-file" in refusal(broker.settings("mqtts", ca_file=other.authority))


def test_an_expired_certificate_is_said_to_be_one(tmp_path: Path, certificates: Certificates) -> None:
    expired = certificates.sign("localhost", "DNS:localhost,IP:127.0.0.1", days=-1)
    broken = _with_server(certificates, expired)
    with Broker(tmp_path, certificates=broken) as broker:
        said = refusal(broker.settings("mqtts", ca_file=certificates.authority))
        assert "has expired: it has to be renewed there" in said


def test_a_certificate_for_another_name_is_said_to_be_one(tmp_path: Path, certificates: Certificates) -> None:
    other = certificates.sign("elsewhere", "DNS:elsewhere.example")
    broken = _with_server(certificates, other)
    with Broker(tmp_path, certificates=broken) as broker:
        said = refusal(broker.settings("mqtts", host="localhost", ca_file=certificates.authority))
        assert "isn't for the name localhost" in said
        said = refusal(broker.settings("mqtts", ca_file=certificates.authority))
        assert "isn't for the address 127.0.0.1" in said


def test_a_client_certificate_lets_in_and_its_lack_or_fault_is_said(
    tmp_path: Path, certificates: Certificates
) -> None:
    good = certificates.sign("agent1")
    expired = certificates.sign("agent1", days=-1)
    stranger = Certificates(tmp_path / "stranger", "strange authority").sign("agent1")
    with Broker(tmp_path / "broker", certificates=certificates, client_certificates=True) as broker:
        settings = broker.settings(
            "mqtts", ca_file=certificates.authority, cert_file=good.certificate, key_file=good.key
        )
        exchange(settings, 3)
        assert "agent1" in broker.log
        said = refusal(dataclasses.replace(settings, cert_file=None, key_file=None))
        assert "the broker wants a client certificate: set --broker-cert-file" in said
        for bad, why in ((expired, ": it has expired: put a new one in its place"), (stranger, "")):
            said = refusal(
                dataclasses.replace(settings, cert_file=str(bad.certificate), key_file=str(bad.key))
            )
            assert f"the broker refused our client certificate (--broker-cert-file){why}" in said


def test_files_that_cannot_be_used_are_named_and_may_be_mended_without_a_restart(
    broker: Broker, certificates: Certificates, tmp_path: Path
) -> None:
    missing = tmp_path / "ca.pem"
    client = Recorder(broker.settings("mqtts", ca_file=missing))
    client.until(lambda: bool(client.failed))
    assert client.session.last_refusal is not None
    assert f"--broker-ca-file {missing} can't be used: No such file" in client.session.last_refusal
    missing.write_bytes(certificates.authority.read_bytes())
    client.connect()
    client.close()
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("not a certificate")
    assert f"--broker-ca-file {garbage} can't be used: it holds no certificate" in refusal(
        broker.settings("mqtts", ca_file=garbage)
    )
    good, other = certificates.sign("agent2"), certificates.sign("agent3")
    nowhere = tmp_path / "nowhere.pem"
    for certificate, key, named, why in (
        (
            good.certificate,
            other.key,
            f"key-file {other.key}",
            f"not the key to --broker-cert-file {good.certificate}",
        ),
        (good.certificate, nowhere, f"key-file {nowhere}", "No such file"),
        (good.certificate, garbage, f"key-file {garbage}", "it holds no key"),
        (good.certificate, None, f"cert-file {good.certificate}", "there is no --broker-key-file"),
        (garbage, good.key, f"cert-file {garbage}", "it holds no certificate"),
        (nowhere, good.key, f"cert-file {nowhere}", "No such file"),
    ):
        settings = broker.settings(
            "mqtts", ca_file=certificates.authority, cert_file=certificate, key_file=key
        )
        said = refusal(settings)
        assert f"--broker-{named} can't be used: " in said
        assert why in said


def test_tls_to_a_port_without_and_the_other_way_round(broker: Broker, certificates: Certificates) -> None:
    plain = dataclasses.replace(broker.settings("mqtts", ca_file=certificates.authority), port=broker.port)
    client = Recorder(plain)
    client.until(lambda: bool(client.failed))
    client.close()
    assert "TLS" in client.failed[0]
    client = Recorder(dataclasses.replace(broker.settings(), port=broker.tls_port))
    client.until(lambda: bool(client.failed))
    client.close()
    assert "mqtts://" in client.failed[0]


@pytest.mark.parametrize("scheme", ["mqtts", "ws"])
def test_a_server_that_shakes_no_hands_is_given_up_after_five_seconds(scheme: Scheme) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = Recorder(BrokerSettings(scheme=scheme, port=listener.getsockname()[1]))
        began = time.monotonic()
        client.until(lambda: bool(client.failed), 7.0)
        assert 4.5 < time.monotonic() - began < 6.0
        assert "no answer in time" in client.failed[0]
        client.close()


def test_a_websocket_to_a_port_without_is_a_failure(broker: Broker) -> None:
    client = Recorder(BrokerSettings(scheme="ws", port=broker.port))
    client.until(lambda: bool(client.failed))
    client.close()
    assert "websocket" in client.failed[0].lower()


def _with_server(certificates: Certificates, server: object) -> Certificates:
    """The same authority with another server certificate."""
    other = Certificates.__new__(Certificates)
    other.__dict__.update(certificates.__dict__, server=server)
    return other
