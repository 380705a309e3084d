"""An agent on libvirt's test hypervisor, in this process, against a real mosquitto."""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import libvirt
import pytest

from bridge.addresses import BrokerAddress
from bridge.agent.hypervisor.testing import TEST_URI, DrivenDomain
from bridge.agent.service import Agent
from bridge.config import AgentSettings
from bridge.errors import StateInUseError, ThreadDiedError
from bridge.mqtt.session import Publication
from bridge.wire import messages
from tests.support.agents import Subscriber, assert_no_hole
from tests.support.broker import Broker
from tests.support.processes import wait_until
from tests.support.session_recorder import Recorder

pytestmark = pytest.mark.server

LIFE = ("define", "start", "pause", "resume", "shutdown", "undefine")
PUBLISHED = [
    "defined/added",
    "started/booted",
    "suspended/paused",
    "resumed/unpaused",
    "stopped/shutdown",
    "undefined/removed",
]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as running:
        yield running


def settings(broker: Broker, tmp_path: Path, **more: Any) -> AgentSettings:
    address = BrokerAddress.parse(f"mqtt://127.0.0.1:{broker.port}")
    return AgentSettings(broker=address, host="h1", connect=TEST_URI, state_dir=tmp_path / "state", **more)


@pytest.fixture
def agent(broker: Broker, tmp_path: Path) -> Iterator[Agent]:
    running = Agent(settings(broker, tmp_path))
    running.start()
    yield running
    running.stop()


@pytest.fixture
def subscriber(broker: Broker) -> Iterator[Subscriber]:
    with Subscriber(broker) as hearing:
        yield hearing


@pytest.fixture
def domain(agent: Agent) -> Iterator[DrivenDomain]:
    driven = new_domain()
    yield driven
    driven.close()


def new_domain() -> DrivenDomain:
    """One of its own: the test hypervisor keeps its domains while anyone in this process is connected."""
    uuid = str(uuid4())
    return DrivenDomain(f"web-{uuid}", uuid)


def connected(subscriber: Subscriber) -> bool:
    return bool((subscriber.status().get("libvirt") or {}).get("connected"))


def has_state(subscriber: Subscriber, uuid: str, state: str | None) -> bool:
    return subscriber.state(uuid) == state


def has_told(subscriber: Subscriber, uuid: str, count: int) -> bool:
    return len(subscriber.published(uuid)) == count


def test_a_domain_s_life_is_published_in_order(
    agent: Agent, subscriber: Subscriber, domain: DrivenDomain
) -> None:
    subscriber.until(lambda: connected(subscriber))
    for action in LIFE:
        domain.do(action)
    subscriber.until(lambda: len(subscriber.published(domain._uuid)) == len(LIFE))
    assert subscriber.published(domain._uuid) == PUBLISHED
    assert_no_hole(subscriber.stream())
    first = subscriber.stream()[0]
    assert first.source == "/hosts/h1"
    assert first.id == f"{agent.outbox.epoch}-1"
    assert first.data.driver == "TEST"
    assert first.data.domain == messages.Domain(uuid=domain._uuid, name=domain._name, id=None)


def test_the_state_follows_and_is_cleared_at_the_end(
    agent: Agent, subscriber: Subscriber, domain: DrivenDomain
) -> None:
    subscriber.until(lambda: connected(subscriber))
    for action, state in (
        ("define", "shutoff/unknown"),
        ("start", "running/booted"),
        ("pause", "paused/user"),
        ("resume", "running/unpaused"),
        ("shutdown", "shutoff/shutdown"),
        ("undefine", None),
    ):
        domain.do(action)
        subscriber.until(partial(has_state, subscriber, domain._uuid, state))


def test_a_state_never_comes_before_what_it_takes_account_of(
    agent: Agent, subscriber: Subscriber, domain: DrivenDomain
) -> None:
    subscriber.until(lambda: connected(subscriber))
    for action in LIFE[:2] + LIFE[2:4] * 20:
        domain.do(action)
    subscriber.until(lambda: len(subscriber.published(domain._uuid)) == 42)
    subscriber.until(lambda: subscriber.state(domain._uuid) == "running/unpaused")
    highest = 0
    for received in subscriber.received:
        kind = subscriber.topics.parse(received.topic).kind
        if kind == "lifecycle":
            highest = int(messages.parse(received.payload).sequence or 0)
        elif kind == "state" and received.payload:
            assert messages.parse(received.payload).data.as_of <= highest


def test_the_states_of_all_domains_are_retained_from_the_first_connection_on(
    broker: Broker, tmp_path: Path
) -> None:
    driver = libvirt.open(TEST_URI)
    names = [f"vm-{uuid4()}" for _ in range(300)]
    xml = "<domain type='test'><name>{}</name><memory>8192</memory><os><type>hvm</type></os></domain>"
    uuids = [driver.defineXML(xml.format(name)).UUIDString() for name in names]
    agent = Agent(settings(broker, tmp_path))
    agent.start()
    try:
        with Subscriber(broker) as subscriber:
            subscriber.until(lambda: all(subscriber.state(uuid) == "shutoff/unknown" for uuid in uuids))
            assert subscriber.stream() == []
    finally:
        agent.stop()
        driver.close()


def test_it_starts_without_a_broker_and_tells_all_when_one_is_there(broker: Broker, tmp_path: Path) -> None:
    broker.stop()
    agent = Agent(settings(broker, tmp_path))
    agent.start()
    domain = new_domain()
    try:
        wait_until(lambda: agent.hypervisor.status.connected)
        for action in LIFE:
            domain.do(action)
        assert agent.ready()["libvirt"] is None
        broker.start()
        with Subscriber(broker) as subscriber:
            subscriber.until(lambda: len(subscriber.published(domain._uuid)) == len(LIFE))
            assert subscriber.published(domain._uuid) == PUBLISHED
            assert_no_hole(subscriber.stream())
    finally:
        domain.close()
        agent.stop()


def test_a_stop_says_offline_and_the_next_start_goes_on_where_it_was(
    broker: Broker, subscriber: Subscriber, tmp_path: Path
) -> None:
    domain = new_domain()
    try:
        for expected in (3, 6):
            agent = Agent(settings(broker, tmp_path))
            agent.start()
            subscriber.until(lambda: subscriber.status().get("state") == "online" and connected(subscriber))
            for action in LIFE[expected - 3 : expected]:
                domain.do(action)
            subscriber.until(partial(has_told, subscriber, domain._uuid, expected))
            agent.stop()
            subscriber.until(lambda: subscriber.status().get("state") == "offline")
            assert subscriber.status()["last_sequence"] == expected
        assert subscriber.published(domain._uuid) == PUBLISHED
        assert_no_hole(subscriber.stream())
        assert len({message.id.rpartition("-")[0] for message in subscriber.stream()}) == 1
    finally:
        domain.close()


def test_what_changed_while_it_was_away_is_published_as_a_resync(
    broker: Broker, subscriber: Subscriber, tmp_path: Path
) -> None:
    going, coming = new_domain(), new_domain()
    try:
        going.do("define")
        going.do("start")
        agent = Agent(settings(broker, tmp_path))
        agent.start()
        subscriber.until(lambda: subscriber.state(going._uuid) == "running/booted")
        agent.stop()
        for domain, action in (
            (going, "shutdown"),
            (going, "undefine"),
            (coming, "define"),
            (coming, "start"),
        ):
            domain.do(action)
        agent = Agent(settings(broker, tmp_path))
        agent.start()
        subscriber.until(lambda: len(subscriber.stream()) == 4)
        subscriber.until(lambda: subscriber.state(going._uuid) is None)
        subscriber.until(lambda: subscriber.state(coming._uuid) == "running/booted")
        agent.stop()
        assert subscriber.published(going._uuid) == ["~stopped/unknown", "~undefined/removed"]
        assert subscriber.published(coming._uuid) == ["~defined/added", "~started/booted"]
        assert_no_hole(subscriber.stream())
    finally:
        going.close()
        coming.close()


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_what_the_broker_holds_of_a_domain_that_nobody_remembers_is_cleared(
    broker: Broker, subscriber: Subscriber, tmp_path: Path, version: str
) -> None:
    """The outbox is a new one, or the broker came back with what it kept before the domain went."""
    domain = new_domain()
    domain.do("define")
    there, gone, elsewhere = domain._uuid, str(uuid4()), str(uuid4())
    topics = subscriber.topics
    held = [topics.state("h1", there), topics.state("h1", gone), topics.state("h2", elsewhere)]
    before = Recorder(broker.settings(), client_id="before")
    before.connect()
    for topic in held:
        before.session.publish(Publication(topic, b'{"data": {"state": "old", "reason": ""}}', True), topic)
    before.until(lambda: len(before.acknowledged) == len(held))
    subscriber.until(lambda: subscriber.state(gone) == "old/")
    agent = Agent(settings(broker, tmp_path, broker_version=version))
    agent.start()
    try:
        subscriber.until(lambda: subscriber.state(gone) is None)
        subscriber.until(lambda: subscriber.state(there) == "shutoff/unknown")
        assert subscriber.state(elsewhere, "h2") == "old/"
        assert subscriber.stream() == []
    finally:
        agent.stop()
        domain.close()


def test_a_list_that_fails_half_way_concludes_nothing(
    broker: Broker, subscriber: Subscriber, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One domain is gone and another can't be read: neither is told of before a list was read in full."""
    going, unreadable = new_domain(), new_domain()
    try:
        for domain in (going, unreadable):
            domain.do("define")
            domain.do("start")
        agent = Agent(settings(broker, tmp_path))
        agent.start()
        for domain in (going, unreadable):
            subscriber.until(partial(has_state, subscriber, domain._uuid, "running/booted"))
        agent.stop()
        going.do("shutdown")
        going.do("undefine")
        asked: list[int] = []

        def fail(found: libvirt.virDomain, flags: int = 0) -> Any:
            if found.UUIDString() != unreadable._uuid:
                return read(found, flags)
            asked.append(flags)
            raise libvirt.libvirtError("the monitor doesn't answer")

        def unsupported(*_: object) -> None:
            raise libvirt.libvirtError("no statistics")

        read = libvirt.virDomain.state
        monkeypatch.setattr(libvirt.virDomain, "state", fail)
        monkeypatch.setattr(libvirt.virConnect, "getAllDomainStats", unsupported)
        monkeypatch.setattr(libvirt.libvirtError, "get_error_code", lambda _: libvirt.VIR_ERR_NO_SUPPORT)
        agent = Agent(settings(broker, tmp_path))
        agent.start()
        subscriber.until(lambda: len(asked) > 1)
        subscriber.listen(0.5)
        assert subscriber.stream() == []
        assert has_state(subscriber, going._uuid, "running/booted")
        monkeypatch.undo()
        subscriber.until(partial(has_told, subscriber, going._uuid, 2))
        agent.stop()
        assert subscriber.published(going._uuid) == ["~stopped/unknown", "~undefined/removed"]
        assert subscriber.published(unreadable._uuid) == []
    finally:
        going.close()
        unreadable.close()


def test_a_stop_ends_within_five_seconds_with_a_broker_that_is_silent(
    broker: Broker, subscriber: Subscriber, tmp_path: Path
) -> None:
    agent = Agent(settings(broker, tmp_path))
    agent.start()
    subscriber.until(lambda: connected(subscriber))
    domain = new_domain()
    broker.hang()
    try:
        for action in LIFE:
            domain.do(action)
        wait_until(lambda: agent.outbox.last_sequence == len(LIFE))
        began = time.monotonic()
        agent.stop()
        assert time.monotonic() - began < 5.0
    finally:
        domain.close()
        broker.go_on()
    agent = Agent(settings(broker, tmp_path))
    agent.start()
    subscriber.until(lambda: len(subscriber.published(domain._uuid)) == len(LIFE))
    agent.stop()
    assert subscriber.published(domain._uuid) == PUBLISHED


def test_two_agents_can_t_share_a_state_directory(agent: Agent, broker: Broker, tmp_path: Path) -> None:
    with pytest.raises(StateInUseError) as refused:
        Agent(settings(broker, tmp_path))
    assert refused.value.exit_status == 78


def test_agents_of_one_name_below_two_prefixes_leave_each_other_alone(
    agent: Agent, broker: Broker, tmp_path: Path
) -> None:
    other = Agent(settings(broker, tmp_path / "other", prefix="site/1"))
    other.start()
    try:
        wait_until(lambda: agent.sender.connected and other.sender.connected)
        time.sleep(1)
        assert agent.sender.counters.connections == other.sender.counters.connections == 1
    finally:
        other.stop()


def test_health_names_what_is_not_ready(broker: Broker, tmp_path: Path) -> None:
    agent = Agent(settings(broker, tmp_path))
    assert agent.ready()["libvirt"] == "not connected yet"
    agent.start()
    try:
        wait_until(lambda: not any(agent.ready().values()), agent.ready)
    finally:
        agent.stop()
    assert agent.live()["outbox"] is not None


def test_a_thread_that_dies_is_named_and_ends_the_agent(agent: Agent) -> None:
    def fail(_outbox: object) -> None:
        raise RuntimeError("for the test")

    agent.check()
    agent.writer.ask(fail)
    wait_until(lambda: not agent.writer.worker.is_alive)
    with pytest.raises(ThreadDiedError, match="thread outbox died: RuntimeError"):
        agent.check()
    assert "for the test" in (agent.live()["outbox"] or "")
    agent.outbox.close()
