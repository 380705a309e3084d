"""Networks and pools of libvirt's test hypervisor: told, retained, told again after blindness."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import libvirt
import pytest

from bridge.addresses import BrokerAddress
from bridge.agent.hypervisor.testing import TEST_URI
from bridge.agent.service import Agent
from bridge.config import AgentSettings
from bridge.mqtt.messages import Publication
from bridge.wire.topics import Topics
from tests.support.agents import Subscriber, assert_no_hole
from tests.support.broker import Broker
from tests.support.contract import faults
from tests.support.session_recorder import Client

pytestmark = pytest.mark.server

NETWORK = "<network><name>{name}</name><uuid>{uuid}</uuid><bridge name='{name}'/></network>"
POOL = """<pool type='dir'><name>{name}</name><uuid>{uuid}</uuid>
<target><path>/tmp/{name}</path></target></pool>"""


class Driven:
    """A network and a pool of the test hypervisor, which keeps them while anyone here is connected."""

    def __init__(self) -> None:
        self.connection: Any = libvirt.open(TEST_URI)
        self.uuid = str(uuid4())
        self.name = f"n{self.uuid[:8]}"

    def network(self) -> Any:
        return self.connection.networkDefineXML(NETWORK.format(name=self.name, uuid=self.uuid))

    def pool(self) -> Any:
        return self.connection.storagePoolDefineXML(POOL.format(name=self.name, uuid=self.uuid))

    def close(self) -> None:
        for lookup in ("networkLookupByUUIDString", "storagePoolLookupByUUIDString"):
            for action in ("destroy", "undefine"):
                with contextlib.suppress(libvirt.libvirtError):
                    getattr(getattr(self.connection, lookup)(self.uuid), action)()
        self.connection.close()


@pytest.fixture
def driven() -> Iterator[Driven]:
    driven = Driven()
    yield driven
    driven.close()


@pytest.fixture
def subscriber(tmp_path: Path) -> Iterator[Subscriber]:
    with Broker(tmp_path / "broker") as broker, Subscriber(broker) as hearing:
        yield hearing


@contextlib.contextmanager
def running(subscriber: Subscriber, tmp_path: Path, **more: Any) -> Iterator[Agent]:
    address = BrokerAddress.parse(f"mqtt://127.0.0.1:{subscriber.broker.port}")
    given: dict[str, Any] = {
        "host": "h1",
        "connect": TEST_URI,
        "state_dir": tmp_path / "state",
        "reconcile_s": 0.5,
    } | more
    agent = Agent(AgentSettings(broker=address, **given))
    agent.start()
    try:
        subscriber.until(lambda: bool((subscriber.status().get("libvirt") or {}).get("connected")))
        yield agent
    finally:
        agent.stop()


def published(subscriber: Subscriber, driven: Driven) -> list[str]:
    """What was told of this network and pool, without their name."""
    of_it = [said for said in subscriber.told_of_objects() if driven.name in said]
    return [said.replace(f" {driven.name}", "") for said in of_it]


def is_listed(subscriber: Subscriber) -> bool:
    """Whether the default network's state is there: a first list was taken."""
    return any("/networks/" in each.topic and each.topic.endswith("/state") for each in subscriber.received)


def test_a_networks_life_is_published_and_its_state_follows(
    subscriber: Subscriber, driven: Driven, tmp_path: Path
) -> None:
    def has(active: bool | None) -> bool:
        state = subscriber.object_state("networks", driven.uuid)
        return (None if state is None else state["active"]) == active

    with running(subscriber, tmp_path):
        subscriber.until(lambda: is_listed(subscriber))
        network = driven.network()
        subscriber.until(lambda: has(False))
        network.create()
        subscriber.until(lambda: has(True))
        network.destroy()
        network.undefine()
        subscriber.until(lambda: subscriber.received[-1].payload == b"" and has(None))
        assert published(subscriber, driven) == [
            f"network {event}" for event in ("defined", "started", "stopped", "undefined")
        ]
        assert_no_hole(subscriber.stream())


def test_a_pools_state_has_its_figures(subscriber: Subscriber, driven: Driven, tmp_path: Path) -> None:
    with running(subscriber, tmp_path):
        subscriber.until(lambda: is_listed(subscriber))
        pool = driven.pool()
        pool.setAutostart(True)
        pool.create()
        pool.refresh()
        subscriber.until(lambda: "pool refresh" in published(subscriber, driven))
        subscriber.until(
            lambda: (subscriber.object_state("pools", driven.uuid) or {}).get("state") == "running"
        )
        state = subscriber.object_state("pools", driven.uuid)
        assert state is not None
        capacity, allocation, available = pool.info()[1:]
        assert capacity > 0
        assert (state["capacity"], state["allocation"], state["available"]) == (
            capacity,
            allocation,
            available,
        )
        assert (state["persistent"], state["autostart"], state["state_code"]) == (True, True, 2)
        assert published(subscriber, driven)[:2] == ["pool defined", "pool started"]
        assert [fault for each in subscriber.received for fault in faults(each.topic, each.payload)] == []


def test_what_nobody_saw_is_published_once(subscriber: Subscriber, driven: Driven, tmp_path: Path) -> None:
    network, pool = driven.network(), driven.pool()
    pool.create()
    with running(subscriber, tmp_path):
        subscriber.until(lambda: subscriber.object_state("pools", driven.uuid) is not None)
        subscriber.until(lambda: subscriber.object_state("networks", driven.uuid) is not None)
        assert published(subscriber, driven) == []
    network.create()
    pool.destroy()
    pool.undefine()
    with running(subscriber, tmp_path):
        subscriber.until(lambda: len(published(subscriber, driven)) == 3)
        subscriber.until(lambda: subscriber.object_state("pools", driven.uuid) is None)
        network.destroy()
        subscriber.until(lambda: len(published(subscriber, driven)) == 4)
        subscriber.listen(2.5)
    assert sorted(published(subscriber, driven)[:3]) == [
        "network ~started",
        "pool ~stopped",
        "pool ~undefined",
    ]
    assert published(subscriber, driven)[3:] == ["network stopped"]
    assert_no_hole(subscriber.stream())


def test_a_state_that_nobody_keeps_is_cleared(subscriber: Subscriber, driven: Driven, tmp_path: Path) -> None:
    topics = Topics()
    somebody = Client(subscriber.broker.settings(), "somebody")
    somebody.connect()
    stale = [topics.object_state("h1", plural, driven.uuid) for plural in ("networks", "pools")]
    for topic in stale:
        somebody.session.publish(Publication(topic, b"{}", retain=True), topic)
    somebody.until(lambda: somebody.session.in_flight == 0)
    somebody.close()
    with running(subscriber, tmp_path, events="-pool_lifecycle"):
        subscriber.until(
            lambda: {each.topic for each in subscriber.received if not each.payload} >= set(stale)
        )


@pytest.mark.parametrize(("events", "heard"), [("", []), ("secret_lifecycle,nodedev_lifecycle", ["created"])])
def test_node_devices_are_published_on_request(
    subscriber: Subscriber, driven: Driven, tmp_path: Path, events: str, heard: list[str]
) -> None:
    parent = driven.connection.nodeDeviceLookupByName("scsi_host1")
    xml = "<device><parent>scsi_host1</parent><capability type='scsi_host'><capability type='fc_host'>"
    xml += "<wwnn>2000000012341234</wwnn><wwpn>1000000012341234</wwpn></capability></capability></device>"
    with running(subscriber, tmp_path, events=events):
        subscriber.until(lambda: is_listed(subscriber))
        device = driven.connection.nodeDeviceCreateXML(xml, 0)
        driven.network()
        subscriber.until(lambda: published(subscriber, driven) == ["network defined"])
        name = device.name()
        device.destroy()
        of_it = [said.split()[-1] for said in subscriber.told_of_objects() if f" {name} " in said]
    assert of_it[:1] == heard
    assert parent.name() == "scsi_host1"
