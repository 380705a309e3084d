"""One guest on a few hosts: what can happen to it, in steps, and what is true of it.

A story is written as code that asks `Choices` wherever things may go one way or another. `every` plays it
once for each sequence of choices, always in the same order. What a choice says is written as the rows of
`tests/unit/verdicts/rows.py` are, with hosts for sides.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from bridge.wire.messages import Attention, GuestState, Mode, Reason
from bridge.wire.vocabulary import state_codes

HOSTS: Final = ("A", "B", "C")
GAP_S: Final = 0.2
Release = Literal["9.0", "11.3"]

Kind = Literal["event", "iter", "completed", "job", "end", "quietly", "blind", "dark", "back"]


class Listed(NamedTuple):
    """The domain as libvirt's list has it. `incoming`: it is the destination of a migration."""

    state: int
    reason: int
    id: int | None
    persistent: bool
    name: str
    incoming: bool = False


class Step(NamedTuple):
    """One thing that happens on one host, `t` seconds after the story began.

    args: an event's two numbers; an iteration's; a completed job's operation. there: what is listed
    afterwards. job: the number of the outgoing job, if there is one then. attempt: the one that it is part
    of.
    """

    t: float
    host: str
    kind: Kind
    args: tuple[object, ...]
    there: Listed | None
    job: int | None
    attempt: int | None
    said: str


Outcome = Literal["completed", "failed", "conflict"]


@dataclass(slots=True)
class Truth:
    """What became of one attempt. outcome None: there is nothing to tell.

    guest: the host that has it (None: none), and how it fares. confirmed: the sides that say so when all of
    them are heard. reasons: all that truly apply, for whoever saw a part only. slow: whether what the last
    verdict rests on comes more than `settle` after what the first one does. by_poll: whether the source
    confirms it by `job_failed` only, which doesn't come where nobody asked, or where the guest ended before.
    silent: whether nothing else tells of it. was_conflict: whether both ran for a while.
    """

    source: str
    destination: str
    outcome: Outcome | None = None
    guest: tuple[str | None, GuestState] = (None, "unknown")
    reason: Reason | None = None
    reasons: frozenset[Reason] = frozenset()
    mode: Mode = "precopy"
    attention: Attention | None = None
    confirmed: frozenset[str] = frozenset()
    slow: bool = False
    by_poll: bool = False
    silent: bool = False
    was_conflict: bool = False
    interrupted: bool = False
    also: dict[str, tuple[object, ...]] = field(default_factory=dict)
    """Other values of a column that are as true."""


@dataclass(slots=True)
class History:
    """One path through the world. active: where the guest runs in the end; defined: where it is listed
    then.
    """

    name: str
    driver: str
    releases: dict[str, Release]
    first: dict[str, Listed | None]
    steps: list[Step]
    attempts: list[Truth]
    active: frozenset[str]
    defined: frozenset[str]
    unreachable: frozenset[str]

    def __str__(self) -> str:
        return f"{self.name}: {written(self.steps)}"


def written(steps: Sequence[Step]) -> str:
    """Steps in the notation of the rows, hosts by their letters; gaps that aren't usual by their seconds."""
    words: list[str] = []
    before = steps[0].t - GAP_S if steps else 0.0
    for step in steps:
        if abs(step.t - before - GAP_S) > 0.001:
            words.append(f"~{step.t - before:g}")
        words.append(step.said)
        before = step.t
    return " ".join(words)


class Choices:
    """The choices of one story: those of `prefix`, then the first of each. of: only what leads to these
    words.
    """

    def __init__(self, prefix: Sequence[int], of: str | None = None) -> None:
        self._prefix = prefix
        self._of = of
        self.taken: list[tuple[int, int]] = []
        self.words: list[str] = []

    def __call__(self, *options: str) -> str:
        is_named = len(options) > 1
        if is_named and self._of is not None:
            said = "".join(f" {word}" for word in self.words)
            options = tuple(each for each in options if f"{self._of} ".startswith(f"{said} {each} "))
            if not options:
                raise Impossible
        at = len(self.taken)
        chosen = self._prefix[at] if at < len(self._prefix) else 0
        self.taken.append((chosen, len(options)))
        if is_named:
            self.words.append(options[chosen])
        return options[chosen]


def every(story: Callable[[Choices], History | None], of: str | None = None) -> Iterator[History]:
    """The story by each sequence of choices; without those that it gives up as not possible. of: only those
    whose choices are these words.
    """
    prefix: list[int] = []
    while True:
        choices = Choices(prefix, of)
        history = story(choices)
        if history is not None:
            history.name = " ".join([history.name, *choices.words])
            yield history
        taken = choices.taken
        while taken and taken[-1][0] + 1 == taken[-1][1]:
            taken.pop()
        if not taken:
            return
        prefix = [chosen for chosen, _ in taken[:-1]] + [taken[-1][0] + 1]


class Impossible(Exception):
    """The guest isn't in a state for this."""


_TOKEN: Final = re.compile(
    r"~(?P<wait>[\d.]+)|(?P<side>[SD])(?:\((?P<event>\d+),(?P<detail>\d+)\)(?P<died>!?)"
    r"|:(?P<word>[a-zJC]+)(?:\((?P<operation>\w+)\))?|=(?P<state>[\w/]+))"
)
_LEFT: Final[dict[tuple[int, int], str]] = {
    (2, 0): "running/booted",
    (2, 1): "paused/migration",
    (2, 2): "paused/migration",
    (2, 4): "running/wakeup",
    (3, 0): "paused/user",
    (3, 1): "paused/migration",
    (3, 2): "paused/ioerror",
    (3, 4): "paused/migration",
    (3, 6): "paused/api_error",
    (3, 7): "paused/postcopy",
    (3, 8): "paused/postcopy_failed",
    (4, 0): "running/unpaused",
    (4, 1): "running/migration_canceled",
    (4, 2): "running/restored",
    (4, 3): "running/postcopy",
    (4, 4): "running/postcopy_failed",
    (5, 0): "shutoff/shutdown",
    (5, 1): "shutoff/destroyed",
    (5, 2): "shutoff/crashed",
    (5, 3): "shutoff/migrated",
    (5, 4): "shutoff/saved",
    (5, 5): "shutoff/failed",
    (7, 0): "pmsuspended/unknown",
    (8, 0): "crashed/panicked",
}
"""State and reason that an event leaves (an arrival that was resumed is `running/migrated`)."""
_ANNOUNCED: Final = ((5, 3), (5, 4), (5, 5))
"""Ends that libvirtd itself brings about: 11.3 emits `shutdown/host` before each."""


class Said(NamedTuple):
    """One word of a row; wait_s: after how long, if that isn't usual."""

    wait_s: float
    is_source: bool
    code: tuple[int, int] | None
    died: bool
    state: str
    word: str
    operation: str | None


@lru_cache(None)
def _parsed(text: str) -> Sequence[Said]:
    said, wait_s = [], 0.0
    for word in text.split():
        found = _TOKEN.fullmatch(word)
        if found is None:
            raise ValueError(f"{word!r} is no word of a row")
        if found["wait"]:
            wait_s = float(found["wait"])
            continue
        code = (int(found["event"]), int(found["detail"])) if found["event"] else None
        is_source, died = found["side"] == "S", bool(found["died"])
        said.append(Said(wait_s, is_source, code, died, found["state"], found["word"], found["operation"]))
        wait_s = 0.0
    return said


class World:
    """One guest on up to three hosts. `say` lets what rows say happen, `attempts` collects what is true of
    it.
    """

    def __init__(
        self,
        choose: Choices,
        *,
        persistent: bool,
        releases: Sequence[Release] = ("9.0",),
        driver: str = "QEMU",
        is_off: bool = False,
    ) -> None:
        self.choose = choose
        self.driver = driver
        self.releases = {host: releases[n % len(releases)] for n, host in enumerate(HOSTS)}
        self.there: dict[str, Listed | None] = dict.fromkeys(HOSTS)
        self.jobs: dict[str, int | None] = dict.fromkeys(HOSTS)
        self.steps: list[Step] = []
        self.attempts: list[Truth] = []
        self.attempt: int | None = None
        self.unreachable: set[str] = set()
        self.t = 0.0
        self.arrives_as = "web01"
        self._ids = dict.fromkeys(HOSTS, 0)
        self._passes: Counter[str] = Counter()
        """Of each host's job: QEMU counts anew in the next one."""
        self._jobs = 0
        state = state_codes("shutoff", "unknown") if is_off else state_codes("running", "booted")
        self.there["A"] = Listed(*state, None if is_off else self._next_id("A"), persistent, "web01")
        self.first = dict(self.there)

    @property
    def at(self) -> str | None:
        """Where the guest is active; None: nowhere, or in two places."""
        active = self.active
        return next(iter(active)) if len(active) == 1 else None

    @property
    def active(self) -> frozenset[str]:
        """Where the guest has a hypervisor process; a host that was lost has none any more."""
        return frozenset(
            host for host, it in self.there.items() if is_active(it) and host not in self.unreachable
        )

    def is_persistent(self, host: str) -> bool:
        there = self.there[host]
        return there is not None and there.persistent

    def state(self, host: str) -> GuestState:
        """How the guest fares on a host where it is active, as a verdict says it."""
        there = self.there[host]
        assert there is not None
        return "running" if there.state == 1 else "paused"

    def is_well(self, host: str) -> bool:
        """Whether the guest runs there, with all of its memory."""
        there = self.there[host]
        return there is not None and there.state == 1 and not there.incoming

    def history(self, name: str) -> History:
        """The path that was taken."""
        used = {step.host for step in self.steps} | {"A"}
        return History(
            name,
            self.driver,
            {host: release for host, release in self.releases.items() if host in used},
            self.first,
            self.steps,
            self.attempts,
            self.active,
            frozenset(host for host, it in self.there.items() if it is not None),
            frozenset(self.unreachable),
        )

    def say(self, text: str, source: str, destination: str = "", gap_s: float = GAP_S) -> None:
        """What a row says, between two hosts."""
        for said in _parsed(text):
            self.t += said.wait_s or gap_s
            host = source if said.is_source else destination
            if said.code is not None:
                self._event(host, said.code, died=said.died)
            elif said.state:
                self._quietly(host, said.state)
            else:
                self._word(host, said.word, said.operation)

    def _word(self, host: str, word: str, operation: str | None) -> None:
        if word == "iter":
            self._passes[host] += 1
            self._happens(host, "iter", (self._passes[host],), "iter")
        elif word == "JC":
            operation = operation or "migration_out"
            self._passes[host] = 0
            if operation == "migration_out":
                self.jobs[host] = None
            self._happens(
                host, "completed", (operation,), "JC" if operation == "migration_out" else f"JC({operation})"
            )
        elif word == "job":
            self._jobs += 1
            self._passes[host] = 0
            self.jobs[host] = self._jobs
            self._happens(host, "job", (), "job")
        elif word == "end":
            self.jobs[host] = None
            self._passes[host] = 0
            self._happens(host, "end", (), "end")
        elif word in ("blind", "dark", "back"):
            if word == "dark":
                self.unreachable.add(host)
            elif word == "back":
                self.unreachable.discard(host)
            self._happens(host, word, (), word)  # type: ignore[arg-type]
        else:
            raise ValueError(f"{word!r} is no word of a row")

    def _event(self, host: str, code: tuple[int, int], *, died: bool) -> None:
        if self.releases[host] == "11.3" and code in _ANNOUNCED and not died and self.driver == "QEMU":
            self._happens(host, "event", (6, 2), "(6,2)")
            self.t += 0.02
        before = self.there[host]
        event, detail = code
        if code == (0, 2) and before is not None:
            self.there[host] = before._replace(name=before.name + "-renamed")
        elif event == 0:
            there = before or Listed(*state_codes("shutoff", "unknown"), None, True, self.arrives_as)
            self.there[host] = there._replace(persistent=True)
        elif code == (1, 0):
            self.there[host] = before._replace(persistent=False) if before and is_active(before) else None
        elif event == 5:
            self.jobs[host] = None
            self._passes[host] = 0
            reason = "shutoff/crashed" if died and not (before and before.incoming) else _LEFT[code]
            self._becomes(host, reason, None)
        elif code in _LEFT:
            state = _LEFT[code]
            starts = event == 2 or before is None or not is_active(before)
            number = self._next_id(host) if starts and detail != 4 else before.id if before else None
            incoming = code == (2, 1) or (code == (2, 2) and self.driver == "Xen")
            if before is not None and before.incoming and event in (3, 4):
                state = "running/migrated" if code == (4, 1) else state
                incoming = code in ((4, 3), (4, 4))
            self._becomes(host, state, number, incoming=incoming)
        self._happens(host, "event", code, f"({event},{detail}){'!' if died else ''}")

    def _becomes(self, host: str, state: str, number: int | None, *, incoming: bool = False) -> None:
        before = self.there[host]
        persistent = before is not None and before.persistent
        if state.startswith("shutoff") and not persistent:
            self.there[host] = None
            return
        name = before.name if before else self.arrives_as
        self.there[host] = Listed(*state_codes(*state.split("/")), number, persistent, name, incoming)

    def _quietly(self, host: str, state: str) -> None:
        before = self.there[host]
        if state == "gone":
            self.there[host] = None
        elif state == "undefined":
            self.there[host] = before._replace(persistent=False) if before and is_active(before) else None
        elif before is not None:
            active = not state.startswith("shutoff")
            if not active:
                self.jobs[host] = None
            self._becomes(host, state, before.id if active else None, incoming=active and before.incoming)
        self._happens(host, "quietly", (), f"={state}")

    def _happens(self, host: str, kind: Kind, args: tuple[object, ...], said: str) -> None:
        mark = "" if said[0] in "(=" else ":"
        self.steps.append(
            Step(
                self.t,
                host,
                kind,
                args,
                self.there[host],
                self.jobs[host],
                self.attempt,
                f"{host}{mark}{said}",
            )
        )

    def _next_id(self, host: str) -> int:
        self._ids[host] += 1
        return self._ids[host]


def is_active(there: Listed | None) -> bool:
    """Whether a listed domain has a hypervisor process."""
    return there is not None and there.state != 5


def stretched(history: History, times: float, after: int | None = None) -> History:
    """The same with every gap (or the one after a step) so many times as long."""
    steps, t = [], 0.0
    before = 0.0
    for n, step in enumerate(history.steps):
        factor = times if after is None or after == n - 1 else 1.0
        t += (step.t - before) * factor
        before = step.t
        steps.append(step._replace(t=t))
    return replace(history, steps=steps)
