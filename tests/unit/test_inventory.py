"""What reports become: nothing told twice, nothing lost, nothing concluded from half a look."""

from collections.abc import Iterable, Mapping

import pytest

from bridge.agent.inventory.domains import ListedDomain, encode
from bridge.agent.inventory.encoder import stamp_ns
from bridge.agent.inventory.inventory import BASELINE, FIRST_LIST_S, OPEN_LISTS
from bridge.agent.inventory.reports import (
    ConnectionLost,
    ConnectionOpened,
    DomainsListed,
    DomainsRequested,
    IncomingCompleted,
    IoError,
    IoErrors,
    JobEnded,
    JobFound,
    Occurrence,
    Report,
    StateCleared,
    StateRetained,
)
from bridge.agent.inventory.step import Step
from bridge.demo.memory_agent import HostMessages, MemoryAgent
from bridge.wire import messages
from bridge.wire.topics import Topics
from bridge.wire.vocabulary import lifecycle_codes, state_codes

A, B, C = (digit * 8 + "-0000-4000-8000-000000000000" for digit in "abc")


def at(uuid: str, where: str, number: int | None = 1, *, persistent: bool | None = False) -> ListedDomain:
    """A listed domain, transient unless said."""
    state, reason = state_codes(*where.split("/"))
    return ListedDomain(
        uuid, uuid[0], None if where.startswith("shutoff") else number, state, reason, persistent
    )


def event(uuid: str, what: str, number: int | None = 1) -> Occurrence:
    """A lifecycle event as `event/detail`."""
    code, detail = lifecycle_codes(*what.split("/"))
    shown = None if what.startswith("stopped") else number
    return Occurrence(1_000, 1.0, "lifecycle", "QEMU", uuid, uuid[0], shown, code, detail)


def iteration(uuid: str, number: int = 1, at_s: float = 1.0) -> Occurrence:
    """A migration iteration."""
    at_ns = int(at_s * 1e9)
    return Occurrence(at_ns, at_s, "migration_iteration", "QEMU", uuid, uuid[0], 1, arguments=(number,))


class Host:
    """An inventory, and what came of it: `published` all messages in order, `stored` as the outbox has it."""

    def __init__(self, stored: Mapping[str, bytes] | None = None) -> None:
        self._agent = MemoryAgent(HostMessages(Topics(), "h"), "e", "QEMU", stored)
        self.stored, self.inventory = self._agent.stored, self._agent.inventory
        self.published: list[str] = []
        self.began: list[str | None] = []
        self.steps: list[Step] = []
        self._look = 0

    def take(self, *reports: Report) -> "Host":
        """Takes reports in and stores what comes out."""
        for report in reports:
            self._do(self.inventory.take(report, 0.0))
        return self

    def _do(self, steps: Iterable[Step]) -> None:
        for step in steps:
            self.steps.append(step)
            for message in self._agent.store(step):
                self.published.append(spoken(message.payload))
                if message.topic.endswith("/job_failed"):
                    self.began.append(messages.parse(message.payload).data.params["started_at"])

    def look(self, *seen: ListedDomain, first: bool = False, meanwhile: Iterable[Report] = ()) -> "Host":
        """A complete list, with what came while it was read."""
        self._look += 1
        self.take(DomainsRequested(self._look), *meanwhile)
        listed = {domain.uuid: domain for domain in seen}
        return self.take(DomainsListed(self._look, "QEMU", listed, first, 2_000))

    def connect(self, *seen: ListedDomain, meanwhile: Iterable[Report] = ()) -> "Host":
        """A connection, up to the end of its first list."""
        return self.take(ConnectionOpened(1, "QEMU")).look(*seen, first=True, meanwhile=meanwhile)

    def again(self) -> "Host":
        """The agent is killed and started again."""
        return Host(self.stored)

    def news(self) -> list[str]:
        """What was told since the last call."""
        published, self.published = self.published, []
        return published


def spoken(payload: bytes) -> str:
    """`a started/booted`, with a `~` before what a resync concluded."""
    data = messages.parse(payload).data
    if isinstance(data, messages.DomainEvent):
        return f"{data.domain.name} {data.event}"
    mark = "~" if data.origin == "resync" else ""
    return f"{data.domain.name} {mark}{data.event}/{data.detail}"


def test_the_first_start_ever_tells_nothing_of_what_it_finds() -> None:
    host = Host().connect(at(A, "running/booted"), at(B, "shutoff/crashed", persistent=True))
    assert host.news() == []
    assert set(host.stored) == {BASELINE, A, B}
    assert host.steps[0].listed is not None


def test_what_an_event_published_before_the_first_list_ever_is_compared_with_it() -> None:
    """The agent was stopped before it had a list; the next one is the first."""
    host = Host().take(
        ConnectionOpened(1, "QEMU"),
        event(A, "started/booted"),
        event(B, "started/booted"),
        ConnectionLost(1, "x"),
    )
    host.news()
    host.again().connect(at(B, "paused/user"), at(C, "running/booted"))
    assert host.again().connect(at(B, "paused/user"), at(C, "running/booted")).news() == [
        "a ~stopped/unknown",
        "b ~suspended/paused",
    ]


def test_events_before_the_first_list_ever_are_published_as_they_are() -> None:
    host = Host().connect(at(A, "running/booted", 2), meanwhile=[event(A, "started/booted", 2)])
    assert host.news() == ["a started/booted"]


def test_an_empty_host_is_not_taken_for_one_never_seen() -> None:
    host = Host().connect().again().connect(at(A, "running/migrated"))
    assert host.news() == ["a ~started/migrated", "a ~resumed/migrated"]


def test_the_difference_is_published_after_a_restart_of_the_agent() -> None:
    host = Host().connect(at(A, "running/booted"), at(B, "running/booted", persistent=True))
    host = host.take(event(A, "suspended/paused")).again()
    host.connect(at(B, "shutoff/destroyed", persistent=True), at(C, "running/booted"))
    assert host.news() == ["a ~stopped/unknown", "b ~stopped/destroyed", "c ~started/booted"]
    assert host.look(at(B, "shutoff/destroyed", persistent=True), at(C, "running/booted")).news() == []


def test_events_that_come_while_the_list_is_read_are_published_after_the_difference() -> None:
    host = Host().connect(at(A, "running/booted"), at(B, "running/booted")).take(ConnectionLost(1, "x"))
    host.connect(at(A, "running/booted"), meanwhile=[event(A, "suspended/paused")])
    assert host.news() == ["b ~stopped/unknown", "a suspended/paused"]


@pytest.mark.parametrize("listed", [[], [at(A, "running/booted")]], ids=["after it", "before it"])
def test_a_stop_while_the_list_is_read_is_published_once_wherever_the_list_was(
    listed: list[ListedDomain],
) -> None:
    host = Host().connect(at(A, "running/booted")).take(ConnectionLost(1, "x"))
    host.connect(*listed, meanwhile=[event(A, "stopped/destroyed")])
    assert host.news() == ["a stopped/destroyed"]


@pytest.mark.parametrize(
    "listed", [[], [at(A, "paused/starting_up", 2)], [at(A, "running/booted", 2)]], ids=["none", "half", "up"]
)
def test_a_boot_while_the_list_is_read_is_published_once(listed: list[ListedDomain]) -> None:
    host = Host().connect().take(ConnectionLost(1, "x"))
    host.connect(*listed, meanwhile=[event(A, "resumed/unpaused", 2), event(A, "started/booted", 2)])
    assert host.news() == ["a resumed/unpaused", "a started/booted"]


def test_what_was_missed_before_such_an_event_is_published_before_it() -> None:
    host = Host().connect().take(ConnectionLost(1, "x"))
    host.connect(at(A, "running/migrated", 4), meanwhile=[event(A, "suspended/paused", 4)])
    assert host.news() == ["a ~started/migrated", "a ~resumed/migrated", "a suspended/paused"]


def test_an_event_of_another_run_tells_that_the_known_one_ended() -> None:
    host = Host().connect(at(A, "running/booted", 1)).take(ConnectionLost(1, "x"))
    host.connect(at(A, "paused/user", 2), meanwhile=[event(A, "suspended/paused", 2)])
    assert host.news() == ["a ~stopped/unknown", "a ~started/unknown", "a suspended/paused"]


def test_events_don_t_wait_for_ever_for_a_list() -> None:
    host = Host().connect(at(A, "running/booted")).take(ConnectionLost(1, "x"), ConnectionOpened(2, "QEMU"))
    host.take(DomainsRequested(7), event(A, "suspended/paused"))
    assert host.news() == []
    assert host.inventory.waits_until_s == FIRST_LIST_S
    host._do(host.inventory.release())
    assert host.news() == ["a suspended/paused"]
    late = DomainsListed(7, "QEMU", {A: at(A, "running/booted")}, True, 2_000)
    assert host.take(late).news() == []


def test_a_connection_that_is_lost_before_its_list_concludes_nothing() -> None:
    host = Host().connect(at(A, "running/booted"), at(B, "running/booted")).take(ConnectionLost(1, "x"))
    host.take(
        ConnectionOpened(2, "QEMU"),
        DomainsRequested(9),
        event(A, "suspended/paused"),
        ConnectionLost(2, "half way"),
    )
    assert host.news() == ["a suspended/paused"]
    assert host.connect(at(A, "paused/user")).news() == ["b ~stopped/unknown"]


def test_a_quiet_change_is_published_once_a_second_look_shows_the_same() -> None:
    host = Host().connect(at(A, "shutoff/unknown", persistent=True))
    assert host.look().news() == []
    assert host.steps[-1].list_after_s is not None
    assert host.look().news() == ["a ~undefined/removed"]
    assert host.look().news() == []


def test_what_libvirt_was_in_the_middle_of_is_looked_at_again_soon() -> None:
    """A destination whose libvirtd was restarted is `shutdown` for a moment, and then gone."""
    host = (
        Host()
        .connect(at(A, "paused/migration"))
        .take(ConnectionLost(1, "x"))
        .connect(at(A, "shutdown/unknown"))
    )
    assert host.steps[-1].list_after_s is not None
    assert host.look().look().news() == ["a ~stopped/unknown"]


def test_but_not_for_ever() -> None:
    host = Host().connect(at(A, "shutdown/unknown"))
    looks = 0
    while host.steps[-1].list_after_s is not None:
        host.look(at(A, "shutdown/unknown"))
        looks += 1
    assert looks == OPEN_LISTS


def test_a_difference_that_an_event_explains_is_not_published() -> None:
    host = Host().connect(at(A, "running/booted"))
    assert host.look().news() == []
    assert host.take(event(A, "stopped/destroyed")).news() == ["a stopped/destroyed"]
    assert host.look().look().news() == []


def test_a_difference_that_changes_between_two_looks_is_looked_at_again() -> None:
    host = Host().connect(at(A, "running/booted"))
    assert host.look(at(A, "paused/user")).look(at(A, "paused/ioerror")).news() == []
    assert host.look(at(A, "paused/ioerror")).news() == ["a ~suspended/ioerror"]


def test_an_event_during_a_look_hides_its_domain_from_it() -> None:
    host = Host().connect(at(A, "running/booted"))
    host.look(at(A, "running/booted"), meanwhile=[event(A, "suspended/paused")])
    assert host.news() == ["a suspended/paused"]
    assert host.look(at(A, "paused/user")).look(at(A, "paused/user")).news() == []


def test_a_transient_domain_that_stopped_is_cleared_again_after_a_restart() -> None:
    """The process may have died before the broker had the empty state."""
    host = Host().connect(at(A, "running/booted")).take(event(A, "stopped/destroyed")).again().connect()
    assert host.news() == []
    assert host.steps[0].gone == {A}


def test_one_that_lived_and_died_between_two_looks_is_cleared_as_well() -> None:
    host = Host().connect().take(event(A, "started/booted"), event(A, "stopped/shutdown")).again().connect()
    assert host.news() == []
    assert host.steps[0].gone == {A}


def test_a_domain_is_forgotten_once_the_broker_has_cleared_its_state() -> None:
    host = Host().connect(at(A, "running/booted"), at(B, "running/booted"))
    host.take(event(A, "stopped/destroyed"), event(B, "suspended/paused"), StateCleared(A), StateCleared(B))
    assert set(host.stored) == {BASELINE, B}
    assert host.again().connect(at(B, "paused/user")).steps[0].gone == set()


def test_one_that_lived_between_two_looks_is_forgotten_then_too() -> None:
    host = Host().connect().take(event(A, "started/booted"), event(A, "stopped/shutdown")).look().look()
    assert A in host.stored
    assert host.take(StateCleared(A)).news() == ["a started/booted", "a stopped/shutdown"]
    assert A not in host.stored


def test_a_domain_that_came_back_is_not_forgotten() -> None:
    host = Host().connect(at(A, "running/booted"))
    host.take(event(A, "stopped/destroyed"), event(A, "started/booted", 2), StateCleared(A))
    assert A in host.stored


SINCE_NS = 1_500_000


def gone(number: int = 1, there_s: float = 1.0) -> JobEnded:
    """The outgoing migration of A is over."""
    return JobEnded(3_000, there_s, "QEMU", A, "a", number, {"operation": "migration_out"})


def test_a_failed_job_is_published_once_an_attempt() -> None:
    host = Host().connect(at(A, "running/booted")).take(iteration(A), JobFound(A, SINCE_NS), gone(), gone())
    assert host.news() == ["a migration_iteration", "a job_failed"]
    assert host.take(JobFound(A, SINCE_NS), gone()).news() == ["a job_failed"]


def test_a_failed_job_is_published_before_the_next_one_s_first_iteration_and_says_which_it_was() -> None:
    host = Host().connect(at(A, "running/booted"))
    host.take(iteration(A, 1, 10.0), JobFound(A, SINCE_NS), iteration(A, 2, 11.0), iteration(A, 1, 12.0))
    assert host.news() == [*["a migration_iteration"] * 2, "a job_failed", "a migration_iteration"]
    assert host.steps[-1].renewed == {A}
    host.take(event(A, "suspended/migrated"), JobFound(A, 2 * SINCE_NS), gone(there_s=11.9))
    assert host.news() == ["a suspended/migrated"], "found by asking, and told already: it isn't the second's"
    assert host.take(gone(there_s=12.1)).news() == ["a job_failed"]
    assert host.began == ["1970-01-01T00:00:00.001500Z", "1970-01-01T00:00:00.003000Z"]


def test_when_a_job_began_is_what_libvirt_said_of_it_and_else_unknown() -> None:
    host = Host().connect(at(A, "running/booted")).take(iteration(A, 1, 10.0))
    host.take(event(A, "suspended/migrated"), gone())
    host.take(JobFound(A, None), iteration(A, 2, 11.0), gone())
    assert host.began == [None, None]


def test_the_next_job_is_no_migration_before_libvirt_says_so() -> None:
    host = Host().connect(at(A, "running/booted"))
    host.take(iteration(A, 1, 10.0), JobFound(A, SINCE_NS), iteration(A, 1, 12.0))
    assert host.again().connect(at(A, "running/booted")).steps[0].leaving == set(), "it may be a dump"


def test_it_is_so_across_a_restart_of_the_agent() -> None:
    host = Host().connect(at(A, "running/booted")).take(iteration(A, 1, 10.0), JobFound(A, SINCE_NS))
    host = host.again().connect(at(A, "running/booted")).take(iteration(A, 1, 3.0))
    assert host.news() == ["a job_failed", "a migration_iteration"]


@pytest.mark.parametrize(
    ("earliest_ns", "former", "expected"),
    [(SINCE_NS + 1, gone(), [SINCE_NS, 2 * SINCE_NS]), (SINCE_NS, gone(), [SINCE_NS]),
     (None, gone(), [SINCE_NS]), (SINCE_NS + 1, None, [SINCE_NS]), (SINCE_NS + 1, gone(2), [2 * SINCE_NS])],
    ids=["another", "perhaps the same", "libvirt doesn't say", "in a post-copy", "another run"],
)  # fmt: skip
def test_a_job_that_another_followed_unseen_is_published_with_its_own_beginning(
    earliest_ns: int | None, former: JobEnded | None, expected: list[int]
) -> None:
    host = Host().connect(at(A, "running/booted")).take(iteration(A, 1, 10.0), JobFound(A, SINCE_NS))
    host = host.again().connect(at(A, "running/booted"))
    host.take(JobFound(A, 2 * SINCE_NS, earliest_ns, former))
    assert host.news() == ["a job_failed"] * (len(expected) - 1)
    host.take(gone(there_s=4.0))
    assert host.began == [stamp_ns(since_ns) for since_ns in expected]


def test_iterations_of_a_job_that_was_seen_before_its_first_are_its_own() -> None:
    host = Host().connect(at(A, "running/booted")).take(JobFound(A, SINCE_NS), iteration(A), iteration(A, 2))
    assert host.news() == ["a migration_iteration"] * 2
    assert host.take(gone()).news() == ["a job_failed"]
    assert host.began == ["1970-01-01T00:00:00.001500Z"]


def test_a_job_that_completed_did_not_fail() -> None:
    done = Occurrence(1, 1.0, "job_completed", "QEMU", A, "a", 1, arguments=({"operation": "dump"},))
    host = Host().connect(at(A, "running/booted")).take(iteration(A), JobFound(A, SINCE_NS), done)
    assert host.news() == ["a migration_iteration", "a job_completed"]
    assert host.take(gone(), iteration(A)).news() == ["a migration_iteration"]


def test_a_job_of_which_nobody_knew_that_it_was_a_migration_is_not_published() -> None:
    host = Host().connect(at(A, "running/booted")).take(iteration(A), gone())
    assert host.news() == ["a migration_iteration"]


def test_a_domain_that_stopped_has_no_failed_job() -> None:
    host = Host().connect(at(A, "running/booted"))
    host.take(JobFound(A, SINCE_NS), event(A, "stopped/migrated"), gone())
    assert host.news() == ["a stopped/migrated"]


def test_the_next_run_of_a_domain_has_nothing_to_do_with_the_former_s_job() -> None:
    host = Host().connect(at(A, "running/booted"))
    host.take(
        JobFound(A, SINCE_NS), event(A, "stopped/migrated"), event(A, "started/booted", 2), gone(2), gone(1)
    )
    assert host.news() == ["a stopped/migrated", "a started/booted"]


def test_a_migration_under_way_is_watched_again_after_a_restart() -> None:
    host = (
        Host()
        .connect(at(A, "running/booted"))
        .take(JobFound(A, SINCE_NS))
        .again()
        .connect(at(A, "running/booted"))
    )
    assert host.steps[0].leaving == {A}
    assert host.take(gone()).news() == ["a job_failed"]
    assert host.again().connect(at(A, "running/booted")).steps[0].leaving == set()


def test_the_source_of_a_switch_over_is_watched_and_the_destination_is_not() -> None:
    host = Host().connect(at(A, "running/booted")).take(event(A, "suspended/migrated"))
    assert host.steps[-1].leaving == {A}
    host.take(event(B, "started/migrated"), event(B, "resumed/migrated"))
    assert host.steps[-1].leaving == set()


def test_a_snapshot_goes_with_the_event_that_changed_it() -> None:
    host = Host().connect(at(A, "running/booted")).take(event(A, "suspended/paused"))
    known = host.inventory.known(A)
    assert known is not None
    assert host.stored[A] == encode(known)


def test_events_are_forgotten_once_no_look_needs_them() -> None:
    host = Host().connect()
    for _ in range(5):
        host.take(*(event(A, what) for what in ("started/booted", "stopped/destroyed")))
        host.take(event(B, "started/booted"), event(B, "stopped/destroyed")).look()
    assert len(host.inventory._recent._last) <= 2
    host.look().look()
    assert not host.inventory._recent._last


def test_a_state_at_the_broker_of_an_unknown_domain_is_looked_into() -> None:
    host = Host().connect(at(A, "running/booted"))
    host.steps.clear()
    host.take(StateRetained(A), StateRetained(B))
    assert [step.changed for step in host.steps] == [{B}]


def test_a_state_at_the_broker_is_cleared_by_the_first_list_without_its_domain() -> None:
    host = Host().take(StateRetained(A), StateRetained(B), StateRetained(C))
    host.connect(at(A, "running/booted"), meanwhile=[event(C, "started/booted")])
    assert [step.gone for step in host.steps if step.listed] == [{B}]
    assert host.news() == ["c started/booted"]


def io_errors(*moments_ns: int) -> IoErrors:
    """What libvirt keeps of A's disks after a connection was listened to from 9000 ns on."""
    return IoErrors(
        "QEMU", 9_000, 9_500, {A: [IoError("vda", "/a", at_ns, "full") for at_ns in moments_ns], B: []}
    )


def test_io_errors_that_nobody_saw_are_published_once() -> None:
    host = Host().connect(at(A, "paused/ioerror"))
    assert host.take(io_errors(1_999)).news() == [], "of before the agent was there"
    assert host.take(io_errors(5_000, 4_000)).news() == ["a io_error"] * 2
    assert host.take(io_errors(5_000, 4_000)).news() == []
    assert host.take(io_errors(6_000)).news() == ["a io_error"]
    again = host.again().connect(at(A, "paused/ioerror"))
    assert again.take(io_errors(6_000)).news() == []


def test_io_errors_of_which_events_came_are_not_published_again() -> None:
    error = Occurrence(7_000, 1.0, "io_error", "QEMU", A, "a", 1, arguments=("/a", "disk0", 1, ""))
    host = Host().connect(at(A, "running/booted")).take(error)
    assert host.news() == ["a io_error"]
    assert host.take(io_errors(6_999)).news() == []
    assert host.take(io_errors(8_999, 9_001)).news() == ["a io_error"], "of what came since there is an event"


def test_a_new_run_knows_nothing_of_the_io_errors_of_the_one_before() -> None:
    host = Host().connect(at(A, "running/booted"))
    host.take(event(A, "stopped/destroyed"), event(A, "started/booted", 2)).news()
    assert host.take(io_errors(1_500)).news() == ["a io_error"]


def test_what_is_known_of_a_missed_io_error_is_published() -> None:
    host = Host().connect(at(A, "running/booted")).take(io_errors(5_000))
    (draft,) = host.steps[-1].drafts
    data = messages.parse(draft.build("e", 1)).data
    assert data.origin == "resync"
    assert data.params == {
        "path": "/a", "alias": None, "action": "unknown", "action_code": -1, "reason": None,
        "disk": "vda", "message": "full", "happened_at": "1970-01-01T00:00:00.000005Z",
    }  # fmt: skip


def test_an_arrivals_figures_are_requested_and_published_for_the_run_that_arrived() -> None:
    figures = IncomingCompleted(5, "QEMU", A, "a", 7, {"operation": "migration_in", "downtime": 27})
    host = Host().connect().take(event(A, "started/migrated", 7))
    assert not host.steps[-1].arrived
    host.take(event(A, "resumed/migrated", 7))
    assert host.steps[-1].arrived == {A}
    host.news()
    assert host.take(figures).news() == ["a job_completed"]
    host.take(event(A, "stopped/destroyed"), event(A, "started/booted", 8)).news()
    assert host.take(figures).news() == []
    assert not host.steps[-1].arrived


def test_a_guest_that_resumes_after_a_pause_has_not_arrived() -> None:
    host = (
        Host()
        .connect(at(A, "running/booted"))
        .take(event(A, "suspended/paused"), event(A, "resumed/unpaused"))
    )
    assert not any(step.arrived for step in host.steps)
