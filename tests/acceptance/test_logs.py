"""The log is quiet when all is well, says once what changes, and is the same for a person and a machine."""

import json
import re
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.support.agents import AgentProcess, DrivenAgent, Subscriber
from tests.support.broker import Broker
from tests.support.correlators import CorrelatorProcess, Fleet, messages_of
from tests.support.processes import wait_until
from tests.support.traces import load

pytestmark = pytest.mark.server


def events(log: str) -> Counter[str]:
    """How often each name stands in a log of JSON lines; every line has to be one."""
    lines = [json.loads(line) for line in log.splitlines()]
    for line in lines:
        assert {"event", "level", "time"} <= set(line)
        assert re.fullmatch(r"[a-z]+(\.[a-z_]+)+", line["event"])
    return Counter(line["event"] for line in lines)


def test_no_line_for_an_event_while_all_is_well(tmp_path: Path) -> None:
    """Five hundred events through an agent, a whole migration through a correlator."""
    with (
        Broker(tmp_path / "broker") as broker,
        Subscriber(broker) as subscriber,
        CorrelatorProcess(broker, tmp_path) as correlator,
    ):
        agent = DrivenAgent(broker, tmp_path / "agent")
        with agent:
            correlator.until_connected()
            last = agent.drive(125)
            subscriber.until(lambda: len(subscriber.stream(epoch=last.epoch)) >= last.last_sequence)
            with Fleet(broker) as fleet:
                _, publications = messages_of(load("live"), "quiet")
                fleet.publish(publications)
                fleet.until(lambda: any(published.word == "completed" for published in fleet.published()))
            assert agent.stop() == 0
            assert correlator.stop() == 0
    assert last.last_sequence >= 500
    assert events(agent.log) == Counter(
        ["agent.started", "broker.connected", "libvirt.connected", "broker.left", "agent.stopped"]
    )
    published = events(correlator.log)
    # The hosts of the trace have no agents that say online again: their going blind is a change, too.
    assert set(published) <= {
        *("correlator.started", "broker.connected", "broker.retained_read", "correlator.stopped"),
        *("host.blind", "host.sees"),
    }
    assert (
        published["broker.connected"]
        == published["broker.retained_read"]
        == published["correlator.started"]
        == published["correlator.stopped"]
        == 1
    )


def test_what_repeats_is_said_once(tmp_path: Path) -> None:
    """A broker that is away for seconds of attempts, and comes: three lines."""
    broker = Broker(tmp_path / "broker")
    with (
        AgentProcess(broker, tmp_path / "agent", connect="test:///default") as agent,
        CorrelatorProcess(broker, tmp_path) as correlator,
    ):
        agent.until_logged("broker.absent")
        wait_until(lambda: bool(correlator.logged("broker.absent")))
        time.sleep(3)  # several attempts
        with broker:
            agent.until_logged("broker.connected")
            correlator.until_connected()
            broker.stop()
            agent.until_logged("broker.lost")
            wait_until(lambda: bool(correlator.logged("broker.lost")))
            broker.start()
            agent.until_logged("broker.connected", times=2)
            correlator.until_connected(2)
        for program in (agent, correlator):
            # Before the first connection and between the two: once each.
            absent = [line["why"] for line in program.logged("broker.absent")]
            assert len(absent) <= 2, absent


def test_what_the_broker_refuses_is_said_once_a_reason(tmp_path: Path) -> None:
    """Each refused message is parked and counted by the status; one line names the first and why."""
    rules = "topic readwrite #\ntopic deny libvirt/v1/hosts/+/domains/+/lifecycle/stopped\n"
    with (
        Broker(tmp_path / "broker", "max_queued_messages 100000", acl=rules) as broker,
        Subscriber(broker) as subscriber,
    ):
        agent = DrivenAgent(broker, tmp_path / "agent")
        with agent:
            agent.drive(10)
            subscriber.until(lambda: subscriber.status().get("parked") == 10)
            agent.drive(5)
            subscriber.until(lambda: subscriber.status().get("parked") == 15)
            assert agent.stop() == 0
    (line,) = agent.logged("broker.refused_message")
    assert "not authorized" in line["why"].lower()
    assert line["topic"].endswith("/lifecycle/stopped")


@pytest.mark.parametrize("redirected", ["2>/dev/full", "2>&-", "2> >(exec true)"])
def test_an_agent_whose_log_can_t_be_written_goes_on(redirected: str, tmp_path: Path) -> None:
    """The disk of the log is full, nobody opened one, its reader has gone."""
    with Broker(tmp_path / "broker") as broker, Subscriber(broker) as subscriber:
        quiet = AgentProcess(broker, tmp_path / "agent", connect="test:///default")
        process = subprocess.Popen(["bash", "-c", f'exec "$@" {redirected}', "bash", *quiet.command])
        try:
            subscriber.until(lambda: subscriber.status().get("libvirt", {}).get("connected") is True)
            broker.stop()  # which there is a line to be written of
            heard = len(subscriber.received)
            broker.start()
            subscriber.until(lambda: len(subscriber.received) > heard)
            process.terminate()
            assert process.wait(10) == 0
        finally:
            process.kill()
            process.wait()
