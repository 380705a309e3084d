"""When an outgoing migration counts as failed. libvirt is played here; the lab has the real one."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
import structlog

from bridge.agent.hypervisor import CallFailed, Connection, GuestCalls, Job
from bridge.agent.inventory.domains import ListedDomain
from bridge.agent.inventory.encoder import Encoder
from bridge.agent.inventory.reports import IncomingCompleted, JobEnded, JobFound
from bridge.agent.jobs import watcher as jobs
from bridge.agent.jobs.topics import JobTopics
from bridge.agent.jobs.watcher import JobWatcher
from bridge.wire.topics import Topics
from bridge.wire.vocabulary import state_codes
from tests.support.processes import wait_until

ENCODER = Encoder(Topics(), "host1")
A, B, C = (digit * 8 + "-0000-4000-8000-000000000000" for digit in "abc")
RUNNING, PAUSED = "running/booted", "paused/migration"


def seen(uuid: str, where: str = RUNNING, number: int | None = 1) -> ListedDomain:
    return ListedDomain(uuid, "web01", number, *state_codes(*where.split("/")), persistent=False)


def outgoing(elapsed_ms: int) -> Job:
    return Job("outgoing", {"operation": "migration_out", "time_elapsed": elapsed_ms})


Look = tuple[Job, ListedDomain | None]


class WallClock:
    """The wall clock, by which libvirt counts too. It stands still but where a test says; moments are ms."""

    def __init__(self) -> None:
        self.now_ms = 0

    def read_ns(self) -> int:
        return self.at_ns(self.now_ms)

    def at_ns(self, moment: int) -> int:
        return (1_790_000_000_000 + moment) * 1_000_000

    def passes(self, ms: int) -> Callable[[], Look]:
        """So much time passes, or the clock is set; nothing is read."""

        def fail() -> Look:
            self.now_ms += ms
            raise CallFailed("timed out", 1)

        return fail

    def copying(self, began: int, *, after_ms: int = 0, where: str = RUNNING) -> Callable[[], Look]:
        """A's outgoing job, which began at that moment. libvirt answers after so long."""

        def look() -> Look:
            self.now_ms += after_ms
            return outgoing(max(0, self.now_ms - began)), seen(A, where)

        return look


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> WallClock:
    clock = WallClock()
    monkeypatch.setattr(time, "time_ns", clock.read_ns)
    return clock


class PlayedConnection:
    """Answers the asks about each domain from a list; the last answer stays."""

    driver = "QEMU"
    stands = True

    def __init__(self) -> None:
        self.busy: set[str] = set()
        self.looks: dict[str, list[Look | Callable[[], Look]]] = {}
        self.asks = 0
        self.arrivals: list[tuple[str, int | None, dict[str, Any]] | None] = []
        self._now: dict[str, Look] = {}

    def job(self, uuid: str) -> Job:
        self.asks += 1
        looks = self.looks[uuid]
        look = looks.pop(0) if len(looks) > 1 else looks[0]
        self._now[uuid] = look() if callable(look) else look
        return self._now[uuid][0]

    def read(self, uuid: str) -> ListedDomain | None:
        return self._now[uuid][1]

    def arrival(self, _uuid: str) -> tuple[str, int | None, dict[str, Any]] | None:
        self.asks += 1
        return self.arrivals.pop(0)

    def is_busy(self, uuid: str) -> bool:
        return uuid in self.busy

    def close(self) -> None:
        """Nothing is open."""


def _drop(_topic: str, _payload: bytes | None) -> None:
    """What is retained has tests of its own: `test_job_topics.py`."""


def jobs_of(
    played: PlayedConnection, reports: "queue.SimpleQueue[IncomingCompleted | JobEnded | JobFound]"
) -> JobWatcher:
    connection = cast("Connection", played)
    return JobWatcher(
        lambda: connection, GuestCalls(lambda: connection), reports.put, JobTopics(ENCODER, _drop)
    )


@pytest.fixture
def played() -> PlayedConnection:
    return PlayedConnection()


@pytest.fixture
def reports() -> "queue.SimpleQueue[IncomingCompleted | JobEnded | JobFound]":
    return queue.SimpleQueue()


@pytest.fixture
def watcher(
    played: PlayedConnection,
    reports: "queue.SimpleQueue[IncomingCompleted | JobEnded | JobFound]",
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[JobWatcher]:
    monkeypatch.setattr(jobs, "ASK_EVERY_S", 0.01)
    monkeypatch.setattr(jobs, "HANGS_AFTER_S", 0.1)
    watcher = jobs_of(played, reports)
    watcher.start()
    yield watcher
    watcher.stop()
    assert watcher.worker.error is None


def all_of(
    reports: "queue.SimpleQueue[IncomingCompleted | JobEnded | JobFound]", least: int = 0
) -> list[Any]:
    """What was reported until nothing came any more; so many reports are waited for."""
    found: list[Any] = []
    while True:
        try:
            found.append(reports.get(timeout=20 if len(found) < least else 0.2))
        except queue.Empty:
            return found


def kinds(found: list[Any]) -> list[str]:
    return [type(report).__name__ for report in found]


NONE, INACTIVE, ABSENT = Job("none"), Job("inactive"), Job("absent")

STORIES: list[tuple[str, list[Look], list[str]]] = [
    ("no job at all", [(NONE, seen(A))], []),
    ("a save", [(Job("other", {"operation": "save"}), seen(A)), (NONE, seen(A))], []),
    ("the destination of one", [(Job("incoming"), seen(A, PAUSED))], []),
    ("completed", [(outgoing(5), seen(A)), (INACTIVE, seen(A, "shutoff/migrated", None))], ["JobFound"]),
    ("completed, and gone", [(outgoing(5), seen(A)), (ABSENT, None)], ["JobFound"]),
    ("failed", [(outgoing(5), seen(A)), (NONE, seen(A))], ["JobFound", "JobEnded"]),
    (
        "cancelled, cleared up, gone",
        [(outgoing(5), seen(A)), (Job("ending"), seen(A)), (NONE, seen(A))],
        ["JobFound", "JobEnded"],
    ),
    ("cancelled before it was seen", [(Job("ending"), seen(A)), (NONE, seen(A))], ["JobFound", "JobEnded"]),
    (
        "no job for one look only, then it stopped",
        [(outgoing(5), seen(A)), (NONE, seen(A)), (ABSENT, None)],
        ["JobFound"],
    ),
    ("source left paused", [(outgoing(5), seen(A)), (NONE, seen(A, PAUSED))], ["JobFound", "JobEnded"]),
    (
        "a post-copy that waits",
        [(outgoing(5), seen(A)), (NONE, seen(A, "paused/postcopy_failed"))],
        ["JobFound"],
    ),
    (
        "a post-copy that waited and ended",
        [(outgoing(5), seen(A)), (NONE, seen(A, "paused/postcopy")), (NONE, seen(A)), (NONE, seen(A))],
        ["JobFound", "JobEnded"],
    ),
    (
        "two attempts, with a look between",
        [(outgoing(5), seen(A)), (NONE, seen(A)), (outgoing(1), seen(A)), (NONE, seen(A))],
        ["JobFound", "JobEnded", "JobFound", "JobEnded"],
    ),
    (
        "two attempts, with none between",
        [(outgoing(500), seen(A)), (outgoing(1), seen(A)), (NONE, seen(A))],
        ["JobFound", "JobEnded", "JobFound", "JobEnded"],
    ),
]


@pytest.mark.parametrize(("looks", "expected"), [s[1:] for s in STORIES], ids=[s[0] for s in STORIES])
def test_what_is_reported_of(
    played: PlayedConnection,
    reports: "queue.SimpleQueue[IncomingCompleted | JobEnded | JobFound]",
    watcher: JobWatcher,
    looks: list[Look],
    expected: list[str],
) -> None:
    played.looks[A] = [*looks]
    watcher.watch([A])
    assert kinds(all_of(reports, len(expected))) == expected


def test_a_job_that_was_known_before_is_reported_though_it_was_never_seen(
    played: PlayedConnection,
    reports: "queue.SimpleQueue[IncomingCompleted | JobEnded | JobFound]",
    watcher: JobWatcher,
) -> None:
    played.looks[A] = [(NONE, seen(A, number=7))]
    watcher.watch([A], leaving=True)
    (gone,) = all_of(reports, 1)
    assert (gone.uuid, gone.id, gone.params) == (A, 7, {"operation": "migration_out"})


def test_it_may_be_asked_about_before_it_is_known_to_have_been_leaving(
    played: PlayedConnection,
    reports: "queue.SimpleQueue[IncomingCompleted | JobEnded | JobFound]",
    watcher: JobWatcher,
) -> None:
    played.looks[A] = [(NONE, seen(A))]
    watcher.watch([A])
    watcher.watch([A], leaving=True)
    assert kinds(all_of(reports, 1)) == ["JobEnded"]


@pytest.mark.parametrize("set_by_ms", [-30_000, -5_000, 30_000])
def test_a_clock_that_is_set_makes_no_next_job_of_one(
    played: PlayedConnection,
    reports: "queue.SimpleQueue[IncomingCompleted | JobEnded | JobFound]",
    watcher: JobWatcher,
    clock: WallClock,
    set_by_ms: int,
) -> None:
    job = clock.copying(-20_000)
    played.looks[A] = [job, clock.passes(set_by_ms), job, clock.copying(-20_000, after_ms=-set_by_ms), job]
    watcher.watch([A])
    assert kinds(all_of(reports, 1)) == ["JobFound"]
    assert len(played.looks[A]) == 1


@pytest.mark.parametrize("began", [57_000, -57_000], ids=["however long it lasts", "by a clock set back"])
@pytest.mark.parametrize("is_slow", [False, True], ids=["", "once an answer isn't slow"])
def test_a_next_job_is_found_by_its_beginning(
    played: PlayedConnection,
    reports: "queue.SimpleQueue[IncomingCompleted | JobEnded | JobFound]",
    watcher: JobWatcher,
    clock: WallClock,
    *,
    began: int,
    is_slow: bool,
) -> None:
    passed_ms = 60_000 if began > 0 else -50_000
    between = clock.copying(began, after_ms=passed_ms) if is_slow else clock.passes(passed_ms)
    played.looks[A] = [clock.copying(-1_000), between, clock.copying(began)]
    watcher.watch([A])
    first, ended, second = all_of(reports, 3)
    assert kinds([first, ended, second]) == ["JobFound", "JobEnded", "JobFound"]
    assert [first.since_ns, second.since_ns] == [clock.at_ns(-1_000), clock.at_ns(began)]


def test_a_post_copy_goes_on_though_its_age_counts_from_a_restart_of_libvirt(
    played: PlayedConnection,
    reports: "queue.SimpleQueue[IncomingCompleted | JobEnded | JobFound]",
    watcher: JobWatcher,
    clock: WallClock,
) -> None:
    played.looks[A] = [clock.copying(began, where="paused/postcopy") for began in (-20, -10)]
    watcher.watch([A])
    (found,) = all_of(reports, 1)
    assert (found.since_ns, found.former) == (clock.at_ns(-20), None)
    assert len(played.looks[A]) == 1


def test_what_is_found_may_have_followed_another_of_which_nothing_is_known(
    played: PlayedConnection,
    reports: "queue.SimpleQueue[IncomingCompleted | JobEnded | JobFound]",
    watcher: JobWatcher,
    clock: WallClock,
) -> None:
    played.looks[A] = [clock.copying(-60, after_ms=20)]
    watcher.watch([A], leaving=True)
    (found,) = all_of(reports, 1)
    assert (found.earliest_ns, found.since_ns) == (clock.at_ns(-80), clock.at_ns(-60))
    assert (found.former.id, found.former.params) == (1, {"operation": "migration_out"})


def test_the_last_figures_go_along(
    played: PlayedConnection,
    reports: "queue.SimpleQueue[IncomingCompleted | JobEnded | JobFound]",
    watcher: JobWatcher,
    clock: WallClock,
) -> None:
    played.looks[A] = [
        (outgoing(5), seen(A)),
        clock.copying(-5, after_ms=4),
        (Job("ending"), seen(A)),
        (NONE, seen(A)),
    ]
    watcher.watch([A])
    assert all_of(reports, 2)[-1].params == {"operation": "migration_out", "time_elapsed": 9}


def blocking(release: threading.Event, look: Look) -> Callable[[], Look]:
    def block() -> Look:
        release.wait(20)
        return look

    return block


def test_a_guest_that_hangs_holds_up_no_other_and_is_named_until_it_answers(
    played: PlayedConnection,
    reports: "queue.SimpleQueue[IncomingCompleted | JobEnded | JobFound]",
    watcher: JobWatcher,
) -> None:
    release = threading.Event()
    played.looks[A] = [(outgoing(5), seen(A)), blocking(release, (NONE, seen(A)))]
    played.looks[B] = [(outgoing(5), seen(B)), (NONE, seen(B))]
    with structlog.testing.capture_logs() as lines:
        watcher.watch([A])
        assert kinds(all_of(reports, 1)) == ["JobFound"]
        watcher.watch([B])
        assert kinds(all_of(reports, 2)) == ["JobFound", "JobEnded"]
        assert (set(watcher.hung), watcher.not_askable) == ({A}, 0)
        release.set()
        assert kinds(all_of(reports, 1)) == ["JobEnded"]
        assert watcher.hung == {}
    assert [(line["event"], line["uuid"]) for line in lines if line["log_level"] != "debug"] == [
        ("guest.hangs", A),
        ("guest.answers_again", A),
    ]


def test_while_two_guests_hang_no_other_is_asked_and_that_is_said(
    played: PlayedConnection,
    reports: "queue.SimpleQueue[IncomingCompleted | JobEnded | JobFound]",
    watcher: JobWatcher,
) -> None:
    release = threading.Event()
    played.looks = {
        A: [blocking(release, (NONE, seen(A)))],
        B: [blocking(release, (NONE, seen(B)))],
        C: [(outgoing(5), seen(C))],
    }
    watcher.watch([A, B, C])
    assert all_of(reports) == []
    assert (set(watcher.hung), watcher.not_askable, played.asks) == ({A, B}, 1, 2)
    release.set()
    assert kinds(all_of(reports, 1)) == ["JobFound"]
    assert (watcher.hung, watcher.not_askable) == ({}, 0)


def test_a_job_whose_end_an_event_reported_is_polled_no_more(
    played: PlayedConnection,
    reports: "queue.SimpleQueue[IncomingCompleted | JobEnded | JobFound]",
    watcher: JobWatcher,
) -> None:
    release = threading.Event()
    played.looks[A] = [(outgoing(5), seen(A)), blocking(release, (NONE, seen(A))), (NONE, seen(A))]
    watcher.watch([A])
    assert kinds(all_of(reports, 1)) == ["JobFound"]
    watcher.forget([A])
    release.set()
    assert all_of(reports) == []
    assert played.asks == 2


def test_a_hypervisor_without_jobs_is_asked_once(
    played: PlayedConnection,
    reports: "queue.SimpleQueue[IncomingCompleted | JobEnded | JobFound]",
    watcher: JobWatcher,
) -> None:
    def refuse() -> Look:
        raise CallFailed("not supported", 3)

    played.looks = {uuid: [refuse] for uuid in (A, B)}
    watcher.watch([A, B])
    assert all_of(reports) == []
    watcher.watch([A, B])
    assert all_of(reports) == []
    assert played.asks <= 2, "both were asked about before the first answer"


def test_a_failing_ask_is_repeated_while_the_domain_leaves(
    played: PlayedConnection,
    reports: "queue.SimpleQueue[IncomingCompleted | JobEnded | JobFound]",
    watcher: JobWatcher,
) -> None:
    def fail() -> Look:
        raise CallFailed("internal error", 1)

    played.looks[A] = [(outgoing(5), seen(A)), fail, fail, (NONE, seen(A))]
    watcher.watch([A])
    assert kinds(all_of(reports, 2)) == ["JobFound", "JobEnded"]


def test_nothing_is_asked_while_nothing_leaves(
    played: PlayedConnection,
    reports: "queue.SimpleQueue[IncomingCompleted | JobEnded | JobFound]",
    watcher: JobWatcher,
) -> None:
    played.looks[A] = [(NONE, seen(A))]
    watcher.watch([A])
    all_of(reports)
    asked = played.asks
    time.sleep(0.1)
    assert played.asks == asked == 1


FIGURES = ("web01", 3, {"operation": "migration_in", "downtime": 27})


@pytest.mark.parametrize(
    ("arrivals", "published"),
    [([FIGURES], 1), ([None, FIGURES], 1), ([None, None, FIGURES], 0)],
    ids=["at once", "a little late", "none"],
)
def test_the_figures_of_an_arrival_are_reported_once(
    watcher: JobWatcher,
    played: PlayedConnection,
    reports: "queue.SimpleQueue[IncomingCompleted | JobEnded | JobFound]",
    arrivals: list[tuple[str, int | None, dict[str, Any]] | None],
    published: int,
) -> None:
    played.arrivals = [*arrivals]
    watcher.arrived({A})
    wait_until(lambda: played.asks == min(len(arrivals), 2))
    found = all_of(reports)
    assert played.asks == min(len(arrivals), 2)
    assert [(each.uuid, each.name, each.id, each.params) for each in found] == [(A, *FIGURES)] * published


def test_a_guest_that_is_held_is_not_asked_about_its_arrival(
    watcher: JobWatcher,
    played: PlayedConnection,
    reports: "queue.SimpleQueue[IncomingCompleted | JobEnded | JobFound]",
) -> None:
    played.arrivals = [FIGURES]
    played.busy.add(A)
    watcher.arrived({A})
    assert all_of(reports) == []
    assert played.asks == 0


class CallsInRounds(GuestCalls):
    """Keeps who is asked about in each round."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        super().__init__(connect)
        self.rounds: list[list[str | None]] = [[]]

    def held_longer_than(self, seconds: float) -> dict[str, float]:
        if seconds == jobs.ASK_EVERY_S:
            self.rounds.append([])
        return super().held_longer_than(seconds)

    def ask(self, guest: str | None, *rest: Any) -> None:
        self.rounds[-1].append(guest)
        super().ask(guest, *rest)


@pytest.mark.parametrize(("leaving", "turns"), [(50, [25, 25, 25, 25]), (25, [25, 25]), (40, [25, 25, 25])])
def test_of_very_many_each_has_its_turn(
    played: PlayedConnection, monkeypatch: pytest.MonkeyPatch, leaving: int, turns: list[int]
) -> None:
    """After a look at all of them, whose answers the first round may not have yet."""
    monkeypatch.setattr(jobs, "ASK_EVERY_S", 0.2)
    guests = [f"{number:08}-0000-4000-8000-000000000000" for number in range(leaving)]
    played.looks = {uuid: [(outgoing(100), seen(uuid))] for uuid in guests}
    connection = cast("Connection", played)
    calls = CallsInRounds(lambda: connection)
    watcher = JobWatcher(lambda: connection, calls, lambda _: None, JobTopics(ENCODER, _drop))
    watcher.start()
    watcher.watch(guests, leaving=True)
    wait_until(lambda: len(calls.rounds) > len(turns) + 2)
    watcher.stop()
    first, _, *rounds = calls.rounds[: len(turns) + 2]
    assert first == guests
    assert [len(each) for each in rounds] == turns
    in_a_row = [uuid for each in rounds for uuid in each]
    for start in range(len(in_a_row) - leaving + 1):
        assert len(set(in_a_row[start : start + leaving])) == leaving
