"""A cluster that loses each of its nodes in turn, under a storm of migrations."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from bridge.consumer.streams import FIRST_PATIENCE_S
from bridge.mqtt.reasons import REFUSAL
from bridge.mqtt.session import Publication
from bridge.wire.messages import ReplayRequest
from tests.matrix.cluster import Cluster, nats, rabbitmq
from tests.support.agents import DrivenAgent, Subscriber
from tests.support.correlators import CorrelatorProcess, Fleet, messages_of, stamped_now
from tests.support.session_recorder import Recorder
from tests.support.traces import load

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(900)]

MIGRATIONS: Final = 20
WINDOW: Final = 20
TOLD_S: Final = 90.0


class Publisher:
    """Publishes as an agent does: in order, again what wasn't acknowledged before the connection was lost."""

    def __init__(self, cluster: Cluster) -> None:
        self._recorder = Recorder(cluster.settings(), "publisher", window=WINDOW)
        self._recorder.connect(TOLD_S)

    def publish(self, publications: Iterable[Publication]) -> None:
        """Returns when the broker has acknowledged all of them."""
        recorder, left = self._recorder, list(publications)
        while left:
            recorder.until(lambda: recorder.session.connected, TOLD_S)
            recorder.acknowledged.clear()
            window, lost = left[:WINDOW], len(recorder.disconnected)
            for n, each in enumerate(window):
                recorder.session.publish(each, n)
            recorder.until(partial(self._is_answered, len(window), lost), TOLD_S)
            answers = dict(recorder.acknowledged)
            assert all(code < REFUSAL for code in answers.values()), answers
            del left[: next((n for n in range(len(window)) if n not in answers), len(window))]

    def _is_answered(self, sent: int, lost: int) -> bool:
        return len(self._recorder.acknowledged) == sent or len(self._recorder.disconnected) > lost

    def close(self) -> None:
        """Ends the session."""
        self._recorder.close()


def _storm(tag: str) -> tuple[list[str], list[Publication]]:
    """Migrations side by side, each host's messages in their order."""
    stories = [messages_of(load("live"), f"{tag}-{n}") for n in range(MIGRATIONS)]
    longest = max(len(messages) for _, messages in stories)
    mixed = [messages[n] for n in range(longest) for _, messages in stories if n < len(messages)]
    return [uuid for uuid, _ in stories], mixed


@pytest.mark.parametrize("start", [nats, rabbitmq])
def test_each_node_may_die_under_a_storm(
    tmp_path: Path,
    soak: bool,
    start: Callable[[Path], AbstractContextManager[Cluster]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """All that was acknowledged is told, once. The time is from the node's death until the first verdict of a
    migration that was published after it.
    """
    if not soak:
        return
    with start(tmp_path) as cluster:
        version = cluster.settings().version
        options = {"broker": cluster.url, "broker_version": version, "patience": 120}
        publisher = Publisher(cluster)  # it waits until they are a cluster
        with Fleet(cluster) as fleet, CorrelatorProcess(cluster, tmp_path, **options) as correlator:
            fleet.until(lambda: fleet.status().get("state") == "online", TOLD_S)
            for number, node in enumerate(cluster.nodes, 1):
                uuids, messages = _storm(f"node{number}")
                messages = list(stamped_now(messages))
                fleet.sent += messages  # what an agent keeps in its outbox, and sends again if asked
                half = len(messages) // 2
                publisher.publish(messages[:half])
                node.kill()
                died_s = time.monotonic()
                publisher.publish(messages[half:])
                fleet.until(partial(_have_ended, fleet, uuids, 1), TOLD_S)
                took_s = time.monotonic() - died_s
                fleet.until(partial(_have_ended, fleet, uuids, len(uuids)), TOLD_S)
                with capsys.disabled():
                    print(f"\n{start.__name__}: verdicts go on {took_s:.1f} s after node {number} died")
                node.start()
                fleet.listen(10)  # the node catches up
                for uuid in uuids:
                    published = [each.word for each in fleet.published_once(uuid) if each.word != "started"]
                    assert published == ["completed"]
            publisher.close()
            assert correlator.stop() == 0


@pytest.mark.parametrize("start", [nats, rabbitmq])
def test_an_agent_goes_on_at_another_node(
    tmp_path: Path,
    soak: bool,
    start: Callable[[Path], AbstractContextManager[Cluster]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each node dies, so also the one that it is connected to. All events arrive, by a request those that the
    cluster had acknowledged and lost, and it receives what is requested of it.
    """
    if not soak:
        return
    with start(tmp_path) as cluster:
        settings = cluster.settings()
        Publisher(cluster).close()  # it waits until they are a cluster
        with (
            Subscriber(cluster) as subscriber,
            DrivenAgent(cluster, tmp_path, broker=cluster.url, broker_version=settings.version) as agent,
        ):
            for number, node in enumerate(cluster.nodes, 1):
                _receive_all(subscriber, agent.drive(5).last_sequence)
                before = len(subscriber.stream())
                node.kill()
                died_s = time.monotonic()
                last = agent.drive(5).last_sequence
                subscriber.until(partial(_has_come, subscriber, before + 1), TOLD_S)
                took_s = time.monotonic() - died_s
                lost = _receive_all(subscriber, last)
                with capsys.disabled():
                    words = f"events go on {took_s:.1f} s after node {number} died, {lost} lost"
                    print(f"\n{start.__name__}: {words}")
                _receive_again(subscriber, number)
                node.start()
                subscriber.listen(10)  # the node catches up
            assert len(agent.logged("broker.connected")) > 1
            assert agent.stop() == 0


def _receive_all(subscriber: Subscriber, last: int) -> int:
    """All events up to this one arrive; returns how many of them had to be requested, as readers do where a
    later one came.
    """
    requested: set[int] = set()
    ends_s = time.monotonic() + TOLD_S
    while missing := set(range(1, last + 1)) - (came := set(_sequences(subscriber))):
        assert time.monotonic() < ends_s, f"not received: {sorted(missing)}"
        subscriber.listen(FIRST_PATIENCE_S)
        still_missing = missing - set(_sequences(subscriber))
        if still_missing and min(still_missing) < max(came):
            requested |= still_missing
            _request(subscriber, min(still_missing), max(still_missing))
    return len(requested)


def _has_come(subscriber: Subscriber, number: int) -> bool:
    return len(subscriber.stream()) >= number


def _receive_again(subscriber: Subscriber, sequence: int) -> None:
    """The agent sends this message again. It is requested until it comes: a node may have refused the agent's
    subscription for a moment.
    """
    before = _sequences(subscriber)[sequence]
    ends_s = time.monotonic() + TOLD_S
    while _sequences(subscriber)[sequence] == before:
        assert time.monotonic() < ends_s
        _request(subscriber, sequence, sequence)
        subscriber.listen(FIRST_PATIENCE_S)


def _sequences(subscriber: Subscriber) -> Counter[int]:
    """The event stream's sequences, each with how often it came."""
    ids = Counter(json.loads(each.payload).get("id") for each in subscriber.received if each.payload)
    return Counter({int(each.sequence or 0): ids[each.id] for each in subscriber.stream()})


def _request(subscriber: Subscriber, first: int, last: int) -> None:
    epoch = subscriber.stream()[0].id.rpartition("-")[0]
    request = ReplayRequest(epoch=epoch, first=first, last=last)
    subscriber.recorder.acknowledged.clear()
    subscriber.recorder.publish_all(subscriber.topics.replay("h1"), [request.payload()], TOLD_S)


def _have_ended(fleet: Fleet, uuids: Iterable[str], number: int) -> bool:
    ended = {published.uuid for published in fleet.published() if published.word == "completed"}
    return len(ended & set(uuids)) >= number
