"""Whether fewer states came than a host keeps."""

from bridge.consumer.inputs import Cleared, Forgotten, Status
from bridge.correlator.input.messages import DomainMessage
from bridge.correlator.input.state_counts import StateCounts

SETTLE_S = 10.0


def state(uuid: str, host: str = "h") -> DomainMessage:
    return DomainMessage(host, uuid, "e", 1, "state", "", "", "", None, 0.0, "", "")


def status(states: int | None, *, online: bool = True) -> Status:
    return Status("h", online, True, "e", 7, (), 0.0, states)


def held(*words: DomainMessage | Cleared | Forgotten | Status) -> StateCounts:
    found = StateCounts(SETTLE_S)
    for word in words:
        found.take(word)
    assert not found.missing(0.0)
    return found


def test_fewer_for_as_long_as_settle_is_reported_once_a_connection() -> None:
    found = held(state("a"), state("a"), status(2))
    assert not found.news(SETTLE_S - 0.1)
    assert [word.host for word in found.news(SETTLE_S)] == ["h"]
    assert found.came("h") == 1
    assert not found.news(SETTLE_S + 1)
    assert found.missing(SETTLE_S + 1)
    found.take(state("b"))
    assert not found.missing(SETTLE_S + 2)
    found.begin()
    for word in (state("a"), status(2)):
        found.take(word)
    assert not found.missing(SETTLE_S + 2)
    assert found.news(2 * SETTLE_S + 2)


def test_as_many_or_more_are_enough_and_who_says_nothing_lacks_nothing() -> None:
    for words in (
        (state("a"), state("b"), status(2)),
        (state("a"), state("b"), Cleared("h", "b"), status(1)),
        (state("a"), status(0)),
        (status(None),),
        (status(2), status(2, online=False)),
        (status(2), Forgotten("h")),
    ):
        assert not held(*words).missing(SETTLE_S)


def test_a_state_that_was_cleared_counts_no_more() -> None:
    assert held(state("a"), state("b"), Cleared("h", "b"), status(2)).missing(SETTLE_S)
