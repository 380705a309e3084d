"""A fleet that lives for as long as the demo is kept: recorded migrations of many kinds, again and again."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final
from uuid import uuid4

from bridge.demo.player import Cast
from bridge.demo.stage import Stage
from bridge.demo.trace import Connected, Disconnected, LifecycleEvent, Line, Looked, Trace, packaged

HOSTS: Final = ("host1", "host2", "host3", "host4")
SCENARIOS: Final = (
    "live",
    "postcopy",
    "aborted",
    "non_live",
    "live",
    "suspend_on_arrival",
    "dst_qemu_killed",
    "live",
    "postcopy_recovered",
    "src_qemu_killed",
    "network_cut",
)
"""One after another; the usual ones more often."""
NAMES: Final = ("web", "db", "mail", "build", "cache")
EVERY_S: Final = 4.0
"""So that several are under way at once: most of the recordings take ten seconds."""


def live(stage: Stage, cast: Cast) -> None:
    """Plays until the stage raises. cast: the agents that there are; others join them."""
    due: list[tuple[float, int, float, Trace]] = []
    count, starts, next_start_s = itertools.count(), attempts(), time.time()
    while True:
        now_s = time.time()
        if now_s >= next_start_s:
            for each in next(starts):
                heapq.heappush(due, (now_s + each.lines[0].at_s, next(count), now_s, each))
            next_start_s = now_s + EVERY_S
        while due and due[0][0] <= now_s:
            _, _, started_s, each = heapq.heappop(due)
            line = each.lines[0]
            if not (isinstance(line, Connected) and line.host in cast.agents):
                for timed in cast.messages(each, started_s=started_s):
                    stage.publish(timed.publication)
        next_s = min(next_start_s, due[0][0]) if due else next_start_s
        stage.pump(max(0.0, next_s - time.time()))


def attempts() -> Iterator[list[Trace]]:
    """One attempt after another, each as traces of one line: several go on at once, and an agent numbers its
    messages as they come. Each is of a domain of its own, between another two hosts.
    """
    routes = itertools.cycle(itertools.permutations(HOSTS, 2))
    for number, scenario in enumerate(itertools.cycle(SCENARIOS), 1):
        trace = packaged(scenario).from_start().as_agents_saw_it()
        hosts = dict(zip(("host1", "host2"), next(routes), strict=True))
        name, uuid = f"{NAMES[number % len(NAMES)]}{number:02d}", str(uuid4())
        yield [trace.with_lines((_recast(line, hosts, name, uuid),)) for line in trace.lines]


def _recast(line: Line, hosts: Mapping[str, str], name: str, uuid: str) -> Line:
    host = hosts[line.host]
    match line:
        case Connected() | Looked():
            domains = tuple(replace(each, name=name, uuid=uuid) for each in line.domains)
            return replace(line, host=host, domains=domains)
        case LifecycleEvent():
            return replace(line, host=host, name=name, uuid=uuid)
        case Disconnected():
            return replace(line, host=host)
    return replace(line, host=host, uuid=uuid)
