"""What a broker has less of than a session needs."""

import pytest

from bridge.mqtt.features import Features, Needs
from bridge.mqtt.messages import Publication, Subscription

WILL = Publication("t", b"offline", retain=True)
DAY_S = 86_400


def missing(has: Features, *filters: str, will: Publication | None = None) -> str | None:
    return Needs([Subscription(each) for each in filters], will, 0).missing(has)


@pytest.mark.parametrize(
    ("has", "filters", "will", "words"),
    [
        (Features(qos1=False), (), None, "QoS 1"),
        (Features(retain=False), (), WILL, "retained messages"),
        (Features(wildcards=False), ("a/+/b",), None, "filters with + or #"),
        (Features(wildcards=False), ("a/#",), None, "filters with + or #"),
        (Features(shared=False), ("$share/g/a",), None, "--group needs: run one correlator without it"),
    ],
)
def test_what_is_needed_and_not_there_is_named(
    has: Features, filters: tuple[str, ...], will: Publication | None, words: str
) -> None:
    said = missing(has, *filters, will=will)
    assert said is not None
    assert words in said


def test_what_is_not_needed_may_be_missing() -> None:
    none = Features(retain=False, wildcards=False, shared=False)
    assert missing(none, "a/b", will=Publication("t", b"")) is None
    assert Needs([Subscription("a/+", needed=False)], None, 0).missing(none) is None


def test_a_status_has_to_fit_into_a_packet() -> None:
    """Two bytes of fixed header, three of the topic, two of the identifier, one of properties, seven more."""
    assert missing(Features(largest_packet_bytes=15), will=WILL) is None
    said = missing(Features(largest_packet_bytes=14), will=WILL)
    assert said == "it accepts packets of at most 14 bytes, and a status alone has 15: raise that limit"


@pytest.mark.parametrize(
    ("asked_s", "kept_s", "words"),
    [
        (7 * DAY_S, DAY_S, "for 1 day, not 7 days"),
        (3600, 90, "for 90 seconds, not 1 hour"),
        (3600, 0, "for 0 seconds, not 1 hour"),
        (120, 60, "for 1 minute, not 2 minutes"),
    ],
)
def test_a_session_that_is_kept_for_less_is_reported_with_its_consequence(
    asked_s: int, kept_s: int, words: str
) -> None:
    needs = Needs([], None, asked_s)
    (said,) = needs.shortfalls(Features(session_expiry_s=kept_s))
    assert said == f"the broker keeps our session {words}"
    assert not list(needs.shortfalls(Features(session_expiry_s=asked_s)))
    assert not list(needs.shortfalls(Features()))


def test_few_messages_ahead_are_reported_to_the_publisher() -> None:
    """mosquitto's 20 is what the rates were measured with."""
    (said,) = Needs([], WILL, 0).shortfalls(Features(receive_maximum=19))
    assert "accepts 19 unacknowledged messages" in said
    assert not list(Needs([], WILL, 0).shortfalls(Features(receive_maximum=20)))
    assert not list(Needs([], None, 0).shortfalls(Features(receive_maximum=1)))
