"""What a broker can do to a correlator: rubbish, losses, another version of MQTT, refusals, absence."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bridge.mqtt.session import Publication
from bridge.wire.messages import host_source
from bridge.wire.topics import Topics
from tests.support import served
from tests.support.agent_messages import publication
from tests.support.broker import Broker, free_port
from tests.support.correlators import CorrelatorProcess, Fleet, messages_of
from tests.support.processes import wait_until
from tests.support.traces import load
from tests.support.unretained_proxy import UnretainedProxy
from tests.unit.verdicts.rows import MIGRATIONS
from tests.unit.verdicts.stage import Sent, Stage

pytestmark = pytest.mark.server


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as running:
        yield running


def _ended(fleet: Fleet, uuid: str) -> bool:
    return any(t.word in ("completed", "failed") for t in fleet.published(uuid))


def _outcomes(fleet: Fleet, uuid: str) -> list[str]:
    return [t.word for t in fleet.published(uuid)]


def test_rubbish_is_counted_and_stops_nothing(tmp_path: Path, broker: Broker) -> None:
    """Each kind is logged once and shown by the status; what is valid among it isn't lost."""
    uuid, messages = messages_of(load("live"), "rubbish")
    topic = next(m.topic for m in messages if "/lifecycle/" in m.topic)
    real = next(m for m in messages if "/lifecycle/" in m.topic)
    rubbish = [
        Publication(topic, b"\xff\x00"),
        Publication(topic, b"no json"),
        Publication(topic, b'{"some": "json"}'),
        Publication(topic, real.payload.replace(b".v1", b".v9")),
        Publication(topic, real.payload.replace(b'"driver":"QEMU"', b'"driver":1')),
        Publication(topic, b"x" * 300_000),
        Publication(topic.replace("host1-rubbish", "host9"), real.payload),
        Publication(topic, real.payload.replace(b'_code":', b'_code":9999999999')),
        Publication(topic, real.payload, retain=True),
        Publication("libvirt/v1/hosts/host1-rubbish/domains/no-uuid/state", b"{}"),
    ]
    with Fleet(broker) as fleet, CorrelatorProcess(broker, tmp_path) as correlator:
        fleet.publish([rubbish[8]])  # retained before the correlator comes
        correlator.until_connected()
        for n, message in enumerate(messages):
            fleet.publish([message, rubbish[n % len(rubbish)]])
        fleet.publish(rubbish)
        fleet.until(lambda: _ended(fleet, uuid))
        assert _outcomes(fleet, uuid) == ["started", "completed"]
        fleet.until(lambda: len(fleet.status().get("rejected", {})) >= 9, timeout_s=30)
        assert set(fleet.status()["rejected"]) == {
            "bad_encoding",
            "not_json",
            "not_ours",
            "other_version",
            "malformed",
            "absurd_size",
            "absurd_number",
            "topic_contradicts_payload",
            "retained_event",
        }
        logged = [line["kind"] for line in correlator.logged("message.rejected")]
        assert len(logged) == len(set(logged)) == 9
        assert correlator.stop() == 0


def test_a_host_whose_status_was_emptied_is_not_waited_for_by_who_watches(
    tmp_path: Path, broker: Broker
) -> None:
    """One whose agent is only away counts as blind; one that is no more doesn't, nor after a restart."""
    _, messages = messages_of(load("live"), "emptied")
    statuses = {m.topic: m for m in messages if m.topic.endswith("/status")}
    port = free_port()

    def blind() -> float:
        return served.metric(port, "libvirt_mqtt_correlator_blind_hosts")

    with Fleet(broker) as fleet, CorrelatorProcess(broker, tmp_path, http=f"127.0.0.1:{port}") as correlator:
        correlator.until_connected()
        away = [replace(m, payload=m.payload.replace(b'"online"', b'"offline"')) for m in statuses.values()]
        assert len(away) == 2
        fleet.publish(away)
        wait_until(lambda: blind() == 2)
        fleet.publish([replace(away[0], payload=b"")])
        wait_until(lambda: blind() == 1)
        correlator.kill()
        correlator.start()
        correlator.until_connected(2)
        assert blind() == 1
        fleet.publish([away[0]])
        wait_until(lambda: blind() == 2)


def test_a_host_that_is_lost_again_before_it_said_what_it_saw_is_blind_since_before(
    tmp_path: Path, broker: Broker
) -> None:
    """How its guest fared when the attempt failed isn't known: nobody looked just then."""
    uuid = "5e9c0d4e-0000-4000-8000-000000000001"
    stage = Stage()
    source = stage.host("host1")
    stage.at(0.0, partial(stage.place, source, uuid, "paused/user", persistent=False))
    stage.at(1.0, partial(stage.go_blind, source, "agent"))
    storage_copy_aborted = next(row for row in MIGRATIONS if row.number == "32")
    stage.row(storage_copy_aborted, 2.0, uuid, ("host1", "host2"))
    back = [Sent(6.0, "host1", sees=True), Sent(6.1, "host1", sees=False, why="libvirt")]
    with Fleet(broker) as fleet, CorrelatorProcess(broker, tmp_path, settle=3) as correlator:
        correlator.until_connected()
        began_s = time.time()
        fleet.publish([publication(each, began_s=began_s) for each in [*stage.run(), *back]])
        fleet.until(lambda: _ended(fleet, uuid))
        (verdict,) = (each for each in fleet.published(uuid) if each.word == "failed")
        assert verdict.data["guest"] == {"host": "host1", "state": "unknown"}


def test_a_host_that_was_taken_out_of_service_is_no_witness(tmp_path: Path, broker: Broker) -> None:
    """It died, its guest was started elsewhere, what is retained of it is emptied: that is no conflict."""
    uuid = "5e9c0d4e-0000-4000-8000-000000000002"
    stage = Stage()
    dead = stage.host("host1")
    stage.at(0.0, partial(stage.place, dead, uuid, "running/booted", persistent=False))
    stage.at(1.0, partial(stage.go_blind, dead, "agent"))
    stage.at(2.0, partial(stage.place, stage.host("host2"), uuid, "running/booted", persistent=False))
    online = [Sent(-0.1, host, sees=True, place=(0, 0)) for host in ("host1", "host2")]
    with Fleet(broker) as fleet, CorrelatorProcess(broker, tmp_path, settle=1) as correlator:
        correlator.until_connected()
        began_s = time.time()
        messages = [publication(each, began_s=began_s) for each in [*online, *stage.run()]]
        fleet.publish(messages)
        fleet.until(lambda: fleet.location(uuid) == "host2")
        for suffix in ("/status", "/state"):
            fleet.publish([replace(m, payload=b"") for m in messages if f"/host1{suffix}" in m.topic][:1])
            fleet.publish([replace(m, payload=b"") for m in messages if m.topic.endswith(suffix)][:1])
        fleet.listen(4.0)
        assert fleet.published(uuid) == []
        assert fleet.location(uuid) == "host2"


def test_no_conflict_while_events_that_a_state_takes_account_of_are_on_their_way(
    tmp_path: Path, broker: Broker
) -> None:
    """States come at QoS 0 past a stalled stream: the destination's says that it runs there, and that two
    events are missing.
    """
    uuid = "5e9c0d4e-0000-4000-8000-000000000003"
    stage = Stage()
    source = stage.host("host1")
    stage.at(0.0, partial(stage.place, source, uuid, "running/booted", persistent=False))
    stage.row(MIGRATIONS[0], 1.0, uuid, ("host1", "host2"))
    online = [Sent(-0.1, host, sees=True, place=(0, 0)) for host in ("host1", "host2")]
    sent = [*online, *stage.run()]
    early = [
        each
        for each in sent
        if each.observation is None or (each.observation.kind == "state" and _is_first(each))
    ]
    late = [each for each in sent if each not in early]
    with (
        Fleet(broker, answers_replays=False) as fleet,
        CorrelatorProcess(broker, tmp_path, settle=1, patience=60) as correlator,
    ):
        correlator.until_connected()
        began_s = time.time()
        fleet.publish([publication(each, began_s=began_s) for each in early])
        fleet.listen(4.0)
        assert fleet.published(uuid) == []
        fleet.publish([publication(each, began_s=began_s) for each in late])
        fleet.until(lambda: _ended(fleet, uuid))
        assert _outcomes(fleet, uuid) == ["started", "completed"]


def _is_first(sent: Sent) -> bool:
    return sent.host == "host2" or sent.t < 1.0


def test_what_the_broker_lost_is_asked_for_again(tmp_path: Path, broker: Broker) -> None:
    """The deciding events never come; the agents are asked and send them again."""
    uuid, messages = messages_of(load("live"), "lost")
    with Fleet(broker) as fleet, CorrelatorProcess(broker, tmp_path) as correlator:
        correlator.until_connected()
        lost = [m for m in messages if m.topic.endswith(("lifecycle/resumed", "lifecycle/suspended"))]
        assert lost
        fleet.sent += lost
        fleet.publish([m for m in messages if m not in lost])
        fleet.until(lambda: bool(fleet.replays()))
        fleet.until(
            lambda: any(t.data["confirmed_by"] == ["source", "destination"] for t in fleet.published(uuid))
        )
        fleet.listen(2.0)
        verdict = fleet.published(uuid)[-1]
        assert verdict.word == "completed"
        assert verdict.data["downtime_ms"] is not None
        assert fleet.status()["holes"] == []


def test_what_cannot_be_had_again_is_published_in_the_status(tmp_path: Path, broker: Broker) -> None:
    uuid, messages = messages_of(load("live"), "gone")
    with Fleet(broker, answers_replays=False) as fleet, CorrelatorProcess(broker, tmp_path) as correlator:
        correlator.until_connected()
        missing = next(m for m in messages if "/event/migration_iteration" in m.topic)
        sequence = int(json.loads(missing.payload)["sequence"])
        fleet.publish([m for m in messages if m is not missing])
        fleet.until(lambda: bool(fleet.replays()))
        status = next(m for m in messages if m.topic.endswith("host1-gone/status"))
        message = json.loads(status.payload)
        epoch = message["data"]["epoch"]
        message["data"]["lost"] = [{"epoch": epoch, "first": sequence, "last": sequence}]
        fleet.publish([replace(status, payload=json.dumps(message).encode())])
        hole = {"host": "host1-gone", "epoch": epoch, "first": sequence, "last": sequence}
        fleet.until(lambda: fleet.status().get("holes") == [hole], timeout_s=30)
        assert correlator.logged("host.messages_lost")
        assert _ended(fleet, uuid)


def test_a_broker_that_loses_everything_and_comes_back(tmp_path: Path, broker: Broker) -> None:
    """Killed without its data, in the middle: what was in its hands is asked for again."""
    first, messages = messages_of(load("live"), "broken")
    half = len(messages) // 2
    with CorrelatorProcess(broker, tmp_path, settle=3) as correlator:
        correlator.until_connected()
        with Fleet(broker) as fleet:
            fleet.publish(messages[:half])
        broker.kill()
        wait_until(lambda: bool(correlator.logged("broker.lost")))
        broker.start()
        correlator.until_connected(2)
        with Fleet(broker) as fleet:
            fleet.sent += messages[:half]
            fleet.publish(messages[half:])
            fleet.until(lambda: _ended(fleet, first))
            assert fleet.published(first)[-1].word == "completed"


def test_mqtt_3_1_1_and_another_prefix(tmp_path: Path, broker: Broker) -> None:
    uuid, messages = messages_of(load("aborted"), "old")
    moved = [replace(m, topic=m.topic.replace("libvirt/", "site/1/", 1)) for m in messages]
    options = {"broker_version": "3.1.1", "prefix": "site/1"}
    with (
        Fleet(broker, Topics("site/1")) as fleet,
        CorrelatorProcess(broker, tmp_path, **options) as correlator,
    ):
        correlator.until_connected()
        fleet.publish(moved[:-4])
        fleet.listen(0.5)
        correlator.kill()
        fleet.publish(moved[-4:])
        correlator.start()
        fleet.until(lambda: _ended(fleet, uuid))
        assert _outcomes(fleet, uuid) == ["started", "failed"]


def test_two_of_one_name_below_two_prefixes_leave_each_other_alone(tmp_path: Path, broker: Broker) -> None:
    with (
        CorrelatorProcess(broker, tmp_path / "one") as one,
        CorrelatorProcess(broker, tmp_path / "other", prefix="site/1") as other,
    ):
        for correlator in (one, other):
            correlator.until_connected()
        time.sleep(1)
        assert not one.logged("broker.lost")
        assert not other.logged("broker.lost")


def test_a_telling_that_the_broker_refuses_holds_up_no_other(tmp_path: Path) -> None:
    acl = "topic readwrite #\ntopic deny libvirt/v1/domains/+/migration/started\n"
    uuid, messages = messages_of(load("live"), "refused")
    with (
        Broker(tmp_path / "broker", acl=acl) as broker,
        Fleet(broker) as fleet,
        CorrelatorProcess(broker, tmp_path) as correlator,
    ):
        correlator.until_connected()
        fleet.publish(messages)
        fleet.until(lambda: _ended(fleet, uuid))
        assert _outcomes(fleet, uuid) == ["completed"]
        correlator.until_logged("telling.refused")
        (refused,) = correlator.logged("telling.refused")
        assert refused["topic"].endswith("/started")


def test_without_a_broker_it_waits_and_with_one_it_is_ready(tmp_path: Path) -> None:
    port, http = free_port(), free_port()
    waiting = Broker(tmp_path / "broker", port=port)
    with CorrelatorProcess(waiting, tmp_path, http=f"127.0.0.1:{http}") as correlator:
        wait_until(lambda: bool(correlator.logged("broker.absent")), lambda: correlator.log)
        assert served.health(http, "livez")["ok"] is True
        assert "broker" in served.health(http)["problems"]
        with waiting:
            correlator.until_connected()
            assert served.health(http)["ok"] is True
            metrics = served.text(http, "metrics")
            assert "libvirt_mqtt_correlator_messages_total 0.0" in metrics
            assert correlator.stop() == 0


def test_a_broker_that_sends_retained_messages_to_no_wildcard_is_named(
    tmp_path: Path, broker: Broker
) -> None:
    http = free_port()
    with (
        UnretainedProxy(broker.port) as proxy,
        CorrelatorProcess(proxy, tmp_path, http=f"127.0.0.1:{http}") as correlator,
    ):
        correlator.until_logged("broker.sends_no_retained")
        said = served.health(http)["problems"]["retained"]
        assert said.startswith("the broker doesn't send retained messages to subscriptions with wildcards")


def test_the_beginning_of_a_host_that_is_new_is_asked_for(tmp_path: Path, broker: Broker) -> None:
    """Its first messages were lost, and what comes first is one from its middle."""
    uuid, messages = messages_of(load("live"), "new")
    events = [each for each in messages if "/lifecycle/" in each.topic or "/event/" in each.topic]
    host = Topics().parse(events[0].topic).host
    lost = next(each for each in events if Topics().parse(each.topic).host == host)
    with Fleet(broker) as fleet, CorrelatorProcess(broker, tmp_path) as correlator:
        correlator.until_connected()
        fleet.listen(2)  # `settle`: what the broker had kept was read
        fleet.sent.append(lost)
        fleet.publish(each for each in events if each is not lost)
        fleet.until(lambda: bool(fleet.replays()))
        assert fleet.replays()[0] == (host, {"epoch": f"epoch-{host}", "from": 1, "to": 1})
        fleet.until(lambda: "completed" in [published.word for published in fleet.published(uuid)])
        assert fleet.status()["holes"] == []


def test_states_that_a_broker_keeps_back_are_asked_for(tmp_path: Path, broker: Broker) -> None:
    """The agent says that the broker has two; one comes."""
    http = free_port()
    uuid, messages = messages_of(load("live"), "kept")
    state = next(each for each in messages if each.topic.endswith("/state") and each.payload)
    host = Topics().parse(state.topic).host
    status = json.loads(next(each for each in messages if each.topic.endswith(f"/{host}/status")).payload)
    status["data"] |= {"state": "online", "epoch": f"epoch-{host}", "last_sequence": 0, "states": 2}
    with (
        Fleet(broker) as fleet,
        CorrelatorProcess(broker, tmp_path, http=f"127.0.0.1:{http}") as correlator,
    ):
        fleet.publish(
            [state, Publication(Topics().host_status(host), json.dumps(status).encode(), retain=True)]
        )
        correlator.until_logged("host.states_missing")
        (said,) = correlator.logged("host.states_missing")
        assert (said["host"], said["came"], said["of"]) == (host, 1, 2)
        fleet.until(lambda: bool(fleet.replays()))
        assert (host, {"epoch": f"epoch-{host}", "from": 1, "to": 1, "states": True}) in fleet.replays()
        missing = "libvirt_mqtt_correlator_hosts_without_states"
        assert f"{missing} 1.0" in served.text(http, "metrics")
        other = uuid.replace(uuid[0], "a" if uuid[0] != "a" else "b", 1)
        payload = state.payload.replace(uuid.encode(), other.encode())
        fleet.publish([Publication(Topics().state(host, other), payload, retain=True)])
        wait_until(lambda: f"{missing} 0.0" in served.text(http, "metrics"), lambda: correlator.log)


def test_more_hosts_than_the_broker_takes_messages_at_a_time_are_asked_for_states(
    tmp_path: Path, broker: Broker
) -> None:
    """mosquitto takes 20 unacknowledged ones."""
    hosts = [f"host{n}" for n in range(30)]
    _, messages = messages_of(load("live"), "many")
    status = json.loads(next(each for each in messages if each.topic.endswith("/status")).payload)
    status["data"] |= {"state": "online", "last_sequence": 0, "states": 1}
    with Fleet(broker) as fleet, CorrelatorProcess(broker, tmp_path) as correlator:
        fleet.publish(_status_of(host, status) for host in hosts)
        fleet.until(lambda: {host for host, asked in fleet.replays() if asked.get("states")} == {*hosts})
        assert len(correlator.logged("host.states_missing")) == len(hosts)


def _status_of(host: str, like: dict[str, Any]) -> Publication:
    data = {**like["data"], "host": host, "epoch": f"epoch-{host}"}
    status = {**like, "source": host_source(host), "data": data}
    return Publication(Topics().host_status(host), json.dumps(status).encode(), retain=True)


@pytest.mark.parametrize(
    ("rules", "hidden"),
    [
        (None, False),
        ("topic readwrite libvirt/v1/hosts/#\ntopic write libvirt/v1/correlators/#", True),
    ],
    ids=["readable", "hidden by access rules"],
)
def test_a_broker_of_which_that_is_not_known_is_not(tmp_path: Path, rules: str | None, hidden: bool) -> None:
    http = free_port()
    with (
        Broker(tmp_path / "broker", acl=rules) as broker,
        CorrelatorProcess(broker, tmp_path, http=f"127.0.0.1:{http}") as correlator,
    ):
        correlator.until_logged("broker.hides_status" if hidden else "broker.connected")
        time.sleep(2)
        assert served.health(http)["ok"] is True
        assert not correlator.logged("broker.sends_no_retained")
        assert bool(correlator.logged("broker.hides_status")) is hidden


def test_the_status_says_offline_by_itself_and_by_the_will(tmp_path: Path, broker: Broker) -> None:
    with Fleet(broker) as fleet, CorrelatorProcess(broker, tmp_path) as correlator:
        correlator.until_connected()
        fleet.until(lambda: fleet.status().get("state") == "online")
        correlator.stop()
        fleet.until(lambda: fleet.status().get("state") == "offline")
        correlator.start()
        fleet.until(lambda: fleet.status().get("state") == "online")
        correlator.kill()
        fleet.until(lambda: fleet.status().get("state") == "offline")
