"""What the correlator was handed is read once, and it knows since when it may have missed something."""

import pytest

from bridge.correlator.counters import Counters
from bridge.correlator.input.hearing import BATCH, Hearing
from bridge.demo.agents import PlayedAgent
from bridge.mqtt.messages import Received
from bridge.wire.messages import TYPE_PREFIX
from bridge.wire.topics import Topics

SETTLE_S = 3.0
NOW = 100.0


def _hearing() -> tuple[Hearing, Counters]:
    counters = Counters()
    return Hearing(Topics(), counters, settle_s=SETTLE_S), counters


def _received(payload: bytes, number: int = 1) -> Received:
    topic = "libvirt/v1/hosts/host1/domains/c7a5fdbd-edaf-9455-926a-d65c16db1809/lifecycle/started"
    return Received(topic, payload, False, False, number, 1, None, 1)


def test_a_batch_is_the_same_one_until_it_is_stored() -> None:
    hearing, counters = _hearing()
    for number in range(BATCH + 1):
        hearing.add(_received(b"{", number), 10.0)
    first = hearing.batch()
    assert [received.mid for received, _ in first] == list(range(BATCH))
    assert hearing.batch() == first
    assert len(hearing) == BATCH + 1
    assert (counters.messages, counters.rejected["not_json"]) == (0, BATCH)
    hearing.taken()
    assert [received.mid for received, _ in hearing.batch()] == [BATCH]
    hearing.taken()
    assert not hearing
    assert counters.messages == counters.rejected["not_json"] == BATCH + 1


def test_what_is_put_aside_is_still_to_be_acknowledged() -> None:
    hearing, counters = _hearing()
    hearing.add(_received(b'{"specversion":"1.0","type":"%s"}' % f"{TYPE_PREFIX}none.v1".encode()), 10.0)
    ((received, heard),) = hearing.batch()
    assert (received.mid, heard) == (1, None)
    assert counters.rejected.total() == 1


def test_it_hears_when_hosts_had_time_to_repeat_what_they_said_meanwhile() -> None:
    hearing, _ = _hearing()
    hearing.begin(heard_until=1000.0, now=5000.0)
    assert hearing.deaf_since == 1000.0
    assert not hearing.hears(100.0)
    hearing.connected(100.0)
    hearing.look(NOW, NOW)
    assert not hearing.hears(100.0 + SETTLE_S - 0.1)
    assert hearing.hears(100.0 + SETTLE_S)


def test_it_does_not_hear_before_what_the_broker_had_kept_is_through() -> None:
    hearing, _ = _hearing()
    hearing.begin(heard_until=None, now=5000.0)
    hearing.connected(100.0)
    for number in range(BATCH):
        hearing.add(_received(b"{", number), 5000.0)
    hearing.look(NOW, NOW)
    assert not hearing.hears(200.0)
    hearing.batch()
    hearing.taken()
    hearing.look(NOW, NOW)
    assert hearing.hears(200.0)


def test_it_is_deaf_since_the_first_loss_and_never_since_the_future() -> None:
    hearing, _ = _hearing()
    hearing.begin(heard_until=9000.0, now=5000.0)  # the clock was put back meanwhile
    assert hearing.deaf_since == 5000.0
    hearing.connected(100.0)
    hearing.look(NOW, NOW)
    hearing.lost(5010.0)
    assert hearing.deaf_since == 5000.0
    assert not hearing.hears(500.0)
    hearing.connected(500.0)
    assert not hearing.hears(500.0 + SETTLE_S)  # not looked yet
    hearing.deaf_since = None
    hearing.lost(5020.0)
    assert hearing.deaf_since == 5020.0


@pytest.mark.parametrize(("stood_s", "is_late"), [(1.9, False), (2.1, True)])
def test_a_process_that_stood_still_was_away(stood_s: float, is_late: bool) -> None:
    """What waited for it says by its receipt neither when it came nor how the host's clock goes."""
    hearing, _ = _hearing()
    hearing.connected(NOW)
    hearing.look(NOW, NOW)
    status = PlayedAgent("host1", Topics()).status(NOW + stood_s / 2)
    hearing.add(Received(status.topic, status.payload, False, False, 1, 0, None, 1), NOW + stood_s)
    hearing.look(NOW + stood_s, NOW)
    assert hearing.deaf_since == (NOW if is_late else None)
    assert hearing.hears(NOW + stood_s) is not is_late
    ((_, heard),) = hearing.batch()
    assert heard is not None
    assert heard.late is is_late
    assert hearing.hears(NOW + stood_s + SETTLE_S)
