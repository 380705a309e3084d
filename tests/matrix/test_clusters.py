"""A cluster that loses each of its nodes in turn, under a storm of migrations."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Final

import pytest

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
    """Each node dies, so also the one that it is connected to. All events arrive, and it receives what is
    requested of it.
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
                last = agent.drive(5).last_sequence
                subscriber.until(partial(_came, subscriber, last), TOLD_S)
                node.kill()
                died_s = time.monotonic()
                last = agent.drive(5).last_sequence
                subscriber.until(partial(_came, subscriber, last), TOLD_S)
                with capsys.disabled():
                    took_s = time.monotonic() - died_s
                    print(f"\n{start.__name__}: events go on {took_s:.1f} s after node {number} died")
                _receives_requests(subscriber, number)
                node.start()
                subscriber.listen(10)  # the node catches up
            assert len(agent.logged("broker.connected")) > 1
            assert agent.stop() == 0


def _came(subscriber: Subscriber, last: int) -> bool:
    return {int(each.sequence or 0) for each in subscriber.stream()} == set(range(1, last + 1))


def _receives_requests(subscriber: Subscriber, sequence: int) -> None:
    """The agent sends this message again."""
    sent = next(each for each in subscriber.stream() if int(each.sequence or 0) == sequence)
    before = _times(subscriber, sent.id)
    request = ReplayRequest(epoch=sent.id.rpartition("-")[0], first=sequence, last=sequence)
    subscriber.recorder.publish_all(subscriber.topics.replay("h1"), [request.payload()])
    subscriber.until(lambda: _times(subscriber, sent.id) > before, TOLD_S)


def _times(subscriber: Subscriber, message_id: str) -> int:
    return sum(message_id.encode() in each.payload for each in subscriber.received)


def _have_ended(fleet: Fleet, uuids: Iterable[str], number: int) -> bool:
    ended = {published.uuid for published in fleet.published() if published.word == "completed"}
    return len(ended & set(uuids)) >= number
