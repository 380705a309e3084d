"""Whether the broker has more for a session than it has sent, by its answers to PINGREQs."""

from collections import deque

import pytest

from bridge.mqtt.queued import Queued


class Broker:
    """Answers in order, and sends so many messages ahead of their acknowledgement."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.queue = 0
        self.ahead = 0
        self.on_its_way: deque[str] = deque()
        self.client = Queued()

    def publish(self, messages: int) -> None:
        self.queue += messages
        self._send()

    def ping(self, now: float) -> None:
        self.client.asked(now)
        self.on_its_way.append("answer")

    def deliver(self, acknowledged: int = 0) -> float | None:
        """The client receives all that is on its way, and acknowledges so many; returns what it knows."""
        while self.on_its_way:
            if self.on_its_way.popleft() == "answer":
                self.client.answered()
            else:
                self.client.came()
        for _ in range(acknowledged):
            self.client.acknowledged()
            self.ahead -= 1
        self._send()
        return self.client.received_until

    def _send(self) -> None:
        while self.queue and self.ahead < self.limit:
            self.queue -= 1
            self.ahead += 1
            self.on_its_way.append("message")


def test_with_nothing_on_its_way_nothing_is_queued() -> None:
    broker = Broker(limit=3)
    assert broker.deliver() is None
    broker.ping(7.0)
    assert broker.client.is_asked
    assert broker.deliver() == 7.0
    assert not broker.client.is_asked


def test_for_a_new_session_nothing_is_queued() -> None:
    queued = Queued()
    queued.began(5.0)
    assert queued.received_until == 5.0


@pytest.mark.parametrize("limit", [1, 3, 20])
def test_a_queue_is_known_from_a_full_window_whatever_its_limit(limit: int) -> None:
    """As long as the broker has more, no answer shows that everything came; then one does."""
    broker = Broker(limit)
    broker.publish(10 * limit)
    while broker.queue:
        broker.ping(1.0)
        assert broker.deliver(acknowledged=1) is None
    broker.deliver(acknowledged=broker.ahead)
    broker.ping(2.0)
    assert broker.deliver() == 2.0


def test_messages_on_their_way_are_no_queue_where_there_were_more_before() -> None:
    broker = Broker(limit=20)
    broker.publish(5)
    broker.ping(1.0)
    assert broker.deliver(acknowledged=5) is None, "five may be the limit"
    broker.publish(4)
    broker.ping(2.0)
    assert broker.deliver() == 2.0


def test_an_answer_counts_for_the_moment_of_its_question() -> None:
    broker = Broker(limit=20)
    broker.ping(1.0)
    broker.publish(1)
    broker.ping(2.0)
    assert broker.deliver() == 1.0


def test_an_answer_that_nobody_asked_for_shows_nothing() -> None:
    queued = Queued()
    queued.answered()
    assert queued.received_until is None
