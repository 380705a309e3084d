"""Plays a recorded trace as the agents of its hosts would publish it.

Nothing here talks to a broker: `play` hands every message to `publish`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from uuid import uuid4

from bridge.demo.agents import PlayedAgent
from bridge.demo.trace import Connected, LifecycleEvent, Line, Looked, Trace
from bridge.mqtt.messages import Publication
from bridge.wire.topics import Topics


@dataclass(frozen=True, slots=True)
class Timed:
    """A message and when it is due, in seconds from the trace's start."""

    at_s: float
    host: str
    publication: Publication


@dataclass(slots=True)
class Cast:
    """The agents of the hosts of one or more traces, each made when its host first speaks.

    `hosts` and `names` rename what a trace calls hosts and domains; `skew_s` is by how much a host's
    clock is ahead; `epochs` gives an agent's epoch where chance shouldn't.
    """

    topics: Topics = field(default_factory=Topics)
    hosts: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    skew_s: Mapping[str, float] = field(default_factory=dict)
    epochs: Mapping[str, str] = field(default_factory=dict)
    agents: dict[str, PlayedAgent] = field(default_factory=dict)

    def messages(self, trace: Trace, *, started_s: float) -> Iterator[Timed]:
        """All messages of a trace in the order of its lines, from `started_s` on (seconds since 1970)."""
        for line in trace.lines:
            agent = self._agent(self.hosts.get(line.host, line.host), trace)
            stamp_s = started_s + line.at_s + self.skew_s.get(line.host, 0.0)
            for publication in agent.messages(renamed(line, self.names), stamp_s):
                yield Timed(line.at_s, agent.host, publication)

    def farewell(self, stamp_s: float) -> Iterator[Publication]:
        """What the agents say when they are stopped: offline."""
        for agent in self.agents.values():
            yield agent.status(stamp_s, state="offline")

    def _agent(self, host: str, trace: Trace) -> PlayedAgent:
        agent = self.agents.get(host)
        if agent is None:
            agent = PlayedAgent(host, self.topics, epoch=self.epochs.get(host) or uuid4().hex)
            self.agents[host] = agent
        agent.libvirt = trace.libvirt
        agent.undefines_source = "--undefinesource" in trace.how
        return agent


def play(
    trace: Trace,
    publish: Callable[[Publication], object],
    *,
    speed: float = 1.0,
    cast: Cast | None = None,
    started_s: float | None = None,
    sleep: Callable[[float], object] = time.sleep,
) -> None:
    """Hands every message of a trace to `publish`, in its time divided by `speed` (`math.inf`: at once).

    Stamps are the trace's times after `started_s` (now), whatever the speed. A `cast` that is given keeps its
    agents' epochs and sequences, so that several traces can follow each other.
    """
    now_s = 0.0
    began_s = time.time() if started_s is None else started_s
    for timed in (cast or Cast()).messages(trace, started_s=began_s):
        wait_s = (timed.at_s - now_s) / speed
        if wait_s > 0:
            sleep(wait_s)
        now_s = max(now_s, timed.at_s)
        publish(timed.publication)


def renamed(line: Line, names: Mapping[str, str]) -> Line:
    """The same line with other names for domains."""
    match line:
        case LifecycleEvent(name=name) if name in names:
            return replace(line, name=names[name])
        case Connected() | Looked():
            return replace(
                line, domains=tuple(replace(d, name=names.get(d.name, d.name)) for d in line.domains)
            )
    return line
