"""What the correlator was handed is read once, and it knows since when it may have missed something."""

import pytest

from bridge.correlator.counters import Counters
from bridge.correlator.input.inbound import BATCH, InboundQueue, Source
from bridge.demo.agents import PlayedAgent
from bridge.mqtt.messages import Received
from bridge.wire.messages import TYPE_PREFIX
from bridge.wire.topics import Topics
from tests.support.correlators import messages_of
from tests.support.traces import load

SETTLE_S = 3.0
NOW = 100.0


def _inbound() -> tuple[InboundQueue, Counters]:
    counters = Counters()
    return InboundQueue(Topics(), counters, settle_s=SETTLE_S), counters


def _received(payload: bytes, number: int = 1) -> Received:
    topic = "libvirt/v1/hosts/host1/domains/c7a5fdbd-edaf-9455-926a-d65c16db1809/lifecycle/started"
    return Received(topic, payload, False, False, number, 1, None, 1)


def test_a_batch_is_the_same_one_until_it_is_stored() -> None:
    inbound, counters = _inbound()
    for number in range(BATCH + 1):
        inbound.add(_received(b"{", number), 10.0)
    first = inbound.batch()
    assert [received.mid for received, _ in first] == list(range(BATCH))
    assert inbound.batch() == first
    assert len(inbound) == BATCH + 1
    assert (counters.messages, counters.rejected["not_json"]) == (0, BATCH)
    inbound.taken()
    assert [received.mid for received, _ in inbound.batch()] == [BATCH]
    inbound.taken()
    assert not inbound
    assert counters.messages == counters.rejected["not_json"] == BATCH + 1


def test_what_is_put_aside_is_still_to_be_acknowledged() -> None:
    inbound, counters = _inbound()
    inbound.add(_received(b'{"specversion":"1.0","type":"%s"}' % f"{TYPE_PREFIX}none.v1".encode()), 10.0)
    ((received, heard),) = inbound.batch()
    assert (received.mid, heard) == (1, None)
    assert counters.rejected.total() == 1


def test_it_hears_when_hosts_had_time_to_repeat_what_they_said_meanwhile() -> None:
    inbound, _ = _inbound()
    inbound.begin(stored_until=1000.0, now=5000.0)
    assert inbound.gap_since == 1000.0
    assert not inbound.is_complete(100.0)
    inbound.connected(100.0)
    inbound.note_drained(NOW, NOW)
    assert not inbound.is_complete(100.0 + SETTLE_S - 0.1)
    assert inbound.is_complete(100.0 + SETTLE_S)


def test_it_does_not_hear_before_what_the_broker_had_kept_is_through() -> None:
    inbound, _ = _inbound()
    inbound.begin(stored_until=None, now=5000.0)
    inbound.connected(100.0)
    for number in range(BATCH):
        inbound.add(_received(b"{", number), 5000.0)
    inbound.note_drained(NOW, NOW)
    assert not inbound.is_complete(200.0)
    inbound.batch()
    inbound.taken()
    inbound.note_drained(NOW, NOW)
    assert inbound.is_complete(200.0)


def test_it_is_deaf_since_the_first_loss_and_never_since_the_future() -> None:
    inbound, _ = _inbound()
    inbound.begin(stored_until=9000.0, now=5000.0)  # the clock was put back meanwhile
    assert inbound.gap_since == 5000.0
    inbound.connected(100.0)
    inbound.note_drained(NOW, NOW)
    inbound.lost(5010.0)
    assert inbound.gap_since == 5000.0
    assert not inbound.is_complete(500.0)
    inbound.connected(500.0)
    assert not inbound.is_complete(500.0 + SETTLE_S)  # not looked yet
    inbound.gap_since = None
    inbound.lost(5020.0)
    assert inbound.gap_since == 5020.0


def test_it_is_complete_only_while_both_sessions_are_connected_and_what_is_retained_was_read() -> None:
    inbound = InboundQueue(Topics(), Counters(), settle_s=SETTLE_S, sources=("durable", "retained"))
    inbound.connected(100.0)
    inbound.note_drained(100.0, 100.0)
    assert not inbound.is_complete(100.0)
    inbound.connected(101.0, "retained")
    assert not inbound.is_complete(200.0)
    inbound.read_retained()
    assert inbound.is_complete(101.0)
    inbound.lost(300.0, "retained")
    assert (inbound.gap_since, inbound.is_complete(400.0)) == (300.0, False)
    inbound.connected(500.0, "retained")
    assert not inbound.is_complete(500.0 + SETTLE_S)
    inbound.read_retained()
    assert not inbound.is_complete(500.0 + SETTLE_S - 0.1)
    assert inbound.is_complete(500.0 + SETTLE_S)


@pytest.mark.parametrize(("source", "is_late"), [("durable", False), ("retained", True)])
def test_what_a_session_brings_was_kept_if_it_is_older_than_its_connection(
    source: Source, is_late: bool
) -> None:
    """Each by its own: that of the states may be lost alone."""
    inbound = InboundQueue(Topics(), Counters(), settle_s=SETTLE_S, sources=("durable", "retained"))
    inbound.begin(stored_until=NOW, now=NOW)
    inbound.connected(NOW)
    inbound.connected(NOW + 1000, "retained")
    _, messages = messages_of(load("live"), "kept", started_s=NOW + 10)
    event = next(each for each in messages if "/lifecycle/" in each.topic)
    inbound.add(Received(event.topic, event.payload, False, False, 1, 1, None, 1), NOW + 1000, source)
    ((_, found),) = inbound.batch()
    assert found is not None
    assert found.late is is_late


@pytest.mark.parametrize(("stood_s", "is_late"), [(1.9, False), (2.1, True)])
def test_a_process_that_stood_still_was_away(stood_s: float, is_late: bool) -> None:
    """What waited for it says by its receipt neither when it came nor how the host's clock goes."""
    inbound, _ = _inbound()
    inbound.connected(NOW)
    inbound.note_drained(NOW, NOW)
    status = PlayedAgent("host1", Topics()).status(NOW + stood_s / 2)
    inbound.add(Received(status.topic, status.payload, False, False, 1, 0, None, 1), NOW + stood_s)
    inbound.note_drained(NOW + stood_s, NOW)
    assert inbound.gap_since == (NOW if is_late else None)
    assert inbound.is_complete(NOW + stood_s) is not is_late
    ((_, heard),) = inbound.batch()
    assert heard is not None
    assert heard.late is is_late
    assert inbound.is_complete(NOW + stood_s + SETTLE_S)
