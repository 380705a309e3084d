"""`check-broker` finds what a broker lacks, for whom, and says what to do about it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from bridge.mqtt.messages import Subscription
from bridge.mqtt.settings import BrokerSettings
from bridge.wire.topics import Topics
from tests.matrix.brokers import Nats
from tests.matrix.table import KINDS
from tests.support.broker import Broker, free_port
from tests.support.fake_broker import Behaviour, FakeBroker
from tests.support.processes import ROOT, environment
from tests.support.secured import SecuredBroker
from tests.support.session_recorder import Recorder
from tests.support.unretained_proxy import UnretainedProxy

pytestmark = pytest.mark.server

NEEDS = ["connects", "reads", "QoS 1", "two sessions", "writes", "speed", "retained messages", "Will"]


class Checked:
    """One run: its status, and what was found of each need by role."""

    program: Sequence[str] = (sys.executable, "-m", "bridge")

    def __init__(self, port: int, *arguments: str, **options: object) -> None:
        given = {"broker": f"mqtt://127.0.0.1:{port}", "host": "host1", **options}
        flags = [
            f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}")
            for name, value in given.items()
            if value is not False
        ]
        done = subprocess.run(
            [*self.program, "check-broker", *arguments, *flags],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=environment(),
            check=False,
            timeout=120,
        )
        self.status = done.returncode
        self.text = done.stdout
        assert not done.stderr, done.stderr
        self.found: dict[str, dict[str, tuple[str, str]]] = {}
        self.found_at: dict[tuple[str, str], dict[str, tuple[str, str]]] = {}
        role = ""
        for line in done.stdout.splitlines():
            if row := re.fullmatch(r"  (ok|missing|note|unknown) +(\S.*?)  +(\S.*)", line):
                self.found[role][row[2]] = row[1], row[3]
            elif not line.startswith("  "):
                role, _, address = line.partition(" at ")
                self.found[role] = self.found_at[role, address] = {}

    def marks(self, role: str, mark: str) -> list[str]:
        """The needs that have this mark."""
        return [need for need, (found, _) in self.found[role].items() if found == mark]


def retained(settings: BrokerSettings) -> list[str]:
    """The topics that hold something."""
    reader = Recorder(settings, subscriptions=[Subscription("#")])
    reader.connect()
    reader.steps(0.3)
    reader.close()
    return [each.topic for each in reader.received]


def test_a_broker_that_has_all_is_enough_and_is_left_as_it_was(tmp_path: Path) -> None:
    with Broker(tmp_path / "broker") as broker:
        checked = Checked(broker.port, group="crew")
        assert checked.status == 0, checked.text
        assert checked.marks("agent", "ok") == NEEDS
        assert checked.marks("correlator", "ok") == [*NEEDS, "shared subscriptions", "kept session"]
        assert checked.marks("dashboard", "ok") == ["connects", "reads", "kept session"]
        assert checked.marks("hook", "ok") == ["connects", "reads", "writes", "kept session"]
        assert checked.marks("watch", "ok") == ["connects", "reads"]
        for role in ("agent", "correlator", "dashboard", "hook", "watch"):
            assert checked.marks(role, "note") == ["access rules"]
            assert "docker/mosquitto/acl" in checked.found[role]["access rules"][1]
        assert re.search(r"[\d.]+ ms there and back; [\d,]+ messages a second", checked.text)
        assert retained(broker.settings()) == []
        assert "check-" not in broker.log.rpartition("New client connected")[2], "no session is kept"


def test_with_the_access_rules_that_are_shipped_each_may_do_what_it_has_to(tmp_path: Path) -> None:
    """As its own program would connect, by its own table of the settings file."""
    with SecuredBroker(tmp_path / "broker") as broker:
        settings = tmp_path / "settings.toml"
        tables = [f'broker_ca_file = "{broker.authority}"']
        users = {"agent": "host1", "correlator": "correlator-main", "dashboard": "dashboard", "hook": "hook"}
        for role, user in users.items():
            certificate, key = broker.certificate(user)
            tables += [f"[{role}]", f'broker_cert_file = "{certificate}"', f'broker_key_file = "{key}"']
        settings.write_text("\n".join(tables))
        url = f"mqtts://127.0.0.1:{broker.tls_port}"
        checked = Checked(0, *users, config=settings, broker=url)
        assert checked.status == 0, checked.text
        assert list(checked.found) == list(users)
        assert checked.marks("agent", "ok") == [*NEEDS, "access rules"]
        assert checked.marks("correlator", "ok") == [*NEEDS, "access rules", "kept session"]
        reads = ["connects", "reads", "access rules", "kept session"]
        assert checked.marks("dashboard", "ok") == reads
        assert checked.marks("hook", "ok") == [*reads[:2], "writes", *reads[2:]]


@pytest.mark.parametrize(
    ("line", "rules", "role", "missing", "words"),
    [
        ("max_qos 0", None, "agent", "connects", "doesn't support QoS 1"),
        ("retain_available false", None, "correlator", "connects", "keeps no retained messages"),
        ("", "topic write #", "agent", "QoS 1", "isn't delivered: may this user read it?"),
        ("", "topic read #", "correlator", "QoS 1", "can't be written: not authorized"),
        (
            "",
            "topic readwrite libvirt/v1/hosts/host1/domains/+/state",
            "agent",
            "writes",
            "/event/check: not authorized",
        ),
    ],
)
def test_what_is_missing_is_named_with_what_to_do(  # noqa: PLR0917 - one for each column
    tmp_path: Path, line: str, rules: str | None, role: str, missing: str, words: str
) -> None:
    with Broker(tmp_path / "broker", line, acl=rules) as broker:
        checked = Checked(broker.port, role)
    assert checked.status == 1, checked.text
    mark, text = checked.found[role][missing]
    assert mark == "missing"
    assert words in text
    assert f"missing for {role}: " in checked.text


def test_retained_messages_that_no_wildcard_gets_are_missing_for_a_correlator(tmp_path: Path) -> None:
    with Broker(tmp_path / "broker") as broker, UnretainedProxy(broker.port) as proxy:
        checked = Checked(proxy.port, "agent", "correlator")
    assert checked.status == 1
    assert checked.marks("correlator", "missing") == ["retained messages"]
    assert "take another broker" in checked.found["correlator"]["retained messages"][1]
    assert "retained messages" in checked.marks("agent", "note")


def test_a_session_that_is_not_kept_is_missing_for_who_reads_durably() -> None:
    with FakeBroker(Behaviour(session_present=False)) as fake:
        checked = Checked(fake.port, "dashboard", "hook", "watch")
    assert checked.status == 1
    for role in ("dashboard", "hook"):
        assert "kept session" in checked.marks(role, "missing")
        assert "messages while disconnected are lost" in checked.found[role]["kept session"][1]
    assert "kept session" not in checked.found["watch"]


def test_each_node_is_tested_and_reported_by_its_address(tmp_path: Path) -> None:
    with Broker(tmp_path / "good") as good, Broker(tmp_path / "poor", "retain_available false") as poor:
        ports = [good.port, poor.port, free_port()]
        nodes = [f"mqtt://127.0.0.1:{port}" for port in ports]
        checked = Checked(0, "agent", "watch", broker=",".join([nodes[0], *(each[7:] for each in nodes[1:])]))
    assert checked.status == 1
    assert list(checked.found_at) == [(role, node) for role in ("agent", "watch") for node in nodes]
    fine, unfit, down = (checked.found_at["agent", node] for node in nodes)
    assert list(fine) == [*NEEDS, "access rules"]
    assert "keeps no retained messages" in unfit["connects"][1]
    assert f"{nodes[2]}: connection refused" in down["connects"][1]
    assert checked.text.count("enough for agent") == 1
    assert checked.text.count("enough for watch") == 2


_TWO_RECORDS = """
import socket, sys
from bridge.cli import main

asked = socket.getaddrinfo

def answer(host, port, **options):
    if host != "cluster.test" or options.get("flags"):
        return asked(host, port, **options)
    return [each for ip in ("127.0.0.2", "127.0.0.3") for each in asked(ip, port, **options)]

socket.getaddrinfo = answer
sys.exit(main(sys.argv[1:]))
"""


class CheckedBehindOneName(Checked):
    """The name `cluster.test` has two addresses."""

    program = (sys.executable, "-c", _TWO_RECORDS)


def test_each_record_of_a_name_is_tested(tmp_path: Path) -> None:
    """As a client tries each; two brokers behind one name."""
    port = free_port()
    with (
        Broker(tmp_path / "good", address="127.0.0.2", port=port),
        Broker(tmp_path / "poor", "retain_available false", address="127.0.0.3", port=port),
    ):
        checked = CheckedBehindOneName(port, "agent", broker=f"mqtt://cluster.test:{port}")
    assert checked.status == 1
    nodes = [f"mqtt://cluster.test:{port} ({record})" for record in ("127.0.0.2", "127.0.0.3")]
    assert list(checked.found_at) == [("agent", node) for node in nodes]
    good, poor = checked.found_at.values()
    assert list(good) == [*NEEDS, "access rules"]
    assert "keeps no retained messages" in poor["connects"][1]
    assert checked.text.count("enough for agent") == 1


def test_one_connection_for_each_user_is_too_few_for_a_correlator(tmp_path: Path) -> None:
    with SecuredBroker(tmp_path / "broker", one_connection_each=True) as broker:
        settings = tmp_path / "settings.toml"
        tables = [f'broker_ca_file = "{broker.authority}"']
        users = {"agent": "host1", "correlator": "correlator-main", "dashboard": "dashboard"}
        for role, user in users.items():
            certificate, key = broker.certificate(user)
            tables += [f"[{role}]", f'broker_cert_file = "{certificate}"', f'broker_key_file = "{key}"']
        settings.write_text("\n".join(tables))
        checked = Checked(0, *users, config=settings, broker=f"mqtts://127.0.0.1:{broker.tls_port}")
    assert checked.marks("correlator", "missing") == ["two sessions"]
    assert "use a listener without it" in checked.found["correlator"]["two sessions"][1]
    for role in ("agent", "dashboard"):
        assert f"enough for {role}" in checked.text
    assert checked.marks("agent", "note") == ["two sessions"]


def test_shared_subscriptions_are_missing_only_for_a_group() -> None:
    with FakeBroker(Behaviour(shared_available=False)) as fake:
        checked = Checked(fake.port, "correlator", group="crew")
    assert checked.status == 1
    assert "run one correlator without it" in checked.found["correlator"]["shared subscriptions"][1]


def test_a_dot_that_the_broker_does_not_take_is_named(tmp_path: Path) -> None:
    with Nats(tmp_path / "nats", "bookworm") as nats:
        checked = Checked(nats.port, "agent", broker_version="3.1.1", host="host.example")
        assert checked.status == 1
        assert "set --encode-dots" in checked.found["agent"]["connects"][1]
        encoded = Checked(nats.port, "agent", broker_version="3.1.1", host="host.example", encode_dots=True)
        assert encoded.status == 0, encoded.text
        assert "MQTT 3.1.1 doesn't report" in encoded.found["agent"]["access rules"][1]


LACKS: dict[str, dict[tuple[str, str], str]] = {
    "mosquitto": {},
    "mosquitto-trixie": {},
    "nats-2.9": {},
    "nats-2.10": {},
    "aedes": {},
    "rabbitmq-4": {
        **{
            (role, "limits"): "keeps our session for 1 day, not 7 days"
            for role in ("correlator", "dashboard", "hook")
        },
        ("correlator", "shared subscriptions"): "run one correlator without it",
        **{
            (role, "retained messages"): "none is sent to subscriptions with wildcards: take another broker"
            for role in ("correlator", "dashboard", "watch")
        },
        ("hook", "retained messages"): "what it missed isn't run",
        ("agent", "retained messages"): "the agent publishes all its states at each connect",
    },
}
"""What each broker of the matrix lacks with its settings, for whom, and what the text says to do."""


@pytest.mark.parametrize("name", KINDS)
def test_it_finds_what_each_broker_of_the_matrix_lacks(tmp_path: Path, soak: bool, name: str) -> None:
    kind = KINDS[name]
    if kind.soak and not soak:
        return
    (tmp_path / "broker").mkdir()
    with kind.make(tmp_path / "broker") as broker:
        settings = broker.settings()
        options: dict[str, object] = {"broker_version": settings.version}
        if settings.version == "5":
            options["group"] = "crew"
        if kind.encodes:
            dotted = Checked(settings.effective_port, "agent", host="a.b", **options)
            assert "set --encode-dots" in dotted.text
            assert dotted.status == 1
        checked = Checked(settings.effective_port, host="a.b", encode_dots=kind.encodes, **options)
    found = {
        (role, need): text
        for role, needs in checked.found.items()
        for need, (mark, text) in needs.items()
        if mark in ("missing", "note") and need != "access rules"
    }
    assert found.keys() == LACKS[name].keys(), checked.text
    for lack, words in LACKS[name].items():
        assert words in found[lack]


def test_no_broker_is_missing_for_everybody() -> None:
    checked = Checked(free_port())
    assert checked.status == 1
    assert {role: list(found) for role, found in checked.found.items()} == {
        "agent": ["connects"],
        "correlator": ["connects"],
        "dashboard": ["connects"],
        "hook": ["connects"],
        "watch": ["connects"],
    }
    assert "connection refused" in checked.text


def test_a_wrong_setting_ends_it_with_78() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bridge", "check-broker", "--broker=http://h"],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 78


def test_its_topics_are_those_of_the_contract() -> None:
    """Whoever sees them can read what they are about."""
    from bridge.check_broker.checks import roles
    from bridge.config import CheckSettings

    for role in roles(CheckSettings(host="a.b")).values():
        for topic in (*role.writes, *role.forbidden, *filter(None, (role.echo, role.status))):
            Topics().parse(topic)
