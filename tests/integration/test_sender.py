"""What the sender promises, with a real mosquitto: order, states, replay, refusals, the last word."""

import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from bridge.agent.outbox import Limits, Outbox
from bridge.mqtt.settings import BrokerSettings, Version
from bridge.wire import messages
from bridge.wire.messages import CONTENT_TYPE, Libvirt, Span
from tests.support.broker import Broker
from tests.support.fake_broker import Behaviour, FakeBroker
from tests.support.outbox_sender import HOST, TOPICS, UUID, Stream, Subscriber, contents, lifecycle
from tests.support.processes import wait_until
from tests.support.session_recorder import Recorder
from tests.support.small_disk import fill_up, small_disk

pytestmark = pytest.mark.server

OTHER = "11111111-edaf-9455-926a-d65c16db1809"
STATE = TOPICS.state(HOST, UUID)
STATUS = TOPICS.host_status(HOST)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker", "max_queued_messages 0") as running:
        yield running


@pytest.fixture
def subscriber(broker: Broker) -> Iterator[Subscriber]:
    with Subscriber(broker.settings()) as listening:
        yield listening


def filled(folder: Path, count: int, acknowledged: int = 0) -> str:
    """A closed outbox with so many messages; its epoch."""
    outbox = Outbox.open(folder)
    outbox.append([lifecycle() for _ in range(count)])
    outbox.acknowledge(acknowledged)
    outbox.close()
    return outbox.epoch


def replay(epoch: str, first: int, last: int) -> bytes:
    return json.dumps({"epoch": epoch, "from": first, "to": last}).encode()


def test_on_connect_the_status_comes_first_then_states_then_the_backlog(
    tmp_path: Path, broker: Broker, subscriber: Subscriber
) -> None:
    filled(tmp_path, 5, acknowledged=2)
    stream = Stream(tmp_path, broker.settings())
    stream.sender.set_retained(STATE, b"late", as_of=5)
    stream.sender.set_retained(TOPICS.state(HOST, OTHER), b"early", as_of=2)
    with stream:
        subscriber.until(lambda: len(subscriber.received) >= 6)
    what = [(one.topic.split("/")[-2:], one.retain) for one in subscriber.received[:6]]
    assert what == [
        ([HOST, "status"], True),
        ([OTHER, "state"], True),
        (["lifecycle", "started"], False),
        (["lifecycle", "started"], False),
        (["lifecycle", "started"], False),
        ([UUID, "state"], True),
    ]
    assert subscriber.sequences == [3, 4, 5]
    assert {one.content_type for one in subscriber.received[:5]} == {CONTENT_TYPE}


def test_what_is_committed_while_connected_is_sent_at_once_and_in_order(
    tmp_path: Path, broker: Broker, subscriber: Subscriber
) -> None:
    with Stream(tmp_path, broker.settings()) as stream:
        seen: list[float] = []
        stream.sender.counters.observe_latency_s = seen.append
        wait_until(lambda: stream.sender.connected)
        stream.append([lifecycle() for _ in range(3000)])
        stream.all_acknowledged()
        subscriber.until(lambda: len(subscriber.sequences) == 3000)
        assert subscriber.sequences == list(range(1, 3001))
        assert stream.sender.counters.answers.total() == 3000
        assert len(seen) == 3000
        assert min(seen) > 0


def test_the_status_tells_how_it_goes_and_says_offline_in_the_end(
    tmp_path: Path, broker: Broker, subscriber: Subscriber
) -> None:
    with Stream(tmp_path, broker.settings()) as stream:
        subscriber.until(lambda: subscriber.statuses)
        stream.sender.set_status(Libvirt(connected=False, uri="test:///default"), "no connection")
        subscriber.until(
            lambda: subscriber.statuses[-1].libvirt == Libvirt(connected=False, uri="test:///default"), 2.0
        )
        stream.append([lifecycle() for _ in range(7)])
        stream.all_acknowledged()
        assert stream.stop() < 2.0
    subscriber.until(lambda: subscriber.statuses[-1].state == "offline")
    online, changed, offline = subscriber.statuses
    assert (online.state, online.last_sequence) == ("online", 0)
    assert online.libvirt is not None
    assert online.libvirt.connected
    assert (changed.state, changed.reason) == ("online", "no connection")
    assert (offline.last_sequence, offline.epoch, offline.libvirt) == (7, stream.outbox.epoch, None)


def test_stopping_sends_what_there_is(tmp_path: Path, broker: Broker, subscriber: Subscriber) -> None:
    with Stream(tmp_path, broker.settings()) as stream:
        wait_until(lambda: stream.sender.connected)
        stream.append([lifecycle() for _ in range(2000)])
        wait_until(lambda: stream.outbox.last_sequence == 2000)
        stream.stop()
    subscriber.until(lambda: len(subscriber.sequences) == 2000)
    outbox = Outbox.open(tmp_path)
    assert outbox.acknowledged == 2000
    outbox.close()


def test_a_broken_connection_is_told_by_the_will(
    tmp_path: Path, broker: Broker, subscriber: Subscriber
) -> None:
    with Stream(tmp_path, broker.settings()) as stream:
        subscriber.until(lambda: subscriber.statuses)
        link = stream.sender._session._link
        assert link is not None
        link.wire.finish_writing()
        subscriber.until(lambda: len(subscriber.statuses) >= 3)
    assert [status.state for status in subscriber.statuses[:3]] == ["online", "offline", "online"]
    assert len(contents([one for one in subscriber.received if one.topic == STATUS])) == len(
        subscriber.statuses
    ), "each status has an id of its own"


def test_a_state_never_runs_ahead_of_its_events(
    tmp_path: Path, broker: Broker, subscriber: Subscriber
) -> None:
    with Stream(tmp_path, broker.settings()) as stream:
        wait_until(lambda: stream.sender.connected)
        for number in range(1, 51):
            stream.append([lifecycle() for _ in range(4)])
            wait_until(lambda last=number * 4: stream.outbox.last_sequence == last)  # type: ignore[misc]
            stream.sender.set_retained(STATE, f"{number * 4}".encode(), as_of=number * 4)
        subscriber.until(lambda: any(one.payload == b"200" for one in subscriber.received))
    sent = 0
    for one in subscriber.received:
        if one.topic == STATE:
            assert int(one.payload) <= sent
        elif one.topic != STATUS:
            sent = int(messages.parse(one.payload).sequence or 0)


def test_an_empty_payload_clears_a_state(tmp_path: Path, broker: Broker, subscriber: Subscriber) -> None:
    with Stream(tmp_path, broker.settings()) as stream:
        stream.sender.set_retained(STATE, b"there", as_of=0)
        subscriber.until(lambda: any(one.topic == STATE for one in subscriber.received))
        stream.sender.set_retained(STATE, None, as_of=0)
        subscriber.until(
            lambda: [one for one in subscriber.received if one.topic == STATE][-1].payload == b""
        )
        with Subscriber(broker.settings(), "late") as late:
            late.until(lambda: late.statuses)
            assert not [one for one in late.received if one.topic == STATE]


def test_states_are_published_again_to_a_broker_that_lost_them(tmp_path: Path, broker: Broker) -> None:
    with Stream(tmp_path, broker.settings()) as stream:
        stream.sender.set_retained(STATE, b"there", as_of=0)
        wait_until(lambda: stream.sender.counters.retained_answers.total() >= 2)
        broker.kill()
        broker.start()
        with Subscriber(broker.settings(), "late") as late:
            late.until(lambda: any(one.topic == STATE for one in late.received))
            late.until(lambda: any(one.topic == STATUS for one in late.received))


def test_a_refused_message_is_parked_and_holds_up_no_other(tmp_path: Path) -> None:
    """mosquitto answers a publication that its rules deny with 0x87."""
    acl = f"topic readwrite #\ntopic deny {TOPICS.lifecycle(HOST, UUID, 'stopped')}\n"
    with Broker(tmp_path / "broker", "max_queued_messages 100000", acl=acl) as broker:
        with Subscriber(broker.settings()) as subscriber, Stream(tmp_path, broker.settings()) as stream:
            wait_until(lambda: stream.sender.connected)
            stream.append([lifecycle("stopped" if number % 3 == 0 else "started") for number in range(300)])
            stream.all_acknowledged()
            subscriber.until(lambda: len(subscriber.sequences) == 200)
            subscriber.until(lambda: subscriber.statuses[-1].parked == 100, 5.0)
            assert stream.outbox.parked == 100
            assert stream.sender.counters.answers[0x87] == 100
            epoch = stream.outbox.epoch
        (broker.folder / "acl").write_text("topic readwrite #\n")
        broker.restart()
        with Subscriber(broker.settings()) as subscriber, Stream(tmp_path, broker.settings()) as stream:
            subscriber.until(lambda: subscriber.statuses)
            assert subscriber.statuses[-1].parked == 100
            subscriber.ask_again(replay(epoch, 1, 300))
            subscriber.until(lambda: len(subscriber.sequences) == 300)
            assert subscriber.sequences == list(range(1, 301)), "what was parked can be asked for"
            subscriber.until(lambda: subscriber.statuses[-1].parked == 0, 5.0)


def test_a_broker_that_ends_the_connection_over_a_message_gets_the_others(tmp_path: Path) -> None:
    """With `max_queued_messages 0` mosquitto 2.0 hangs up on whoever it denies something."""
    acl = f"topic readwrite #\ntopic deny {TOPICS.lifecycle(HOST, UUID, 'stopped')}\n"
    with (
        Broker(tmp_path / "broker", "max_queued_messages 0", acl=acl) as broker,
        Subscriber(broker.settings()) as subscriber,
        Stream(tmp_path, broker.settings()) as stream,
    ):
        wait_until(lambda: stream.sender.connected)
        stream.append([lifecycle("stopped" if number in {30, 60} else "started") for number in range(300)])
        subscriber.until(lambda: len(subscriber.first_times) == 298, 60.0)
        assert subscriber.first_times == [number for number in range(1, 301) if number not in {31, 61}]
        wait_until(lambda: stream.outbox.parked == 2)


def test_a_message_that_is_too_large_is_parked(tmp_path: Path) -> None:
    with (
        Broker(tmp_path / "broker", "max_packet_size 2000") as broker,
        Subscriber(broker.settings()) as subscriber,
        Stream(tmp_path, broker.settings()) as stream,
    ):
        wait_until(lambda: stream.sender.connected)
        stream.append([lifecycle(), lifecycle(padding=3000), lifecycle()])
        stream.all_acknowledged()
        subscriber.until(lambda: subscriber.sequences == [1, 3])
        subscriber.until(lambda: subscriber.statuses[-1].parked == 1, 5.0)


def test_a_topic_that_no_broker_takes_is_parked(
    tmp_path: Path, broker: Broker, subscriber: Subscriber
) -> None:
    from dataclasses import replace

    with Stream(tmp_path, broker.settings()) as stream:
        wait_until(lambda: stream.sender.connected)
        stream.append([lifecycle(), replace(lifecycle(), topic="a\tb"), lifecycle()])
        stream.all_acknowledged()
        subscriber.until(lambda: subscriber.sequences == [1, 3])
        assert stream.outbox.parked == 1


class TestReplay:
    def test_messages_are_sent_again_to_the_byte_and_in_order(
        self, tmp_path: Path, broker: Broker, subscriber: Subscriber
    ) -> None:
        with Stream(tmp_path, broker.settings()) as stream:
            stream.append([lifecycle() for _ in range(500)])
            subscriber.until(lambda: len(subscriber.sequences) == 500)
            subscriber.ask_again(replay(stream.outbox.epoch, 101, 400))
            subscriber.until(lambda: len(subscriber.sequences) == 800)
            wait_until(lambda: stream.sender.counters.replayed == 300)
            assert subscriber.sequences[500:] == list(range(101, 401))
            assert all(len(payloads) == 1 for payloads in contents(subscriber.events).values())
            assert not any(one.retain for one in subscriber.events)

    def test_states_are_counted_and_published_again(
        self, tmp_path: Path, broker: Broker, subscriber: Subscriber
    ) -> None:
        with Stream(tmp_path, broker.settings()) as stream:
            states = {TOPICS.state(HOST, each): each.encode() for each in (UUID, OTHER)}
            network = TOPICS.object_state(HOST, "networks", UUID)
            for topic, payload in (states | {network: b"n"}).items():
                stream.sender.set_retained(topic, payload, as_of=0)
            subscriber.until(lambda: bool(subscriber.statuses) and subscriber.statuses[-1].states == 2, 5.0)
            before = len(subscriber.received)
            request = {"epoch": stream.outbox.epoch, "from": 1, "to": 1, "states": True}
            subscriber.ask_again(json.dumps(request).encode())
            subscriber.until(lambda: len(subscriber.received) >= before + 3, 5.0)
            again = {one.topic: one.payload for one in subscriber.received[before:]}
            assert states.items() <= again.items()
            stream.sender.set_retained(TOPICS.state(HOST, OTHER), None, as_of=0)
            subscriber.until(lambda: subscriber.statuses[-1].states == 1, 5.0)

    def test_what_is_gone_is_named_as_lost(
        self, tmp_path: Path, broker: Broker, subscriber: Subscriber
    ) -> None:
        with Stream(tmp_path, broker.settings(), Limits(rows=50)) as stream:
            epoch = stream.outbox.epoch
            stream.append([lifecycle() for _ in range(100)])
            stream.all_acknowledged()
            stream.append([lifecycle() for _ in range(40)])
            stream.all_acknowledged()
            there = stream.outbox.last_sequence - stream.outbox.stored_rows
            before = len(subscriber.sequences)
            subscriber.ask_again(replay(epoch, 1, 100))
            subscriber.ask_again(replay("another", 7, 9))
            subscriber.until(lambda: len(subscriber.statuses[-1].lost) == 2, 5.0)
            # What is of another epoch is known at once, the rest once the file was read: either may be first.
            assert {span.epoch: (span.first, span.last) for span in subscriber.statuses[-1].lost} == {
                epoch: (1, there),
                "another": (7, 9),
            }
            subscriber.until(lambda: len(subscriber.sequences) == before + 100 - there)

    def test_requests_that_are_none_are_counted_and_nothing_stops(
        self, tmp_path: Path, broker: Broker, subscriber: Subscriber
    ) -> None:
        with Stream(tmp_path, broker.settings()) as stream:
            wait_until(lambda: stream.sender.connected)
            for payload in (b"", b"{}", b"\xff" * 100, b"[" * 3000, b"{}", b"x" * 9000):
                subscriber.ask_again(payload)
            wait_until(lambda: stream.sender.counters.replay_requests["malformed"] == 6)
            stream.append([lifecycle()])
            subscriber.until(lambda: subscriber.sequences == [1])

    def test_a_replay_is_paced_and_live_events_go_between(
        self, tmp_path: Path, broker: Broker, subscriber: Subscriber
    ) -> None:
        epoch = filled(tmp_path, 1000, acknowledged=1000)
        with Stream(tmp_path, broker.settings(), replay_rows_a_minute=6000) as stream:
            subscriber.until(lambda: subscriber.statuses)
            subscriber.ask_again(replay(epoch, 1, 300))
            subscriber.until(lambda: len(subscriber.sequences) > 30)
            stream.append([lifecycle()])
            subscriber.until(lambda: 1001 in subscriber.sequences, 1.0)
            assert len(subscriber.sequences) < 250
            subscriber.until(lambda: len(subscriber.sequences) == 301)
            assert [number for number in subscriber.sequences if number <= 1000] == list(range(1, 301))


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_the_broker_keeps_no_session(tmp_path: Path, broker: Broker, version: Version) -> None:
    """So none of its subscriptions, some of which are at QoS 0, ties it to a node of a cluster."""
    client_id = f"libvirt-mqtt-agent-{HOST}"
    former = Recorder(broker.settings(), client_id, clean_start=False, session_expiry_s=3600)
    former.connect()
    former.close()
    with Stream(tmp_path, broker.settings(version=version)) as stream:
        wait_until(lambda: stream.sender.connected)
    latter = Recorder(broker.settings(), client_id, clean_start=False)
    latter.connect()
    assert latter.connected == [False]


def test_mqtt_3_1_1_carries_the_same(tmp_path: Path, broker: Broker, subscriber: Subscriber) -> None:
    with Stream(tmp_path, broker.settings(version="3.1.1")) as stream:
        stream.append([lifecycle() for _ in range(100)])
        subscriber.until(lambda: subscriber.first_times == list(range(1, 101)))
        subscriber.ask_again(replay(stream.outbox.epoch, 4, 5))
        subscriber.until(lambda: subscriber.sequences[-2:] == [4, 5])


def test_a_limit_that_dropped_messages_is_told(
    tmp_path: Path, broker: Broker, subscriber: Subscriber
) -> None:
    outbox = Outbox.open(tmp_path, Limits(rows=10))
    outbox.append([lifecycle() for _ in range(25)])
    epoch = outbox.epoch
    outbox.close()
    with Stream(tmp_path, broker.settings(), Limits(rows=10)):
        subscriber.until(lambda: len(subscriber.sequences) == 10)
    assert subscriber.sequences == list(range(16, 26))
    assert subscriber.statuses[0].dropped == [Span(epoch=epoch, first=1, last=15)]


def test_damage_while_running_begins_a_new_epoch_and_says_so(
    tmp_path: Path, broker: Broker, subscriber: Subscriber
) -> None:
    with Stream(tmp_path, broker.settings()) as stream:
        stream.append([lifecycle() for _ in range(10)])
        stream.all_acknowledged()
        old = stream.outbox.epoch
        stream.sender.set_retained(STATE, b"there", as_of=10)
        stream.ask(lambda outbox: outbox.report_damage(0, "as if"))
        stream.append([lifecycle() for _ in range(3)])
        subscriber.until(lambda: len(subscriber.sequences) == 13)
        assert subscriber.sequences[-3:] == [1, 2, 3]
        subscriber.until(lambda: subscriber.statuses[-1].epoch != old)
        assert "damaged" in (subscriber.statuses[-1].reason or "")
        wait_until(lambda: stream.sender.counters.connections == 2)
        before = len(subscriber.received)
        stream.sender.set_retained(STATE, b"after", as_of=10)
        subscriber.until(lambda: any(one.payload == b"after" for one in subscriber.received[before:]))


def test_the_will_of_each_connection_is_another_message(
    tmp_path: Path, broker: Broker, subscriber: Subscriber
) -> None:
    """Whoever drops what he has seen by its id must not miss the second loss."""
    with Stream(tmp_path, broker.settings()) as stream:
        for times in (1, 2):
            wait_until(lambda: stream.sender.connected)
            stream.append([lifecycle() for _ in range(10)])
            stream.all_acknowledged()
            usurper = Recorder(broker.settings(), client_id=f"libvirt-mqtt-agent-{HOST}")
            usurper.connect()
            usurper.close()
            subscriber.until(partial(has_ended, subscriber, times))
        first, second = wills(subscriber)
    assert first.id != second.id
    assert (first.data.last_sequence, second.data.last_sequence) == (0, 10)


def wills(subscriber: Subscriber) -> list[messages.Envelope[messages.HostStatus]]:
    told = [messages.parse(one.payload) for one in list(subscriber.received) if one.topic == STATUS]
    return [one for one in told if one.data.state == "offline"]


def has_ended(subscriber: Subscriber, times: int) -> bool:
    return len(wills(subscriber)) == times


def test_a_broker_that_lets_nobody_subscribe_gets_all_events(tmp_path: Path) -> None:
    """No replay is to be had then; what happens is told all the same."""
    with (
        FakeBroker(Behaviour(suback_code=0x87)) as fake,
        Stream(tmp_path, BrokerSettings(port=fake.port)) as stream,
    ):
        stream.append([lifecycle() for _ in range(10)])
        stream.all_acknowledged()
        assert stream.sender.counters.connections == 1


def test_a_full_disk_is_told_and_nothing_is_lost(
    tmp_path: Path, broker: Broker, subscriber: Subscriber
) -> None:
    with small_disk(tmp_path / "disk") as disk, Stream(disk, broker.settings()) as stream:
        stream.append([lifecycle() for _ in range(10)])
        stream.all_acknowledged()
        ballast = fill_up(disk)
        total = 10
        while not stream.outbox.write_error:
            stream.append([lifecycle() for _ in range(50)])
            total += 50
            time.sleep(0.02)
        subscriber.until(lambda: "full" in (subscriber.statuses[-1].reason or ""), 5.0)
        ballast.unlink()
        subscriber.until(lambda: subscriber.statuses[-1].reason is None, 5.0)
        subscriber.until(lambda: subscriber.sequences == list(range(1, total + 1)))
        stream.stop()
