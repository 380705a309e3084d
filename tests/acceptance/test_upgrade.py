"""The state of 0.1.0 is taken over: what waited is published, nothing twice, and no sequence is missing.

`tests/data/state-0.1.0` holds the state directories of an agent whose broker went away before it was stopped,
and of a correlator that was stopped between the beginning and the end of a migration; and what they had
published by then.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Final

import pytest

from bridge.mqtt.session import Publication
from tests.support.agents import DrivenAgent, Subscriber
from tests.support.broker import Broker
from tests.support.correlators import CorrelatorProcess, Fleet

pytestmark = pytest.mark.server

BEFORE: Final = Path(__file__).parents[1] / "data" / "state-0.1.0"
EXPECTED: Final[dict[str, Any]] = json.loads((BEFORE / "expected.json").read_text())


def test_the_agent_publishes_what_waited_and_goes_on_in_its_sequence(tmp_path: Path) -> None:
    expected = EXPECTED["agent"]
    shutil.copytree(BEFORE / "agent", tmp_path / "state")
    with Broker(tmp_path / "broker") as broker, Subscriber(broker) as subscriber:
        with DrivenAgent(broker, tmp_path) as agent:
            last = agent.drive(2)
            subscriber.until(
                lambda: any(each.id.endswith(f"-{last.last_sequence}") for each in subscriber.stream())
            )
            assert agent.stop() == 0
        assert last.epoch == expected["epoch"]
        stream = subscriber.stream()
        first = len(expected["published"]) + 1
        assert [each.id for each in stream] == [
            f"{expected['epoch']}-{sequence}" for sequence in range(first, last.last_sequence + 1)
        ]
        assert last.last_sequence > expected["last_sequence"]


def test_the_correlator_ends_what_was_under_way_and_repeats_nothing(tmp_path: Path) -> None:
    expected = EXPECTED["correlator"]
    shutil.copytree(BEFORE / "correlator", tmp_path / "state")
    (started,) = (
        message_id for word, uuid, message_id in expected["published"] if uuid == expected["under_way"]
    )
    with (
        Broker(tmp_path / "broker") as broker,
        CorrelatorProcess(broker, tmp_path) as correlator,
        Fleet(broker) as fleet,
    ):
        correlator.until_connected()
        fleet.publish(
            Publication(each["topic"], each["payload"].encode(), retain=each["retain"])
            for each in expected["rest"]
        )
        fleet.until(lambda: bool(fleet.published()))
        fleet.listen(3)
        assert [(each.uuid, each.word, each.id) for each in fleet.published()] == [
            (expected["under_way"], "completed", started.replace("started", "completed-0"))
        ]
        assert fleet.replays() == []
        assert correlator.stop() == 0
