"""The recordings are read in full, and a played host speaks the contract."""

import json
import math
from typing import Any

import pytest

from bridge.demo.fleet import SCENARIOS
from bridge.demo.player import Cast, play
from bridge.demo.trace import Trace, packaged
from bridge.mqtt.messages import Publication
from bridge.wire import messages as wire
from bridge.wire.topics import Topics
from tests.support import traces
from tests.support.recorded_traces import recorded

EVERY = list(traces.every())


def published(trace: Trace) -> list[Publication]:
    said: list[Publication] = []
    play(trace, said.append, speed=math.inf, started_s=1_700_000_000.0)
    return said


def of(trace: Trace, host: str, kind: str) -> list[dict[str, Any]]:
    parsed = ((Topics().parse(p.topic), p.payload) for p in published(trace))
    return [
        json.loads(payload)["data"] if payload else {}
        for address, payload in parsed
        if address.host == host and address.kind == kind
    ]


@pytest.mark.parametrize(("row", "trace"), [pytest.param(row, trace, id=name) for name, row, trace in EVERY])
def test_a_played_host_speaks_the_contract(row: str, trace: Trace) -> None:
    """Every message is valid, its topic fits it, and each host's sequences have no hole."""
    sequences: dict[str, list[int]] = {}
    for publication in published(trace.as_agents_saw_it()):
        address = Topics().parse(publication.topic)
        assert publication.retain == (address.kind in {"host_status", "state"})
        if not publication.payload:
            assert address.kind == "state"
            continue
        message = wire.parse(publication.payload)
        assert message.source == wire.host_source(address.host)
        assert message.data.host == address.host
        if message.sequence is not None:
            sequences.setdefault(address.host, []).append(int(message.sequence))
            assert message.data.domain.name
    for numbers in sequences.values():
        assert numbers == list(range(1, len(numbers) + 1))


def test_every_recording_is_read() -> None:
    assert len(recorded()) == 41
    assert len(traces.names("9.0")) == 17
    assert len(traces.names("11.3")) == 12


@pytest.mark.parametrize("name", sorted({*SCENARIOS}))
def test_the_traces_in_the_package_are_the_recorded_ones(name: str) -> None:
    assert packaged(name) == traces.load(name)


def test_states_follow_the_events_on_both_hosts() -> None:
    trace = traces.load("live")
    assert [(s.get("state"), s.get("reason")) for s in of(trace, "host2", "state")] == [
        ("paused", "migration"),
        ("running", "migrated"),
    ]
    assert of(trace, "host1", "state")[-1] == {}
    assert [s["as_of"] for s in of(trace, "host2", "state")] == [1, 2]


def test_a_migration_that_was_cancelled_leaves_the_source_running_with_that_reason() -> None:
    state = of(traces.load("aborted_non_live"), "host1", "state")[-1]
    assert (state["state"], state["reason"]) == ("running", "migration_canceled")


def test_a_copy_that_ended_badly_is_found_by_asking_for_its_job() -> None:
    plain, asked = traces.load("aborted"), traces.load("aborted").as_agents_saw_it()
    assert [e["event"] for e in of(plain, "host1", "event")] == ["migration_iteration"]
    assert [(e["event"], e["origin"]) for e in of(asked, "host1", "event")] == [
        ("migration_iteration", "event"),
        ("job_failed", "poll"),
    ]


@pytest.mark.parametrize("name", ["live", "postcopy", "suspend_on_arrival"])
def test_no_job_failed_after_a_success(name: str) -> None:
    assert traces.load(name).as_agents_saw_it() == traces.load(name)


def test_a_lost_libvirt_shows_in_the_status_and_what_vanished_comes_as_a_resync() -> None:
    trace = recorded()[55]
    assert [s["libvirt"]["connected"] for s in of(trace, "host2", "host_status")] == [True, False, True]
    last = of(trace, "host2", "lifecycle")[-1]
    assert (last["event"], last["detail"], last["detail_code"], last["origin"]) == (
        "stopped",
        "unknown",
        -1,
        "resync",
    )


def test_a_domain_that_leaves_without_undefined_is_found_by_looking() -> None:
    last = of(traces.load("offline").as_agents_saw_it(), "host1", "lifecycle")[-1]
    assert (last["event"], last["detail"], last["origin"]) == ("undefined", "removed", "resync")


def test_a_definition_that_leaves_with_its_domain_is_missed_by_the_next_list() -> None:
    last = of(recorded()[5].as_agents_saw_it(), "host1", "lifecycle")[-1]
    assert (last["event"], last["detail"], last["origin"]) == ("undefined", "removed", "resync")


def test_a_failed_copy_names_when_its_job_began() -> None:
    iteration, failed = of(traces.load("aborted").as_agents_saw_it(), "host1", "event")
    assert (iteration["params"], failed["params"]) == (
        {"iteration": 1},
        {"operation": "migration_out", "started_at": "2023-11-14T22:13:24.762800Z"},
    )


def test_interleavings_keep_each_hosts_order() -> None:
    trace = traces.load("aborted")
    orders = list(traces.interleavings(trace))
    assert len(orders) == len({order.lines for order in orders}) == 35  # 4 lines of host1, 3 of host2
    assert all(order.of(host) == trace.of(host) for order in orders for host in trace.hosts)


def test_a_cast_goes_on_with_its_sequences_names_and_skew() -> None:
    cast = Cast(names={"live": "web01"}, skew_s={"host2": 60.0}, epochs={"host1": "e1", "host2": "e2"})
    said: list[Publication] = []
    for _ in range(2):
        play(traces.load("live"), said.append, speed=math.inf, cast=cast, started_s=0.0)
    ids = [wire.parse(p.payload).id for p in said if p.payload and not p.retain]
    assert len(ids) == len(set(ids)) == 19  # nine each, and what host2 no longer had
    assert {id_.split("-")[0] for id_ in ids} == {"e1", "e2"}
    first = wire.parse(next(p.payload for p in said if "hosts/host2/domains" in p.topic))
    assert first.data.domain.name == "web01"
    assert wire.seconds(first.time) == pytest.approx(62.7512)
    assert [json.loads(p.payload)["data"]["state"] for p in cast.farewell(9.0)] == ["offline", "offline"]


def test_playing_waits_as_the_trace_did_divided_by_the_speed() -> None:
    waits: list[float] = []
    play(traces.load("live"), lambda _: None, speed=2.0, sleep=waits.append)
    assert sum(waits) == pytest.approx(4.0326 / 2)
