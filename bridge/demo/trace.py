"""A recorded trace: what libvirt said on each host of one scenario, and what truly happened.

A file is JSON lines. The first says the scenario, how it was made and what happened; each further one is
one thing that an agent on that host received, `t` seconds from the start.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Listed:
    """A domain in a host's list. `id` is None when it isn't running; codes are libvirt's state and reason.

    `persistent` None: the recording doesn't say.
    """

    uuid: str
    name: str
    id: int | None
    state_code: int
    reason_code: int
    persistent: bool | None = None


@dataclass(frozen=True, slots=True)
class Connected:
    """The agent is connected to libvirt, and this is the list of domains."""

    at_s: float
    host: str
    domains: tuple[Listed, ...]


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection to libvirt is lost."""

    at_s: float
    host: str


@dataclass(frozen=True, slots=True)
class LifecycleEvent:
    """libvirt emitted a lifecycle event. `name` is the domain's."""

    at_s: float
    host: str
    uuid: str
    name: str
    id: int | None
    event_code: int
    detail_code: int


@dataclass(frozen=True, slots=True)
class Iteration:
    """libvirt emitted a migration-iteration event, its `number`th pass over the memory."""

    at_s: float
    host: str
    uuid: str
    number: int


@dataclass(frozen=True, slots=True)
class JobCompleted:
    """libvirt emitted a job-completed event; parameters under libvirt's names, an operation by its number."""

    at_s: float
    host: str
    uuid: str
    params: tuple[tuple[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Looked:
    """The agent looked for changes that libvirt doesn't announce, and this is the list of domains."""

    at_s: float
    host: str
    domains: tuple[Listed, ...]


@dataclass(frozen=True, slots=True)
class JobGone:
    """The agent asked, and the outgoing migration of this domain is gone without having completed."""

    at_s: float
    host: str
    uuid: str


Line = Connected | Disconnected | LifecycleEvent | Iteration | JobCompleted | Looked | JobGone

JOB_POLL_S: Final = 1.5
"""How long after a copy's end an agent finds its job gone: it asks every second, twice before it reports."""
LOOK_AFTER_S: Final = 5.0
"""How long after the last event an agent is taken to look for unannounced changes."""


@dataclass(frozen=True, slots=True)
class Trace:
    """One scenario. `happened` is the truth: what has to come, in order, each an excerpt of `data`."""

    scenario: str
    how: str
    libvirt: str
    happened: tuple[dict[str, Any], ...]
    lines: tuple[Line, ...]

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts, in the order in which they first say something."""
        return tuple(dict.fromkeys(line.host for line in self.lines))

    def of(self, host: str) -> tuple[Line, ...]:
        """What one host said, in its order."""
        return tuple(line for line in self.lines if line.host == host)

    def with_lines(self, lines: tuple[Line, ...]) -> Trace:
        """The same scenario with other lines."""
        return replace(self, lines=lines)

    def from_start(self) -> Trace:
        """The same with the quiet before the first event cut short: what is connected is so at once."""
        first = min((line.at_s for line in self.lines if not isinstance(line, Connected)), default=0.0)
        shift_s = max(0.0, first - 0.5)
        return self.with_lines(
            tuple(replace(line, at_s=max(0.0, line.at_s - shift_s)) for line in self.lines)
        )

    def as_agents_saw_it(self) -> Trace:
        """The same with what agents find by polling, without an event: an outgoing job that is gone, a
        domain that left without UNDEFINED.
        """
        return self.with_lines(
            tuple(sorted((*self.lines, *self._jobs_gone(), *self._quiet_leave()), key=lambda line: line.at_s))
        )

    def _jobs_gone(self) -> list[Line]:
        found: list[Line] = []
        for host in self.hosts:
            copying: dict[str, float] = {}
            for line in self.of(host):
                match line:
                    case Iteration(uuid=uuid, at_s=at_s):
                        copying[uuid] = at_s
                    case JobCompleted(uuid=uuid) | LifecycleEvent(uuid=uuid, event_code=5):
                        copying.pop(uuid, None)
                    case Disconnected():
                        copying.clear()
            for uuid, began_s in copying.items():
                ended = [line.at_s for line in self.lines if _ends_copy(line, uuid) and line.at_s > began_s]
                if ended:
                    found.append(JobGone(max(ended) + JOB_POLL_S, host, uuid))
        return found

    def _quiet_leave(self) -> list[Line]:
        if "--undefinesource" not in self.how or "--offline" not in self.how:
            return []
        return [Looked(self.lines[-1].at_s + LOOK_AFTER_S, str(self.happened[0]["source"]), ())]


def _ends_copy(line: Line, uuid: str) -> bool:
    """A domain's end on one side, or the source running again."""
    return (
        isinstance(line, LifecycleEvent)
        and line.uuid == uuid
        and (line.event_code == 5 or (line.event_code, line.detail_code) == (4, 1))
    )


def parse(text: str) -> Trace:
    """The trace in these JSON lines. Raises KeyError or ValueError for anything else."""
    head, *rest = (json.loads(line) for line in text.splitlines() if line.strip())
    return Trace(
        scenario=head["scenario"],
        how=head["how"],
        libvirt=head["libvirt"],
        happened=tuple(head["happened"]),
        lines=tuple(_line(item) for item in rest),
    )


def packaged(name: str) -> Trace:
    """A trace that comes with the program, by the name of its scenario."""
    return parse(resources.files(__package__).joinpath("traces", f"{name}.jsonl").read_text("utf-8"))


def _line(item: dict[str, Any]) -> Line:
    at_s, host = float(item["t"]), str(item["host"])
    match item["what"]:
        case "connected":
            return Connected(at_s, host, tuple(_listed(domain) for domain in item["domains"]))
        case "disconnected":
            return Disconnected(at_s, host)
        case "lifecycle":
            return LifecycleEvent(
                at_s, host, item["uuid"], item["name"], _id(item["id"]), item["event"], item["detail"]
            )
        case "iteration":
            return Iteration(at_s, host, item["uuid"], item["n"])
        case "job_completed":
            return JobCompleted(at_s, host, item["uuid"], tuple(item["params"].items()))
    raise ValueError(f"a trace's line is of a kind that isn't known: {item['what']!r}")


def _listed(item: dict[str, Any]) -> Listed:
    state, reason = item["state"]
    return Listed(item["uuid"], item["name"], _id(item["id"]), state, reason, item.get("persistent"))


def _id(number: int) -> int | None:
    return None if number == -1 else number
