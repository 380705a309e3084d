"""The agent as a process: it is killed, its broker goes and comes, and nothing that it stored is lost."""

import random
import shutil
import socket
from pathlib import Path

import pytest

from bridge.agent.outbox.writer import TIDY_AFTER_S
from bridge.agent.publish.sender import UNANNOUNCED
from tests.support.agents import AgentProcess, DrivenAgent, Emitted, Subscriber, assert_no_hole, spoken
from tests.support.broker import Broker

pytestmark = pytest.mark.server


def heard(subscriber: Subscriber) -> list[str]:
    """The lifecycle events of the stream as the independent listener writes them, resyncs left out."""
    return [
        f"{message.data.domain.uuid} {spoken(message.data)}"
        for message in subscriber.stream()
        if getattr(message.data, "origin", "") == "event"
    ]


def until_told(subscriber: Subscriber, emitted: Emitted, timeout_s: float = 30.0) -> None:
    subscriber.until(lambda: len(subscriber.stream(epoch=emitted.epoch)) >= emitted.last_sequence, timeout_s)


def test_the_broker_away_and_the_agent_killed_cost_no_event(tmp_path: Path) -> None:
    """Events while the broker is stopped, a SIGKILL among them: all that was stored arrives, in order."""
    emitted: list[str] = []
    with Broker(tmp_path / "broker", keeps_data=True) as broker, Subscriber(broker) as subscriber:
        agent = DrivenAgent(broker, tmp_path / "agent")
        with agent:
            emitted += agent.drive(5).events
            broker.stop()
            emitted += agent.drive(50).events
            emitted += agent.drive(10, domain=1).events
            agent.kill()
            agent.start()
            last = agent.drive(20)
            emitted += last.events
            broker.start()
            until_told(subscriber, last)
    assert_no_hole(subscriber.stream())
    assert heard(subscriber) == emitted


def test_random_kills_in_a_storm_leave_no_hole_and_no_second_content(tmp_path: Path, soak: bool) -> None:
    chance = random.Random(7)
    # The subscriber listens for moments only: by default mosquitto drops what is over a thousand.
    keeping = Broker(tmp_path / "broker", "max_queued_messages 0")
    with keeping as broker, Subscriber(broker) as subscriber:
        agent = DrivenAgent(broker, tmp_path / "agent")
        last = Emitted([], 0, "")
        for _ in range(20 if soak else 4):
            agent.start()
            for _ in range(chance.randint(1, 4)):
                last = agent.drive(chance.randint(1, 200), domain=chance.randint(0, 3))
            subscriber.listen(chance.uniform(0, 0.3))
            agent.kill()
        with agent:
            last = agent.drive(1)
            until_told(subscriber, last)
            assert_no_hole(subscriber.stream())
            assert agent.stop() == 0
    assert {message.id.rpartition("-")[0] for message in subscriber.stream()} == {last.epoch}


def test_it_says_offline_and_exits_with_0_when_asked_to_stop(tmp_path: Path) -> None:
    with Broker(tmp_path / "broker") as broker, Subscriber(broker) as subscriber:
        agent = AgentProcess(broker, tmp_path / "agent", connect="test:///default")
        with agent:
            subscriber.until(lambda: subscriber.status().get("state") == "online")
            assert agent.stop() == 0
        subscriber.until(lambda: subscriber.status().get("state") == "offline")
        assert "Traceback" not in agent.log


def test_a_killed_agent_is_said_to_be_offline_by_its_will(tmp_path: Path) -> None:
    with Broker(tmp_path / "broker") as broker, Subscriber(broker) as subscriber:
        agent = AgentProcess(broker, tmp_path / "agent", connect="test:///default")
        with agent:
            subscriber.until(lambda: bool((subscriber.status().get("libvirt") or {}).get("connected")))
            agent.kill()
            subscriber.until(lambda: subscriber.status().get("state") == "offline")
        status = subscriber.status()
    assert (status["libvirt"], status["reason"]) == (None, UNANNOUNCED)


def test_a_state_directory_that_is_removed_is_said_at_once_and_made_again(tmp_path: Path) -> None:
    """While nothing happens; what happens afterwards is durable again."""
    with Broker(tmp_path / "broker") as broker, Subscriber(broker) as subscriber:
        with DrivenAgent(broker, tmp_path / "agent") as agent:
            first = agent.drive(2)
            until_told(subscriber, first)
            shutil.rmtree(tmp_path / "agent" / "state")
            took_s = subscriber.until(lambda: "removed" in (subscriber.status().get("reason") or ""))
            assert took_s < 2 * TIDY_AFTER_S
            assert subscriber.status()["epoch"] != first.epoch
            assert len(agent.logged("outbox.missing")) == 1
            second = agent.drive(2)
            assert second.epoch == subscriber.status()["epoch"]
            agent.kill()
        with DrivenAgent(broker, tmp_path / "agent") as agent:
            third = agent.drive(1)
            assert third.epoch == second.epoch
            until_told(subscriber, third)
        assert_no_hole(subscriber.stream(epoch=third.epoch))


def test_it_waits_for_a_libvirt_that_is_not_there(tmp_path: Path) -> None:
    with Broker(tmp_path / "broker") as broker, Subscriber(broker) as subscriber:
        nowhere = f"qemu+unix:///system?socket={tmp_path}/nowhere"
        with AgentProcess(broker, tmp_path / "agent", connect=nowhere) as agent:
            subscriber.until(lambda: "nowhere" in (subscriber.status().get("reason") or ""))
            assert subscriber.status()["libvirt"]["connected"] is False
            subscriber.listen(3)
            assert len(agent.logged("libvirt.unavailable")) == 1
            assert agent.stop() == 0


def test_a_libvirt_that_takes_the_connection_and_says_nothing_holds_up_nothing(tmp_path: Path) -> None:
    """A daemon that hangs when it is first met: open blocks for ever, and the agent stops all the same."""
    silent = tmp_path / "silent"
    with (
        socket.socket(socket.AF_UNIX) as listener,
        Broker(tmp_path / "broker") as broker,
        Subscriber(broker) as subscriber,
    ):
        listener.bind(str(silent))
        listener.listen(8)
        uri = f"qemu+unix:///system?socket={silent}"
        with AgentProcess(broker, tmp_path / "agent", connect=uri) as agent:
            subscriber.until(lambda: "takes more than" in (subscriber.status().get("reason") or ""), 15)
            assert agent.stop() == 0


def test_a_second_agent_on_one_state_directory_is_refused_with_78(tmp_path: Path) -> None:
    with Broker(tmp_path / "broker") as broker:
        with AgentProcess(broker, tmp_path / "agent", connect="test:///default") as first:
            first.until_logged("agent.started")
            with AgentProcess(broker, tmp_path / "agent", connect="test:///default", host="h2") as second:
                assert second.wait() == 78
        assert "state" in first.log.splitlines()[-1]
