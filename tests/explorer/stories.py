"""The stories that the explorer plays: one attempt, two, what resembles one, before an attempt and after."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

from tests.explorer.protocol import QEMU_KINDS, XEN_KINDS, migrate
from tests.explorer.world import HOSTS, Choices, History, Impossible, Release, World, every, is_active

LOOK_ALIKES: Final[dict[str, str]] = {
    "dump": "S(3,0) S:iter S:iter S:JC(dump) S(4,0)",
    "dump live": "S:iter S(3,0) S:JC(dump) S(4,0)",
    "saved and restored": "S(3,0) S:iter S:iter S:JC(save) ~1.3 S(5,4) ~5 S(2,2) S(4,2)",
    "restored paused": "S(3,0) S:iter S:JC(save) ~1.3 S(5,4) ~5 S(2,2) S(3,4) ~5 S(4,0)",
    "power cycle": "S(6,0) S(5,0) ~1 S(4,0) S(2,0)",
    "crash and boot": "S(5,5)! ~5 S(4,0) S(2,0)",
    "paused by hand": "S(3,0) ~3 S(4,0)",
    "io error": "S(3,2) ~3 S(4,0)",
    "snapshot": "S(3,0) S(4,2)",
    "suspend to memory": "S(7,0) ~3 S(2,4)",
    "definition copied": "D(0,0)",
    "definition copied twice": "D(0,0) ~60 D(0,1)",
    "definition copied and removed": "D(0,0) ~60 D(1,0)",
    "saved, restored elsewhere": "S(3,0) S:iter S:JC(save) S(5,4) ~9 D(2,2) D(4,2)",
    "started elsewhere": "S(6,1) S(5,0) ~30 D(4,0) D(2,0)",
    "shut down": "S(6,1) S(5,0)",
    "destroyed": "S(6,2) S(5,1)",
    "crash": "S(5,5)!",
    "panic and crash": "S(8,0) S(5,2)",
    "crash while saved": "S(3,0) S:iter S(5,5)!",
    "definition moved": "S(6,1) S(5,0) ~5 D(0,0) ~60 S(1,0)",
    "renamed": "S(6,1) S(5,0) ~5 S(1,1) S(0,2)",
    "saved": "S(3,0) S:iter S:JC(save) ~1.3 S(5,4)",
}
"""What resembles a migration and is none, of a guest that runs on S."""
KEEPS_RUNNING: Final = tuple(LOOK_ALIKES)[: tuple(LOOK_ALIKES).index("started elsewhere") + 1]
GOES_ON: Final = (
    "dump",
    "dump live",
    "paused by hand",
    "io error",
    "snapshot",
    "suspend to memory",
    "definition copied",
    "definition copied and removed",
)
"""In which the guest's run isn't ended."""


def look_alike(w: World, names: Sequence[str], *, wait_s: float) -> None:
    """Something that isn't a migration happens where the guest is."""
    at = w.at
    if at is None or not w.is_well(at):
        raise Impossible
    name = w.choose(*names)
    if name in ("definition moved", "renamed") and not w.is_persistent(at):
        raise Impossible
    said = LOOK_ALIKES[name]
    other = next(host for host in HOSTS if host != at)
    w.t += wait_s
    w.say(said, at, other)


_PLACES: Final[tuple[tuple[bool, tuple[Release, ...]], ...]] = (
    (False, ("9.0",)),
    (True, ("9.0",)),
    (False, ("11.3",)),
    (True, ("11.3",)),
    (False, ("9.0", "11.3")),
    (True, ("11.3", "9.0")),
)
"""Whether the guest has a definition on its first host, and the releases of the hosts in turn."""


@dataclass(frozen=True)
class Story:
    """What happens to one guest, on these hosts, by choices."""

    name: str
    play: Callable[[World], object]
    persistent: bool
    releases: tuple[Release, ...]
    driver: str = "QEMU"
    is_off: bool = False

    def __call__(self, choose: Choices) -> History | None:
        """The history of these choices; None: they aren't possible."""
        w = World(
            choose,
            persistent=self.persistent,
            releases=self.releases,
            driver=self.driver,
            is_off=self.is_off,
        )
        try:
            self.play(w)
        except Impossible:
            return None
        return w.history(self.name)


def _stories(
    name: str, play: Callable[[World], object], *, places: Sequence[int] = range(6), **known: Any
) -> Iterator[Story]:
    for place in places:
        persistent, releases = _PLACES[place]
        how = f"{name} {'persistent' if persistent else 'transient'} {'>'.join(releases)}"
        yield Story(how, play, persistent, releases, **known)


def one() -> Iterator[Story]:
    """One attempt, every way that it goes."""
    yield from _stories("one", lambda w: migrate(w, "A", "B", QEMU_KINDS))
    yield from _stories("one", lambda w: migrate(w, "A", "B", XEN_KINDS), driver="Xen", places=(0, 1))
    yield from _stories("one", lambda w: migrate(w, "A", "B", ("offline",)), places=(1, 3), is_off=True)


def none() -> Iterator[Story]:
    """No attempt: what resembles one, alone and two of them."""
    yield from _stories("none", lambda w: look_alike(w, tuple(LOOK_ALIKES), wait_s=1.0))

    def two(w: World) -> None:
        look_alike(w, KEEPS_RUNNING, wait_s=1.0)
        look_alike(w, tuple(LOOK_ALIKES), wait_s=5.0)

    yield from _stories("none twice", two, places=(0, 3))
    yield from _stories("both run", lambda w: w.say("D(4,0) D(2,0)", "A", "B"), places=(0, 3))


def around() -> Iterator[Story]:
    """What resembles a migration, before an attempt and after it."""

    def before(w: World) -> None:
        look_alike(w, KEEPS_RUNNING, wait_s=1.0)
        at = w.at
        assert at is not None
        w.t += float(w.choose("0.5", "30"))
        migrate(w, at, next(h for h in HOSTS if h != at), ("live", "post-copy", "storage", "persistent"))

    def after(w: World) -> None:
        migrate(w, "A", "B", ("live", "post-copy", "storage", "non-live"))
        if w.choose("at once", "later") == "at once":
            look_alike(w, GOES_ON, wait_s=0.5)
        else:
            # An end at once after a failure that nothing told of on the source looks like the reason for it.
            look_alike(w, tuple(LOOK_ALIKES), wait_s=30.0)

    yield from _stories("before", before, places=(0, 3))
    yield from _stories("after", after, places=(0, 3))


def two() -> Iterator[Story]:
    """Two attempts: tried again at once, there and back, on to a third host."""

    def play(w: World) -> None:
        migrate(w, "A", "B", ("live", "post-copy", "non-live", "storage", "paused before"))
        at = w.at
        if at is None or w.unreachable:
            raise Impossible
        w.t += float(w.choose("0.5", "5"))
        others = [host for host in HOSTS if host != at and not is_active(w.there[host])]
        to = w.choose(*others)
        migrate(w, at, to, ("live", "post-copy"))

    yield from _stories("two", play, places=(0, 3, 4))


def between() -> Iterator[Story]:
    """What resembles a migration, between two of them."""

    def play(w: World) -> None:
        migrate(w, "A", "B", ("non-live", "suspended meanwhile"))
        if w.unreachable:
            raise Impossible
        look_alike(w, KEEPS_RUNNING, wait_s=float(w.choose("0.5", "30")))
        at = w.at
        assert at is not None
        w.t += float(w.choose("0.5", "30"))
        migrate(w, at, next(host for host in HOSTS if host != at), ("non-live", "suspended meanwhile"))

    yield from _stories("between", play, places=(0, 3))


STORIES: Final[dict[str, Callable[[], Iterator[Story]]]] = {
    "one": one,
    "none": none,
    "around": around,
    "two": two,
    "between": between,
}


def histories(names: Sequence[str] = tuple(STORIES)) -> Iterator[History]:
    """Every history of these stories, always in the same order; no two in which the same is said."""
    seen = set()
    for name in names:
        for history in chain.from_iterable(every(story) for story in STORIES[name]()):
            key = (str(history).split(": ")[-1], history.driver, history.first["A"])
            if key not in seen:
                seen.add(key)
                yield history


def named(name: str) -> History:
    """The history of this name."""
    for story in chain.from_iterable(stories() for stories in STORIES.values()):
        if name.startswith(story.name):
            for history in every(story, name.removeprefix(story.name)):
                if history.name == name:
                    return history
    raise KeyError(name)
