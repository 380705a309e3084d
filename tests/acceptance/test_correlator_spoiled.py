"""Spoiled copies of every event go before the true one: what is told is what would be told without them."""

import random
from pathlib import Path

import pytest

from bridge.mqtt.session import Publication
from bridge.wire.topics import Topics
from tests.support.broker import Broker
from tests.support.correlators import CorrelatorProcess, Fleet, messages_of
from tests.support.streams import SCENARIOS
from tests.support.traces import load

pytestmark = pytest.mark.server

TOPICS = Topics()
KINDS = {"not_json", "other_version", "topic_contradicts_payload", "absurd_size"}
SEED = 11


def _spoiled(publication: Publication, chance: random.Random) -> Publication:
    """A message as nobody should send it: broken, cut, of another version, forged, absurd, or retained."""
    payload, topic, retain = publication.payload, publication.topic, False
    match chance.randrange(7):
        case 0:
            payload = chance.randbytes(chance.randrange(1, 200))
        case 1:
            payload = payload[: chance.randrange(1, len(payload) - 1)]
        case 2:
            payload = payload.replace(b".v1", b".v9")
        case 3:
            topic = topic.replace("/hosts/", "/hosts/forged-")
        case 4:
            payload = payload.replace(b'"sequence":"', b'"sequence":"9' + b"9" * 300)
        case 5:
            payload += b" " * 300_000
        case _:
            retain = True
    return Publication(topic, payload, retain=retain)


def _told(folder: Path, chance: random.Random | None) -> list[object]:
    """What a correlator tells of all stories; with `chance` among spoiled messages, and killed in the end."""
    with (
        Broker(folder / "broker", "max_queued_messages 0") as broker,
        Fleet(broker, answers_replays=False) as fleet,
        CorrelatorProcess(broker, folder) as correlator,
    ):
        correlator.until_connected()
        played = [messages_of(load(name), f"t{number}", started_s=0) for number, name in enumerate(SCENARIOS)]
        for publication in (each for _, publications in played for each in publications):
            if chance and TOPICS.parse(publication.topic).kind in ("lifecycle", "event"):
                fleet.publish([_spoiled(publication, chance) for _ in range(3)])
            fleet.publish([publication])
        fleet.listen(6)
        if chance:
            logged = [line["kind"] for line in correlator.logged("message.rejected")]
            assert set(logged) >= KINDS
            assert len(logged) == len(set(logged)), "each kind is said once"
            assert set(fleet.status()["rejected"]) == set(logged)
            correlator.kill()
            correlator.start()
            correlator.until_connected(2)
            fleet.listen(3)
        assert correlator.stop() == 0
        assert "Traceback" not in correlator.log
        found: list[object] = [fleet.location(uuid) for uuid, _ in played]
        for uuid, _ in played:
            found += [
                (
                    uuid,
                    published.word,
                    published.data["source"],
                    published.data["destination"],
                    published.data["reason"],
                )
                for published in fleet.published_once(uuid)
            ]
        return found


def test_bad_input_among_good_stops_nothing_and_changes_nothing(tmp_path: Path) -> None:
    clean = _told(tmp_path / "clean", None)
    assert len(clean) > 2 * len(SCENARIOS)
    assert _told(tmp_path / "spoiled", random.Random(SEED)) == clean
