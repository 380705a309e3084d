"""The access rules that `docker/mosquitto` ships, on a real mosquitto with real certificates."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from bridge.mqtt.messages import Publication
from bridge.mqtt.session import Subscription
from bridge.mqtt.settings import BrokerSettings
from bridge.wire.topics import Topics
from tests.support.secured import SecuredBroker
from tests.support.session_recorder import Client

pytestmark = pytest.mark.server

UUID = "c7a5fdbd-edaf-9455-926a-d65c16db1809"
TOPICS = Topics()
NOT_AUTHORIZED = 0x87
CORRELATOR = "correlator-main"
DENIED = "Denied PUBLISH from libvirt-mqtt-agent-host2"


def of_host(host: str) -> list[str]:
    """Every topic that the agent of a host publishes to."""
    return [
        TOPICS.host_status(host),
        TOPICS.state(host, UUID),
        TOPICS.job(host, UUID),
        TOPICS.lifecycle(host, UUID, "started"),
        TOPICS.event(host, UUID, "migration_iteration"),
        TOPICS.object_state(host, "networks", UUID),
        TOPICS.object_state(host, "pools", UUID),
        TOPICS.object_lifecycle(host, "nodedevs", "pci_0000_00_1f_2", "created"),
        TOPICS.object_event(host, "secrets", UUID, "value_changed"),
    ]


def of_correlator(correlator: str = "main") -> list[str]:
    """Every topic that a correlator publishes to, but for replays."""
    outcomes = ("started", "interrupted", "unresolved", "completed", "failed", "conflict", "current", "last")
    return [
        *(TOPICS.migration(UUID, outcome) for outcome in outcomes),
        TOPICS.location(UUID),
        TOPICS.correlator_status(correlator),
    ]


FORBIDDEN: dict[str, list[str]] = {
    "host1": [
        *of_host("host2"),
        *of_correlator(),
        TOPICS.correlator_status("host1"),
        TOPICS.replay("host1"),
        TOPICS.replay("host2"),
        f"{TOPICS.root}/hosts/host1/domains/{UUID}/lifecycle/started/more",
        "libvirt/v2/hosts/host1/status",
        "elsewhere",
    ],
    CORRELATOR: [
        *of_host("host1"),
        *of_host(CORRELATOR),
        TOPICS.correlator_status("another"),
        TOPICS.correlator_status(CORRELATOR),
        "elsewhere",
    ],
    **{
        only_reads: [
            *of_host("host1"),
            *of_host(only_reads),
            *of_correlator(),
            TOPICS.correlator_status(only_reads),
            TOPICS.replay("host1"),
            TOPICS.replay(only_reads),
            "elsewhere",
        ]
        for only_reads in ("reader", "dashboard")
    },
    "hook": [
        *of_host("host1"),
        *of_host("hook"),
        *of_correlator(),
        TOPICS.correlator_status("hook"),
        "elsewhere",
    ],
}
ALLOWED: dict[str, list[str]] = {
    "host1": of_host("host1"),
    CORRELATOR: [*of_correlator(), TOPICS.replay("host1"), TOPICS.replay("host2")],
    "reader": [],
    "dashboard": [],
    "hook": [TOPICS.replay("host1"), TOPICS.replay("host2")],
}


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredBroker]:
    with SecuredBroker(tmp_path_factory.mktemp("secured")) as broker:
        yield broker


def as_user(broker: SecuredBroker, user: str) -> BrokerSettings:
    return broker.with_password(user) if user == "reader" else broker.known_as(user)


def answers(settings: BrokerSettings, topics: list[str]) -> dict[str, int]:
    """What the broker answers to a message on each topic."""
    client = Client(settings, client_id=f"writer-{uuid4()}")
    client.connect()
    for topic in topics:
        client.until(lambda: client.session.room() > 0)
        client.session.publish(Publication(topic, b"{}"), topic)
    client.until(lambda: len(client.acknowledged) == len(topics))
    client.close()
    return {str(topic): code for topic, code in client.acknowledged.items()}


def refusal(settings: BrokerSettings) -> str:
    client = Client(settings)
    client.until(lambda: bool(client.failed))
    client.close()
    assert client.connected == []
    return client.failed[0]


@pytest.mark.parametrize("user", ["host1", CORRELATOR, "reader"])
def test_each_may_write_what_is_its_own_and_nothing_else(broker: SecuredBroker, user: str) -> None:
    """What is refused is also not delivered to who may read everything."""
    reader = Client(
        broker.with_password("reader"), client_id=f"reader-{uuid4()}", subscriptions=[Subscription("#")]
    )
    reader.connect()
    settings = as_user(broker, user)
    allowed = answers(settings, ALLOWED[user])
    forbidden = answers(settings, FORBIDDEN[user])
    assert {topic for topic, code in allowed.items() if code >= 0x80} == set()
    assert set(forbidden.values()) == {NOT_AUTHORIZED}
    reader.until(lambda: len(reader.received) >= len(ALLOWED[user]))
    reader.steps(0.1)
    reader.close()
    assert sorted(each.topic for each in reader.received) == sorted(ALLOWED[user])


def test_each_may_read_what_it_needs_and_nothing_else(broker: SecuredBroker) -> None:
    """Everybody subscribes to everything; the broker delivers what each may see."""
    everything = [*of_host("host1"), *of_host("host2"), *of_correlator()]
    everything += [TOPICS.replay("host1"), TOPICS.replay("host2")]
    expected = {
        "host1": [
            TOPICS.replay("host1"),
            *(topic for topic in of_host("host1") if topic.endswith(("/status", "/state", "/job"))),
        ],
        CORRELATOR: [
            *(topic for topic in everything if "/hosts/" in topic),
            *(topic for topic in everything if topic.endswith(("/location", "/current", "/last"))),
            TOPICS.correlator_status("main"),
        ],
        "reader": everything,
        "host9": [],
    }
    readers = {}
    for user in expected:
        settings = broker.with_password(user) if user in ("reader", "host9") else broker.known_as(user)
        readers[user] = Client(
            settings, client_id=f"sees-{user}", subscriptions=[Subscription(TOPICS.everything())]
        )
        readers[user].connect()
    # The writers' own clients: a certificate is one client at a time, so who reads must write, too.
    for user, topics in (
        ("host1", of_host("host1")),
        (CORRELATOR, [*of_correlator(), TOPICS.replay("host1"), TOPICS.replay("host2")]),
    ):
        for topic in topics:
            readers[user].session.publish(Publication(topic, b"{}"), topic)
        acknowledged = readers[user].acknowledged
        readers[user].until(partial(_are_all_in, topics, acknowledged))
    answers(broker.known_as("host2"), of_host("host2"))
    readers["reader"].until(lambda: len(readers["reader"].received) == len(everything))
    for user, reader in readers.items():
        reader.steps(0.1)
        reader.close()
        assert sorted(each.topic for each in reader.received) == sorted(expected[user]), user


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_forged_host_reaches_nobody(broker: SecuredBroker, tmp_path: Path, version: str) -> None:
    """An agent with host1's certificate that says it is host2: neither word nor Will of it comes through.

    MQTT 5 tells it why. MQTT 3.1.1 has no answer for that, so there only the broker knows.
    """
    reader = Client(
        broker.with_password("reader"), client_id=f"r-{version}", subscriptions=[Subscription("#")]
    )
    reader.connect()
    reader.steps(0.2)
    said_before = len(reader.received)
    certificate, key = broker.certificate("host1")
    command = [sys.executable, "-m", "bridge", "agent", "--host", "host2", "--connect", "test:///default"]
    command += ["--broker", f"mqtts://127.0.0.1:{broker.tls_port}", "--broker-version", version]
    command += ["--broker-ca-file", str(broker.authority), "--state-dir", str(tmp_path)]
    command += ["--broker-cert-file", str(certificate), "--broker-key-file", str(key)]
    denials = broker.log.count(DENIED)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as agent:
        try:
            reader.until(lambda: broker.log.count(DENIED) >= denials + 2)
            reader.steps(0.5)
        finally:
            agent.kill()
        assert agent.stderr is not None
        log = [json.loads(line) for line in agent.stderr]
    refused = [line for line in log if line["event"] == "broker.refused_retained"]
    assert len(refused) == (1 if version == "5" else 0)
    for line in refused:
        assert line["topic"] == TOPICS.host_status("host2")
        assert "not authorized (0x87): check the user" in line["why"]
        assert "no other --host than its own" in line["why"]
    reader.steps(0.3)
    reader.close()
    assert reader.received[said_before:] == []


def test_nobody_can_take_over_the_session_of_another_where_that_is_switched_on(tmp_path: Path) -> None:
    """The client id is the certificate's name then, whatever the client says."""
    with SecuredBroker(tmp_path, one_connection_each=True) as broker:
        victim = Client(broker.known_as("host1"), client_id="libvirt-mqtt-agent-host1")
        victim.connect()
        thief = Client(broker.known_as("host2"), client_id="host1", clean_start=False)
        thief.connect()
        victim.steps(0.3)
        assert victim.disconnected == []
        assert thief.connected == [False]
        thief.close()
        victim.close()


def test_without_a_certificate_or_with_a_wrong_password_nobody_gets_in(broker: SecuredBroker) -> None:
    own = broker.known_as("host1")
    said = refusal(dataclasses.replace(own, cert_file=None, key_file=None))
    assert "the broker wants a client certificate: set --broker-cert-file and its key" in said
    assert "check the user, its password" in refusal(broker.with_password("reader", "guessed"))
    nobody = dataclasses.replace(broker.with_password("reader"), user=None, password=None)
    assert "check the user" in refusal(nobody)


def test_an_agent_with_a_password_has_the_same_rights_as_one_with_a_certificate(
    broker: SecuredBroker,
) -> None:
    allowed = answers(broker.with_password("host9"), of_host("host9"))
    forbidden = answers(broker.with_password("host9"), of_host("host1"))
    assert {topic for topic, code in allowed.items() if code >= 0x80} == set()
    assert set(forbidden.values()) == {NOT_AUTHORIZED}


def test_the_rules_hold_over_encrypted_websockets_too(broker: SecuredBroker) -> None:
    settings = broker.with_password("host9", scheme="wss")
    assert set(answers(settings, of_host("host9")).values()) <= {0x00, 0x10}
    assert set(answers(settings, of_host("host1")).values()) == {NOT_AUTHORIZED}
    assert "set --broker-ca-file" in refusal(dataclasses.replace(settings, ca_file=None))
    wrong = broker.with_password("host9", "guessed", "wss")
    assert "check the user, its password" in refusal(wrong)


def _are_all_in(expected: Collection[str], found: Collection[object]) -> bool:
    return set(expected) <= set(found)
