"""The retained states: read after events, coalesced, cleared, never held up for all by one."""

import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import cast

import pytest

from bridge.agent.hypervisor import CallFailed, Connection
from bridge.agent.inventory.domains import ListedDomain
from bridge.agent.inventory.encoder import Encoder
from bridge.agent.inventory.reports import DomainsListed
from bridge.agent.publish import domain_states
from bridge.agent.publish.domain_states import DomainStatePublisher
from bridge.wire import messages
from bridge.wire.topics import Topics
from bridge.wire.vocabulary import state_codes

A, B = (digit * 8 + "-0000-4000-8000-000000000000" for digit in "ab")


def seen(uuid: str, where: str = "running/booted") -> ListedDomain:
    return ListedDomain(uuid, uuid[0], 1, *state_codes(*where.split("/")), persistent=True)


class PlayedConnection:
    """A host with these domains. `before` is called ahead of each read."""

    driver = "QEMU"
    live = True

    def __init__(self) -> None:
        self.domains: dict[str, ListedDomain] = {}
        self.reads: list[str] = []
        self.lists = 0
        self.before: Callable[[str], None] = lambda _uuid: None

    def read(self, uuid: str) -> ListedDomain | None:
        self.before(uuid)
        self.reads.append(uuid)
        return self.domains.get(uuid)

    def list_domains(self) -> dict[str, ListedDomain]:
        self.lists += 1
        return dict(self.domains)


class Played:
    """The states of a played host: what was published, as `a running/booted 3` with its `as_of`, or `a -`."""

    def __init__(self) -> None:
        self.host = PlayedConnection()
        self.connected = True
        self.position = ("epoch", 1)
        self.published: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.states = DomainStatePublisher(
            Encoder(Topics(), "h"),
            lambda: cast("Connection", self.host) if self.connected else None,
            lambda: self.position,
            self._publish,
        )

    def _publish(self, topic: str, payload: bytes | None, as_of: int) -> None:
        name = Topics().parse(topic).uuid[0]
        if payload is None:
            self.published.put(f"{name} -")
            return
        data = messages.parse(payload).data
        assert data.as_of == as_of
        self.published.put(f"{name} {data.state}/{data.reason} {as_of}")

    def news(self, settle_s: float = 0.15) -> list[str]:
        """What was published until nothing came any more."""
        found = []
        while True:
            try:
                found.append(self.published.get(timeout=settle_s))
            except queue.Empty:
                return found


@pytest.fixture
def played() -> Iterator[Played]:
    playing = Played()
    playing.states.start()
    yield playing
    playing.states.stop()
    assert playing.states.worker.error is None


def test_a_domain_is_read_after_its_event(played: Played) -> None:
    played.host.domains[A] = seen(A, "paused/user")
    played.position = ("epoch", 7)
    played.states.changed([A])
    assert played.news() == ["a paused/user 7"]


def test_a_domain_that_is_not_there_is_cleared(played: Played) -> None:
    played.states.changed([A])
    assert played.news() == ["a -"]


def test_many_events_are_one_read(played: Played) -> None:
    played.host.domains[A] = seen(A)
    began = threading.Event()
    go_on = threading.Event()

    def wait(_uuid: str) -> None:
        began.set()
        go_on.wait(5)

    played.host.before = wait
    played.states.changed([A])
    began.wait(5)
    for _ in range(1000):
        played.states.changed([A])
    go_on.set()
    assert played.news() == ["a running/booted 1"] * 2


def test_the_position_is_that_of_before_the_read(played: Played) -> None:
    played.host.domains[A] = seen(A)

    def advance(_uuid: str) -> None:
        played.position = ("epoch", 9)

    played.host.before = advance
    played.states.changed([A])
    assert played.news() == ["a running/booted 1"]


def test_many_domains_are_read_by_one_list(played: Played) -> None:
    uuids = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(domain_states.BULK)]
    played.host.domains = {uuid: seen(uuid) for uuid in uuids[1:]}
    played.states.changed(uuids)
    assert len(played.news()) == domain_states.BULK
    assert (played.host.lists, played.host.reads) == (1, [])


def test_in_a_storm_of_events_lists_take_a_tenth_of_the_time(played: Played) -> None:
    uuids = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(domain_states.BULK)]
    played.host.domains = {uuid: seen(uuid) for uuid in uuids}
    spans: list[tuple[float, float]] = []
    enough = threading.Event()

    def list_domains() -> dict[str, ListedDomain]:
        began = time.monotonic()
        time.sleep(0.01)
        spans.append((began, time.monotonic()))
        if len(spans) == 4:
            enough.set()
        return dict(played.host.domains)

    played.host.list_domains = list_domains  # type: ignore[method-assign]
    while not enough.wait(0.005):
        played.states.changed(uuids)
    for (began, ended), (next_began, _) in itertools.pairwise(spans):
        assert next_began - ended >= min(domain_states.LONGEST_REST_S, domain_states.REST * (ended - began))


def test_a_list_that_is_kept_holds_up_others_for_a_second_at_most(played: Played) -> None:
    uuids = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(domain_states.BULK)]
    played.host.domains = {A: seen(A)}
    release = threading.Event()

    def list_domains() -> dict[str, ListedDomain]:
        release.wait(10)
        return {}

    played.host.list_domains = list_domains  # type: ignore[method-assign]
    played.states.changed(uuids)
    time.sleep(0.2)
    played.states.changed([A])
    assert played.published.get(timeout=5.0 * domain_states.LONGEST_REST_S) == "a running/booted 1"
    release.set()


def test_a_list_is_published_as_it_is(played: Played) -> None:
    played.states.listed(DomainsListed(1, "QEMU", {A: seen(A), B: seen(B)}, first=True, at_ns=1), "epoch", 4)
    assert sorted(played.news()) == ["a running/booted 4", "b running/booted 4"]
    assert played.host.reads == []


def test_a_later_list_has_read_again_what_it_shows_otherwise(played: Played) -> None:
    played.states.listed(DomainsListed(1, "QEMU", {A: seen(A), B: seen(B)}, first=True, at_ns=1), "epoch", 4)
    played.news()
    played.host.domains = {A: seen(A), B: seen(B, "running/unpaused")}
    played.states.compared(played.host.domains)
    assert played.news() == ["b running/unpaused 1"]
    played.states.compared(played.host.domains)
    assert played.news() == []


def test_gone_domains_are_cleared_without_a_read(played: Played) -> None:
    played.connected = False
    played.states.gone([A])
    assert played.news() == ["a -"]


def test_one_that_can_t_be_read_is_tried_again_and_holds_up_no_other(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(domain_states, "RETRY_S", 0.3)
    played.host.domains = {A: seen(A), B: seen(B)}
    failures = iter([True, False])

    def fail(uuid: str) -> None:
        if uuid == A and next(failures, False):
            raise CallFailed("internal error", 1)

    played.host.before = fail
    played.states.changed([A, B])
    assert played.news(0.2) == ["b running/booted 1"]
    assert played.news(0.4) == ["a running/booted 1"]


def test_one_whose_read_blocks_holds_up_no_other(played: Played) -> None:
    release = threading.Event()
    played.host.domains = {A: seen(A), B: seen(B)}
    played.host.before = lambda uuid: None if uuid == B else void(release.wait(20))
    played.states.changed([A])
    assert played.news() == []
    played.states.changed([A, B])
    assert played.news() == ["b running/booted 1"]
    release.set()
    assert played.news() == ["a running/booted 1"] * 2


def test_what_a_former_connection_still_owes_is_not_waited_for(played: Played) -> None:
    release = threading.Event()
    former = played.host
    former.domains = {A: seen(A)}
    former.before = lambda _uuid: void(release.wait(20))
    played.states.changed([A])
    assert played.news() == []
    played.host = PlayedConnection()
    played.host.domains = {A: seen(A, "paused/user")}
    played.states.changed([A])
    assert played.news() == ["a paused/user 1"]
    release.set()
    assert played.news() == []


def void(_result: object) -> None:
    """For a lambda that is called for its effect."""


def test_without_a_connection_nothing_is_read_and_nothing_spins(played: Played) -> None:
    played.connected = False
    played.states.changed([A])
    time.sleep(0.1)
    played.connected = True
    assert played.news() == []
    assert played.host.reads == []
