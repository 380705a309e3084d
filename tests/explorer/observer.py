"""How a history comes to the correlator: through agents and a broker in trouble.

A trouble is one thing that goes wrong at one place. `troubles` lists every one of a history, always in the
same order; `pairs` a slice of all pairs of two. `observe` makes of a history and its troubles what the
correlator is handed, when, and when it is restarted.

Left out, and counted, is what can't matter: a window in which nothing happens, a delay that changes no order
between two hosts, and the third host of a history that has two.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from bridge.agent.publish.status import StatusData
from bridge.wire.messages import Libvirt, Span
from tests.explorer.agent import CONNECTS_AT, TRUE, Agent, Clock, Message, Window, host_name
from tests.explorer.world import History, Step, stretched
from tests.support.agent_messages import messages_of

WAY_S: Final = 0.05
"""How long a message is on its way."""
BEFORE_S: Final = 0.04
"""A window begins so long before the first step in it, and ends so long after the last."""
AFTER_S: Final = 200.0
"""How long agents go on after the last step, or after they see again: some looks at the list."""
KEEPALIVE_S: Final = 15.0
"""After so long the broker notices that an agent is gone: its keep-alive, times 1.5 (MQTT 5, 3.1.2.10)."""
REST_S: Final = 4000.0
"""How long the correlator goes on after the last message."""
SHORT_S: Final = 15.0
LONG_S: Final = 700.0
HOURS_S: Final = 10_800.0
FOREVER: Final = float("inf")

Kind = Literal[
    "none",
    "dead",
    "blind",
    "cut",
    "late",
    "doubled",
    "hole",
    "clock",
    "clock steps",
    "correlator's clock",
    "restart",
    "stretch",
]
HIDING: Final = ("dead", "blind")
"""Troubles that keep something from being told as it happened (so does a hole that is never filled)."""


class Trouble(NamedTuple):
    """One thing that goes wrong. first, last: numbers of the steps (dead, blind), of the host's messages
    (cut, doubled, hole) or of all messages (restart, correlator's clock) that it is about. s: how long, or
    by how much.
    """

    kind: Kind
    host: str = ""
    first: int = 0
    last: int = 0
    how: str = ""
    s: float = 0.0

    def __str__(self) -> str:
        where = "" if self.kind in ("none", "stretch") else f" {self.first}…{self.last}"
        return f"{self.kind} {self.host}{where} {self.how} {self.s:g}".replace("  ", " ").strip()


class Delivery(NamedTuple):
    """What the broker hands over at one moment, in true seconds after the story began."""

    at: float
    message: Message
    host: str
    retained: bool = False


@dataclass(slots=True)
class Observed:
    """What comes to the correlator. restarts: (the number of deliveries before it, until when it is down)."""

    history: History
    troubles: tuple[Trouble, ...]
    deliveries: list[Delivery] = field(default_factory=list)
    restarts: list[tuple[float, float]] = field(default_factory=list)
    clock: tuple[float, float] | None = None
    lost: list[Message] = field(default_factory=list)
    replays: list[tuple[str, Message, str]] = field(default_factory=list)
    hidden: frozenset[str] = frozenset()
    unseen_at_last: frozenset[str] = frozenset()


def hosts_of(history: History) -> list[str]:
    """The hosts that take part."""
    return sorted(history.releases)


class _Agent(NamedTuple):
    """What one host's messages depend on, beside what happens."""

    host: str
    windows: tuple[Window, ...]
    clock: Clock


_known: dict[tuple[int, _Agent], tuple[list[Step], list[Message]]] = {}
"""The messages of a history's hosts, which most of its troubles share: by the identity of its steps."""


def _messages(history: History, agent: _Agent) -> list[Message]:
    key = (id(history.steps), agent)
    found = _known.get(key)
    if found is None:
        if len(_known) > 1000:
            _known.clear()
        first = history.first[agent.host]
        played = Agent(agent.host, driver=history.driver, first=first, clock=agent.clock)
        steps = [(n, step) for n, step in enumerate(history.steps) if step.host == agent.host]
        ends = [step.t for step in history.steps[-1:]] + [window.ends or 0.0 for window in agent.windows]
        messages = played.run(steps, agent.windows, max(ends, default=0.0) + AFTER_S)
        found = _known[key] = (history.steps, messages)
    return found[1]


def observe(history: History, troubles: Sequence[Trouble]) -> Observed | None:
    """What the correlator is handed; None where these troubles can't be, or not together."""
    played = _stretched(history, troubles)
    windows: dict[str, list[Window]] = {}
    for trouble in sorted(troubles):
        if trouble.kind in HIDING:
            if trouble.host in windows or _parts_what_is_one(history, trouble):
                return None
            played, window = _window(played, trouble)
            windows[trouble.host] = [window]
    seen = Observed(played, tuple(troubles))
    streams: dict[str, list[Delivery]] = {}
    for host in hosts_of(history):
        agent = _Agent(host, tuple(windows.get(host, ())), clock_of(played, host, troubles))
        streams[host] = [Delivery(one.t + WAY_S, one, host) for one in _messages(played, agent)]
    for trouble in troubles:
        change = _ON_THE_WAY.get(trouble.kind)
        if change is not None:
            stream = streams[trouble.host]
            if not _has_it(stream, trouble):
                return None
            if (changed := change(seen, stream, trouble)) is None:
                return None
            streams[trouble.host] = changed
    for stream in streams.values():
        seen.deliveries += stream
    seen.deliveries.sort(key=lambda one: one.at)
    for trouble in troubles:
        _trouble_the_correlator(seen, trouble)
    seen.hidden = frozenset(
        t.host for t in troubles if t.kind in HIDING or (t.kind == "hole" and "lost" in t.how)
    )
    seen.unseen_at_last = frozenset(t.host for t in troubles if t.kind in HIDING and t.how == "for good")
    return seen


def _trouble_the_correlator(seen: Observed, trouble: Trouble) -> None:
    if trouble.kind == "restart":
        _restart(seen, trouble)
    elif trouble.kind == "correlator's clock":
        at = seen.deliveries[trouble.first].at - 0.001 if trouble.first < len(seen.deliveries) else 0.0
        seen.clock = (at, trouble.s)


def _has_it(stream: list[Delivery], trouble: Trouble) -> bool:
    """Whether the message is there that the trouble is about: another may have kept it from being sent."""
    if trouble.first >= len(stream):
        return False
    return trouble.kind not in ("doubled", "hole") or stream[trouble.first].message.kind == "event"


def _stretched(history: History, troubles: Sequence[Trouble]) -> History:
    for trouble in troubles:
        if trouble.kind == "stretch":
            history = stretched(history, trouble.s, None if trouble.first < 0 else trouble.first)
    return history


def _parts_what_is_one(history: History, trouble: Trouble) -> bool:
    """Whether a window ends between two steps that libvirt takes at once: the world can't wait there."""
    following = history.steps[trouble.last + 1 : trouble.last + 2]
    return bool(trouble.s) and any(
        step.host == trouble.host and step.t - history.steps[trouble.last].t < BEFORE_S for step in following
    )


def _window(history: History, trouble: Trouble) -> tuple[History, Window]:
    """The time in which the agent doesn't see; where it is long, the world waits at its end."""
    steps = history.steps
    begins = steps[trouble.first].t - BEFORE_S
    ends: float | None = steps[trouble.last].t + BEFORE_S
    if trouble.s:
        later = [
            step._replace(t=step.t + trouble.s) if n > trouble.last else step for n, step in enumerate(steps)
        ]
        history = History(
            history.name, history.driver, history.releases, history.first, later, history.attempts,
            history.active, history.defined, history.unreachable,
        )  # fmt: skip
        assert ends is not None
        ends += trouble.s - 1.0
    if trouble.how == "for good":
        ends = None
    says = begins + (KEEPALIVE_S if trouble.how == "unsaid" else 0.02)
    return history, Window(begins, ends, "agent" if trouble.kind == "dead" else "libvirt", says)


def clock_of(history: History, host: str, troubles: Sequence[Trouble]) -> Clock:
    """The host's clock under these troubles."""
    for trouble in troubles:
        if trouble.host == host and trouble.kind == "clock":
            return Clock(trouble.s)
        if trouble.host == host and trouble.kind == "clock steps":
            return Clock(0.0, history.steps[trouble.first].t - BEFORE_S, trouble.s)
    return TRUE


def _cut(seen: Observed, stream: list[Delivery], trouble: Trouble) -> list[Delivery] | None:
    """The agent's session is gone from one message on, until after another; said by its Will, or not. A Will
    is the broker's own word: no session that is gone holds it up. None: the host itself is lost by then, and
    sends nothing.
    """
    first, last = stream[trouble.first], stream[min(trouble.last, len(stream) - 1)]
    release = last.at + 0.01 + trouble.s
    if _is_lost(seen.history, trouble.host, release):
        return None
    late = [
        one._replace(at=max(one.at, release)) if n >= trouble.first and not _is_will(one) else one
        for n, one in enumerate(stream)
    ]
    late.sort(key=lambda one: one.at)
    if trouble.how == "said" and not any(_is_will(one) for one in stream):
        clock = clock_of(seen.history, trouble.host, seen.troubles)
        will_at, back_at = first.at + KEEPALIVE_S, release - 0.001
        will = status_of(first.message, trouble.host, will_at, clock.at(CONNECTS_AT), state="offline")
        said = [one.message for one in stream if one.message.kind == "status" and one.at <= last.at]
        since = next((it for one in reversed(said) if (it := _sees_since(one))), None)
        back = status_of(last.message, trouble.host, back_at, clock.at(back_at), since=since)
        late += [
            Delivery(will_at, will, trouble.host),
            Delivery(back_at, back, trouble.host),
        ]
        late.sort(key=lambda one: one.at)
    return late


def _is_lost(history: History, host: str, t: float) -> bool:
    """Whether the host itself is lost at that moment."""
    changes = [step for step in history.steps if step.host == host and step.kind in ("dark", "back")]
    return next((step.kind == "dark" for step in reversed(changes) if step.t <= t), False)


def _is_will(one: Delivery) -> bool:
    return one.message.kind == "status" and json.loads(one.message.payload)["data"]["state"] == "offline"


def _sees_since(status: Message) -> str | None:
    """Since when the agent is connected to libvirt, as the status says."""
    libvirt = json.loads(status.payload)["data"]["libvirt"] or {}
    found: str | None = libvirt.get("since")
    return found


def status_of(
    near: Message,
    host: str,
    t: float,
    stamp: float,
    *,
    state: Literal["online", "offline"] = "online",
    lost: tuple[Span, ...] = (),
    since: str | None = None,
) -> Message:
    """A status of the agent, as it or the broker sends it. stamp: by the host's clock; since: when its
    connection to libvirt began.
    """
    libvirt = Libvirt(connected=True, uri="qemu:///system", since=since)
    data = StatusData(near.epoch, libvirt, None, near.sequence, lost=lost)
    made = messages_of(host_name(host)).status(data, state, stamp)
    return Message(t, "status", made.topic, made.payload, True, near.sequence, near.epoch, "", (), "event")


def _late(seen: Observed, stream: list[Delivery], trouble: Trouble) -> list[Delivery]:
    return [one._replace(at=one.at + trouble.s) for one in stream]


def _doubled(seen: Observed, stream: list[Delivery], trouble: Trouble) -> list[Delivery]:
    again = stream[trouble.first]
    at = again.at + 0.03 if trouble.how == "at once" else max(stream[-1].at, again.at) + trouble.s
    return sorted([*stream, again._replace(at=at)], key=lambda one: one.at)


def _hole(seen: Observed, stream: list[Delivery], trouble: Trouble) -> list[Delivery] | None:
    """One message of the event stream doesn't come in its turn. None: the host is lost by then, and answers
    no request.
    """
    missing = stream[trouble.first]
    if trouble.how in ("replayed", "lost, said so") and _is_lost(seen.history, trouble.host, FOREVER):
        return None
    rest = [one for n, one in enumerate(stream) if n != trouble.first]
    if trouble.how == "late":
        return sorted([*rest, missing._replace(at=missing.at + trouble.s)], key=lambda one: one.at)
    seen.replays.append((trouble.host, missing.message, trouble.how))
    if trouble.how != "replayed":
        seen.lost.append(missing.message)
    return rest


def _restart(seen: Observed, trouble: Trouble) -> None:
    """The correlator is killed after a delivery, and is back later. What is retained is read anew; events and
    states wait in its durable session.
    """
    deliveries = seen.deliveries
    if trouble.first >= len(deliveries):
        return
    at = deliveries[trouble.first].at + 0.001
    back = at + 0.01 + trouble.s
    seen.restarts.append((at, back))
    retained: dict[str, Delivery] = {}
    before, queued, after = [], [], []
    for one in deliveries:
        if one.at <= back and one.message.retain:
            retained[one.message.topic] = one
        if one.at <= at:
            before.append(one)
        elif one.at > back:
            after.append(one)
        elif one.message.kind != "status":
            queued.append(one._replace(at=back + 0.02))
    read = [one._replace(at=back + 0.01, retained=True) for one in retained.values() if one.message.payload]
    seen.deliveries = before + read + queued + after


_ON_THE_WAY: Final[dict[str, Callable[[Observed, list[Delivery], Trouble], list[Delivery] | None]]] = {
    "cut": _cut,
    "late": _late,
    "doubled": _doubled,
    "hole": _hole,
}
NONE: Final = Trouble("none")


class Troubles(NamedTuple):
    """All troubles of one history, and how many were left out as equal to others."""

    all: list[Trouble]
    left_out: int


def troubles(history: History) -> Troubles:
    """Every single trouble that the history can have."""
    found: list[Trouble] = [NONE]
    left_out = 0
    base = observe(history, ())
    assert base is not None
    for host in hosts_of(history):
        windows, equal = _windows(history, host)
        found += windows
        left_out += equal
        stream = [one for one in base.deliveries if one.host == host]
        others = [one.at for one in base.deliveries if one.host != host and one.message.kind != "status"]
        cuts, equal = _cuts(stream, others, host)
        found += cuts
        left_out += equal
        found += [
            Trouble("late", host, 0, len(stream) - 1, "", s)
            for s in (0.5, 3.0, 5.0, SHORT_S, LONG_S, HOURS_S)
        ]
        for n, one in enumerate(stream):
            if one.message.kind == "event":
                found += [
                    Trouble("doubled", host, n, n, "at once"),
                    Trouble("doubled", host, n, n, "at last", 20.0),
                ]
                found += [Trouble("hole", host, n, n, "late", s) for s in (1.0, 30.0)]
                found += [Trouble("hole", host, n, n, how) for how in ("replayed", "lost", "lost, said so")]
        found += [Trouble("clock", host, 0, 0, "", s) for s in (-7200.0, -30.0, -3.0, 3.0, 30.0, 7200.0)]
        for n, step in enumerate(history.steps):
            if step.host == host and _is_told(step):
                found += [Trouble("clock steps", host, n, n, "", s) for s in (-3600.0, -10.0, 10.0, 3600.0)]
    for n, one in enumerate(base.deliveries):
        if one.message.kind == "event":
            found += [Trouble("restart", "", n, n, "", s) for s in (0.0, 5.0, 30.0, LONG_S)]
            found += [Trouble("correlator's clock", "", n, n, "", s) for s in (-7200.0, -30.0, 30.0, 7200.0)]
    found += [Trouble("stretch", "", -1, -1, "", s) for s in (10.0, 100.0)]
    for n in range(len(history.steps) - 1):
        found += [Trouble("stretch", "", n, n, "", s) for s in (10.0, 100.0)]
    return Troubles(found, left_out)


def _is_told(step: Step) -> bool:
    return step.kind in ("event", "iter", "completed")


def _windows(history: History, host: str) -> tuple[list[Trouble], int]:
    """An agent that is down or has no libvirt, for every window of what happens on its host.

    A window begins before one of the host's steps and ends after the same or a later one; where it begins
    between two of them makes no difference to the host, and which steps of others lie between is what `cut`
    is about.
    """
    mine = [n for n, step in enumerate(history.steps) if step.host == host]
    found: list[Trouble] = []
    left_out = 0
    in_trouble = False
    for i, first in enumerate(mine):
        kind = history.steps[first].kind
        if kind in _IN_TROUBLE or in_trouble:
            in_trouble = kind != "back"
            left_out += len(mine) - i
            continue
        matters = False
        for j, last in enumerate(mine[i:], start=i):
            step = history.steps[last]
            if step.kind in _IN_TROUBLE:
                left_out += len(mine) - j
                break
            matters = matters or _is_told(step) or step.kind == "quietly"
            if not matters:
                left_out += 1
                continue
            for s in (0.0, SHORT_S, LONG_S):
                found += [
                    Trouble("dead", host, first, last, "said", s),
                    Trouble("blind", host, first, last, "said", s),
                ]
            found.append(Trouble("dead", host, first, last, "unsaid", 0.0))
            if last == mine[-1]:
                found += [
                    Trouble("dead", host, first, last, "for good"),
                    Trouble("blind", host, first, last, "for good"),
                ]
    return found, left_out


_IN_TROUBLE: Final = ("blind", "dark", "back")


def _cuts(stream: list[Delivery], others: list[float], host: str) -> tuple[list[Trouble], int]:
    """A session that is gone, for every window of the host's messages; equal are two after which the same
    messages of others have come before the same ones of this host.
    """
    found: list[Trouble] = []
    left_out = 0
    places = [bisect_left(others, one.at) for one in stream]
    ordered = [n for n, one in enumerate(stream) if one.message.kind in ("event", "state")]
    seen: set[tuple[int, int]] = set()
    for i, first in enumerate(ordered):
        for last in ordered[i:]:
            place = bisect_left(others, stream[last].at + 0.01)
            moved = next((n for n in range(first, len(stream)) if places[n] < place), None)
            if moved is None or (moved, place) in seen:
                left_out += 1
            else:
                seen.add((moved, place))
                found.append(Trouble("cut", host, first, last, "", 0.0))
        end = len(stream) - 1
        for s in (SHORT_S, LONG_S, HOURS_S):
            found += [
                Trouble("cut", host, first, end, "said", s),
                Trouble("cut", host, first, end, "unsaid", s),
            ]
    return found, left_out


def pairs(single: Sequence[Trouble], every: int) -> Iterator[tuple[Trouble, Trouble]]:
    """A slice of all pairs of two troubles: of those that aren't the same, one in `every`."""
    total = len(single)
    for n in range(0, total * total, every):
        first, second = single[n // total], single[n % total]
        if first < second and first.kind != "none" and second.kind != "none":
            yield first, second
