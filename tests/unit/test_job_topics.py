"""What is retained of domains' jobs: when it is published, and that nothing is left standing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import partial
from statistics import median
from typing import Any, cast

import pytest

from bridge.agent.hypervisor import CallFailed, Connection, GuestCalls, Job
from bridge.agent.inventory.encoder import stamp_ns
from bridge.agent.inventory.reports import IncomingCompleted, JobEnded, JobFound
from bridge.agent.jobs import topics as jobtopics
from bridge.agent.jobs import watcher as jobs
from bridge.agent.jobs.topics import JobTopics
from bridge.agent.jobs.watcher import JobWatcher
from bridge.wire.messages import parse
from bridge.wire.topics import Topics
from tests.unit.test_jobs import (
    ABSENT,
    ENCODER,
    INACTIVE,
    NONE,
    A,
    B,
    Look,
    PlayedConnection,
    WallClock,
    seen,
)

TOPICS = Topics()


def copying(elapsed_ms: int, left: int, operation: str = "migration_out") -> Job:
    part = {"total": 1000, "processed": 1000 - left, "remaining": left}
    figures = {f"{of}_{key}": value for of in ("data", "memory") for key, value in part.items()}
    return Job(
        "outgoing" if operation == "migration_out" else "other",
        {"operation": operation, "time_elapsed": elapsed_ms, "memory_bps": 10, **figures},
    )


class Played:
    """JobWatcher over a played connection: what was published, and what was reported, in one order."""

    def __init__(self, clock: WallClock) -> None:
        self.clock = clock
        self.connection: PlayedConnection | None = PlayedConnection()
        self.played = self.connection
        self.came: list[tuple[str, Any]] = []
        self.jobs = JobWatcher(
            lambda: cast("Connection", self.connection),
            GuestCalls(lambda: cast("Connection", self.played)),
            self._report,
            JobTopics(ENCODER, self._publish),
        )

    def _report(self, report: IncomingCompleted | JobEnded | JobFound) -> None:
        self.came.append((type(report).__name__, report))

    def _publish(self, topic: str, payload: bytes | None) -> None:
        uuid = TOPICS.parse(topic).uuid
        self.came.append((uuid, None if payload is None else parse(payload).data))

    def looks(self, *looks: Look, uuid: str = A, began_ms: int = 0) -> None:
        """What libvirt answers next, one after the other, of a job that began then."""
        self.played.looks.setdefault(uuid, []).extend(partial(self._answer, look, began_ms) for look in looks)

    def _answer(self, look: Look, began_ms: int) -> Look:
        if "time_elapsed" in look[0].params:
            self.clock.now_ms = began_ms + look[0].params["time_elapsed"]
        return look

    def published(self, uuid: str = A) -> list[Any]:
        return [said for what, said in self.came if what == uuid]

    def percents(self, uuid: str = A) -> list[int | None]:
        return [said and said.percent for said in self.published(uuid)]

    def until(self, count: int, uuid: str = A) -> None:
        end_s = time.monotonic() + 10
        while len(self.published(uuid)) < count:
            assert time.monotonic() < end_s, self.came
            time.sleep(0.005)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[Played]:
    clock = WallClock()
    monkeypatch.setattr(time, "time_ns", clock.read_ns)
    monkeypatch.setattr(jobs, "ASK_EVERY_S", 0.01)
    monkeypatch.setattr(jobtopics, "EVERY_S", 0.0)
    played = Played(clock)
    played.jobs.start()
    yield played
    played.jobs.stop()
    assert played.jobs.worker.error is None


def test_a_copy_is_told_until_it_is_over(told: Played) -> None:
    """At first, then when something changed; cleared after the report that it failed."""
    told.looks(
        (copying(5, 900), seen(A)),
        (copying(10, 900), seen(A)),
        (copying(20, 400), seen(A)),
        (NONE, seen(A)),
    )
    told.jobs.watch([A])
    told.until(3)
    assert told.percents() == [10, 60, None]
    first = told.published()[0]
    assert (first.host, first.domain.uuid, first.operation, first.time_elapsed_ms) == (
        "host1", A, "migration_out", 5,
    )  # fmt: skip
    assert {each.started_at[:19] for each in told.published()[:2]} == {first.started_at[:19]}
    assert [what for what, _ in told.came] == ["JobFound", A, A, "JobEnded", A] or [
        what for what, _ in told.came
    ] == [A, "JobFound", A, "JobEnded", A]


def test_it_is_told_at_most_every_two_seconds(told: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobtopics, "EVERY_S", 0.5)
    told.looks(*((copying(n, 1000 - n), seen(A)) for n in range(1, 1000)))
    told.jobs.watch([A])
    began = time.monotonic()
    told.until(4)
    assert time.monotonic() - began >= 1.45
    assert told.played.asks > 20


def test_the_rate_is_that_of_the_contract() -> None:
    assert jobtopics.EVERY_S == 2.0


def test_other_jobs_are_told_too_and_no_failure_of_theirs(told: Played) -> None:
    told.looks((copying(5, 800, "save"), seen(A)), (copying(9, 300, "save"), seen(A)), (INACTIVE, None))
    told.jobs.watch([A])
    told.until(3)
    assert told.percents() == [20, 70, None]
    assert [what for what, _ in told.came] == [A, A, A]


def test_of_an_attempt_after_another_it_begins_anew(told: Played) -> None:
    told.looks((copying(500, 100), seen(A)), (copying(1, 1000), seen(A)), (ABSENT, None))
    told.jobs.watch([A])
    told.until(3)
    assert told.percents() == [90, 0, None]
    assert told.published()[1].time_elapsed_ms == 1


def test_so_it_does_of_one_that_is_older_by_now_than_the_one_before_was(told: Played) -> None:
    told.looks((copying(285, 100), seen(A)))
    told.played.looks[A].append(told.clock.passes(600 + 375 - 285))
    told.looks((copying(375, 1000), seen(A)), (copying(2375, 900), seen(A)), began_ms=600)
    told.jobs.watch([A])
    told.until(3)
    assert told.percents() == [90, 0, 10]
    assert [each.started_at for each in told.published()] == [
        stamp_ns(told.clock.at_ns(began_ms)) for began_ms in (0, 600, 600)
    ]
    assert [what for what, _ in told.came if what != A] == ["JobFound", "JobEnded", "JobFound"]


def test_an_end_that_an_event_told_clears_it_at_once(told: Played) -> None:
    told.looks((copying(5, 900), seen(A)))
    told.jobs.watch([A])
    told.until(1)
    told.jobs.forget([A])
    told.until(2)
    assert told.percents() == [10, None]


@pytest.mark.parametrize("answer", [(NONE, seen(A)), (INACTIVE, None), (ABSENT, None)])
def test_what_an_agent_left_that_was_killed_is_cleared(told: Played, answer: Look) -> None:
    """The broker holds it; libvirt is asked once it is there."""
    told.looks(answer)
    connection, told.connection = told.connection, None
    told.jobs.retained(A)
    time.sleep(0.1)
    assert told.came == []
    told.connection = connection
    told.until(1)
    assert told.published() == [None]


def test_what_still_goes_on_is_told_anew(told: Played) -> None:
    told.looks((copying(5, 900), seen(A)))
    told.jobs.retained(A)
    told.until(1)
    assert told.percents() == [10]
    told.jobs.retained(A)
    time.sleep(0.1)
    assert told.percents() == [10], "the broker holds what we have published"


def test_after_a_new_connection_only_those_that_run_can_have_one(told: Played) -> None:
    """libvirtd was killed in mid-copy: the domain is shut off, or its job is gone."""
    told.looks((copying(5, 900), seen(A)))
    told.looks((copying(5, 800), seen(B)), uuid=B)
    told.jobs.watch([A, B])
    told.until(1)
    told.until(1, B)
    told.looks((NONE, seen(B)), uuid=B)
    told.jobs.listed({B}, first=True)
    told.until(2)
    told.until(2, B)
    assert (told.percents(), told.percents(B)) == ([10, None], [20, None])


def test_a_job_that_no_event_tells_of_is_found_with_the_next_list(told: Played) -> None:
    told.looks((NONE, seen(A)), (copying(5, 800, "backup"), seen(A)))
    told.jobs.listed({A}, first=False)
    time.sleep(0.1)
    assert (told.came, told.played.asks) == ([], 1)
    told.jobs.listed({A}, first=False)
    told.until(1)
    assert told.published()[0].operation == "backup"


def test_with_a_hypervisor_that_knows_no_jobs_nothing_stands(told: Played) -> None:
    def refuse() -> Look:
        raise CallFailed("not supported", 3)

    told.played.looks[A] = [refuse]
    told.jobs.retained(A)
    told.until(1)
    assert told.published() == [None]


def test_of_two_hundred_each_has_its_turn(told: Played) -> None:
    """Two at a time are asked about, one after the other."""
    uuids = [f"{n:08}-0000-4000-8000-000000000000" for n in range(200)]
    for uuid in uuids:
        told.looks((copying(5, 900), seen(uuid)), (copying(6, 800), seen(uuid)), uuid=uuid)
    told.jobs.watch(uuids)
    for uuid in uuids:
        told.until(2, uuid)
    assert all(told.percents(uuid) == [10, 20] for uuid in uuids)
    firsts = [what for what, said in told.came if what in uuids and said.percent == 10]
    seconds = [what for what, said in told.came if what in uuids and said.percent == 20]
    assert [*dict.fromkeys(firsts)] == firsts
    place = {uuid: n for n, uuid in enumerate(seconds)}
    apart = median(abs(place[uuid] - n) for n, uuid in enumerate(firsts))
    assert apart < 20, "none overtakes many, unless the machine lets one of the two wait"


def test_the_message_is_one_of_the_contract(told: Played) -> None:
    told.looks((copying(5, 900), seen(A)))
    told.jobs.watch([A])
    told.until(1)
    said = json.loads(told.published()[0].model_dump_json())
    assert (said["total_bytes"], said["remaining_bytes"], said["disk"]) == (1000, 900, None)
    assert said["memory"] == {"total_bytes": 1000, "processed_bytes": 100, "remaining_bytes": 900}
