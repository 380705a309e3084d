"""A correlator that is killed, fed twice, started twice or given back an old store tells each thing once."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.broker import Broker
from tests.support.correlators import CorrelatorProcess, Fleet, stamped_now
from tests.support.processes import wait_until
from tests.support.streams import mixed, streams_of

pytestmark = pytest.mark.server


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker", "max_queued_messages 0") as running:
        yield running


def _story(fleet: Fleet, uuid: str) -> list[tuple[str, str | None, str | None, str | None]]:
    return [
        (t.word, t.data["source"]["host"], t.data["destination"]["host"], t.data["reason"])
        for t in fleet.published_once(uuid)
    ]


def test_killed_at_random_moments_it_tells_the_same_and_each_once(tmp_path: Path, broker: Broker) -> None:
    """Twelve times killed while messages flow; the tellings are those of one that lived.

    A domain's messages are up to four kills apart; `settle` is longer, so the one that is killed waits
    for the same messages as the other.
    """
    waits = {"settle": 10, "patience": 30}
    chance = random.Random(7)
    streams = streams_of(60, "1-")
    messages = mixed(streams, chance)
    with Fleet(broker) as fleet, CorrelatorProcess(broker, tmp_path, **waits) as correlator:
        correlator.until_connected()
        pieces = 12
        for piece in range(pieces):
            part = messages[piece * len(messages) // pieces : (piece + 1) * len(messages) // pieces]
            fleet.publish(stamped_now(part))
            fleet.listen(chance.uniform(0, 0.15))
            correlator.kill()
            fleet.listen(chance.uniform(0, 0.1))
            correlator.start()
            if chance.random() < 0.5:
                correlator.until_connected(len(correlator.logged("broker.connected")) + 1)
        fleet.until(lambda: fleet.have_ended(streams), timeout_s=60)
        fleet.listen(2.5)
        published = {uuid: _story(fleet, uuid) for uuid in streams}
        assert correlator.stop() == 0
    with (
        Broker(tmp_path / "another") as calm,
        Fleet(calm) as fleet,
        CorrelatorProcess(calm, tmp_path / "calm", **waits) as correlator,
    ):
        correlator.until_connected()
        fleet.publish(stamped_now(messages))
        fleet.until(lambda: fleet.have_ended(streams), timeout_s=60)
        fleet.listen(2.5)
        expected = {uuid: _story(fleet, uuid) for uuid in streams}
    assert published == expected


def test_fed_the_whole_day_again_it_tells_nothing_twice(tmp_path: Path, broker: Broker) -> None:
    streams = streams_of(20, "2-")
    messages = mixed(streams, random.Random(1))
    with Fleet(broker) as fleet, CorrelatorProcess(broker, tmp_path) as correlator:
        correlator.until_connected()
        fleet.publish(messages)
        fleet.until(lambda: fleet.have_ended(streams))
        fleet.listen(2.5)
        before = len(fleet.published())
        fleet.publish(messages)
        correlator.stop()
        correlator.start()
        fleet.publish(messages)
        correlator.until_connected(2)
        fleet.listen(3.0)
        assert len(fleet.published()) == before


def test_given_an_older_copy_of_its_store_it_uses_the_same_ids(tmp_path: Path, broker: Broker) -> None:
    streams = streams_of(20, "3-")
    messages = mixed(streams, random.Random(1))
    half = len(messages) // 2
    with Fleet(broker) as fleet, CorrelatorProcess(broker, tmp_path) as correlator:
        correlator.until_connected()
        fleet.publish(messages[:half])
        fleet.listen(0.5)
        correlator.stop()
        shutil.copytree(tmp_path / "state", tmp_path / "copy")
        correlator.start()
        fleet.publish(messages[half:])
        fleet.until(lambda: fleet.have_ended(streams))
        fleet.listen(2.5)
        correlator.stop()
        before = {t.id for t in fleet.published()}
        shutil.rmtree(tmp_path / "state")
        shutil.copytree(tmp_path / "copy", tmp_path / "state")
        correlator.start()
        correlator.until_connected(3)
        fleet.publish(messages[half:])
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

    streams = streams_of(20, "4-")
    messages = mixed(streams, random.Random(1))
    with Fleet(broker) as fleet, CorrelatorProcess(broker, tmp_path) as correlator:
        correlator.until_connected()
        fleet.publish(messages[:50])
        fleet.listen(0.5)
        resource.prlimit(correlator.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        fleet.publish(messages[50:])
        wait_until(lambda: bool(correlator.logged("store.trouble")), lambda: correlator.log)
        fleet.listen(1.0)
        assert not fleet.have_ended(streams)
        resource.prlimit(
            correlator.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        )
        fleet.until(lambda: fleet.have_ended(streams), timeout_s=30)
        fleet.listen(2.5)
        assert correlator.logged("store.back")
        ids = [t.id for t in fleet.published()]
        assert len(ids) == len(set(ids))
        assert correlator.stop() == 0
