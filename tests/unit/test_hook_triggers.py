"""Which messages programs run for, and when a failed one is tried again."""

from __future__ import annotations

import pytest

from bridge.hook.service import LONGEST_RETRY_S, retry_after_s
from bridge.hook.triggers import subscribed
from bridge.wire.topics import Topics
from bridge.wire.triggers import OUTCOMES, covers, is_trigger, trigger_of

UUID = "c7a5fdbd-edaf-9455-926a-d65c16db1809"
TOPICS = Topics()


@pytest.mark.parametrize(
    ("topic", "trigger"),
    [
        (TOPICS.migration(UUID, "completed"), "completed"),
        (TOPICS.location(UUID), "location"),
        (TOPICS.lifecycle("h", UUID, "stopped"), "lifecycle-stopped"),
        (TOPICS.event("h", UUID, "io_error_reason"), "event-io_error_reason"),
        (TOPICS.host_status("h"), None),
        (TOPICS.state("h", UUID), None),
        (TOPICS.object_lifecycle("h", "networks", UUID, "started"), None),
    ],
)
def test_the_trigger_of_a_message(topic: str, trigger: str | None) -> None:
    assert trigger_of(TOPICS.parse(topic)) == trigger
    assert trigger is None or is_trigger(trigger)


@pytest.mark.parametrize(
    "name", ["", "complete", "current", "lifecycle", "lifecycle-", "event-", "state", "completed-x"]
)
def test_what_is_no_trigger(name: str) -> None:
    assert not is_trigger(name)


def test_any_is_all_that_correlators_publish_of_domains() -> None:
    assert all(covers("any", trigger) for trigger in (*OUTCOMES, "location"))
    assert not covers("any", "lifecycle-stopped")
    assert not covers("completed", "failed")


def test_no_more_is_read_than_is_needed() -> None:
    """But for the newest verdicts, which are read always."""
    assert subscribed(["failed", "completed"]) == ({"verdicts", "migrations"}, {"failed", "completed"})
    assert subscribed(["location"]) == ({"verdicts", "locations"}, set())
    assert subscribed(["any"]) == ({"verdicts", "migrations", "locations"}, set(OUTCOMES))
    assert subscribed(["lifecycle-stopped", "failed"]) == ({"verdicts", "events", "migrations"}, {"failed"})
    assert subscribed([]) == ({"verdicts"}, set())


def test_each_try_waits_twice_as_long_as_the_last_up_to_an_hour() -> None:
    assert [retry_after_s(tries, 5) for tries in (1, 2, 3, 8)] == [5, 10, 20, 640]
    assert retry_after_s(100, 5) == LONGEST_RETRY_S == 3600
