"""A guest that floods fills its own share of the outbox, and pushes nobody else out."""

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.agent.inventory.encoder import Encoder
from bridge.agent.inventory.inventory import Inventory
from bridge.agent.inventory.quotas import TYPICAL_BYTES, Quotas
from bridge.agent.inventory.reports import Occurrence
from bridge.agent.outbox import Limits, Outbox, Row
from bridge.agent.outbox.rows import OVERHEAD_BYTES
from bridge.agent.outbox.writer import Writer
from bridge.wire.events import LEFT_OUT
from bridge.wire.examples import of_events
from bridge.wire.topics import Topics
from tests.support.processes import wait_until

LOUD = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
QUIET = "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"
LIMITS = Limits(rows=400)


def happened(uuid: str, kind: str = "rtc_change") -> Occurrence:
    if kind == "lifecycle":
        return Occurrence(1, 1.0, kind, "QEMU", uuid, uuid[0], 1, 2, 0)
    return Occurrence(1, 1.0, kind, "QEMU", uuid, uuid[0], 1, arguments=(7,))


class Host:
    """A writer whose broker is away until `sent`; what it committed, in order."""

    def __init__(self, folder: Path) -> None:
        self.outbox = Outbox.open(folder, LIMITS)
        self.rows: list[Row] = []
        self.writer = Writer(self.outbox, Inventory(Encoder(Topics(), "h"), {}, Quotas(rows=LIMITS.rows)))
        self.writer.start(self.rows.extend, lambda *_: None)

    def put(self, *occurrences: Occurrence) -> None:
        for occurrence in occurrences:
            self.writer.put(occurrence)
        assert self.writer.store_all(10)

    def sent(self) -> None:
        """The broker has everything."""
        self.outbox.acknowledge(self.outbox.last_sequence)

    def published(self, uuid: str) -> list[str]:
        return [row.topic.rpartition("/")[2] for row in self.rows if uuid in row.topic]

    def left_out(self) -> list[dict[str, object]]:
        """What was told of that."""
        return [
            json.loads(row.payload)["data"]["params"]
            for row in self.rows
            if row.topic.endswith(f"/{LEFT_OUT}")
        ]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    host.put(happened(LOUD, "lifecycle"), happened(QUIET, "lifecycle"))
    yield host
    host.writer.stop(5)


def test_a_flood_leaves_room_for_all_others(host: Host) -> None:
    """Of 400 rows half are for such events, and half of that for each of two domains."""
    host.put(happened(QUIET), *(happened(LOUD) for _ in range(1_000)), happened(QUIET))
    assert Counter(host.published(LOUD)) == {"started": 1, "rtc_change": 100}
    assert host.published(QUIET) == ["started", "rtc_change", "rtc_change"]
    assert host.outbox.dropped == []
    assert host.writer.left_out == 900


def test_what_was_left_out_is_published_once_there_is_room_again(host: Host) -> None:
    host.put(*(happened(LOUD) for _ in range(130)), *(happened(LOUD, "balloon_change") for _ in range(20)))
    assert host.left_out() == []
    host.sent()
    host.put(happened(QUIET, "lifecycle"))
    wait_until(lambda: bool(host.left_out()))
    assert host.left_out() == [{"count": 50, "events": {"rtc_change": 30, "balloon_change": 20}}]
    host.put(happened(LOUD))
    assert host.published(LOUD)[-2:] == [LEFT_OUT, "rtc_change"]
    host.sent()
    host.put(happened(QUIET, "lifecycle"))
    assert len(host.left_out()) == 1


def test_what_was_left_out_is_published_at_the_end(host: Host) -> None:
    host.put(*(happened(LOUD) for _ in range(101)))
    assert host.writer.stop(5)
    assert host.left_out() == [{"count": 1, "events": {"rtc_change": 1}}]


def test_lifecycle_events_are_never_left_out(host: Host) -> None:
    host.put(*(happened(LOUD, "lifecycle") for _ in range(300)))
    assert host.published(LOUD) == ["started"] * 301


def test_nothing_is_left_out_while_the_broker_keeps_up(host: Host) -> None:
    for _ in range(10):
        host.put(*(happened(LOUD) for _ in range(90)))
        host.sent()
        host.put(happened(QUIET, "lifecycle"))
    assert host.writer.left_out == 0
    assert host.published(LOUD).count("rtc_change") == 900


@given(st.lists(st.integers(1, 40), max_size=30), st.randoms(use_true_random=False))
def test_a_count_is_never_too_small(bursts: list[int], chance: random.Random) -> None:
    """However the broker answers, what waits of a domain never is more than its share."""
    quotas, last, acknowledged = Quotas(rows=100), 0, 0
    waiting: list[int] = []
    for burst in bursts:
        for _ in range(burst):
            if quotas.has_room(LOUD, 1):
                quotas.take(LOUD)
                last += 1
                waiting.append(last)
        acknowledged = chance.randint(acknowledged, last)
        waiting = [sequence for sequence in waiting if sequence > acknowledged]
        quotas.sent(acknowledged, last)
        assert len(waiting) <= 50
    quotas.sent(last, last)
    assert quotas.has_room(LOUD, 2)


def test_a_new_file_begins_anew() -> None:
    quotas = Quotas(rows=4)
    quotas.take(LOUD)
    quotas.take(LOUD)
    quotas.sent(0, 900)
    assert not quotas.has_room(LOUD, 1)
    quotas.sent(0, 0)
    assert quotas.has_room(LOUD, 1)


def test_a_row_is_taken_for_what_it_is_in_bytes() -> None:
    """Rather for too large, by half at most."""
    sizes = [len(payload) + 120 + OVERHEAD_BYTES for payload in of_events().values()]
    assert TYPICAL_BYTES / 2 < sum(sizes) / len(sizes) < TYPICAL_BYTES
