"""The correlator's two sessions: the durable one, and the clean one that reads what hosts retain."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bridge.mqtt.session import Publication, Subscription
from bridge.mqtt.settings import Version
from bridge.wire.topics import Topics
from tests.support import served
from tests.support.broker import Broker, free_port
from tests.support.correlators import CorrelatorProcess, Fleet, messages_of
from tests.support.postgres import Postgres
from tests.support.processes import wait_until
from tests.support.session_recorder import Client
from tests.support.traces import load

pytestmark = pytest.mark.server

TOPICS = Topics()
DURABLE = "libvirt-mqtt-correlator-main"
RETAINED = r"libvirt-mqtt-correlator-[0-9a-f]{16}-hosts"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as running:
        yield running


def _subscribed(broker: Broker, client_id: str) -> dict[str, int]:
    """The filters that a client subscribed to by the broker's log, each with its QoS."""
    found = re.findall(rf"^\d+: {client_id} ([012]) (\S+)$", broker.log, re.MULTILINE)
    return {topic_filter: int(qos) for qos, topic_filter in found}


def _statuses(tag: str) -> list[Publication]:
    """The agents' statuses, online."""
    return [each for each in messages_of(load("live"), tag)[1] if each.topic.endswith("/status")]


def _offline(status: Publication) -> Publication:
    return replace(status, payload=status.payload.replace(b'"online"', b'"offline"'))


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_the_durable_session_has_subscriptions_at_qos_1_only(
    tmp_path: Path, broker: Broker, version: Version
) -> None:
    """What a broker retains is read in a clean session, which is another one."""
    with CorrelatorProcess(broker, tmp_path, broker_version=version) as correlator:
        correlator.until_connected()
        durable, retained = _subscribed(broker, DURABLE), _subscribed(broker, RETAINED)
    status, state, job, *events = TOPICS.from_hosts()
    assert durable == dict.fromkeys([state, *events, TOPICS.correlator_status("main")], 1)
    assert retained == dict.fromkeys([status, state, job], 0)


def test_so_has_that_of_a_member_of_a_group(tmp_path: Path, broker: Broker) -> None:
    with (
        Postgres() as postgres,
        CorrelatorProcess(broker, tmp_path, group="crew", store=postgres.create("crew")) as member,
    ):
        member.until_connected()
        durable, retained = (
            _subscribed(broker, "libvirt-mqtt-correlator-crew-main"),
            _subscribed(broker, RETAINED),
        )
    shared = [f"$share/crew/{each}" for each in TOPICS.from_hosts()[1:]]
    assert durable == dict.fromkeys([*shared, TOPICS.correlator_status("main")], 1)
    assert retained == dict.fromkeys(TOPICS.from_hosts()[:3], 0)


def test_a_session_of_an_earlier_release_loses_its_subscriptions_at_qos_0(
    tmp_path: Path, broker: Broker
) -> None:
    former = Client(
        broker.settings(),
        DURABLE,
        clean_start=False,
        session_expiry_s=3600,
        subscriptions=[Subscription(each, qos=0) for each in TOPICS.from_hosts()[:3]],
    )
    former.connect()
    former.close()
    with CorrelatorProcess(broker, tmp_path) as correlator:
        correlator.until_connected()
        assert correlator.logged("broker.connected")[0]["session_present"] is True
        correlator.stop()
    status, *_ = _statuses("former")
    event = next(each for each in messages_of(load("live"), "former")[1] if "/lifecycle/" in each.topic)
    session = Client(broker.settings(), DURABLE, clean_start=False)
    session.connect()
    with Fleet(broker) as fleet:
        fleet.publish([status, event])
    session.until(lambda: bool(session.received))
    assert [each.topic for each in session.received] == [event.topic]
    session.close()


def test_the_session_for_what_is_retained_may_be_lost_alone(tmp_path: Path, broker: Broker) -> None:
    """Until it has read again what is retained, the correlator isn't ready."""
    statuses = _statuses("alone")
    http = free_port()

    def problem() -> str | None:
        ready = served.health(http)
        return None if ready["ok"] else str(ready["problems"]["retained"])

    with Fleet(broker) as fleet, CorrelatorProcess(broker, tmp_path, http=f"127.0.0.1:{http}") as correlator:
        correlator.until_connected()
        fleet.publish(statuses)
        assert problem() is None
        (client_id,) = set(re.findall(RETAINED, broker.log))
        other = Client(broker.settings(), client_id)
        other.connect()
        correlator.until_logged("broker.retained_unread")
        said = problem()
        assert said is not None
        assert said.startswith("what hosts retain has not been read yet: ")
        fleet.publish([_offline(statuses[0])])
        other.close()
        correlator.until_logged("broker.retained_read", 2)
        correlator.until_logged("host.blind")
        wait_until(lambda: problem() is None)
        assert len(correlator.logged("broker.connected")) == 1


def test_the_durable_session_may_be_lost_alone(tmp_path: Path, broker: Broker) -> None:
    """The other one begins anew with it: what is retained is read again."""
    statuses = _statuses("durable")
    with Fleet(broker) as fleet, CorrelatorProcess(broker, tmp_path) as correlator:
        correlator.until_connected()
        fleet.publish(statuses)
        other = Client(broker.settings(), DURABLE, clean_start=False, session_expiry_s=3600)
        other.connect()
        correlator.until_logged("broker.lost")
        fleet.publish([_offline(statuses[0])])
        other.close()
        correlator.until_connected(2)
        assert len(correlator.logged("broker.retained_read")) == 2
        correlator.until_logged("host.blind")


def test_a_state_that_changes_comes_by_the_durable_session_alone(tmp_path: Path, broker: Broker) -> None:
    """There MQTT keeps it in order with the events (MQTT 5, 4.6)."""
    http = free_port()

    def processed() -> float:
        return served.metric(http, "libvirt_mqtt_correlator_messages_total")

    _, messages = messages_of(load("live"), "once")
    states = [each for each in messages if each.topic.endswith("/state")]
    with Fleet(broker) as fleet:
        fleet.publish(states[:1])
        with CorrelatorProcess(broker, tmp_path, http=f"127.0.0.1:{http}") as correlator:
            correlator.until_connected()
            wait_until(lambda: processed() == 1)
            fleet.publish(states)
            wait_until(lambda: processed() == 1 + len(states))
            fleet.publish(states[:1])
            wait_until(lambda: processed() == 2 + len(states))
    assert re.search(rf"Sending PUBLISH to {RETAINED} \(d0, q0, r1, m0, '\S+/state'", broker.log)
    assert not re.search(rf"Sending PUBLISH to {RETAINED} \(d0, q0, r0, m0, '\S+/state'", broker.log)
