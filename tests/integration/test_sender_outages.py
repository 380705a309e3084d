"""Broker trouble: absent, restarted, killed, hung. Nothing is lost or out of order; a stop is bounded."""

import threading
import time
from pathlib import Path

import pytest

from tests.support.broker import Broker
from tests.support.outbox_sender import Stream, Subscriber, contents, lifecycle
from tests.support.processes import wait_until

pytestmark = pytest.mark.server


def storm(stream: Stream, count: int, pause_s: float) -> threading.Thread:
    """Appends so many messages, ten at a time, in a thread."""

    def append() -> None:
        for _ in range(count // 10):
            stream.append([lifecycle() for _ in range(10)])
            time.sleep(pause_s)

    thread = threading.Thread(target=append, name="storm")
    thread.start()
    return thread


def is_in_order(sequences: list[int]) -> bool:
    """Whether each sequence comes for the first time after all before it did."""
    first_times = list(dict.fromkeys(sequences))
    return first_times == sorted(first_times)


def test_a_broker_that_is_absent_at_the_start_gets_everything_later(tmp_path: Path) -> None:
    broker = Broker(tmp_path / "broker", keeps_data=True)
    with broker:
        with Subscriber(broker.settings()):
            pass  # its session stays, and gets what comes while it is away
        broker.stop()  # not killed: it has to keep that session
    with Stream(tmp_path, broker.settings()) as stream:
        stream.append([lifecycle() for _ in range(500)])
        wait_until(lambda: stream.outbox.last_sequence == 500)
        assert stream.sender.problem
        broker.start()
        try:
            with Subscriber(broker.settings()) as subscriber:
                subscriber.until(lambda: subscriber.sequences == list(range(1, 501)))
            assert stream.sender.problem is None
        finally:
            broker.kill()


def test_a_broker_that_is_restarted_under_load_loses_nothing(tmp_path: Path) -> None:
    """Stopped and started three times, with its data, while messages come in."""
    with (
        Broker(tmp_path / "broker", "max_queued_messages 100000", keeps_data=True) as broker,
        Subscriber(broker.settings()) as subscriber,
        Stream(tmp_path, broker.settings()) as stream,
    ):
        wait_until(lambda: stream.sender.connected)
        thread = storm(stream, 3000, 0.01)
        for _ in range(3):
            time.sleep(0.5)
            broker.restart()
        thread.join()
        stream.all_acknowledged(30)
        subscriber.until(lambda: len(subscriber.first_times) == 3000, 30)
        assert is_in_order(subscriber.sequences)
        assert all(len(payloads) == 1 for payloads in contents(subscriber.events).values())
        assert stream.sender.counters.connections >= 2


def test_after_a_broker_was_killed_all_is_sent_that_it_had_not_acknowledged(tmp_path: Path) -> None:
    """What a broker without data had acknowledged is gone with it, a PUBACK being no durability: asked again,
    the agent has it.
    """
    with (
        Broker(tmp_path / "broker", "max_queued_messages 100000") as broker,
        Stream(tmp_path, broker.settings()) as stream,
        Subscriber(broker.settings()) as subscriber,
    ):
        wait_until(lambda: stream.sender.connected)
        thread = storm(stream, 2000, 0.005)
        time.sleep(0.3)
        broker.kill()
        time.sleep(0.3)
        broker.start()
        thread.join()
        stream.all_acknowledged(30)
        request = f'{{"epoch": "{stream.outbox.epoch}", "from": 1, "to": 2000}}'
        subscriber.ask_again(request.encode())
        subscriber.until(lambda: set(subscriber.sequences) == set(range(1, 2001)), 30)
        assert all(len(payloads) == 1 for payloads in contents(subscriber.events).values())


def test_a_broker_that_hangs_and_comes_back_gets_everything(tmp_path: Path) -> None:
    with (
        Broker(tmp_path / "broker", "max_queued_messages 100000") as broker,
        Subscriber(broker.settings()) as subscriber,
        Stream(tmp_path, broker.settings()) as stream,
    ):
        wait_until(lambda: stream.sender.connected)
        thread = storm(stream, 1000, 0.005)
        time.sleep(0.2)
        broker.hang()
        try:
            wait_until(lambda: not stream.sender.connected, timeout_s=15)
        finally:
            broker.go_on()
        thread.join()
        subscriber.until(lambda: len(subscriber.first_times) == 1000, 30)
        assert is_in_order(subscriber.sequences)


def test_a_stop_while_the_broker_is_silent_ends_in_time(tmp_path: Path) -> None:
    """And when it goes on, it learns that the agent is offline."""
    with (
        Broker(tmp_path / "broker", "max_queued_messages 100000") as broker,
        Subscriber(broker.settings()) as subscriber,
    ):
        with Stream(tmp_path, broker.settings()) as stream:
            subscriber.until(lambda: subscriber.statuses)
            broker.hang()
            stream.append([lifecycle() for _ in range(1000)])
            wait_until(lambda: stream.outbox.last_sequence == 1000)
            try:
                assert stream.stop(5.0) < 5.0
            finally:
                broker.go_on()
        subscriber.until(lambda: subscriber.statuses[-1].state == "offline")
        with Stream(tmp_path, broker.settings()):
            subscriber.until(lambda: len(subscriber.first_times) == 1000)


def test_a_stop_without_a_broker_is_immediate(tmp_path: Path) -> None:
    broker = Broker(tmp_path / "broker")
    with Stream(tmp_path, broker.settings()) as stream:
        stream.append([lifecycle()])
        time.sleep(0.5)
        assert stream.stop(5.0) < 1.0
