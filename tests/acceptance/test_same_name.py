"""Two machines with one --host, two correlators with one --id: both say so, and neither clears anything."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bridge.mqtt.name_conflict import BACK_S
from bridge.mqtt.session import Subscription
from tests.support import served
from tests.support.agents import DrivenAgent, Subscriber
from tests.support.broker import Broker, free_port
from tests.support.correlators import CorrelatorProcess
from tests.support.session_recorder import Client

pytestmark = [pytest.mark.server, pytest.mark.slow]


def test_agents_of_one_host_say_so_and_clear_nothing_of_each_other(tmp_path: Path) -> None:
    """Each has a domain that the other one hasn't. What the one leaves that is stopped is cleared then."""
    with (
        Broker(tmp_path / "broker") as broker,
        Subscriber(broker) as subscriber,
        DrivenAgent(broker, tmp_path / "one") as one,
    ):
        first = one.drive(1, domain=1)
        subscriber.until(lambda: len(subscriber.stream(epoch=first.epoch)) == first.last_sequence)
        with DrivenAgent(broker, tmp_path / "other") as other:
            second = other.drive(1, domain=2)
            subscriber.until(lambda: second.epoch in (subscriber.status().get("reason") or ""), 40)
            assert len(one.logged("agent.host_conflict")) == 1
            subscriber.listen(BACK_S)
            states = {
                each.topic: each.payload
                for each in subscriber.received
                if re.search("/domains/.*/state$", each.topic)
            }
            assert len(states) == 3  # the one that every test hypervisor has, and one each
            assert all(states.values())
        theirs = subscriber.topics.state("h1", str(subscriber.stream(epoch=second.epoch)[0].subject))
        subscriber.until(lambda: any(r.topic == theirs and not r.payload for r in subscriber.received), 40)
        subscriber.until(lambda: subscriber.status()["reason"] is None)


def test_correlators_of_one_id_say_so(tmp_path: Path) -> None:
    port = free_port()
    with Broker(tmp_path / "broker") as broker:
        hears = Client(
            broker.settings(), client_id="hears", subscriptions=[Subscription("libvirt/v1/correlators/#")]
        )
        hears.connect()

        def reason() -> str | None:
            found: str | None = json.loads(hears.payloads[-1])["data"]["reason"] if hears.payloads else None
            return found

        with CorrelatorProcess(broker, tmp_path / "one", http=f"127.0.0.1:{port}") as one:
            one.until_connected()
            with CorrelatorProcess(broker, tmp_path / "other"):
                hears.until(lambda: "another correlator" in (reason() or ""), 40)
                one.until_logged("correlator.id_conflict", timeout_s=40)
                assert served.metric(port, "libvirt_mqtt_correlator_id_conflicts_total") > 0
            hears.until(lambda: reason() is None, 40)
        hears.close()
