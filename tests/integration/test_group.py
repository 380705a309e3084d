"""What the members of a group know of each other: what one has in hand is late for all, and no reason to
decide without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest
from sqlalchemy import text

from bridge.consumer.inputs import Status
from bridge.consumer.intake import Intake
from bridge.correlator.counters import Counters
from bridge.correlator.input.hosts import Host
from bridge.correlator.input.messages import Inbound, message_of
from bridge.correlator.output.outbound import draft
from bridge.correlator.process import group_processor
from bridge.correlator.process.group_processor import PROCESSING_S, GroupProcessor
from bridge.correlator.rules.record import Times
from bridge.correlator.store import GroupStore, HostRow
from bridge.database import StoreTroubleError
from bridge.mqtt.messages import Publication
from bridge.wire.messages import correlator_source, stamp
from bridge.wire.topics import Topics
from tests.support.correlators import messages_of
from tests.support.postgres import Postgres
from tests.support.traces import load

pytestmark = pytest.mark.server

TOPICS = Topics()
START = 1_790_000_000.0
SETTLE_S = 2.0
_numbers = count()


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres() as running:
        yield running


class Member:
    """One member, which is handed messages and told the time."""

    def __init__(self, url: str, instance: str) -> None:
        self.store = GroupStore(url, name="crew", wish="main", instance=instance)
        times = Times(settle_s=SETTLE_S, patience_s=120.0, processing_s=PROCESSING_S)
        self.work = GroupProcessor(
            self.store,
            times,
            lambda message, uuid, now: draft(
                message, uuid, topics=TOPICS, source=correlator_source("crew"), now=now
            ),
            Counters(),
        )
        self.work.load()

    def take(self, publications: list[Publication], now: float) -> None:
        """What the broker hands over at that moment."""
        read = Intake(TOPICS).read
        words = [message_of(read(each.topic, each.payload, False)) for each in publications]
        self.work.take([Inbound(word, now, retained=False) for word in words], now, now)

    def look(self, now: float) -> list[str]:
        """Looks around, judges what is due, and returns the outcomes told since."""
        self.work.look_around(now, received_until=now)
        self.work.catch_up(now, now)
        self.work.evaluate_due(now)
        with self.store.begin() as tx:
            rows = tx.unsent(0, 1000)
            tx.sent([row.n for row in rows])
        words = [row.topic.rpartition("/")[2] for row in rows]
        return [word for word in words if word in ("completed", "failed", "conflict")]


@pytest.fixture
def members(postgres: Postgres) -> Iterator[list[Member]]:
    url = postgres.create(f"group{next(_numbers)}")
    both = [Member(url, instance) for instance in ("one", "two")]
    for member in both:
        member.look(START)
    yield both
    for member in both:
        member.store.close()


def _sides() -> tuple[list[Publication], list[Publication]]:
    """A live migration's messages: the source's, and the destination's."""
    _, stream = messages_of(load("live"), "group", started_s=START)
    return [each for each in stream if "host1" in each.topic], [
        each for each in stream if "host2" in each.topic
    ]


def _caught_up_ago(member: Member, seconds: float) -> None:
    """The others looked last so many seconds ago."""
    with member.store.begin() as tx:
        tx._connection.execute(
            text("UPDATE members SET caught_up = caught_up - :s WHERE name <> :name"),
            {"s": seconds, "name": member.store.member_name},
        )


def test_no_verdict_by_the_clock_while_another_member_stands_still(members: list[Member]) -> None:
    """It has the destination's messages, and no other one gets them."""
    first, second = members
    source, destination = _sides()
    first.take(source, START + 3.0)
    _caught_up_ago(first, 3.0)
    assert first.look(START + 3.0) == []
    _caught_up_ago(first, 5.0)
    assert first.look(START + 8.0) == [], "the other one was here last 8 s ago, before the source spoke"
    second.take(destination, START + 8.0)
    assert second.look(START + 11.0) + first.look(START + 11.0) == ["completed"]
    assert first.look(START + 60.0) + second.look(START + 60.0) == []


def test_a_verdict_by_the_clock_comes_when_all_members_heard_that_nothing_else_comes(
    members: list[Member],
) -> None:
    first, second = members
    first.take(_sides()[0], START + 3.0)
    assert first.look(START + 3.0) == []
    assert second.look(START + 7.0) == ["completed"]


def test_a_revision_since_a_host_is_back_comes_though_the_store_failed_then(members: list[Member]) -> None:
    """The source was away, and is back with the guest left paused there."""
    first, second = members
    source, destination = _sides()
    left = next(n for n, each in enumerate(source) if each.topic.endswith("/lifecycle/stopped"))
    first.take([*source[:left], *destination], START + 3.0)
    for now, online, looked, published in ((3.0, False, 8.0, ["completed"]), (10.0, True, 11.0, [])):
        since = stamp(START) if online else None  # it was only cut off
        status = Status("host1-group", online, online, None, 0, (), START + now, sees_since=since)
        first.work.take([Inbound(status, START + now, retained=False)], START + now, START + now)
        assert first.look(START + looked) == published
    first.work.look_around(START + 13.0, received_until=START + 13.0)
    with second.store.begin() as tx:
        tx._connection.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE pid <> pg_backend_pid()")
        )
    with pytest.raises(StoreTroubleError):
        first.work.evaluate_due(START + 13.0)
    assert first.look(START + 14.0) == ["completed"]


def test_no_verdict_by_the_clock_while_older_messages_wait_in_the_inbox(members: list[Member]) -> None:
    """The destination's were received before the clock decided, and another member has that host in hand."""
    first, second = members
    source, destination = _sides()
    with first.store.begin_shared() as tx:
        tx.claim([], ["host2-group"])
    with first.store.begin_shared() as tx:
        assert tx.claim(["host2-group"], [])
        second.take(destination, START + 3.5)
        second.take(source, START + 3.0)
        assert second.look(START + 3.6) + second.look(START + 7.0) + second.look(START + 9.0) == []
    assert second.look(START + 9.1) + second.look(START + 10.1) == ["completed"]


@pytest.mark.parametrize("missing", ["started", "resumed"])
def test_a_verdict_waits_for_what_another_member_has(members: list[Member], missing: str) -> None:
    """The destination's last event, of which its state tells; or its first, after which the attempt is named
    though both ends are here.
    """
    first, second = members
    source, destination = _sides()
    held = [each for each in destination if each.topic.endswith(f"/lifecycle/{missing}")]
    first.take([*source, *(each for each in destination if each not in held)], START + 3.0)
    for now in (4.0, 8.0, 12.0):
        assert first.look(START + now) + second.look(START + now) == []
    second.take(held, START + 12.0)
    assert first.look(START + 20.0) + second.look(START + 20.0) == ["completed"]
    assert first.look(START + 60.0) + second.look(START + 60.0) == []


def test_the_first_event_of_a_stream_waits_for_nobody(members: list[Member]) -> None:
    """Under load it takes long until all have caught up; nothing comes before the first."""
    first, _ = members
    source, _ = _sides()
    first.take([each for each in source if not each.topic.endswith("/status")], START + 3.0)
    with first.store.begin_shared() as tx:
        assert tx.oldest_waiting() == float("inf")


def test_a_gap_that_another_member_fills_is_looked_at_as_soon_as_all_have_caught_up(
    members: list[Member],
) -> None:
    """The other one had the host in hand, and doesn't see that the domain waits for it."""
    first, second = members
    source, destination = _sides()
    first.take([each for each in destination if not each.topic.endswith("/lifecycle/resumed")], START + 3.0)
    first.take(source, START + 3.0)
    for now in (3.5, 5.5, 6.0):
        assert first.look(START + now) + second.look(START + now) == []
    with second.store.begin_shared() as tx:
        ((name, data),) = tx.claim(["host2-group"], []).items()
        host = Host.load(name, data)
        host.see("epoch-host2-group", 2, START + 6.0)
        assert not host.has_gap
        tx.keep_hosts([HostRow(name, host.dump(), host.suspect)])
    assert first.look(START + 6.1) + second.look(START + 6.1) == ["completed"]


def test_a_host_is_processed_with_all_that_waits_of_it(
    members: list[Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    """More waits than one transaction takes, and the second of the source's events came last."""
    first, second = members
    source, destination = _sides()
    late = [each for each in source if "/lifecycle/" in each.topic][1]
    hosts = ["host1-group", "host2-group"]
    with first.store.begin_shared() as tx:
        tx.claim([], hosts)
    with first.store.begin_shared() as tx:
        assert len(tx.claim(hosts, [])) == 2
        second.take([*(each for each in source if each is not late), *destination, late], START + 3.0)
    with first.store.begin_shared() as tx:
        monkeypatch.setattr(group_processor, "ROWS", len(tx.inbox(hosts, 1000)) - 1)
    assert second.look(START + 4.0) == []
    with first.store.begin_shared() as tx:
        assert {row.message.host for row in tx.inbox(hosts, 1000)} == {"host2-group"}
        assert not Host.load("host1-group", tx.hosts()["host1-group"]).has_gap
    assert first.look(START + 5.0) + second.look(START + 7.0) == ["completed"]
