"""Correlators of one group: the same tellings as one correlator's, each once, whoever dies."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple
from uuid import NAMESPACE_URL, uuid5

import pytest

from bridge.correlator.rules.observations import Observation
from bridge.mqtt.session import Publication
from bridge.wire.messages import stamp
from bridge.wire.topics import Topics
from tests.support import served
from tests.support.agent_messages import of_domain
from tests.support.broker import Broker, free_port
from tests.support.correlators import CorrelatorProcess, Fleet, messages_of, stamped_now
from tests.support.fake_broker import Behaviour, FakeBroker
from tests.support.postgres import Postgres
from tests.support.stalling_proxy import StallingProxy
from tests.support.streams import mixed, streams_of
from tests.support.traces import load

pytestmark = pytest.mark.server

Streams = dict[str, list[Publication]]


class Told(NamedTuple):
    """What was told of a domain: all of it, and the last verdict."""

    story: list[tuple[object, ...]]
    last: tuple[object, ...]


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres() as running:
        yield running


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker", "max_queued_messages 0") as running:
        yield running


def _members(
    broker: Broker, folder: Path, url: str, count: int, **options: object
) -> list[CorrelatorProcess]:
    return [
        CorrelatorProcess(broker, folder / f"member{n}", group="crew", store=url, **options)
        for n in range(count)
    ]


def test_a_broker_without_shared_subscriptions_is_refused_aloud(tmp_path: Path, postgres: Postgres) -> None:
    """RabbitMQ 4 grants the subscription and delivers nothing; its CONNACK says that it has none."""
    http = free_port()
    with (
        FakeBroker(Behaviour(shared_available=False)) as fake,
        CorrelatorProcess(
            fake, tmp_path, group="crew", store=postgres.create("unshared"), http=f"127.0.0.1:{http}"
        ) as correlator,
    ):
        correlator.until_logged("broker.absent")
        assert not correlator.logged("broker.connected")
        said = served.health(http)["problems"]["broker"]
        assert "the broker has no shared subscriptions, which --group needs: run one correlator" in said


def _story(fleet: Fleet, uuid: str) -> list[tuple[object, ...]]:
    """What was told of a domain. What is known at the beginning depends on which host was heard first."""
    return [
        (t.word,)
        if t.word in ("started", "interrupted")
        else (t.word, t.data["source"], t.data["destination"], t.data["reason"], t.data["confirmed_by"])
        for t in fleet.published_once(uuid)
    ]


def _last(fleet: Fleet, uuid: str) -> tuple[object, ...]:
    """The last verdict; those before it are each superseded by the next."""
    verdicts = [
        t
        for t in fleet.published_once(uuid)
        if t.word in ("completed", "failed", "conflict") and t.data["migration"] is not None
    ]
    for number, (before, after) in enumerate(pairwise(verdicts), start=1):
        assert after.data["supersedes"] == before.id, verdicts
        assert after.data["revision"] == number, verdicts
    data = verdicts[-1].data
    return (data["outcome"], data["source"], data["destination"], data["reason"], data["confirmed_by"])


def _by_one(folder: Path, streams: Streams) -> dict[str, Told]:
    """What one correlator without a group tells."""
    with (
        Broker(folder / "calm-broker") as calm,
        Fleet(calm) as fleet,
        CorrelatorProcess(calm, folder / "calm") as correlator,
    ):
        correlator.until_connected()
        fleet.publish(stamped_now(mixed(streams, random.Random(3))))
        fleet.until(lambda: fleet.have_ended(streams), timeout_s=30)
        fleet.listen(2.5)
        return {uuid: Told(_story(fleet, uuid), _last(fleet, uuid)) for uuid in streams}


def _uuid(tag: str) -> str:
    return str(uuid5(NAMESPACE_URL, tag))


def _events(host: str, tag: str, words: Sequence[str], *, after: int = 0) -> Iterator[Publication]:
    """The event stream of a host with one domain, from `after` on, stamped as it is published."""
    for sequence, word in enumerate(words[after:], start=after + 1):
        at = time.time()
        observation = Observation(
            host,
            0,
            sequence,
            "lifecycle",
            word,
            "event",
            "QEMU",
            tag,
            at,
            at,
            stamp(at),
            f"{host}-{sequence}",
        )
        yield of_domain(observation, _uuid(tag))


@pytest.fixture(scope="module")
def streams() -> Streams:
    return streams_of(40, "crew-")


@pytest.fixture(scope="module")
def expected(streams: Streams, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Told]:
    return _by_one(tmp_path_factory.mktemp("one"), streams)


def test_two_members_tell_what_one_would(
    tmp_path: Path, broker: Broker, postgres: Postgres, streams: Streams, expected: dict[str, Told]
) -> None:
    first, second = _members(broker, tmp_path, postgres.create("two"), 2, settle=3)
    with Fleet(broker) as fleet, first, second:
        first.until_connected()
        second.until_connected()
        fleet.publish(stamped_now(mixed(streams, random.Random(3))))
        fleet.until(lambda: fleet.have_ended(streams), timeout_s=30)
        fleet.listen(4.5)
        published = {uuid: _story(fleet, uuid) for uuid in streams}
        ids = [t.id for t in fleet.published()]
        assert len(ids) == len(set(ids))
        assert all(t.payload for t in fleet.published())
        names = [line["id"] for each in (first, second) for line in each.logged("correlator.started")]
        assert sorted(names) == ["main", "main-2"]
        assert fleet.status("main")["group"] == fleet.status("main-2")["group"] == "crew"
        assert first.stop() == second.stop() == 0
    assert published == {uuid: told.story for uuid, told in expected.items()}


def test_members_may_die_at_any_moment(
    tmp_path: Path, broker: Broker, postgres: Postgres, streams: Streams, expected: dict[str, Told]
) -> None:
    """What a member had in hand when it died comes late, and may change a verdict that didn't wait for it;
    in the end all is told as it was, and each message once.
    """
    chance = random.Random(5)
    messages = mixed(streams, chance)
    members = _members(broker, tmp_path, postgres.create("die"), 2, settle=20, patience=120)
    with Fleet(broker) as fleet, members[0], members[1]:
        for member in members:
            member.until_connected()
        pieces = 8
        for piece in range(pieces):
            first, end = (number * len(messages) // pieces for number in (piece, piece + 1))
            fleet.publish(stamped_now(messages[first:end]))
            fleet.listen(chance.uniform(0, 0.2))
            victim = chance.choice(members)
            connected = len(victim.logged("broker.connected"))
            victim.kill()
            fleet.listen(chance.uniform(0, 1.0))
            victim.start()
            victim.until_connected(connected + 1)
        fleet.until(lambda: fleet.have_ended(streams), timeout_s=60)
        fleet.listen(5)
        published = {uuid: _last(fleet, uuid) for uuid in streams}
    assert published == {uuid: told.last for uuid, told in expected.items()}


def test_a_member_may_stall_for_longer_than_settle(
    tmp_path: Path, broker: Broker, postgres: Postgres
) -> None:
    """What it has in hand is late, and the other one tells without it; in the end all is told as it was."""
    streams = streams_of(40, "stall-", ("live", "aborted", "src_qemu_killed"))
    first, second = _members(broker, tmp_path, postgres.create("stall"), 2, settle=2, patience=120)
    with Fleet(broker) as fleet, first, second:
        first.until_connected()
        second.until_connected()
        os.kill(second.pid, signal.SIGSTOP)
        try:
            fleet.publish(stamped_now(mixed(streams, random.Random(8))))
            fleet.listen(5)
        finally:
            os.kill(second.pid, signal.SIGCONT)
        fleet.until(lambda: fleet.have_ended(streams), timeout_s=30)
        fleet.listen(5)
        published = {uuid: _last(fleet, uuid) for uuid in streams}
    assert published == {uuid: told.last for uuid, told in _by_one(tmp_path, streams).items()}


def test_what_is_on_its_way_to_another_member_is_not_lost(
    tmp_path: Path, broker: Broker, postgres: Postgres
) -> None:
    """The network of one stalls with its part of a host's events: more than are remembered as holes."""
    changes = [("suspended/paused", "resumed/unpaused")[n % 2] for n in range(300)]
    words = ["started/booted", *changes, "stopped/shutdown", "undefined/removed"]
    url = postgres.create("on_its_way")
    with StallingProxy(broker.port) as proxy:
        first = CorrelatorProcess(broker, tmp_path / "first", group="crew", store=url, patience=120)
        second = CorrelatorProcess(proxy, tmp_path / "second", group="crew", store=url, patience=120)
        with Fleet(broker) as fleet, first, second:
            first.until_connected()
            second.until_connected()
            fleet.publish(_events("host1-way", "way", words[:1]))
            fleet.until(lambda: fleet.location(_uuid("way")) == "host1-way")
            with proxy.stalled():
                fleet.publish(_events("host1-way", "way", words, after=1))
                fleet.listen(4)
            fleet.until(lambda: fleet.location(_uuid("way")) is None)
            fleet.listen(2)
            assert not first.logged("host.messages_lost")
            assert not second.logged("host.messages_lost")
            assert not fleet.replays()


def test_one_member_asks_for_states_that_the_broker_kept_back(
    tmp_path: Path, broker: Broker, postgres: Postgres
) -> None:
    """The agent says that the broker retains two; each member is sent one."""
    uuid, messages = messages_of(load("live"), "kept")
    state = next(each for each in messages if each.topic.endswith("/state") and each.payload)
    host = Topics().parse(state.topic).host
    status = json.loads(next(each for each in messages if each.topic.endswith(f"/{host}/status")).payload)
    status["data"] |= {"state": "online", "epoch": f"epoch-{host}", "last_sequence": 0, "states": 2}
    first, second = _members(broker, tmp_path, postgres.create("kept"), 2)
    with Fleet(broker) as fleet:
        fleet.publish(
            [state, Publication(Topics().host_status(host), json.dumps(status).encode(), retain=True)]
        )
        with first, second:
            first.until_connected()
            second.until_connected()
            fleet.until(lambda: bool(fleet.replays()))
            payload = state.payload.replace(uuid.encode(), _uuid("kept back").encode())
            fleet.publish([Publication(Topics().state(host, _uuid("kept back")), payload, retain=True)])
            fleet.until(lambda: fleet.location(_uuid("kept back")) == host)
            fleet.listen(3)
            logged = [*first.logged("host.states_missing"), *second.logged("host.states_missing")]
            assert [(line["host"], line["came"], line["of"]) for line in logged] == [(host, 1, 2)]
            assert fleet.replays() == [(host, {"epoch": f"epoch-{host}", "from": 1, "to": 1, "states": True})]


def test_a_group_knows_what_was_there_before_it(tmp_path: Path, broker: Broker, postgres: Postgres) -> None:
    """Shared subscriptions get no retained messages; the states are read all the same."""
    streams = streams_of(30, "before-")
    states = [m for stream in streams.values() for m in stream if m.topic.endswith("/state") and m.payload]
    first, second = _members(broker, tmp_path, postgres.create("before"), 2)
    with Fleet(broker) as fleet:
        fleet.publish(states)
        with first, second:
            fleet.until(lambda: all(fleet.location(uuid) for uuid in streams), timeout_s=30)
