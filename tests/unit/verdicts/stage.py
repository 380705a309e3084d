"""Hosts with their agents, on which rows of the table are played: what happens becomes what agents say.

libvirt's side is modelled as far as its list of domains tells it. The agent's side is the program's own: what
it knows after an event, and what it concludes after it was blind, is `bridge.agent`. What is sent is kept as
observations, of which `tests.support.agent_messages` makes the agent's messages.

`MemoryAgent` isn't driven here, for three reasons. Rows are also played without `job_failed` (`Voice`), which
its inventory publishes by itself once the next job begins. One list shows a change here; the inventory waits
for a second one that confirms it. And tests change the host, place or stamp of what was sent.
"""

from __future__ import annotations

import heapq
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal, NamedTuple

from msgspec.structs import replace

from bridge.agent.inventory.domains import Known, ListedDomain, after_event, as_known
from bridge.agent.inventory.resync import compare
from bridge.correlator.rules.observations import Observation, ObservationKind
from bridge.demo.memory_agent import as_listed
from bridge.wire.messages import stamp
from bridge.wire.vocabulary import (
    UNKNOWN,
    detail_name,
    lifecycle_codes,
    lifecycle_name,
    reason_name,
    state_codes,
    state_name,
)
from tests.unit.verdicts.rows import MigrationRow

START: Final = 1_790_000_000.0


@dataclass(frozen=True, slots=True)
class Voice:
    """What agents say beyond libvirt's events. Resync after blindness they always say.

    states: the retained state after each event, not only when the agent connects; jobs: job_failed;
    look_s: seconds to the look that finds what libvirt doesn't announce; poll_s: seconds until a job that
    ended is found out.
    """

    states: bool = True
    jobs: bool = True
    look_s: float = 20.0
    poll_s: float = 1.2


FULL: Final = Voice()
EVENTS_ONLY: Final = Voice(states=False, jobs=False)
EVENTS_AND_JOBS: Final = Voice(states=False)
EVENTS_AND_STATES: Final = Voice(jobs=False)


@dataclass(frozen=True, slots=True)
class Sent:
    """What one agent sent at a moment (seconds after START): a fact of a domain, or whether it sees."""

    t: float
    host: str
    uuid: str = ""
    observation: Observation | None = None
    sees: bool | None = None
    why: Literal["", "libvirt", "agent"] = ""
    place: tuple[int, int] | None = None
    """The agent's epoch and the last sequence that it has given out, as its status tells."""
    owner: int | None = None
    """What it is the consequence of: the number that was given when a row was planned."""


Token = tuple[str, str, tuple[Any, ...]]
_TOKEN: Final = re.compile(
    r"~(?P<wait>[\d.]+)|(?P<side>[SD])(?:\((?P<event>\d+),(?P<detail>\d+)\)(?P<died>!?)"
    r"|:(?P<word>[a-z_]+|JC)(?:\((?P<operation>\w+)\))?|=(?P<state>[\w/]+))"
)


def tokens(said: str) -> Iterator[Token]:
    """The side (empty for time going by), the kind and the arguments of each word of a row."""
    for word in said.split():
        found = _TOKEN.fullmatch(word)
        if found is None:
            raise ValueError(f"{word!r} is no word of a row")
        if found["wait"]:
            yield "", "wait", (float(found["wait"]),)
        elif found["event"]:
            yield found["side"], "event", (int(found["event"]), int(found["detail"]), bool(found["died"]))
        elif found["state"]:
            yield found["side"], "quietly", (found["state"],)
        elif found["word"] == "JC":
            yield found["side"], "job_completed", (found["operation"] or "migration_out",)
        else:
            yield found["side"], found["word"], ()


@dataclass(slots=True)
class Host:
    """One host: what libvirt lists there, and what its agent knows and has said."""

    name: str
    epoch: int = 0
    sequence: int = 0
    next_id: int = 1
    skew_s: float = 0.0
    sees: Literal["yes", "libvirt", "agent"] = "yes"
    is_new: bool = False
    domains: dict[str, Known] = field(default_factory=dict)
    known: dict[str, Known] = field(default_factory=dict)
    listed: set[str] = field(default_factory=set)
    job_ended: dict[str, int | None] = field(default_factory=dict)
    """Domains whose outgoing job is gone, with the owner of that."""
    jobs: dict[str, list[float]] = field(default_factory=dict)
    """When each outgoing job of a domain began."""

    def sees_domain(self, uuid: str) -> ListedDomain | None:
        """The domain as libvirt's list has it."""
        it = self.domains.get(uuid)
        return None if it is None else as_listed(uuid, it)


class Spot(NamedTuple):
    """A domain on a host, and its name there."""

    host: Host
    uuid: str
    name: str


def _words(it: Known) -> str:
    return f"{state_name(it.state)}/{reason_name(it.state, it.reason)}"


class Stage:
    """Plays what happens, in the order of its time: `at` plans it, `run` lets it happen."""

    def __init__(self, voice: Voice = FULL, rng: random.Random | None = None) -> None:
        self.voice = voice
        self.rng = rng
        self.hosts: dict[str, Host] = {}
        self.sent: list[Sent] = []
        self.driver: dict[str, str] = {}
        self.t = 0.0
        self.owner: int | None = None
        self._plan: list[tuple[float, int, int | None, Callable[[], None]]] = []
        self._count = 0

    def host(self, name: str) -> Host:
        """The host of this name; made when first asked for."""
        return self.hosts.setdefault(name, Host(name))

    def at(self, t: float, action: Callable[[], None]) -> None:
        """Plans an act."""
        self._count += 1
        heapq.heappush(self._plan, (t, self._count, self.owner, action))

    def run(self) -> list[Sent]:
        """Lets all that is planned happen; what the agents sent, in the order of time."""
        while self._plan:
            self.t, _, self.owner, action = heapq.heappop(self._plan)
            action()
        return self.sent

    def row(
        self,
        row: MigrationRow,
        t: float,
        uuid: str,
        between: tuple[str, str],
        *,
        name: str = "web01",
        gap: Callable[[], float] = lambda: 0.2,
    ) -> float:
        """Plans a row's words from `t` on between a source and a destination, with a gap before each.

        Returns when the last one happens.
        """
        self.driver[uuid] = row.driver
        sides = {"S": self.host(between[0]), "D": self.host(between[1])}
        names = {"S": name, "D": name + "-moved" if row.renamed else name}
        iterations = 0
        pause = 0.0
        has_begun = False
        for side, kind, args in tokens(row.said):
            if kind == "wait":
                pause = args[0]
                continue
            if (side, args[:2]) == ("D", (2, 1)) or (kind == "end" and not has_begun):
                self.at(t, partial(self.begin_job, sides["S"], uuid))
                iterations, has_begun = 0, True
            t += pause or gap()
            pause = 0.0
            host = sides[side]
            if kind == "event":
                code, detail, died = args
                spot = Spot(host, uuid, names[side])
                undefines = row.undefines and side == "S"
                self.at(t, partial(self.event, spot, (code, detail), died=died, undefines=undefines))
            elif kind == "iter":
                iterations += 1
                self.at(t, partial(self.iteration, host, uuid, iterations))
            elif kind == "job_completed":
                self.at(t, partial(self.job_completed, host, uuid, args[0]))
            elif kind == "job_failed":
                self.at(t, partial(self.fail_job, host, uuid, ago=1))
            elif kind == "end":
                self.at(t, partial(self.end_job, host, uuid))
            elif kind == "quietly":
                self.at(t, partial(self.change_quietly, host, uuid, args[0]))
            elif kind in ("blind", "dark"):
                self.at(t, partial(self.go_blind, host, "libvirt" if kind == "blind" else "agent"))
            elif kind == "back":
                self.at(t, partial(self.come_back, host))
            else:
                raise ValueError(f"{kind!r} is no word of a row")
        return t

    # -- what happens

    def place(self, host: Host, uuid: str, state: str, *, persistent: bool, name: str = "web01") -> None:
        """A domain that has been there for long: the agent has seen it, and says its state."""
        codes = state_codes(*state.split("/"))
        number = None if state.startswith("shutoff") else self._next_id(host)
        host.domains[uuid] = Known(name, number, *codes, persistent, exact=True)
        host.known[uuid] = host.domains[uuid]
        self._state(host, uuid)

    def event(
        self, spot: Spot, codes: tuple[int, int], *, died: bool = False, undefines: bool = False
    ) -> None:
        """libvirt emits a lifecycle event, by its numbers. died: a QEMU ended by itself."""
        host, uuid, name = spot
        code, detail = codes
        event = lifecycle_name(code)
        before = host.domains.get(uuid)
        starts = event == "started" or (event == "resumed" and (before is None or not before.active))
        if starts and not (before is not None and before.active):
            number: int | None = self._next_id(host)
        else:
            number = before.id if before is not None and event != "stopped" else None
        if before is None:
            before = Known(name, None, *state_codes("shutoff", UNKNOWN), persistent=False)
        after = after_event(before, name=name, domain_id=number, event_code=code, detail_code=detail)
        if event in ("started", "defined") and after is not None:
            after = replace(after, name=name)
        if died and event == "stopped" and after is not None and not before.incoming:
            after = replace(after, reason=state_codes("shutoff", "crashed")[1])
        if event == "stopped" and undefines:
            after = None
        if (event, detail) == ("started", 2) and after is not None:
            state, reason = state_codes("paused", "migration")
            after = replace(after, state=state, reason=reason, incoming=self.driver.get(uuid) == "Xen")
        _set(host.domains, uuid, after)
        if (event, detail) == ("suspended", 1):
            host.job_ended.pop(uuid, None)
        if host.sees != "yes":
            return
        self._know(spot, number, codes)
        self._say((host, uuid), "lifecycle", f"{event}/{detail_name(code, detail)}", name=name)
        self._state(host, uuid)

    def iteration(self, host: Host, uuid: str, number: int) -> None:
        """libvirt emits a migration iteration."""
        host.job_ended.pop(uuid, None)
        if host.sees == "yes":
            self._say((host, uuid), "iteration", "", figures=(number, None))

    def job_completed(self, host: Host, uuid: str, operation: str) -> None:
        """libvirt emits the figures of a job that completed."""
        if host.sees == "yes":
            self._say((host, uuid), "job_completed", operation, figures=(948, 27))

    def begin_job(self, host: Host, uuid: str) -> None:
        """An outgoing job begins: an agent that asks for the former one finds this one."""
        host.job_ended.pop(uuid, None)
        host.jobs.setdefault(uuid, []).append(self.t)

    def end_job(self, host: Host, uuid: str) -> None:
        """The outgoing job is gone; the agent finds it gone when it asks."""
        if self.voice.jobs:
            host.job_ended[uuid] = self.owner
            self.at(self.t + self.voice.poll_s, partial(self._poll, host, uuid))

    def fail_job(self, host: Host, uuid: str, *, ago: int = 0) -> None:
        """The agent says that a job failed, and when that one began. ago: how many others began since."""
        jobs = host.jobs.get(uuid, [])
        began = round((START + jobs[-1 - ago] + host.skew_s) * 1e6) if len(jobs) > ago else None
        figures = (began, None)
        self._say((host, uuid), "job_failed", "migration_out", origin="poll", figures=figures)

    def change_quietly(self, host: Host, uuid: str, state: str) -> None:
        """libvirt's list changes without an event. `ended`: as after the end of a domain that nobody saw."""
        before = host.domains.get(uuid)
        if state == "ended":
            state = "shutoff/unknown"
        if before is None:
            pass
        elif state == "gone" or (state.startswith("shutoff") and not before.persistent):
            del host.domains[uuid]
        else:
            codes = state_codes(*state.split("/"))
            number = None if state.startswith("shutoff") else before.id
            host.domains[uuid] = replace(before, state=codes[0], reason=codes[1], id=number)
        self.at(self.t + self.voice.look_s, partial(self._look, host, uuid))

    def go_blind(self, host: Host, why: Literal["libvirt", "agent"]) -> None:
        """The agent can't say what happens on its host."""
        host.sees = why
        self.sent.append(Sent(self.t, host.name, sees=False, why=why, place=(host.epoch, host.sequence)))

    def come_back(self, host: Host) -> None:
        """The agent sees again, says what changed, and the state of each domain."""
        host.sees = "yes"
        self.sent.append(Sent(self.t, host.name, sees=True, place=(host.epoch, host.sequence)))
        self.t += 0.02
        for uuid in sorted(host.known.keys() | host.domains.keys()):
            self._look(host, uuid, first=True)
        host.is_new = False
        for uuid in sorted(host.job_ended):
            self.at(self.t + self.voice.poll_s, partial(self._poll, host, uuid))

    def install_anew(self, host: Host) -> None:
        """The agent's memory is lost: a new epoch, and nothing known before."""
        host.epoch += 1
        host.sequence = 0
        host.known.clear()
        host.job_ended.clear()
        host.is_new = True

    # -- what the agent makes of it

    def _know(self, spot: Spot, number: int | None, codes: tuple[int, int]) -> None:
        host, uuid, name = spot
        before = host.known.get(uuid)
        after = after_event(before, name=name, domain_id=number, event_code=codes[0], detail_code=codes[1])
        there = host.domains.get(uuid)
        if after is not None and there is not None and self.voice.states:
            after = replace(after, persistent=there.persistent)
        _set(host.known, uuid, after)

    def _poll(self, host: Host, uuid: str) -> None:
        if host.sees != "yes" or uuid not in host.job_ended:
            return
        self.owner = host.job_ended.pop(uuid)
        there = host.domains.get(uuid)
        if there is not None and there.active and not there.incoming:
            self.fail_job(host, uuid)
            self._state(host, uuid)

    def _look(self, host: Host, uuid: str, *, first: bool = False) -> None:
        if not first:
            self.owner = None
        if host.sees != "yes":
            return
        seen, before = host.sees_domain(uuid), host.known.get(uuid)
        verdict = compare(before, seen, uuid)
        if host.is_new:
            _set(host.known, uuid, as_known(seen) if seen else None)
        elif verdict is None:
            self.at(self.t + self.voice.look_s, partial(self._look, host, uuid))
            return
        else:
            _set(host.known, uuid, verdict.known)
            for change in verdict.changes:
                code, detail = lifecycle_codes(change.event, change.detail)
                what = f"{change.event}/{detail_name(code, detail)}"
                self._say((host, uuid), "lifecycle", what, name=change.name, origin="resync")
            if not verdict.changes and not first:
                return
        self._state(host, uuid, always=first)

    def _state(self, host: Host, uuid: str, *, always: bool = False) -> None:
        if not self.voice.states and uuid in host.listed and not always:
            return
        there = host.domains.get(uuid)
        if there is not None:
            host.listed.add(uuid)
            self._say((host, uuid), "state", _words(there), origin="state", persistent=there.persistent)
        elif uuid in host.listed:
            host.listed.discard(uuid)
            self._say((host, uuid), "cleared", "gone", origin="state")

    def _say(
        self, spot: tuple[Host, str], kind: ObservationKind, what: str, *, origin: str = "event", **more: Any
    ) -> None:
        host, uuid = spot
        name = more.pop("name", None)
        if kind not in ("state", "cleared"):
            host.sequence += 1
        if name is None and kind != "cleared" and uuid in host.domains:
            name = host.domains[uuid].name
        marked = self.t + host.skew_s
        suffix = {"state": f"s{len(self.sent)}", "cleared": f"c{len(self.sent)}"}.get(kind, "")
        observation = Observation(
            host=host.name,
            epoch=host.epoch,
            sequence=host.sequence,
            kind=kind,
            what=what,
            origin=origin,
            driver=self.driver.get(uuid, "QEMU"),
            name=name,
            at=START + marked,
            received=START + self.t,
            stamp=stamp(START + marked),
            id=f"{host.name}-e{host.epoch}-{host.sequence}{suffix}",
            **more,
        )
        self.sent.append(Sent(self.t, host.name, uuid, observation, owner=self.owner))

    def _next_id(self, host: Host) -> int:
        host.next_id += 1
        return host.next_id


def _set(domains: dict[str, Known], uuid: str, known: Known | None) -> None:
    if known is None:
        domains.pop(uuid, None)
    else:
        domains[uuid] = known
