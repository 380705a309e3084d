"""Events of real QEMUs, networks, pools and secrets on a real libvirtd, as an agent publishes them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from bridge.wire import messages
from tests.lab.fixtures import NEWER_RELEASE
from tests.lab.hardware import Machine
from tests.lab.host import Host
from tests.lab.lab import Lab
from tests.support.agents import AgentProcess, Subscriber, assert_no_hole
from tests.support.broker import Broker
from tests.support.contract import faults

pytestmark = [pytest.mark.lab, pytest.mark.server]

UUID: Final = "3f6a2c5e-8d41-4b0e-9a77-51c0f2d9e814"
ANYTHING: Final = object()

Act = Callable[[Machine], object]

STORY: Final[tuple[tuple[Act, dict[str, dict[str, Any]]], ...]] = (
    (
        Machine.start,
        {
            "disk_change": {"new": None, "alias": "ide0-1-1", "reason": "missing_on_start"},
            "agent_lifecycle": {"state": "disconnected", "state_code": 2, "reason": "domain_started"},
        },
    ),
    (lambda machine: machine.domain.reset(0), {"reboot": {}}),
    (Machine.set_clock, {"rtc_change": {"utcoffset": ANYTHING}}),
    (Machine.let_watchdog_fire, {"watchdog": {"action": "none", "action_code": 0}}),
    (
        lambda machine: machine.host.virsh("change-media", machine.uuid, "hdc", "--eject"),
        {"tray_change": {"alias": "ide0-1-0", "reason": "open", "reason_code": 0}},
    ),
    (Machine.plug_and_unplug, {"device_added": {"alias": "input2"}, "device_removed": {"alias": "input2"}}),
    (
        lambda machine: machine.domain.setBlockIoTune("hda", {"total_iops_sec": 5000}),
        {"tunable": {"blkdeviotune.disk": "hda", "blkdeviotune.total_iops_sec": 5000}},
    ),
    (
        lambda machine: machine.domain.setMetadata(1, "a title", None, None),
        {"metadata_change": {"type": "title", "type_code": 1, "uri": None}},
    ),
    (
        Machine.look_at,
        {
            "graphics": {
                "phase": "connect",
                "phase_code": 0,
                "local": ANYTHING,
                "scheme": "none",
                "subject": [],
            }
        },
    ),
    (
        Machine.copy_disk,
        {"block_job": {"target": "hda", "type": "copy", "status": "ready", "status_code": 3}},
    ),
    (Machine.shrink_balloon, {"balloon_change": {"actual": 60 * 1024}}),
    (
        Machine.write_past_threshold,
        {"block_threshold": {"dev": "hda", "path": ANYTHING, "threshold": 4096, "excess": ANYTHING}},
    ),
    (Machine.sleep, {"pmsuspend": {"reason": "unknown", "reason_code": 0}}),
    (lambda machine: machine.domain.pMWakeup(0), {"pmwakeup": {"reason": "unknown"}}),
    (
        Machine.save_and_restore,
        {
            "migration_iteration": {"iteration": 1},
            "job_completed": {"operation": "save", "downtime": ANYTHING},
        },
    ),
    (
        Machine.write_to_full_disk,
        {"io_error": {"path": ANYTHING, "alias": "ide0-0-0", "action": "pause", "reason": "enospc"}},
    ),
)
"""What is done to a guest, and what has to be told of it, in this order."""
KINDS: Final = [name for _, published in STORY for name in published]


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Lab(1) as lab:
        yield lab["host1"]


@pytest.fixture(scope="module")
def subscriber(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subscriber]:
    folder = tmp_path_factory.mktemp("events")
    with (
        Broker(folder / "broker") as broker,
        Subscriber(broker) as hearing,
        AgentProcess(broker, folder / "agent", connect=host.uri, events="all"),
    ):
        hearing.until(lambda: bool(hearing.status().get("libvirt", {}).get("connected")))
        yield hearing


def params(subscriber: Subscriber, name: str) -> list[dict[str, Any]]:
    """What was told of the guest under this name."""
    return [
        message.data.params
        for message in subscriber.stream()
        if isinstance(message.data, messages.DomainEvent) and message.data.event == name
    ]


@pytest.fixture(scope="module")
def played(host: Host, subscriber: Subscriber) -> Subscriber:
    """Everything was done, each act once what the one before it emits was told."""
    with Machine(host, UUID) as machine:
        for act, published in STORY:
            act(machine)
            for name in published:
                subscriber.until(lambda name=name: bool(params(subscriber, name)))  # type: ignore[misc]
    subscriber.until(lambda: subscriber.state(UUID) is None)
    return subscriber


@pytest.mark.parametrize("name", KINDS)
def test_an_event_of_a_real_guest_is_published(played: Subscriber, name: str) -> None:
    expected = next(published[name] for _, published in STORY if name in published)
    first = params(played, name)[0]
    for key, value in expected.items():
        assert key in first
        assert value is ANYTHING or first[key] == value


def test_at_least_fifteen_kinds_were_seen_and_all_keep_the_contract(played: Subscriber) -> None:
    assert len(set(KINDS)) == len(KINDS) >= 15
    assert {"suspended/ioerror", "pmsuspended/memory", "started/wakeup"} <= set(played.published(UUID))
    assert_no_hole(played.stream())
    assert [fault for each in played.received for fault in faults(each.topic, each.payload)] == []


def test_a_real_pool_is_published_with_its_figures(host: Host, subscriber: Subscriber) -> None:
    def state() -> dict[str, Any]:
        return subscriber.object_state("pools", uuid) or {}

    host.virsh("pool-define-as", "images", "dir", "--target", "/var/lib/libvirt/images")
    uuid = host.virsh("pool-uuid", "images")
    host.virsh("pool-build", "images")
    host.virsh("pool-start", "images")
    subscriber.until(lambda: state().get("state") == "running")
    host.virsh("vol-create-as", "images", "one.img", "1M")
    host.virsh("pool-refresh", "images")
    subscriber.until(lambda: "pool images refresh" in subscriber.told_of_objects())
    lines = host.virsh("pool-info", "images", "--bytes").splitlines()
    listed = dict(line.split(":", 1) for line in lines)
    subscriber.until(lambda: state()["allocation"] == int(listed["Allocation"]))
    assert state()["capacity"] == int(listed["Capacity"])
    assert state()["persistent"] is True
    host.virsh("pool-destroy", "images")
    host.virsh("pool-undefine", "images")
    subscriber.until(lambda: state() == {})
    published = [said.split()[-1] for said in subscriber.told_of_objects() if said.startswith("pool images")]
    assert [each for each in published if each != "refresh"] == [
        "defined",
        "created",
        "started",
        "stopped",
        "undefined",
    ]


def test_a_real_network_is_published_and_what_nobody_saw_of_it(host: Host, subscriber: Subscriber) -> None:
    def published() -> list[str]:
        return [said.split()[-1] for said in subscriber.told_of_objects() if said.startswith("network lone")]

    xml = "<network><name>lone</name><bridge name='lone0'/><dns enable='no'/></network>"
    host.virsh("net-define", "/dev/stdin", stdin=xml)
    host.virsh("net-start", "lone")
    uuid = host.virsh("net-uuid", "lone")
    subscriber.until(lambda: bool((subscriber.object_state("networks", uuid) or {}).get("active")))
    subscriber.until(lambda: len(published()) > 1)  # the state may come first
    assert published() == ["defined", "started"]
    host.stop_libvirtd()
    (host.folder / "etc/libvirt/qemu/networks/lone.xml").unlink()
    host.start_libvirtd()
    subscriber.until(lambda: "~undefined" in published())
    host.virsh("net-destroy", "lone")
    subscriber.until(lambda: subscriber.object_state("networks", uuid) is None)
    assert published() == ["defined", "started", "~undefined", "stopped"]


def test_a_secret_is_published_and_its_value_is_not(host: Host, subscriber: Subscriber) -> None:
    xml = "<secret><usage type='ceph'><name>client.images</name></usage></secret>"
    host.virsh("secret-define", "/dev/stdin", stdin=xml)
    (uuid,) = (line.split()[0] for line in host.virsh("secret-list").splitlines())
    host.virsh("secret-set-value", uuid, "--base64", "c2VjcmV0IHZhbHVl")
    host.virsh("secret-undefine", uuid)
    subscriber.until(lambda: "secret client.images undefined" in subscriber.told_of_objects())
    published = [said.split()[-1] for said in subscriber.told_of_objects() if said.startswith("secret")]
    assert published == ["defined", "value_changed", "undefined"]
    assert not any(
        b"c2VjcmV0" in each.payload or b"secret value" in each.payload for each in subscriber.received
    )


def test_io_errors_that_nobody_saw_are_published_once_where_libvirt_keeps_them(tmp_path: Path) -> None:
    """Which 11.3 does."""
    with (
        Lab(1, releases={"host1": NEWER_RELEASE}) as lab,
        Broker(tmp_path / "broker") as broker,
        Subscriber(broker) as hearing,
        Machine(lab["host1"], UUID) as machine,
    ):

        def agent() -> AgentProcess:
            return AgentProcess(broker, tmp_path / "agent", connect=lab["host1"].uri)

        machine.start()
        with agent():
            hearing.until(lambda: hearing.state(UUID) == "running/booted")
        machine.write_to_full_disk()
        with agent():
            hearing.until(lambda: bool(params(hearing, "io_error")))
            hearing.listen(0.5)
        with agent():
            hearing.until(lambda: hearing.status()["libvirt"]["connected"] is True)
            hearing.listen(1.0)
        (error,) = [each for each in hearing.stream() if each.data.event == "io_error"]
        assert error.data.origin == "resync"
        assert error.data.params["disk"] == "hda"
        assert error.data.params["path"].endswith("/small/disk.img")
        assert "No space left" in error.data.params["message"]
        assert error.data.params["happened_at"] < error.time
        assert "~suspended/ioerror" in hearing.published(UUID)
        assert [fault for each in hearing.received for fault in faults(each.topic, each.payload)] == []
