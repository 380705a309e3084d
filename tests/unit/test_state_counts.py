"""Whether fewer states came than a host keeps."""

from dataclasses import replace

from bridge.consumer.inputs import Cleared, Forgotten, Status
from bridge.correlator.input.messages import DomainMessage
from bridge.correlator.input.received_states import ReceivedStates

SETTLE_S = 10.0


def state(uuid: str, host: str = "h") -> DomainMessage:
    return DomainMessage(host, uuid, "e", 1, "state", "", "", "", None, 0.0, "", "")


def status(states: int | None, *, online: bool = True) -> Status:
    return Status("h", online, True, "e", 7, (), 0.0, states)


def held(*words: DomainMessage | Cleared | Forgotten | Status) -> ReceivedStates:
    found = ReceivedStates(SETTLE_S)
    for word in words:
        found.take(word)
    assert not found.counts.missing(0.0)
    return found


def test_fewer_for_as_long_as_settle_is_reported_once_a_connection() -> None:
    found = held(state("a"), state("a"), status(2))
    counts = found.counts
    assert not counts.news(SETTLE_S - 0.1, 1)
    assert [word.host for word in counts.news(SETTLE_S, 1)] == ["h"]
    assert counts.came("h") == 1
    assert not counts.news(SETTLE_S + 1, 1)
    assert counts.missing(SETTLE_S + 1)
    found.take(state("b"))
    assert not counts.missing(SETTLE_S + 2)
    found.begin()
    for word in (state("a"), status(2)):
        found.take(word)
    assert not counts.missing(SETTLE_S + 2)
    assert counts.news(2 * SETTLE_S + 2, 1)


def test_an_agent_that_was_offline_is_reported_again() -> None:
    """What it was requested before may not have reached it."""
    found = held(state("a"), status(2))
    assert found.counts.news(SETTLE_S, 1)
    found.take(status(2, online=False))
    assert not found.counts.missing(SETTLE_S + 1)
    found.take(status(2))
    assert not found.counts.news(SETTLE_S + 2, 1)
    assert found.counts.news(2 * SETTLE_S + 2, 1)


def test_what_is_too_much_at_a_time_comes_later() -> None:
    found = ReceivedStates(SETTLE_S)
    for n in range(5):
        found.take(replace(status(1), host=f"h{n}"))
    assert not found.counts.missing(0.0)
    assert not found.counts.news(SETTLE_S, 0)
    assert [len(found.counts.news(SETTLE_S, 2)) for _ in range(4)] == [2, 2, 1, 0]


def test_as_many_or_more_are_enough_and_who_says_nothing_lacks_nothing() -> None:
    for words in (
        (state("a"), state("b"), status(2)),
        (state("a"), state("b"), Cleared("h", "b"), status(1)),
        (state("a"), status(0)),
        (status(None),),
        (status(2), status(2, online=False)),
        (status(2), Forgotten("h")),
    ):
        assert not held(*words).counts.missing(SETTLE_S)


def test_a_state_that_was_cleared_counts_no_more() -> None:
    assert held(state("a"), state("b"), Cleared("h", "b"), status(2)).counts.missing(SETTLE_S)
