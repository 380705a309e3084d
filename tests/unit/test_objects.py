"""What the agent knows of networks and pools, and what it tells of what it didn't see."""

import json
from typing import Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.agent.inventory.encoder import Encoder
from bridge.agent.inventory.inventory import Inventory
from bridge.agent.inventory.reports import (
    ConnectionOpened,
    ListedObject,
    ObjectOccurrence,
    ObjectsListed,
    ObjectsRequested,
)
from bridge.agent.inventory.step import Step
from bridge.demo.memory_agent import HostMessages, MemoryAgent
from bridge.wire.events import NETWORK, NODEDEV, POOL, SECRET
from bridge.wire.topics import Topics

A = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
B = "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"


def at(key: str = A, *, active: bool = True, persistent: bool = True) -> ListedObject:
    """A network as a list has it."""
    return ListedObject(key, key[0], active, persistent, autostart=False)


def event(what: str, key: str = A) -> ObjectOccurrence:
    """A lifecycle event of a network."""
    code = NETWORK.lifecycle.index(what)
    return ObjectOccurrence(1_000, 1.0, NETWORK, "network_lifecycle", "QEMU", key, key[0], (code, 0))


_CHANGES = {
    "started": ("active", True),
    "stopped": ("active", False),
    "defined": ("persistent", True),
    "undefined": ("persistent", False),
}


class Host:
    """An inventory, what came of it, and what is stored: one that is made of `stored` is the next agent."""

    def __init__(self, stored: dict[str, bytes] | None = None) -> None:
        self.steps: list[Step] = []
        self._told: list[str] = []
        self._agent = MemoryAgent(HostMessages(Topics(), "h1"), "e", "QEMU", stored)
        self.take(ConnectionOpened(1, "QEMU"))

    def take(self, *reports: ObjectOccurrence | ObjectsRequested | ObjectsListed | ConnectionOpened) -> Self:
        for report in reports:
            for step, published in self._agent.take(report, 0.0):
                self.steps.append(step)
                for message in published:
                    data = json.loads(message.payload)["data"]
                    mark = "~" if data["origin"] == "resync" else ""
                    self._told.append(f"{data['network']['name']} {mark}{data['event']}")
        return self

    def lists(self, *seen: ListedObject, during: tuple[ObjectOccurrence, ...] = ()) -> Self:
        listed = ObjectsListed(NETWORK, "QEMU", {each.key: each for each in seen}, 5)
        return self.take(ObjectsRequested(NETWORK), *during, listed)

    def news(self) -> list[str]:
        published, self._told = self._told, []
        return published

    def again(self) -> "Host":
        """The agent is started anew."""
        return Host(self._agent.stored)

    def follow(self, published: dict[str, bool]) -> None:
        """What a reader makes of the news: each event has to change something."""
        for said in self.news():
            what, value = _CHANGES[said.split()[1].removeprefix("~")]
            assert published[what] != value, said
            published[what] = value


def test_a_first_list_of_all_tells_nothing() -> None:
    host = Host().lists(at(), at(B, active=False))
    assert host.news() == []
    assert host.lists(at(), at(B, active=False)).news() == []


@pytest.mark.parametrize(
    ("before", "now", "published"),
    [
        (at(), None, ["stopped", "undefined"]),
        (at(persistent=False), None, ["stopped"]),
        (at(active=False), None, ["undefined"]),
        (None, at(), ["defined", "started"]),
        (None, at(persistent=False), ["started"]),
        (None, at(active=False), ["defined"]),
        (at(), at(active=False), ["stopped"]),
        (at(active=False), at(), ["started"]),
        (at(), at(persistent=False), ["undefined"]),
        (at(persistent=False), at(), ["defined"]),
        (at(), at(), []),
    ],
)
def test_what_two_lists_show_is_published_once(
    before: ListedObject | None, now: ListedObject | None, published: list[str]
) -> None:
    then, since = [[each] if each else [] for each in (before, now)]
    host = Host().lists(*then).again().lists(*since)
    assert host.news() == []
    assert bool(host.steps[-1].unconfirmed) == bool(published)
    assert host.lists(*since).news() == [f"a ~{event}" for event in published]
    assert host.lists(*since).lists(*since).again().lists(*since).lists(*since).news() == []


def test_a_list_that_an_event_overtook_concludes_nothing_and_publishes_nothing_of_it() -> None:
    host = Host().lists(at(), at(B))
    host.lists(at(), at(B), during=(event("stopped"),))
    assert host.news() == ["a stopped"]
    (standing,) = host.steps[-1].objects
    assert (set(standing.seen), set(standing.touched)) == ({B}, {A})
    assert host.lists(at(active=False), at(B)).news() == []


def test_an_event_between_two_lists_takes_a_doubt_away() -> None:
    host = Host().lists(at()).lists(at(active=False)).take(event("stopped"))
    assert host.lists(at(active=False)).news() == ["a stopped"]


def test_another_connections_lists_confirm_nothing() -> None:
    host = Host().lists(at()).lists().take(ConnectionOpened(2, "QEMU")).lists()
    assert host.news() == []
    assert host.lists().news() == ["a ~stopped", "a ~undefined"]


@pytest.mark.parametrize(
    ("known", "what", "published"),
    [
        (at(), "started", ["~stopped", "started"]),
        (at(active=False), "stopped", ["~started", "stopped"]),
        (at(persistent=False), "undefined", ["~defined", "undefined"]),
        (at(), "stopped", ["stopped"]),
        (at(), "defined", ["defined"]),
    ],
)
def test_what_an_event_cannot_have_happened_without_is_published_before_it(
    known: ListedObject, what: str, published: list[str]
) -> None:
    assert Host().lists(known).again().take(event(what)).news() == [f"a {one}" for one in published]


def test_before_the_first_list_of_all_nothing_was_missed() -> None:
    assert Host().take(event("stopped")).news() == ["a stopped"]


def test_an_unknown_code_is_reported() -> None:
    unknown = ObjectOccurrence(1, 1.0, NETWORK, "network_lifecycle", "QEMU", A, "a", (99, 0))
    assert Host().lists(at()).take(unknown).news() == ["a unknown"]


@given(st.lists(st.sampled_from([*_CHANGES, "blind", "list"]), max_size=14))
def test_whatever_happens_unseen_the_events_published_lead_to_what_is_there(acts: list[str]) -> None:
    """A reader that follows the events has the network as it is, once two lists were read."""
    host, sees = Host().lists(), True
    there = {"active": False, "persistent": False}
    published = dict(there)
    for act in [*acts, "list"]:
        if act == "blind":
            sees = False
        elif act == "list":
            seen = [at(active=there["active"], persistent=there["persistent"])] if any(there.values()) else []
            host = (host if sees else host.again()).lists(*seen).lists(*seen)
            host.follow(published)
            assert published == there
            sees = True
        else:
            what, value = _CHANGES[act]
            if there[what] != value:
                there[what] = value
                if sees:
                    host.take(event(act))
                    host.follow(published)


@pytest.mark.parametrize("each", [NODEDEV, SECRET], ids=lambda each: each.singular)
def test_what_has_no_state_is_passed_on(each: object) -> None:
    """And isn't remembered."""
    occurrence = ObjectOccurrence(1, 1.0, each, f"{each.singular}_lifecycle", "QEMU", A, "x", (1, 0))  # type: ignore[arg-type,attr-defined]
    (step,) = Inventory(Encoder(Topics(), "h1"), {}).take(occurrence, 0.0)
    (draft,) = step.drafts
    assert draft.known is None
    assert json.loads(draft.build("e", 1))["data"]["event"] == each.lifecycle[1]  # type: ignore[attr-defined]


def test_a_pools_refresh_changes_nothing_that_is_known() -> None:
    refresh = ObjectOccurrence(1, 1.0, POOL, "pool_refresh", "QEMU", A, "x", ())
    (step,) = Inventory(Encoder(Topics(), "h1"), {}).take(refresh, 0.0)
    assert step.relist == {"pools"}
    assert step.drafts[0].known is None
