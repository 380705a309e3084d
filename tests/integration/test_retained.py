"""What a broker lost of our retained messages is there again after a connect; nothing else is published."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar, Protocol

import pytest

from bridge.addresses import BrokerAddress
from bridge.agent.hypervisor.testing import TEST_URI
from bridge.agent.service import Agent
from bridge.config import AgentSettings
from bridge.correlator.store import Draft, Store
from bridge.mqtt.session import Publication, Subscription
from tests.support.broker import Broker
from tests.support.correlators import CorrelatorProcess, Fleet, messages_of
from tests.support.outbox_sender import HOST, TOPICS, Stream
from tests.support.postgres import Postgres
from tests.support.processes import wait_until
from tests.support.session_recorder import Client
from tests.support.streams import streams_of
from tests.support.traces import load

pytestmark = pytest.mark.server

DOMAINS = 100_000
LOST = DOMAINS // 100
SOON_S = 20.0
STATES = TOPICS.retained_of(HOST)[0]
LOCATIONS, CURRENTS, LASTS = TOPICS.retained_by_correlators()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker", "max_queued_messages 0") as running:
        yield running


def held(broker: Broker, topic_filter: str) -> dict[str, bytes]:
    """What the broker holds."""
    complete: list[bool] = []
    reader = Client(
        broker.settings(),
        "reader",
        subscriptions=[Subscription(topic_filter, qos=0)],
        on_retained_complete=lambda: complete.append(True),
    )
    reader.until(lambda: bool(complete), 60)
    reader.close()
    return {received.topic: received.payload for received in reader.received if received.retain}


def retain(broker: Broker, messages: Iterable[tuple[str, bytes]]) -> None:
    """Somebody else publishes these, retained."""
    somebody = Client(broker.settings(), "somebody")
    somebody.connect()
    for number, (topic, payload) in enumerate(messages):
        somebody.until(lambda: somebody.session.room() > 0)
        somebody.session.publish(Publication(topic, payload, retain=True), number)
    somebody.until(lambda: somebody.session.in_flight == 0)
    somebody.close()


def cut_off(broker: Broker, client_id: str) -> None:
    """Ends a client's connection: the broker gives its session to another for a moment."""
    other = Client(broker.settings(), client_id)
    other.connect()
    other.close()


class Witness:
    """Hears what is published, but not what is there already."""

    def __init__(self, broker: Broker, topic_filter: str) -> None:
        only_new = Subscription(topic_filter, qos=0, retain_handling=2)
        self._recorder = Client(broker.settings(), "witness", subscriptions=[only_new])
        self._recorder.connect()

    def hears(self, number: int) -> list[str]:
        """The topics of so many messages, and of all that follow within a second; it hears no more then."""
        self._recorder.until(lambda: len(self._recorder.received) >= number, 60)
        self._recorder.steps(1)
        self._recorder.close()
        return [received.topic for received in self._recorder.received]


class Program(Protocol):
    """What retains messages, and its connection to the broker."""

    client_id: ClassVar[str]
    filter: ClassVar[str]
    wanted: dict[str, bytes]

    def __init__(self, broker: Broker, folder: Path, count: int) -> None: ...
    def connections(self) -> int: ...
    def close(self) -> None: ...


class Agents(Program):
    """An agent's sender with so many states."""

    client_id = f"libvirt-mqtt-agent-{HOST}"
    filter = STATES

    def __init__(self, broker: Broker, folder: Path, count: int) -> None:
        self._stream = Stream(folder, broker.settings())
        self.wanted = {TOPICS.state(HOST, f"{n:036}"): b"state %d" % n * 40 for n in range(count)}
        for topic, payload in self.wanted.items():
            self._stream.sender.set_retained(topic, payload, 0)
        self._stream.start()
        wait_until(lambda: self._stream.sender.counters.retained_answers.total() > count, timeout_s=60)

    def connections(self) -> int:
        return self._stream.sender.counters.connections

    def close(self) -> None:
        self._stream.stop()


class Correlators(Program):
    """A correlator whose store says so many locations."""

    client_id = "libvirt-mqtt-correlator-main"
    filter = LOCATIONS

    def __init__(self, broker: Broker, folder: Path, count: int) -> None:
        url = f"sqlite:///{folder}/store.db"
        uuids = [f"{n:036}" for n in range(count)]
        drafts = [
            Draft(uuid, uuid, TOPICS.location(uuid), b"at %s" % uuid.encode() * 20, retain=True)
            for uuid in uuids
        ]
        self.wanted = {draft.topic: draft.payload for draft in drafts}
        store = Store(url, owner="correlator main")
        with store.begin() as tx:
            tx.queue(drafts)
        store.close()
        witness = Witness(broker, self.filter)
        self._process = CorrelatorProcess(broker, folder, store=url)
        self._process.start()
        assert len(witness.hears(count)) == count

    def connections(self) -> int:
        return len(self._process.logged("broker.connected"))

    def close(self) -> None:
        assert self._process.stop() == 0


both = pytest.mark.parametrize("program", [Agents, Correlators])


@both
def test_a_broker_that_lost_everything_has_it_again(
    program: type[Program], tmp_path: Path, broker: Broker
) -> None:
    running = program(broker, tmp_path, 300)
    broker.restart()
    wait_until(lambda: held(broker, running.filter) == running.wanted, timeout_s=SOON_S)
    running.close()


def damage(broker: Broker, wanted: dict[str, bytes]) -> list[str]:
    """Empties some topics and replaces what is in others; returns which."""
    topics = list(wanted)
    emptied, replaced = topics[10:40], topics[50:60]
    retain(broker, [(topic, b"") for topic in emptied] + [(topic, b"other") for topic in replaced])
    return emptied + replaced


@both
def test_a_part_that_was_damaged_while_it_was_connected_is_mended_at_the_next_connect(
    program: type[Program], tmp_path: Path, broker: Broker
) -> None:
    """And nothing else is published."""
    running = program(broker, tmp_path, 300)
    damaged = damage(broker, running.wanted)
    witness = Witness(broker, running.filter)
    cut_off(broker, running.client_id)
    assert sorted(witness.hears(len(damaged))) == sorted(damaged)
    assert held(broker, running.filter) == running.wanted
    running.close()


@both
def test_a_part_that_was_damaged_while_it_was_away_is_mended_at_the_next_connect(
    program: type[Program], tmp_path: Path
) -> None:
    """The broker is another one meanwhile, with the same memory."""
    with Broker(tmp_path / "broker", keeps_data=True) as broker:
        running = program(broker, tmp_path, 300)
        broker.stop()
        shutil.copytree(tmp_path / "broker" / "data", tmp_path / "other" / "data")
        with Broker(tmp_path / "other", keeps_data=True) as other:
            damage(other, running.wanted)
            assert held(other, running.filter) != running.wanted
            other.stop()
        shutil.copytree(tmp_path / "other" / "data", tmp_path / "broker" / "data", dirs_exist_ok=True)
        broker.start()
        wait_until(lambda: held(broker, running.filter) == running.wanted, timeout_s=SOON_S)
        running.close()


@both
@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, LOST])
def test_of_many_only_the_difference_is_published(
    program: type[Program], lost: int, tmp_path: Path, broker: Broker, capsys: pytest.CaptureFixture[str]
) -> None:
    running = program(broker, tmp_path, DOMAINS)
    gone = list(running.wanted)[:: DOMAINS // lost] if lost else []
    retain(broker, [(topic, b"") for topic in gone])
    witness = Witness(broker, running.filter)
    before, began = running.connections(), time.monotonic()
    cut_off(broker, running.client_id)
    wait_until(lambda: running.connections() > before)
    assert sorted(witness.hears(lost)) == sorted(gone)
    took_s = time.monotonic() - began
    assert len(held(broker, running.filter)) == DOMAINS
    with capsys.disabled():
        print(f" {program.__name__}: {lost} of {DOMAINS} lost, published after {took_s:.1f} s", end="")
    running.close()


def test_a_location_that_should_be_gone_is_cleared(tmp_path: Path, broker: Broker) -> None:
    """A broker may have taken up an older copy of what it keeps; what the store knows nothing of stays."""
    url = f"sqlite:///{tmp_path}/store.db"
    store = Store(url, owner="correlator main")
    gone, unknown = TOPICS.location("gone"), TOPICS.location("unknown")
    with store.begin() as tx:
        tx.queue(
            [Draft("1", "gone", gone, b"somewhere", retain=True), Draft("2", "gone", gone, b"", retain=True)]
        )
        tx.sent([row.n for row in tx.unsent(0, 10)])
    store.close()
    retain(broker, [(gone, b"somewhere"), (unknown, b"there")])
    with CorrelatorProcess(broker, tmp_path, store=url):
        wait_until(lambda: gone not in held(broker, LOCATIONS), timeout_s=SOON_S)
    assert held(broker, LOCATIONS) == {unknown: b"there"}


def test_a_correlator_that_is_killed_in_mid_copy_leaves_nothing_standing(
    tmp_path: Path, broker: Broker
) -> None:
    """Who comes late has the attempt under way at once; the next process clears it with the verdict, whose
    own bytes stay. A broker that forgot meanwhile is given it again.
    """
    uuid, stream = messages_of(load("live"), "killed")
    current, last = TOPICS.migration(uuid, "current"), TOPICS.migration(uuid, "last")
    copying = next(n for n, each in enumerate(stream) if "migration_iteration" in each.topic) + 1
    with Fleet(broker) as fleet, CorrelatorProcess(broker, tmp_path) as killed:
        killed.until_connected()
        fleet.publish(stream[:copying])
        wait_until(lambda: b"copying" in held(broker, CURRENTS).get(current, b""), timeout_s=SOON_S)
        killed.kill()
    broker.restart()
    with Fleet(broker) as fleet, CorrelatorProcess(broker, tmp_path):
        wait_until(lambda: current in held(broker, CURRENTS), timeout_s=SOON_S)
        fleet.publish(stream[copying:])
        fleet.until(lambda: "completed" in [each.word for each in fleet.published(uuid)])
        wait_until(lambda: current not in held(broker, CURRENTS), timeout_s=SOON_S)
        verdict = next(each for each in fleet.published(uuid) if each.word == "completed")
    assert held(broker, LASTS) == {last: verdict.payload}


def test_what_a_correlator_with_another_store_left_under_way_is_cleared(
    tmp_path: Path, broker: Broker
) -> None:
    """Nobody else would; verdicts stay, and so does what a correlator of another name retains."""
    uuid, stream = messages_of(load("live"), "left")
    current, last, others = (
        TOPICS.migration(uuid, "current"),
        TOPICS.migration(uuid, "last"),
        TOPICS.migration("another", "current"),
    )
    copying = next(n for n, each in enumerate(stream) if "migration_iteration" in each.topic) + 1
    with Fleet(broker) as fleet, CorrelatorProcess(broker, tmp_path) as killed:
        killed.until_connected()
        fleet.publish(stream[:copying])
        wait_until(lambda: b"copying" in held(broker, CURRENTS).get(current, b""), timeout_s=SOON_S)
        killed.kill()
    left = held(broker, CURRENTS)[current]
    another = left.replace(b"/correlators/main", b"/correlators/other")
    assert another != left
    retain(broker, [(others, another), (last, b"a verdict")])
    shutil.rmtree(tmp_path / "state")
    with CorrelatorProcess(broker, tmp_path):
        wait_until(lambda: current not in held(broker, CURRENTS), timeout_s=SOON_S)
    assert held(broker, CURRENTS) == {others: another}
    assert held(broker, LASTS) == {last: b"a verdict"}


def test_devices_and_states_of_an_agent_are_there_again(tmp_path: Path, broker: Broker) -> None:
    settings = AgentSettings(
        broker=BrokerAddress.parse(f"mqtt://127.0.0.1:{broker.port}"),
        host=HOST,
        connect=TEST_URI,
        state_dir=tmp_path / "agent",
        homeassistant=True,
    )
    agent = Agent(settings)
    agent.start()
    try:
        wait_until(lambda: len(held(broker, "homeassistant/#")) > 0 and len(held(broker, "libvirt/#")) > 1)
        time.sleep(1.0)  # what else there is at the beginning
        before = held(broker, "#")
        broker.restart()
        wait_until(lambda: held(broker, "#").keys() == before.keys(), timeout_s=SOON_S)
        after = held(broker, "#")
        assert [topic for topic in before if before[topic] != after[topic]] == [TOPICS.host_status(HOST)]
    finally:
        agent.stop()


def test_one_member_of_a_group_does_it_and_another_when_it_is_gone(tmp_path: Path, broker: Broker) -> None:
    streams = streams_of(20, "lost-", ("live",))
    with Postgres() as postgres, Fleet(broker) as fleet:
        url = postgres.create("lost")
        members = [
            CorrelatorProcess(broker, tmp_path / f"member{n}", group="crew", store=url) for n in range(2)
        ]
        with members[0], members[1]:
            for member in members:
                member.until_connected()
            fleet.publish(message for stream in streams.values() for message in stream)
            fleet.until(lambda: len(held(broker, LOCATIONS)) == len(streams), 30)
            fleet.listen(3)
            before = held(broker, LOCATIONS)
            for number in range(2):
                connections = [len(member.logged("broker.connected")) for member in members]
                broker.restart()
                for member, times in zip(members, connections, strict=True):
                    member.until_connected(times + 1)
                witness = Witness(broker, LOCATIONS)
                wait_until(lambda: held(broker, LOCATIONS) == before, timeout_s=SOON_S)
                assert len(witness.hears(0)) <= len(before)
                leaders = [member for member in members if member.logged("broker.lacks")]
                assert len(leaders) == 1
                if number == 0:
                    leaders[0].kill()
                    members.remove(leaders[0])
