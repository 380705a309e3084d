"""`bridge.client`: each message once, whatever ends in between; what was lost is asked for, or told."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from bridge.client import Client, Gap, Message
from bridge.wire.examples import examples
from bridge.wire.messages import TYPE_PREFIX
from bridge.wire.topics import Topics
from tests.support.agents import DrivenAgent
from tests.support.broker import Broker
from tests.support.session_recorder import Client as Recorder

pytestmark = pytest.mark.server
TOPICS = Topics()
FAILED = TOPICS.migration("c7a5fdbd-edaf-9455-926a-d65c16db1809", "failed")
EXAMPLE = examples()[f"{TYPE_PREFIX}migration.failed.v1"]
PUBLISHED_REPLAY = "'libvirt/v1/hosts/h1/replay'"
MIGRATION = b"0b5e1a52c9d04d0c8f0b5f6a0d5b8f7e"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """One that keeps no more than ten messages for who is away."""
    with Broker(tmp_path / "broker", "max_queued_messages 10", keeps_data=True) as broker:
        yield broker


class Reading:
    """A program that reads by a client. Of the message number `hangs_at` it never comes to an end."""

    def __init__(self, broker: Broker, *, hangs_at: int = 0, **options: Any) -> None:
        self.client = Client(f"mqtt://127.0.0.1:{broker.port}", id="reader", **options)
        self.items: list[Message | Gap] = []
        self._broker = broker
        self._hangs_at = hangs_at
        self._loop = asyncio.new_event_loop()
        self._task = self._loop.create_task(self._read())
        self._thread = threading.Thread(target=self._run, name="reading", daemon=True)

    def __enter__(self) -> Self:
        before = self._subscribed()
        self._thread.start()
        self.until(lambda: self._subscribed() > before)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(10)
        assert not self._thread.is_alive()
        self._loop.close()

    def until(self, condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
        """Waits until it holds."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, (self.sequences, self.gaps, len(self.items))
            time.sleep(0.02)

    @property
    def ids(self) -> list[str]:
        """Of the migrations that were read."""
        return [item.data.migration for item in self.items if isinstance(item, Message)]

    @property
    def sequences(self) -> list[int]:
        """Of the events that were read."""
        return [item.place.sequence for item in self.items if isinstance(item, Message) and item.place]

    @property
    def gaps(self) -> list[tuple[int, int]]:
        """What was told to be lost."""
        return [(item.first, item.last) for item in self.items if isinstance(item, Gap)]

    def acknowledge(self, message: Message) -> None:
        """As a program does that says itself when it is done with one."""
        self._loop.call_soon_threadsafe(self.client.acknowledge, message)

    def _subscribed(self) -> int:
        return self._broker.log.count(": Sending SUBACK to reader")

    def _run(self) -> None:
        with suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._task)

    async def _read(self) -> None:
        async with aclosing(self.client.messages()) as stream:
            async for item in stream:
                self.items.append(item)
                if len(self.items) == self._hangs_at:
                    await asyncio.Event().wait()


class Correlator:
    """Publishes verdicts."""

    def __init__(self, broker: Broker) -> None:
        self._recorder = Recorder(broker.settings(), client_id="correlator")
        self._recorder.connect()

    def tell(self, *numbers: int) -> None:
        """Publishes failures of migrations of these numbers, and waits until the broker has them."""
        payloads = [EXAMPLE.replace(MIGRATION, b"m%d" % number) for number in numbers]
        self._recorder.publish_all(FAILED, payloads)


def test_a_message_is_acknowledged_when_the_next_one_is_asked_for(broker: Broker) -> None:
    """What a program was about when it ended comes again to the next one, and nothing else does."""
    correlator = Correlator(broker)
    with Reading(broker, what=["migrations"]) as first:
        correlator.tell(1)
        first.until(lambda: first.ids == ["m1"])
    correlator.tell(2, 3)
    with Reading(broker, what=["migrations"], hangs_at=2) as second:
        second.until(lambda: second.ids == ["m2", "m3"])
    with Reading(broker, what=["migrations"]) as third:
        correlator.tell(4)
        third.until(lambda: third.ids == ["m3", "m4"])


def test_what_is_delivered_again_while_it_is_handled_comes_once_and_stays_acknowledged(
    broker: Broker,
) -> None:
    correlator = Correlator(broker)
    with Reading(broker, what=["migrations"], hangs_at=2) as reading:
        correlator.tell(1, 2)
        reading.until(lambda: reading.ids == ["m1", "m2"])
        broker.stop()
        reading.until(lambda: not reading.client.connected)
        assert reading.client.last_failure is not None
        broker.start()
        reading.until(lambda: ": Sending PUBLISH to reader (d1, " in broker.log)
        acknowledged = broker.log.count(": Received PUBACK from reader ")
        (message,) = (item for item in reading.items[1:] if isinstance(item, Message))
        reading.acknowledge(message)
        reading.until(lambda: broker.log.count(": Received PUBACK from reader ") > acknowledged)
        assert reading.ids == ["m1", "m2"]
    correlator = Correlator(broker)
    with Reading(broker, what=["migrations"]) as next_one:
        correlator.tell(3)
        next_one.until(lambda: next_one.ids == ["m3"])


def test_what_is_not_of_the_contract_is_put_aside_and_holds_up_nothing(broker: Broker) -> None:
    stranger = Recorder(broker.settings(), client_id="stranger")
    stranger.connect()
    with Reading(broker, what=["migrations"]) as reading:
        stranger.publish_all(FAILED, [b"no JSON", b'{"type":"com.example.other","specversion":"1.0"}'])
        Correlator(broker).tell(1)
        reading.until(lambda: reading.ids == ["m1"])
        assert reading.client.rejected == {"malformed": 2}
    with Reading(broker, what=["migrations"]) as next_one:
        time.sleep(0.5)
        assert not next_one.client.rejected


def test_what_a_broker_lost_is_asked_for_and_comes_in_the_end(broker: Broker, tmp_path: Path) -> None:
    """It keeps ten messages for who is away; the agent still has the others."""
    with DrivenAgent(broker, tmp_path) as agent:
        with Reading(broker, what=["events"]) as reading:
            last = agent.drive(2).last_sequence
            reading.until(lambda: last in reading.sequences)
            before = set(reading.sequences)
        positions = reading.client.positions()
        last = agent.drive(20).last_sequence
        with Reading(broker, what=["events"], positions=positions) as reading:
            reading.until(lambda: before | set(reading.sequences) == set(range(1, last + 1)))
            assert not before & set(reading.sequences)
            assert len(reading.sequences) == len(set(reading.sequences))
            assert not reading.gaps


def test_an_agent_that_is_offline_is_asked_when_it_is_back(broker: Broker, tmp_path: Path) -> None:
    """While it is offline it would not receive the request."""
    with DrivenAgent(broker, tmp_path) as agent:
        with Reading(broker, what=["events"]) as reading:
            last = agent.drive(2).last_sequence
            reading.until(lambda: last in reading.sequences)
            before = set(reading.sequences)
        positions = reading.client.positions()
        last = agent.drive(20).last_sequence
        agent.stop()
        with Reading(broker, what=["events"], positions=positions) as reading:
            reading.until(lambda: len(reading.sequences) == 10)
            time.sleep(4.0)  # time enough to ask
            assert PUBLISHED_REPLAY not in broker.log
            agent.start()
            reading.until(lambda: before | set(reading.sequences) >= set(range(1, last + 1)))
            assert PUBLISHED_REPLAY in broker.log
            assert not reading.gaps


def test_what_cannot_be_had_again_is_published_as_a_gap(broker: Broker, tmp_path: Path) -> None:
    with DrivenAgent(broker, tmp_path, retain_hours=0) as agent:
        with Reading(broker, what=["events"]) as reading:
            last = agent.drive(1).last_sequence
            reading.until(lambda: last in reading.sequences)
            before = last
        positions = reading.client.positions()
        agent.drive(20)
        with Reading(broker, what=["events"], positions=positions) as reading:
            last = agent.drive(1).last_sequence
            reading.until(lambda: bool(reading.gaps) and last in reading.sequences, 60)
            lost = {number for first, final in reading.gaps for number in range(first, final + 1)}
            assert lost | set(reading.sequences) == set(range(before + 1, last + 1))
            assert not lost & set(reading.sequences)
        positions = reading.client.positions()
        with Reading(broker, what=["events"], positions=positions) as reading:
            last = agent.drive(1).last_sequence
            reading.until(lambda: last in reading.sequences)
            time.sleep(4.0)  # time enough to ask
            assert not reading.gaps
