"""The explorer itself: its judge misses nothing, its index is stable, and what it leaves out is equal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from bridge.agent.inventory.domains import ListedDomain
from bridge.agent.inventory.encoder import Encoder, stamp_ns
from bridge.agent.publish import status
from bridge.wire.messages import Libvirt
from bridge.wire.topics import Topics
from tests.explorer import observer, stories
from tests.explorer.agent import START_S, UUID, Agent
from tests.explorer.explore import Bounds, explore, of_one, try_one, worlds
from tests.explorer.observer import Trouble
from tests.explorer.play import Played, PlayedMessage, play
from tests.explorer.properties import wrong_with
from tests.explorer.shrink import smallest
from tests.explorer.stories import named
from tests.explorer.world import Choices, History, World, every, written


@pytest.fixture(scope="module")
def live() -> History:
    """A live migration that nothing disturbs."""
    return next(one for one in stories.histories(("one",)) if "switches finishes confirmed" in one.name)


def _told(history: History, *troubles: Trouble) -> Played:
    seen = observer.observe(history, troubles)
    assert seen is not None
    return play(seen)


def test_a_live_migration_is_published_right(live: History) -> None:
    assert try_one(live, ()) == []


Change = Callable[[list[PlayedMessage]], list[PlayedMessage]]


def _with_data(word: str, **columns: Any) -> Change:
    def change(published: list[PlayedMessage]) -> list[PlayedMessage]:
        return [
            replace(one, data=one.data | columns) if one.word == word and one.data is not None else one
            for one in published
        ]

    return change


WRONG: dict[str, Change] = {
    "untold": lambda published: [one for one in published if one.word != "completed"],
    "false outcome": _with_data("completed", outcome="failed"),
    "false guest": _with_data("completed", guest={"host": "host-a", "state": "running"}),
    "false reason": _with_data("completed", reason="source_crashed"),
    "false mode": _with_data("completed", mode="postcopy"),
    "false attention": _with_data("completed", attention="source_left_paused"),
    "false source": _with_data("completed", source={"host": None}),
    "false destination": _with_data("completed", destination={"host": "host-c"}),
    "false confirmed_by": _with_data("completed", confirmed_by=["destination"]),
    "false location": lambda published: [one for one in published if one.word != "location"],
    "once: an id twice": lambda published: [*published, published[-1]],
    "once: revision": _with_data("completed", revision=1),
    "once: told twice": lambda published: [
        *published,
        *(
            replace(one, id="other", data=one.data | {"migration": "other"})
            for one in published[-1:]
            if one.data
        ),
    ],
    "nothing: a conflict where there is none": lambda published: [
        *published,
        *(
            replace(one, word="conflict", id="other", data=one.data | {"migration": None})
            for one in published[-1:]
            if one.data
        ),
    ],
    "nothing: a verdict of no attempt": _with_data("completed", evidence=[{"source": "", "id": "other"}]),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_published_wrong_is_found(live: History, kind: str) -> None:
    seen = observer.observe(live, ())
    assert seen is not None
    played = play(seen)
    played.published = WRONG[kind](
        [one for one in played.published if kind[:7] != "nothing" or one.word != "started"]
    )
    assert kind in {fault.kind for fault in wrong_with(seen, played)}


def test_a_verdict_of_a_look_alike_is_found() -> None:
    (boot,) = [one for one in stories.histories(("none",)) if one.name == "none transient 9.0 power cycle"]
    seen = observer.observe(boot, ())
    assert seen is not None
    played = play(seen)
    assert not wrong_with(seen, played)
    data = {"migration": "m", "revision": 0, "supersedes": None, "outcome": "failed", "reason": None}
    hosts = {"source": {"host": "host-a"}, "destination": {"host": None}, "confirmed_by": ["source"]}
    rest: dict[str, Any] = {
        "mode": "precopy",
        "attention": None,
        "guest": {"host": None, "state": "unknown"},
        "evidence": [],
    }
    played.published.append(PlayedMessage(9.0, "failed", "m-failed-0", data | hosts | rest))
    played.retained.append(PlayedMessage(9.0, "last", "m-failed-0", data | hosts | rest))
    assert [fault.kind for fault in wrong_with(seen, played)] == ["nothing: a verdict of no attempt"]


def test_an_index_means_the_same_history_each_time() -> None:
    bounds = Bounds(("one",), pairs_every=997)
    history = worlds(("one",))[42]
    first = dict(of_one(observer.troubles(history).all, bounds, 42))
    again = dict(of_one(observer.troubles(history).all, bounds, 42))
    assert first == again
    assert len(first) > 300


def test_parts_add_up_to_all() -> None:
    whole = Bounds(("one",), every=40, troubles_every=60)
    *_, everything = explore(whole)
    tried = 0
    for nth in range(3):
        *_, part = explore(replace(whole, first=nth * 40, every=120))
        tried += part.tried
    assert tried == everything.tried > 0


def test_every_choice_is_taken_once() -> None:
    def story(choose: Choices) -> History | None:
        w = World(choose, persistent=False)
        if choose("a", "b") == "a":
            choose("c", "d", "e")
        return w.history("")

    assert [one.name.split() for one in every(story)] == [["a", "c"], ["a", "d"], ["a", "e"], ["b"]]


def test_a_cut_that_is_left_out_changes_nothing(live: History) -> None:
    base = observer.observe(live, ())
    assert base is not None
    stream = [one for one in base.deliveries if one.host == "A"]
    tried = {(t.first, t.last) for t in observer.troubles(live).all if t.kind == "cut" and not t.s}
    alone = [(one.word, one.data) for one in play(base).published]
    left_out = [
        (first, last)
        for first, one in enumerate(stream)
        for last, other in enumerate(stream[first:], start=first)
        if {one.message.kind, other.message.kind} <= {"event", "state"} and (first, last) not in tried
    ]
    assert left_out
    same = 0
    for first, last in left_out:
        published = [(one.word, one.data) for one in _told(live, Trouble("cut", "A", first, last)).published]
        twins = [_told(live, t).published for t in observer.troubles(live).all if t.kind == "cut" and not t.s]
        same += published == alone or published in [[(one.word, one.data) for one in twin] for twin in twins]
    assert same == len(left_out)


def test_messages_are_the_agents_own() -> None:
    """Only a state's id is the explorer's: the same each time."""
    agent = Agent("A", driver="QEMU", first=None)
    (first, *_) = agent.run((), (), 0.0)
    since = stamp_ns(int((START_S + first.t) * 1e6) * 1000)
    libvirt = Libvirt(connected=True, uri="qemu:///system", since=since)
    facts = status.StatusData(agent.epoch, libvirt, None, 0)
    assert first.payload == status.build(agent.host, "1.0", facts, state="online", now_s=START_S + first.t)
    history = next(stories.histories(("one",)))
    messages = Agent("A", driver="QEMU", first=history.first["A"]).run((), (), 10.0)
    (state,) = [one for one in messages if one.kind == "state"]
    seen = ListedDomain(UUID, "web01", 1, 1, 1, persistent=False)
    own = Encoder(Topics(), agent.host).state(
        seen, "QEMU", int((START_S + state.t) * 1e6) * 1000, agent.epoch, 0
    )
    assert len(own) == len(state.payload)
    assert own[63:] == state.payload[63:]


def test_a_wrong_history_is_made_small() -> None:
    """Here every history counts as wrong in which the guest arrives."""
    name = "before transient 9.0 dump 30 live copies switches finishes confirmed"
    history = named(name)
    late = Trouble("late", "A", 0, 0, "", 3.0)
    smaller, fewer = smallest(history, (late,), lambda one, _: any(s.said == "B(4,1)" for s in one.steps))
    assert written(smaller.steps) == "A:job B(2,1) A(3,1) B(4,1) ~1.4 A(5,3) A:JC"
    assert fewer == ()
