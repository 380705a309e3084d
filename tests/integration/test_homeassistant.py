"""Home Assistant's discovery, by a real agent and a real correlator: devices come, follow, and go."""

import json
import os
import re
import signal
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from bridge.addresses import BrokerAddress
from bridge.agent.homeassistant.devices import Devices, Here
from bridge.agent.homeassistant.discovery import HomeAssistant
from bridge.agent.hypervisor.testing import TEST_URI, DrivenDomain
from bridge.agent.outbox import Limits, Outbox
from bridge.agent.publish.sender import Sender
from bridge.agent.service import Agent
from bridge.config import AgentSettings
from bridge.mqtt.session import Publication
from bridge.wire.examples import examples
from bridge.wire.messages import JOB, LOCATION, MIGRATION, STATE, Libvirt
from bridge.wire.topics import Topics
from tests.support.broker import Broker
from tests.support.correlators import CorrelatorProcess
from tests.support.home import Home, render
from tests.support.secured import SecuredBroker
from tests.support.session_recorder import Recorder
from tests.tools.pages import DOCS

pytestmark = pytest.mark.server

TOPICS = Topics()
HERE = Here("web01", "QEMU", running=True)
NOT_AUTHORIZED = 0x87
UUID = "c7a5fdbd-edaf-9455-926a-d65c16db1809"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as running:
        yield running


@pytest.fixture
def home(broker: Broker) -> Iterator[Home]:
    listening = Home(broker)
    yield listening
    listening.recorder.close()


def started_agent(broker: Broker, folder: Path, **more: Any) -> Agent:
    address = BrokerAddress.parse(f"mqtt://127.0.0.1:{broker.port}")
    agent = Agent(AgentSettings(broker=address, host="h1", connect=TEST_URI, state_dir=folder, **more))
    agent.start()
    return agent


def test_a_device_comes_with_its_domain_and_goes_with_it(broker: Broker, home: Home, tmp_path: Path) -> None:
    """Also when it goes while the agent is down, and with what the correlator says."""
    with CorrelatorProcess(broker, tmp_path) as correlator:
        correlator.until_connected()
        agent = started_agent(broker, tmp_path / "agent", homeassistant=True)
        try:
            home.until(lambda: agent.hypervisor.status.connected)
            uuid = str(uuid4())
            domain = DrivenDomain("ha1", uuid)
            domain.do("define")
            home.until(lambda: home.shows(uuid, "state") == "shutoff", 20)
            domain.do("start")
            home.until(lambda: home.shows(uuid, "state") == "running", 20)
            home.until(lambda: home.shows(uuid, "location") == "h1", 20)
            assert home.shows(uuid, "progress") == "None"
            job = Topics().job("h1", uuid)
            home.recorder.session.publish(Publication(job, examples()[JOB.type], retain=True), "job")
            home.until(lambda: home.shows(uuid, "progress") == "41", 20)
            home.recorder.session.publish(Publication(job, b"", retain=True), "no job")
            home.until(lambda: home.shows(uuid, "progress") == "None", 20)
            agent.stop()
            assert home.device(uuid) is not None
            home.until(lambda: home.shows(uuid, "state") == "unavailable", 20)
            domain.do("shutdown")
            domain.do("undefine")
            agent = started_agent(broker, tmp_path / "agent", homeassistant=True)
            home.until(lambda: home.device(uuid) is None, 30)
            domain.close()
        finally:
            agent.stop()


def test_off_by_default(broker: Broker, home: Home, tmp_path: Path) -> None:
    agent = started_agent(broker, tmp_path / "agent")
    try:
        home.until(lambda: any("/state" in r.topic for r in home.recorder.received))
        home.recorder.steps(1.5)
        assert not [r.topic for r in home.recorder.received if r.topic.startswith("homeassistant/")]
    finally:
        agent.stop()


def state_of(host: str, state: str = "running") -> bytes:
    """The example of the schemas, from this host."""
    message = json.loads(examples()[STATE.type])
    message["data"] |= {"host": host, "state": state}
    return json.dumps(message).encode()


def located(host: str) -> bytes:
    message = json.loads(examples()[LOCATION.type])
    message["data"]["host"] = host
    return json.dumps(message).encode()


class Host:
    """As much of an agent as Home Assistant has to do with, and a libvirt that says what we want."""

    def __init__(self, broker: Broker, host: str, folder: Path) -> None:
        self.homeassistant = HomeAssistant(TOPICS, host, "0.1.0", "homeassistant")
        outbox = Outbox.open(folder, Limits())
        self.sender = Sender(
            broker.settings(),
            TOPICS,
            host,
            "0.1.0",
            outbox,
            ask=lambda task: task(outbox),
            homeassistant=self.homeassistant,
        )
        self.thread = threading.Thread(target=self.sender.run)
        self.thread.start()
        self.topic = TOPICS.state(host, UUID)
        self.host = host

    def has(self, state: str | None) -> None:
        payload = state_of(self.host, state) if state else None
        self.homeassistant.state(self.topic, payload)
        self.sender.set_retained(self.topic, payload, 0)

    def stop(self) -> None:
        self.sender.stop(2)
        self.thread.join()


def test_a_device_follows_its_domain_to_another_host(broker: Broker, home: Home, tmp_path: Path) -> None:
    """Two agents; the correlator's word is ours. The device is never removed on the way."""
    agents = {host: Host(broker, host, tmp_path / host) for host in ("h1", "h2")}

    def tell(topic: str, payload: bytes) -> None:
        home.recorder.session.publish(Publication(topic, payload, retain=True), object())

    def described_by(host: str) -> bool:
        device = home.device(UUID)
        return device is not None and host in device["components"]["state"]["state_topic"]

    try:
        tell(TOPICS.location(UUID), located("h1"))
        agents["h1"].has("running")
        home.until(partial(described_by, "h1"))
        agents["h2"].has("paused")
        agents["h2"].has("running")
        agents["h1"].has(None)
        home.recorder.steps(1)
        assert described_by("h1")
        tell(TOPICS.location(UUID), located("h2"))
        home.until(partial(described_by, "h2"))
        broker.restart()
        home.recorder.until(lambda: len(home.recorder.connected) == 2, 20)
        home.recorder.received.clear()
        tell(TOPICS.location(UUID), located("h2"))
        home.until(partial(described_by, "h2"), 20)
    finally:
        for agent in agents.values():
            agent.stop()
    payloads = [r.payload for r in home.recorder.received if r.topic.startswith("homeassistant/")]
    assert all(payloads)


def test_empty_topics_render_as_unknown() -> None:
    """`None` is Home Assistant's word for it; a template that fails would fill its log."""
    devices = Devices(TOPICS, "h1", "0.1.0", "homeassistant")
    for description in (devices.describe(UUID, HERE), devices.describe_host()):
        for name, entity in json.loads(description)["components"].items():
            assert render(entity["value_template"], b"") == ("OFF" if name == "migrating" else "None")
            if "json_attributes_template" in entity:
                assert json.loads(render(entity["json_attributes_template"], b"")) == {}
            if "availability_template" in entity:
                assert render(entity["availability_template"], b"") == "offline"


def test_what_a_blind_host_said_last_is_not_shown_as_what_is(
    broker: Broker, home: Home, tmp_path: Path
) -> None:
    agent = Host(broker, "h1", tmp_path)
    try:
        agent.sender.set_status(Libvirt(connected=True))
        agent.has("running")
        home.until(
            lambda: (home.shows(UUID, "state"), home.shows("host-h1", "state")) == ("running", "online")
        )
        agent.sender.set_status(Libvirt(connected=False), "no connection to libvirt")
        home.until(lambda: home.shows(UUID, "state") == "unavailable")
        assert home.shows("host-h1", "state") == "blind"
    finally:
        agent.stop()
    home.until(lambda: home.shows("host-h1", "state") == "offline")
    assert home.shows(UUID, "state") == "unavailable"


def test_a_migration_and_its_verdict_are_shown(broker: Broker, home: Home, tmp_path: Path) -> None:
    def tell(word: str, payload: bytes) -> None:
        publication = Publication(TOPICS.migration(UUID, word), payload, retain=True)
        home.recorder.session.publish(publication, object())

    def shows(migrating: str, verdict: str) -> bool:
        return (home.shows(UUID, "migrating"), home.shows(UUID, "migration")) == (migrating, verdict)

    agent = Host(broker, "h1", tmp_path)
    try:
        agent.has("running")
        home.until(lambda: shows("OFF", "None"))
        tell("current", json.dumps({"data": {"phase": "copying"}}).encode())
        home.until(lambda: shows("ON", "None"))
        tell("last", examples()[MIGRATION["failed"].type])
        tell("current", b"")
        home.until(lambda: shows("OFF", "failed"))
    finally:
        agent.stop()


def test_a_description_that_was_refused_is_published_once_the_broker_takes_it(tmp_path: Path) -> None:
    """On the same connection: the broker's rules are read again, as after a mistake in them."""
    rules = "topic readwrite libvirt/#\ntopic read homeassistant/#\n"
    with Broker(tmp_path / "broker", acl=rules) as broker:
        home = Home(broker)
        agent = Host(broker, "h1", tmp_path / "agent")
        try:
            agent.has("running")
            home.recorder.steps(1.0)
            assert home.device(UUID) is None
            (tmp_path / "broker" / "acl").write_text(rules + "topic write homeassistant/#\n")
            os.kill(broker.pid, signal.SIGHUP)
            home.until(lambda: bool(home.device(UUID) and home.device("host-h1")))
            assert agent.sender.counters.connections == 1
        finally:
            agent.stop()
            home.close()


def test_the_access_rules_of_the_page_are_enough_and_no_more(tmp_path: Path) -> None:
    """An agent may describe devices and hear locations; who only reads may not describe any."""
    page = (DOCS / "examples" / "homeassistant.md").read_text()
    patterns, deny = re.findall(r"```\n((?:pattern|topic) .+?)```", page, re.DOTALL)
    topic = f"homeassistant/device/libvirt-mqtt/{UUID}/config"
    broker = SecuredBroker(tmp_path)
    rules = tmp_path / "acl"
    shipped = rules.read_text()
    assert "\nuser " in shipped
    rules.write_text(f"{shipped.replace(chr(10) + 'user ', f'{chr(10)}{patterns}user ', 1)}\n{deny}")
    with broker:
        correlator = Recorder(broker.known_as("correlator-main"), "correlator")
        reader = Recorder(broker.with_password("reader"), "reader")
        agent = Recorder(
            broker.known_as("host1"),
            "agent",
            subscriptions=HomeAssistant(TOPICS, "host1", "0.1.0", "homeassistant").subscriptions,
        )
        for client in (correlator, reader, agent):
            client.connect()
        agent.publish(topic, b"{}")
        agent.until(lambda: len(agent.received) == 1)  # so it has subscribed
        reader.publish(topic, b"[]")
        correlator.publish(TOPICS.location(UUID), b"there")
        correlator.until(lambda: not correlator.session.in_flight)
        agent.until(lambda: len(agent.received) == 2 and b"{}" in agent.acknowledged)
        reader.until(lambda: b"[]" in reader.acknowledged)
        assert agent.acknowledged[b"{}"] == 0
        assert reader.acknowledged[b"[]"] == NOT_AUTHORIZED
        assert sorted(agent.payloads) == [b"there", b"{}"]
        for client in (correlator, reader, agent):
            client.close()
