"""A correlator that is killed, fed twice, started twice or given back an old store tells each thing once."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.mqtt.session import Publication
from tests.support.broker import Broker
from tests.support.correlators import CorrelatorProcess, Fleet, messages_of
from tests.support.processes import wait_until
from tests.support.traces import load

pytestmark = pytest.mark.server

SCENARIOS = ("live", "aborted", "postcopy_recovered", "suspend_on_arrival", "src_qemu_killed")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker", "max_queued_messages 0") as running:
        yield running


def _interleaved(count: int, seed: int) -> dict[str, list[Publication]]:
    return {
        uuid: publications
        for n in range(count)
        for uuid, publications in [messages_of(load(SCENARIOS[n % len(SCENARIOS)]), f"{seed}-{n}")]
    }


def _mixed(streams: dict[str, list[Publication]], chance: random.Random) -> list[Publication]:
    """One order of all streams that keeps each host's own."""
    left = {uuid: list(stream) for uuid, stream in streams.items()}
    mixed = []
    while left:
        uuid = chance.choice(list(left))
        mixed.append(left[uuid].pop(0))
        if not left[uuid]:
            del left[uuid]
    return mixed


def _story(fleet: Fleet, uuid: str) -> list[tuple[str, str | None, str | None, str | None]]:
    return [
        (t.word, t.data["source"]["host"], t.data["destination"]["host"], t.data["reason"])
        for t in fleet.published_once(uuid)
    ]


def test_killed_at_random_moments_it_tells_the_same_and_each_once(tmp_path: Path, broker: Broker) -> None:
    """Twelve times killed while messages flow; the tellings are those of one that lived."""
    chance = random.Random(7)
    streams = _interleaved(60, seed=1)
    mixed = _mixed(streams, chance)
    with Fleet(broker) as fleet, CorrelatorProcess(broker, tmp_path) as correlator:
        correlator.until_connected()
        pieces = 12
        for piece in range(pieces):
            fleet.publish(mixed[piece * len(mixed) // pieces : (piece + 1) * len(mixed) // pieces])
            fleet.listen(chance.uniform(0, 0.15))
            correlator.kill()
            fleet.listen(chance.uniform(0, 0.1))
            correlator.start()
            if chance.random() < 0.5:
                correlator.until_connected(len(correlator.logged("broker.connected")) + 1)
        fleet.until(lambda: _all_ended(fleet, streams), timeout_s=30)
        fleet.listen(2.5)
        published = {uuid: _story(fleet, uuid) for uuid in streams}
        assert correlator.stop() == 0
    with (
        Broker(tmp_path / "another") as calm,
        Fleet(calm) as fleet,
        CorrelatorProcess(calm, tmp_path / "calm") as correlator,
    ):
        correlator.until_connected()
        fleet.publish(mixed)
        fleet.until(lambda: _all_ended(fleet, streams), timeout_s=30)
        fleet.listen(2.5)
        expected = {uuid: _story(fleet, uuid) for uuid in streams}
    assert published == expected


def _all_ended(fleet: Fleet, streams: dict[str, list[Publication]]) -> bool:
    ended = {t.uuid for t in fleet.published() if t.word in ("completed", "failed")}
    return ended >= streams.keys()


def test_fed_the_whole_day_again_it_tells_nothing_twice(tmp_path: Path, broker: Broker) -> None:
    streams = _interleaved(20, seed=2)
    mixed = _mixed(streams, random.Random(1))
    with Fleet(broker) as fleet, CorrelatorProcess(broker, tmp_path) as correlator:
        correlator.until_connected()
        fleet.publish(mixed)
        fleet.until(lambda: _all_ended(fleet, streams))
        fleet.listen(2.5)
        before = len(fleet.published())
        fleet.publish(mixed)
        correlator.stop()
        correlator.start()
        fleet.publish(mixed)
        correlator.until_connected(2)
        fleet.listen(3.0)
        assert len(fleet.published()) == before


def test_given_an_older_copy_of_its_store_it_uses_the_same_ids(tmp_path: Path, broker: Broker) -> None:
    streams = _interleaved(20, seed=3)
    mixed = _mixed(streams, random.Random(1))
    half = len(mixed) // 2
    with Fleet(broker) as fleet, CorrelatorProcess(broker, tmp_path) as correlator:
        correlator.until_connected()
        fleet.publish(mixed[:half])
        fleet.listen(0.5)
        correlator.stop()
        shutil.copytree(tmp_path / "state", tmp_path / "copy")
        correlator.start()
        fleet.publish(mixed[half:])
        fleet.until(lambda: _all_ended(fleet, streams))
        fleet.listen(2.5)
        correlator.stop()
        before = {t.id for t in fleet.published()}
        shutil.rmtree(tmp_path / "state")
        shutil.copytree(tmp_path / "copy", tmp_path / "state")
        correlator.start()
        correlator.until_connected(3)
        fleet.publish(mixed[half:])
        fleet.listen(4.0)
        assert {t.id for t in fleet.published()} == before


def test_a_second_one_with_the_same_id_refuses(tmp_path: Path, broker: Broker) -> None:
    with CorrelatorProcess(broker, tmp_path) as first:
        first.until_connected()
        with CorrelatorProcess(broker, tmp_path / "second", state_dir=tmp_path / "state") as second:
            assert second.wait() == 78
            said = [line for line in second.log.splitlines() if not line.startswith("{")]
            assert len(said) == 1
            assert "in use by another correlator" in said[0]
        with CorrelatorProcess(broker, tmp_path, id="other") as other:
            other.until_connected()
        first.kill()
        first.start()
        first.until_connected(2)


def test_a_store_that_cannot_be_written_holds_up_and_loses_nothing(tmp_path: Path, broker: Broker) -> None:
    """The disk is full for a while: nothing is acknowledged, nothing told, and then everything."""
    import resource

    streams = _interleaved(20, seed=4)
    mixed = _mixed(streams, random.Random(1))
    with Fleet(broker) as fleet, CorrelatorProcess(broker, tmp_path) as correlator:
        correlator.until_connected()
        fleet.publish(mixed[:50])
        fleet.listen(0.5)
        resource.prlimit(correlator.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        fleet.publish(mixed[50:])
        wait_until(lambda: bool(correlator.logged("store.trouble")), lambda: correlator.log)
        fleet.listen(1.0)
        assert not _all_ended(fleet, streams)
        resource.prlimit(
            correlator.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        )
        fleet.until(lambda: _all_ended(fleet, streams), timeout_s=30)
        fleet.listen(2.5)
        assert correlator.logged("store.back")
        ids = [t.id for t in fleet.published()]
        assert len(ids) == len(set(ids))
        assert correlator.stop() == 0
