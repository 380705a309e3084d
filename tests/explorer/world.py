"""What can happen to one guest, and what is true of it.

libvirt's migration protocol as choices: Begin, Prepare, Perform, Finish and Confirm each succeed, fail,
hang or are cut off, and the guest may end by itself at each step (sources: MIGRATIONS, `qemu_migration.c`,
`libxl_migration.c`). `every` plays a story once for each sequence of choices, always in the same order.
What a choice says is written as the rows of `tests/unit/verdicts/rows.py` are, with hosts for sides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
    them are heard. reasons: all that truly apply, for whoever saw a part only. outcomes: what is true for a
    while, too. slow: whether what the last verdict rests on comes more than `settle` after what the first
    one does.
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
    """The choices of one story: those of `prefix`, then the first of each."""

    def __init__(self, prefix: Sequence[int]) -> None:
        self._prefix = prefix
        self.taken: list[tuple[int, int]] = []
        self.words: list[str] = []

    def __call__(self, *options: str) -> str:
        at = len(self.taken)
        chosen = self._prefix[at] if at < len(self._prefix) else 0
        self.taken.append((chosen, len(options)))
        if len(options) > 1:
            self.words.append(options[chosen])
        return options[chosen]


def every(story: Callable[[Choices], History | None]) -> Iterator[History]:
    """The story by each sequence of choices; without those that it gives up as not possible."""
    prefix: list[int] = []
    while True:
        choices = Choices(prefix)
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
        self._ids = dict.fromkeys(HOSTS, 0)
        self._iterations = 0
        self._jobs = 0
        self.there["A"] = Listed(*state_codes("running", "booted"), self._next_id("A"), persistent, "web01")
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
        pause = 0.0
        for word in text.split():
            found = _TOKEN.fullmatch(word)
            if found is None:
                raise ValueError(f"{word!r} is no word of a row")
            if found["wait"]:
                pause = float(found["wait"])
                continue
            self.t += pause or gap_s
            pause = 0.0
            host = source if found["side"] == "S" else destination
            if found["event"]:
                code = (int(found["event"]), int(found["detail"]))
                self._event(host, code, died=bool(found["died"]))
            elif found["state"]:
                self._quietly(host, found["state"])
            else:
                self._word(host, found["word"], found["operation"])

    def _word(self, host: str, word: str, operation: str | None) -> None:
        if word == "iter":
            self._iterations += 1
            self._happens(host, "iter", (self._iterations,), "iter")
        elif word == "JC":
            operation = operation or "migration_out"
            if operation == "migration_out":
                self.jobs[host] = None
            self._happens(
                host, "completed", (operation,), "JC" if operation == "migration_out" else f"JC({operation})"
            )
        elif word == "job":
            self._jobs += 1
            self._iterations = 0
            self.jobs[host] = self._jobs
            self._happens(host, "job", (), "job")
        elif word == "end":
            self.jobs[host] = None
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
            there = before or Listed(*state_codes("shutoff", "unknown"), None, True, "web01")
            self.there[host] = there._replace(persistent=True)
        elif code == (1, 0):
            self.there[host] = before._replace(persistent=False) if before and is_active(before) else None
        elif event == 5:
            self.jobs[host] = None
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
        name = before.name if before else "web01"
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


# What an attempt may come to. Each takes the world, the source, the destination and what is true so far.

_D_REASON: Final[dict[str, Reason]] = {"(5,5)": "destination_failed", "(5,1)": "destination_destroyed"}


def migrate(w: World, source: str, destination: str, kinds: Sequence[str]) -> Truth:
    """One attempt from Begin to its end, by the choices."""
    if not w.is_well(source) or is_active(w.there[destination]):
        raise Impossible
    truth = Truth(source, destination)
    w.attempts.append(truth)
    w.attempt = len(w.attempts) - 1
    _KINDS[w.choose(*kinds)](w, truth)
    w.attempt = None
    return truth


def _say(w: World, truth: Truth, text: str) -> None:
    w.say(text, truth.source, truth.destination)


def _completed(w: World, truth: Truth, **columns: object) -> None:
    truth.outcome, truth.confirmed = "completed", frozenset({"source", "destination"})
    truth.guest = (truth.destination, w.state(truth.destination))
    _set(truth, columns)


def _failed(w: World, truth: Truth, reason: Reason, confirmed: str = "SD", **columns: object) -> None:
    """confirmed: `S`, `D`, as in the rows."""
    truth.outcome, truth.reason = "failed", reason
    truth.confirmed = frozenset(side for side in ("source", "destination") if side[0] in confirmed.lower())
    it = w.there[truth.source]
    if is_active(it):
        truth.guest = (truth.source, w.state(truth.source))
    _set(truth, columns)
    truth.reasons |= {reason, "source_job_ended", "source_resumed", "destination_vanished"}


def _set(truth: Truth, columns: Mapping[str, object]) -> None:
    for name, value in columns.items():
        setattr(truth, name, value)


def _prepare_fails(w: World, truth: Truth) -> None:
    _say(w, truth, "S:job ~0.5 S:end")


def _arrive(
    w: World, truth: Truth, how: str = "(4,1)", definition: str = "", *, undefine: bool = False
) -> None:
    """Finish succeeds; then Confirm, as it may go."""
    if definition:
        _say(w, truth, definition)
    _say(w, truth, f"D{how}")
    confirms = (
        "confirmed",
        "confirm lost",
        "source's libvirtd killed",
        "source's libvirtd stopped",
        "answer lost",
        "source's host lost",
    )
    _CONFIRM[w.choose(*(confirms if how == "(4,1)" and not definition else confirms[:1]))](w, truth)
    if undefine:
        _say(w, truth, "S=gone")


def _confirmed(w: World, truth: Truth) -> None:
    _say(w, truth, "~1.4 S(5,3) S:JC")
    _completed(w, truth)


def _left_paused(w: World, truth: Truth, said: str) -> None:
    if said:
        _say(w, truth, said)
    _completed(w, truth, attention="source_left_paused", confirmed=frozenset({"destination"}))
    if w.choose("left", "destroyed later") == "destroyed later":
        w.attempt = None
        _say(w, truth, "~40 S(6,2) S(5,1)")


def _confirm_lost(w: World, truth: Truth) -> None:
    _say(w, truth, "S:end")
    _left_paused(w, truth, "")


def _source_killed(w: World, truth: Truth) -> None:
    _left_paused(w, truth, "S:blind S:end ~1.5 S:back")


def _source_stopped(w: World, truth: Truth) -> None:
    _say(w, truth, "S:blind ~1 S=shutoff/unknown ~1 S:back")
    _completed(w, truth)


def _answer_lost(w: World, truth: Truth) -> None:
    _say(w, truth, "S(4,1) S:end")
    truth.outcome, truth.guest = "conflict", (None, "running")
    truth.confirmed = frozenset({"source", "destination"})
    end = w.choose("both run on", "source destroyed", "destination destroyed")
    if end == "both run on":
        return
    truth.slow = True
    w.attempt = len(w.attempts) - 1
    if end == "source destroyed":
        _say(w, truth, "~40 S(6,2) S(5,1)")
        _completed(w, truth)
    else:
        _say(w, truth, "~40 D(6,2) D(5,1)")
        _failed(w, truth, "destination_destroyed")


def _source_host_lost_at_last(w: World, truth: Truth) -> None:
    _say(w, truth, "S:dark")
    _completed(w, truth, confirmed=frozenset({"destination"}))
    if w.choose("for good", "found again") == "found again":
        _say(w, truth, "~90 S=shutoff/unknown S:back")
        truth.confirmed = frozenset({"source", "destination"})
        truth.slow = True


_CONFIRM: Final[dict[str, Callable[[World, Truth], None]]] = {
    "confirmed": _confirmed,
    "confirm lost": _confirm_lost,
    "source's libvirtd killed": _source_killed,
    "source's libvirtd stopped": _source_stopped,
    "answer lost": _answer_lost,
    "source's host lost": _source_host_lost_at_last,
}


def _finish_fails(w: World, truth: Truth) -> None:
    """Finish fails on the destination; the source resumes, if it can. Their order isn't given."""
    how = w.choose(
        "D(5,5) ~{} S(4,1) S:end",
        "S(4,1) S:end ~{} D(5,5)",
        "D(5,5) S(4,1) ~0.01 S(3,1) S:end",
        "D(5,5) S(3,6) S:end",
    )
    _say(w, truth, "~1.4 " + how.format(w.choose("0.2", "1.4") if "{}" in how else ""))
    stuck = "(3," in how
    _failed(w, truth, "destination_failed", attention="guest_left_paused" if stuck else None)


_OVER: Final[dict[str, tuple[str, Reason, str]]] = {
    "aborted": ("S:end D(5,5)", "destination_failed", "sD"),
    "aborted, destination first": ("D(5,5) S:end", "destination_failed", "sD"),
    "destination's QEMU dies": ("D(5,5)! S:end", "destination_failed", "sD"),
    "destination destroyed": ("D(6,2) D(5,1) S:end", "destination_destroyed", "sD"),
    "network cut": ("~8 D(6,2) D(5,1) ~1 S:end", "destination_destroyed", "sD"),
    "source's libvirtd killed": ("S:blind S:end D(5,5) ~1.5 S:back", "destination_failed", "sD"),
    "source's libvirtd killed, p2p": (
        "S:blind S:end D(6,2) D(5,1) ~1.5 S:back",
        "destination_destroyed",
        "sD",
    ),
}
"""How a copy ends that fails while the guest runs on: what is said, the reason, and who confirms it."""
_DOWN: Final[dict[str, tuple[str, Reason, GuestState]]] = {
    "guest powers off": ("S(6,1) S(5,0) D(5,5)", "source_stopped", "shutoff"),
    "source's QEMU crashes": ("S(5,5)! D(5,5)", "source_crashed", "lost"),
    "source destroyed": ("S(6,2) S(5,1) D(5,5)", "source_stopped", "shutoff"),
}
"""How the guest ends while it is copied."""


def _breaks_off(w: World, truth: Truth, *, seen: bool) -> None:
    """The copy ends before the switch-over. seen: an iteration was, so that the agent asks about the job."""
    how = w.choose(
        *_OVER, *_DOWN, "destination's host lost", "source's host lost", "destination's libvirtd killed"
    )
    if how in _OVER:
        said, reason, confirmed = _OVER[how]
        _say(w, truth, said)
        truth.by_poll = seen
        watched = seen and "S:blind" not in said
        _failed(w, truth, reason, confirmed if watched else "D")
        if "S:blind" in said:
            # Back again, the agent asks about a job that it had seen.
            truth.confirmed = frozenset({"source", "destination"} if seen else {"destination"})
    elif how in _DOWN:
        said, reason, state = _DOWN[how]
        persistent = w.is_persistent(truth.source)
        _say(w, truth, said)
        host = truth.source if state == "shutoff" and persistent else None
        _failed(w, truth, reason, guest=(host, state))
        truth.reasons |= {"destination_failed", "source_stopped", "source_crashed"}
    elif how == "destination's host lost":
        _say(w, truth, "D:dark S:end")
        _failed(w, truth, "source_job_ended", "S" if seen else "")
        if not seen:
            truth.outcome = None
        if w.choose("for good", "found again") == "found again":
            _say(w, truth, "~60 D=shutoff/unknown D:back")
            _failed(w, truth, "destination_vanished", "SD" if seen else "D", slow=True)
    elif how == "source's host lost":
        _source_host_lost(w, truth)
    else:
        newer = w.releases[truth.destination] == "11.3"
        _say(
            w,
            truth,
            "D:blind S:end ~1.5 "
            + (
                "D:back D(6,2) D=shutdown/unknown ~1 D=shutoff/unknown"
                if newer
                else "D=shutoff/unknown D:back"
            ),
        )
        _failed(w, truth, "destination_vanished", "SD" if seen else "D", slow=newer)


def _source_host_lost(w: World, truth: Truth) -> None:
    _say(w, truth, "S:dark ~3 D(5,5)")
    _failed(w, truth, "destination_failed", "D", guest=(None, "unknown"))
    truth.reasons |= {"source_crashed"}
    if w.choose("for good", "found again") == "found again":
        persistent = w.is_persistent(truth.source)
        _say(w, truth, "~90 S=shutoff/crashed S:back")
        truth.slow = True
        both = frozenset({"source", "destination"})
        if persistent:
            _set(truth, {"reason": "source_crashed", "guest": (None, "lost"), "confirmed": both})
        else:
            truth.also = {"reason": ("source_crashed",), "guest": ((None, "lost"),), "confirmed_by": (both,)}


def _live(w: World, truth: Truth) -> None:
    """Prepare, then a copy, with the switch-over at its end."""
    _say(w, truth, "S:job D(2,1)")
    if w.choose("copies", "breaks off at once") == "breaks off at once":
        _breaks_off(w, truth, seen=False)
        return
    _say(w, truth, "S:iter S:iter")
    if w.choose("switches", "breaks off") == "breaks off":
        _say(w, truth, w.choose("", "~2 S:iter"))
        _breaks_off(w, truth, seen=True)
        return
    _say(w, truth, "S(3,1) S:iter")
    if w.choose("finishes", "finish fails") == "finish fails":
        _finish_fails(w, truth)
    else:
        _arrive(w, truth)


def _plain(
    said: str, how: str = "(4,1)", definition: str = "", *, undefine: bool = False
) -> Callable[[World, Truth], None]:
    def play(w: World, truth: Truth) -> None:
        if undefine and not w.is_persistent(truth.source):
            raise Impossible
        _say(w, truth, said)
        _arrive(w, truth, how, definition, undefine=undefine)

    return play


def _suspended_at_first(play: Callable[[World, Truth], None]) -> Callable[[World, Truth], None]:
    def paused(w: World, truth: Truth) -> None:
        attempt, w.attempt = w.attempt, None
        _say(w, truth, "S(3,0) ~3")
        w.t += 3.0
        w.attempt = attempt
        play(w, truth)

    return paused


def _non_live(w: World, truth: Truth) -> None:
    _say(w, truth, "S:job D(2,1) S(3,1) S:iter S:iter")
    how = w.choose("finishes", "aborted", "aborted, destination first")
    if how == "finishes":
        _arrive(w, truth)
        return
    _say(w, truth, "~2 S(4,1) S:end ~1.4 D(5,5)" if how == "aborted" else "~2 D(5,5) ~1.4 S(4,1) S:end")
    _failed(w, truth, "destination_failed")


def _paused_copy(w: World, truth: Truth) -> None:
    _say(w, truth, "S:job D(2,1) S:iter S:iter")
    if w.choose("finishes", "aborted") == "finishes":
        _say(w, truth, "D(3,0) ~1.4 S(5,3) S:JC")
        _completed(w, truth)
    else:
        _say(w, truth, "~2 S:end D(5,5)")
        _failed(w, truth, "destination_failed")


def _suspended_meanwhile(w: World, truth: Truth) -> None:
    _say(w, truth, "S:job D(2,1) S:iter ~2 S(3,1) ~4 S:iter S:iter")
    if w.choose("finishes", "aborted") == "finishes":
        _say(w, truth, "D(4,1) ~1.9 S(5,3) S:JC")
        _completed(w, truth)
    else:
        _say(w, truth, "S(4,1) S:end D(5,5)")
        _failed(w, truth, "destination_failed")


def _postcopy(w: World, truth: Truth) -> None:
    """The guest runs on the destination before its memory is there."""
    truth.mode = "postcopy"
    _say(w, truth, "S:job D(2,1) S:iter ~1 S(3,1) S(3,7) S:iter D(4,3)")
    how = w.choose(
        "completes",
        "source's libvirtd killed",
        "destination's libvirtd killed",
        "breaks",
        "source's QEMU dies",
        "destination's QEMU dies",
    )
    if how == "completes":
        _say(w, truth, "~5 D(4,1) ~1.2 S(5,3) S:JC")
    elif how == "source's libvirtd killed":
        _say(w, truth, "~1 S:blind ~3 S:back ~4 D(4,1) ~1.8 S(5,3) S:JC")
    elif how == "destination's libvirtd killed":
        _say(w, truth, "~1 D:blind ~3 D:back ~4 D(4,1) ~1.8 S(5,3) S:JC")
    elif how == "breaks":
        _postcopy_breaks(w, truth)
        return
    elif how == "source's QEMU dies":
        truth.interrupted = True
        _say(
            w, truth, w.choose("~1 D(4,4) ~1.4 S(3,8) S(5,5)!", "~1 D(4,4) ~0.4 S(5,5)!", "~1 S(5,5)! D(4,4)")
        )
        _pages_lost(w, truth)
        return
    else:
        _say(w, truth, w.choose("~1 S(3,8) D(5,5)!", "~1 D(5,5)! S(3,8)"))
        truth.interrupted = True
        _postcopy_failed(w, truth, "postcopy_failed", "D")
        return
    _completed(w, truth)


def _postcopy_breaks(w: World, truth: Truth) -> None:
    truth.interrupted = True
    _say(w, truth, "~1 " + w.choose("S(3,8) D(4,4)", "D(4,4) S(3,8)", "S(3,8)", "D(4,4)"))
    how = w.choose(
        "resumed",
        "resumed, destination first",
        "by itself",
        "stays so",
        "source destroyed",
        "destination destroyed",
    )
    if how == "stays so":
        return
    if how == "source destroyed":
        _say(w, truth, "~20 S(6,2) S(5,1)")
        _pages_lost(w, truth, "source_stopped")
    elif how == "destination destroyed":
        _say(w, truth, "~20 D(6,2) D(5,1)")
        _postcopy_failed(w, truth, "postcopy_failed", "D")
    else:
        again = {
            "resumed": "~15 S(3,7) D(4,3) ~6",
            "resumed, destination first": "~15 D(4,3) S(3,7) ~6",
            "by itself": "~12",
        }
        _say(w, truth, again[how] + " D(4,1) ~1.7 S(5,3) S:JC")
        _completed(w, truth)


def _pages_lost(w: World, truth: Truth, reason: Reason = "source_crashed") -> None:
    _failed(w, truth, reason, "S", guest=(None, "lost"), attention="postcopy_incomplete")
    truth.reasons |= {"source_crashed", "source_stopped", "postcopy_failed"}


def _postcopy_failed(w: World, truth: Truth, reason: Reason, confirmed: str) -> None:
    _failed(w, truth, reason, confirmed, guest=(None, "lost"))
    truth.reasons |= {"postcopy_failed"}


def _storage(w: World, truth: Truth) -> None:
    _say(w, truth, "S:job D(2,1)")
    w.t += 19.0
    if w.choose("copies", "breaks off") == "breaks off":
        _breaks_off(w, truth, seen=False)
        return
    _say(w, truth, "S:iter S:iter S(3,1) S:iter")
    _arrive(w, truth)


def _offline(w: World, truth: Truth) -> None:
    """Of a guest that is shut off; its definition moves, and takes itself away at the source or not."""
    if not w.is_persistent(truth.source):
        raise Impossible
    attempt, w.attempt = w.attempt, None
    _say(w, truth, "S(6,1) S(5,0)")
    w.t += 20.0
    w.attempt = attempt
    if w.choose("undefines its source", "keeps its source") == "keeps its source":
        _say(w, truth, "D(0,0)")
        return
    _say(w, truth, "D(0,0) ~0.1 S=gone")
    truth.mode = "offline"
    truth.outcome, truth.guest, truth.slow = "completed", (truth.destination, "shutoff"), True
    truth.confirmed = frozenset({"source", "destination"})


def _xen(w: World, truth: Truth) -> None:
    how = w.choose("D(2,2) ~1 D(4,1) D(0,0) S(5,3)", "D(2,2) ~1 D(4,0) S(5,3)")
    _say(w, truth, how)
    _completed(w, truth)


def _xen_paused(w: World, truth: Truth) -> None:
    _say(w, truth, "D(2,2) ~1 D(3,0) S(5,3)")
    _completed(w, truth)


_SWITCHED: Final = "S:job D(2,1) S:iter S:iter S(3,1) S:iter"
_KINDS: Final[dict[str, Callable[[World, Truth], None]]] = {
    "prepare fails": _prepare_fails,
    "live": _live,
    "non-live": _non_live,
    "suspend": _plain(_SWITCHED, "(3,0)"),
    "paused before": _suspended_at_first(_paused_copy),
    "persistent": _plain(_SWITCHED, "(4,1)", "D(0,0)"),
    "undefinesource": _plain(_SWITCHED, "(4,1)", "D(0,0)", undefine=True),
    "storage": _storage,
    "suspended meanwhile": _suspended_meanwhile,
    "post-copy": _postcopy,
    "offline": _offline,
    "xen": _xen,
    "xen, paused": _suspended_at_first(_xen_paused),
}
QEMU_KINDS: Final = tuple(kind for kind in _KINDS if "xen" not in kind)
XEN_KINDS: Final = tuple(kind for kind in _KINDS if "xen" in kind)

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
    "definition copied and removed": "D(0,0) ~40 D(1,0)",
    "saved, restored elsewhere": "S(3,0) S:iter S:JC(save) S(5,4) ~9 D(2,2) D(4,2)",
    "started elsewhere": "S(6,1) S(5,0) ~30 D(4,0) D(2,0)",
    "shut down": "S(6,1) S(5,0)",
    "destroyed": "S(6,2) S(5,1)",
    "crash": "S(5,5)!",
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
    said = LOOK_ALIKES[w.choose(*names)]
    other = next(host for host in HOSTS if host != at)
    w.t += wait_s
    w.say(said, at, other)


# The stories

_LEAST_S: Final = 0.5
_PLACES: Final[tuple[tuple[bool, tuple[Release, ...]], ...]] = (
    (False, ("9.0",)),
    (True, ("9.0",)),
    (False, ("11.3",)),
    (True, ("11.3",)),
    (False, ("9.0", "11.3")),
    (True, ("11.3", "9.0")),
)
"""Whether the guest has a definition on its first host, and the releases of the hosts in turn."""


def _story(
    name: str, play: Callable[[World], object], *, driver: str = "QEMU", places: Sequence[int] = range(6)
) -> Iterator[History]:
    for place in places:
        persistent, releases = _PLACES[place]
        how = f"{name} {'persistent' if persistent else 'transient'} {'>'.join(releases)}"

        def story(
            choose: Choices,
            persistent: bool = persistent,
            releases: Sequence[Release] = releases,
            how: str = how,
        ) -> History | None:
            w = World(choose, persistent=persistent, releases=releases, driver=driver)
            try:
                play(w)
            except Impossible:
                return None
            return w.history(how)

        yield from every(story)


def one() -> Iterator[History]:
    """One attempt, every way that it goes."""
    yield from _story("one", lambda w: migrate(w, "A", "B", QEMU_KINDS))
    yield from _story("one", lambda w: migrate(w, "A", "B", XEN_KINDS), driver="Xen", places=(0, 1))


def none() -> Iterator[History]:
    """No attempt: what resembles one, alone and two of them."""
    yield from _story("none", lambda w: look_alike(w, tuple(LOOK_ALIKES), wait_s=1.0))

    def two(w: World) -> None:
        look_alike(w, KEEPS_RUNNING, wait_s=1.0)
        look_alike(w, tuple(LOOK_ALIKES), wait_s=5.0)

    yield from _story("none twice", two, places=(0, 3))
    yield from _story("both run", lambda w: w.say("D(4,0) D(2,0)", "A", "B"), places=(0, 3))


def around() -> Iterator[History]:
    """What resembles a migration, before an attempt and after it."""

    def before(w: World) -> None:
        look_alike(w, KEEPS_RUNNING, wait_s=1.0)
        at = w.at
        assert at is not None
        w.t += float(w.choose("0.5", "30"))
        migrate(w, at, next(h for h in HOSTS if h != at), ("live", "post-copy", "storage"))

    def after(w: World) -> None:
        migrate(w, "A", "B", ("live", "post-copy", "storage", "non-live"))
        if w.choose("at once", "later") == "at once":
            look_alike(w, GOES_ON, wait_s=0.5)
        else:
            # An end at once after a failure that nothing told of on the source looks like the reason for it.
            look_alike(w, tuple(LOOK_ALIKES), wait_s=30.0)

    yield from _story("before", before, places=(0, 3))
    yield from _story("after", after, places=(0, 3))


def two() -> Iterator[History]:
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

    yield from _story("two", play, places=(0, 3, 4))


STORIES: Final[dict[str, Callable[[], Iterator[History]]]] = {
    "one": one,
    "none": none,
    "around": around,
    "two": two,
}


def histories(names: Sequence[str] = tuple(STORIES)) -> Iterator[History]:
    """Every history of these stories, always in the same order; no two in which the same is said."""
    seen = set()
    for name in names:
        for history in STORIES[name]():
            key = (str(history).split(": ")[-1], history.driver, history.first["A"])
            if key not in seen:
                seen.add(key)
                yield history


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
