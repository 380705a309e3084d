"""Which agent describes a domain to Home Assistant, and when the device goes."""

import json
import re
from typing import Any

import pytest

from bridge.agent.homeassistant.devices import LATER_S, PACE_S, Devices, Here
from bridge.wire.topics import Topics

UUID = "c7a5fdbd-edaf-9455-926a-d65c16db1809"
TOPIC = f"homeassistant/device/libvirt-mqtt/{UUID}/config"
TOPICS = Topics()
RUNNING = Here("web01", "QEMU", running=True)
PAUSED = Here("web01", "QEMU", running=False)
SHUT_OFF = PAUSED


class Fleet:
    """Agents that hear each other, and the time."""

    def __init__(self, *hosts: str) -> None:
        self.agents = {host: Devices(TOPICS, host, "0.1.0", "homeassistant") for host in hosts}
        self.held: bytes | None = None
        self.published: list[str] = []
        self.hosts: list[str] = []
        self.now_s = 1000.0
        for agent in self.agents.values():
            agent.listed([])

    def __getitem__(self, host: str) -> Devices:
        return self.agents[host]

    def restart(self, host: str, *domains: tuple[str, Here]) -> None:
        """An agent that begins anew, hears what is retained, and lists what it has."""
        self.agents[host] = agent = Devices(TOPICS, host, "0.1.0", "homeassistant")
        if self.held:
            agent.holds(UUID, self.held)
        agent.listed(domains)

    def located(self, host: str | None) -> None:
        for agent in self.agents.values():
            agent.located(UUID, host)

    def settle(self, seconds: float = 3 * LATER_S) -> str | None:
        """Lets time go by; returns the host that the device is described by."""
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            for host, agent in self.agents.items():
                for topic, description in agent.due(self.now_s):
                    if topic != TOPIC:
                        self.hosts.append(topic)
                        continue
                    self.held = description
                    self.published.append(f"{host} {'describes' if description else 'removes'}")
                    for other in self.agents.values():
                        other.holds(UUID, description)
            self.now_s += 0.25
        return self.owner

    @property
    def owner(self) -> str | None:
        if self.held is None or not self.published:
            return None
        return TOPICS.parse(json.loads(self.held)["components"]["state"]["state_topic"]).host


def test_a_domain_is_described_once_and_stays_as_it_is() -> None:
    fleet = Fleet("h1", "h2")
    fleet["h1"].there(UUID, RUNNING)
    assert fleet.settle(0.5) == "h1"
    fleet.located("h1")
    fleet["h1"].there(UUID, PAUSED)
    fleet["h1"].there(UUID, RUNNING)
    fleet.settle()
    assert fleet.published == ["h1 describes"]


@pytest.mark.parametrize("persistent", [False, True], ids=["transient", "persistent"])
def test_a_migration_moves_the_device_and_never_removes_it(persistent: bool) -> None:
    fleet = Fleet("h1", "h2")
    fleet["h1"].there(UUID, RUNNING)
    fleet.located("h1")
    fleet.settle()
    fleet["h2"].there(UUID, PAUSED)
    assert fleet.settle() == "h1"
    fleet["h1"].there(UUID, PAUSED)
    fleet["h2"].there(UUID, RUNNING)
    fleet.located("h2")
    if persistent:
        fleet["h1"].there(UUID, SHUT_OFF)
    else:
        fleet["h1"].gone(UUID)
    assert fleet.settle() == "h2"
    assert fleet.published == ["h1 describes", "h2 describes"]


def test_a_failed_migration_changes_nothing() -> None:
    fleet = Fleet("h1", "h2")
    fleet["h1"].there(UUID, RUNNING)
    fleet.located("h1")
    fleet.settle()
    fleet["h2"].there(UUID, PAUSED)
    fleet.settle()
    fleet["h2"].gone(UUID)
    assert fleet.settle() == "h1"
    assert fleet.published == ["h1 describes"]


def test_a_location_that_is_late_removes_nothing() -> None:
    """The source no longer has it, and the word still is that it has."""
    fleet = Fleet("h1", "h2")
    fleet["h1"].there(UUID, RUNNING)
    fleet.located("h1")
    fleet.settle()
    fleet["h1"].gone(UUID)
    assert fleet.settle(60) == "h1"
    fleet["h2"].there(UUID, RUNNING)
    fleet.located("h2")
    assert fleet.settle() == "h2"
    assert "h1 removes" not in fleet.published


def test_a_location_that_is_away_for_a_moment_removes_nothing() -> None:
    fleet = Fleet("h1", "h2")
    fleet["h1"].there(UUID, RUNNING)
    fleet.located("h1")
    fleet.settle()
    fleet["h1"].gone(UUID)
    fleet.located(None)
    fleet.settle(LATER_S / 2)
    fleet.located("h2")
    fleet["h2"].there(UUID, RUNNING)
    fleet.settle()
    assert fleet.published == ["h1 describes", "h2 describes"]


@pytest.mark.parametrize("order", ["state first", "location first"])
def test_a_domain_that_goes_takes_its_device_along(order: str) -> None:
    fleet = Fleet("h1", "h2")
    fleet["h1"].there(UUID, RUNNING)
    fleet.located("h1")
    fleet.settle()
    if order == "state first":
        fleet["h1"].gone(UUID)
        fleet.settle(1)
        fleet.located(None)
    else:
        fleet.located(None)
        fleet.settle(1)
        fleet["h1"].gone(UUID)
    assert fleet.settle() is None
    assert fleet.published == ["h1 describes", "h1 removes"]


def test_what_went_while_the_agent_was_down_is_removed_by_it_alone() -> None:
    fleet = Fleet("h1", "h2")
    fleet["h1"].there(UUID, RUNNING)
    fleet.located("h1")
    fleet.settle()
    fleet.located(None)
    fleet.restart("h2")
    assert fleet.settle() == "h1"
    fleet.restart("h1")
    assert fleet.settle() is None


def test_nothing_is_removed_before_a_complete_list() -> None:
    fleet = Fleet("h1")
    fleet["h1"].there(UUID, RUNNING)
    fleet.settle()
    agent = fleet.agents["h1"] = Devices(TOPICS, "h1", "0.1.0", "homeassistant")
    agent.holds(UUID, fleet.held)
    assert fleet.settle() == "h1"
    agent.listed([])
    assert fleet.settle() is None


@pytest.mark.parametrize("persistent", [False, True], ids=["transient", "persistent"])
def test_without_a_correlator_the_device_follows_the_running_domain(persistent: bool) -> None:
    fleet = Fleet("h1", "h2")
    fleet["h1"].there(UUID, RUNNING)
    fleet.settle()
    fleet["h2"].there(UUID, PAUSED)
    fleet.settle()
    fleet["h2"].there(UUID, RUNNING)
    fleet.settle(1)
    if persistent:
        fleet["h1"].there(UUID, SHUT_OFF)
    else:
        fleet["h1"].gone(UUID)
    assert fleet.settle() == "h2"
    assert fleet.published == ["h1 describes", "h2 describes"]
    fleet["h2"].gone(UUID)
    assert fleet.settle() == ("h1" if persistent else None)


def test_two_hosts_that_both_run_it_dont_fight() -> None:
    """Split brain, and nobody to say where it is."""
    fleet = Fleet("h1", "h2")
    fleet["h1"].there(UUID, RUNNING)
    fleet["h2"].there(UUID, RUNNING)
    fleet.settle(120)
    assert len(fleet.published) <= 2


def test_two_that_receive_different_things_dont_flood() -> None:
    fleet = Fleet("h1", "h2")
    for host in ("h1", "h2"):
        fleet[host].there(UUID, RUNNING)
        fleet[host].located(UUID, host)
    fleet.settle(10)
    assert len(fleet.published) <= 2 * (10 / PACE_S + 1)


def test_a_new_name_is_published_by_the_host_that_has_it() -> None:
    fleet = Fleet("h1", "h2")
    for host in ("h1", "h2"):
        fleet[host].there(UUID, SHUT_OFF)
    fleet.located("h2")
    fleet.settle()
    for host in ("h1", "h2"):
        fleet[host].there(UUID, Here('na"me', "QEMU", running=False))
    fleet.settle()
    assert fleet.published == ["h2 describes", "h2 describes"]
    assert json.loads(fleet.held or b"")["device"]["name"] == 'na"me'


@pytest.mark.parametrize("alien", [b"not json", b"[]", b'{"components": 3}', b"\xff"])
def test_a_description_of_somebody_else_is_left_alone_without_a_location(alien: bytes) -> None:
    fleet = Fleet("h1")
    fleet.held = alien
    fleet.restart("h1")
    fleet.settle()
    assert (fleet.published, fleet.held) == ([], alien)
    fleet["h1"].there(UUID, RUNNING)
    fleet.located("h1")
    assert fleet.settle() == "h1"


def test_a_topic_of_another_device_is_none_of_ours() -> None:
    devices = Fleet("h1")["h1"]
    assert devices.uuid(TOPIC) == UUID
    assert devices.uuid(f"homeassistant/device/other/{UUID}/config") is None
    assert devices.uuid(f"homeassistant/device/libvirt-mqtt/{UUID}/state") is None


def described() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Fleet("h1")["h1"].describe(UUID, RUNNING))
    return found


def test_the_description_has_what_home_assistant_requires() -> None:
    """Device discovery wants an origin, a device's identifiers, each entity's platform and unique id."""
    found = described()
    assert found["origin"]["name"]
    assert found["device"]["identifiers"] == [f"libvirt-mqtt-{UUID}"]
    assert found["device"]["name"] == "web01"
    assert found["device"]["via_device"] == "libvirt-mqtt-host-h1"
    assert set(found["components"]) == {"state", "location", "progress", "migrating", "migration"}
    identifiers = {entity["unique_id"] for entity in found["components"].values()}
    assert len(identifiers) == 5
    assert all(UUID in identifier and "h1" not in identifier for identifier in identifiers)
    assert {entity["platform"] for entity in found["components"].values()} == {"sensor", "binary_sensor"}


def test_each_agent_describes_its_host_once_and_again_where_the_broker_holds_another() -> None:
    fleet = Fleet("h1", "h2")
    topics = {host: f"homeassistant/device/libvirt-mqtt/host-{host}/config" for host in ("h1", "h2")}
    fleet.settle()
    assert fleet.hosts == [topics["h1"], topics["h2"]]
    fleet["h1"].holds("host-h2", b"another")
    fleet["h2"].holds("host-h2", b"another")
    fleet.settle()
    assert fleet.hosts[2:] == [topics["h2"]]
    fleet["h1"].begin()
    fleet["h1"].holds("host-h1", fleet["h1"].describe_host())
    fleet["h2"].begin()
    fleet.settle()
    assert fleet.hosts[3:] == [topics["h2"]]


def test_any_host_name_makes_a_topic_that_home_assistant_takes_and_no_other_host_has() -> None:
    """Its discovery topics have levels of `[a-zA-Z0-9_-]+`."""
    names = ["h1", "H1", "h.1", "h_1", "h_2e1", "hö", "h/1"]
    found = []
    for name in names:
        devices = Devices(TOPICS, name, "0.1.0", "homeassistant")
        devices.listed([])
        found += [topic.split("/")[3] for topic, _ in devices.due(0.0)]
    assert all(re.fullmatch("[a-zA-Z0-9_-]+", level) for level in found)
    assert len(set(found)) == len(names)
