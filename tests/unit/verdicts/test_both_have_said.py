"""Once both sides have said how it ended, the verdict is published at once; most are final by that."""

from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec import structs

from bridge.correlator.rules.evaluate import evaluate
from bridge.correlator.rules.record import DomainRecord, Hosts, Times
from tests.unit.verdicts.expect import VERDICTS
from tests.unit.verdicts.rows import MIGRATIONS
from tests.unit.verdicts.stage import EVENTS_AND_JOBS
from tests.unit.verdicts.test_rows import DOMAIN, SOURCE, played

COPIES = "D(2,1) S:iter"
SWITCHES = f"{COPIES} S(3,1)"
RESUMES = f"{SWITCHES} D(4,1)"
BREAKS = f"{SWITCHES} S(3,7) D(4,3) S(3,8)"


@pytest.mark.parametrize("said", [
    f"{RESUMES} S(5,3) S:JC",
    f"{RESUMES} S(5,5)!",
    f"{RESUMES} S(5,1)",
    f"{RESUMES} S(2,0)",
    f"{RESUMES} D(5,1) S(5,3) S:JC",
    f"{RESUMES} S(5,5)! D(5,1)",
    f"{RESUMES} S(5,1) D(5,1)",
    f"{RESUMES} D(5,1) S(2,0)",
    f"{COPIES} D(5,5) S:end",
    f"{SWITCHES} D(5,5) S(3,6)",
    f"{SWITCHES} D(5,5) S(4,1) S(5,1)",
    f"{COPIES} S(5,5)! D(5,5)",
    f"{COPIES} S(6,1) S(5,0) D(5,5)",
    f"{COPIES} S(2,0) D(5,5)",
    f"{BREAKS} D(5,5)",
    f"{BREAKS} D(4,4) S(5,5)!",
    f"{BREAKS} D(4,4) S(5,1)",
])  # fmt: skip
def test_what_nothing_can_change_is_published_though_messages_are_missing(said: str) -> None:
    assert _is_published_at_once(said, Hosts(gaps={SOURCE}))


@pytest.mark.parametrize("said", [
    f"{RESUMES} S(3,6)",
    f"{RESUMES} S:end",
    f"{RESUMES} S(4,1) S(5,1)",
    f"{RESUMES} S(3,6) D(5,1)",
    f"{RESUMES} S:end D(5,1)",
    f"{SWITCHES} D(5,5) S:end",
])  # fmt: skip
def test_a_source_that_may_yet_say_more_has_said_enough(said: str) -> None:
    """libvirt leaves a guest paused, and somebody may resume it: that is another verdict."""
    assert _is_published_at_once(said, Hosts())
    assert not _is_published_at_once(said, Hosts(gaps={SOURCE}))


@pytest.mark.parametrize("said", [
    COPIES,
    SWITCHES,
    RESUMES,
    f"{SWITCHES} S(5,3) S:JC",
    f"{COPIES} D(5,5)",
    f"{COPIES} S(5,5)!",
    f"{RESUMES} S(4,0)",
    f"{BREAKS} D(4,4)",
])  # fmt: skip
def test_the_other_side_is_waited_for(said: str) -> None:
    assert not _is_published_at_once(said, Hosts())


@pytest.mark.parametrize(("late_s", "is_live"), [(3.0, True), (5.0, False)])
def test_a_host_that_is_late_may_send_more_at_once(late_s: float, is_live: bool) -> None:
    assert _is_published_at_once(f"{RESUMES} S(5,3) S:JC", Hosts(), late_s=late_s) == is_live


def _is_published_at_once(said: str, hosts: Hosts, *, late_s: float = 0.0) -> bool:
    """Whether the verdict comes with the last message."""
    record = DomainRecord(DOMAIN)
    sent = played(replace(MIGRATIONS[0], said=said), "9.0", EVENTS_AND_JOBS)
    observations = [
        structs.replace(each.observation, received=each.observation.received + late_s)
        for each in sent
        if each.observation is not None
    ]
    for each in observations:
        record.add(each, contiguous=True)
    now = max(each.received for each in observations)
    return any(each.name in VERDICTS for each in evaluate(record, now, {}, Times(), hosts).messages)
