"""Plays facts to a case on a clock of its own: no broker, no store, no waiting.

A script is each host's own order of facts. `play` delivers them at the moments asked for, judges after
each and at each due moment, and returns what was told.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bridge.correlator.case import Case, Telling, Times
from bridge.correlator.facts import Fact
from bridge.wire.messages import Migration, stamp
from bridge.wire.vocabulary import detail_name, lifecycle_name, operation_name, reason_name, state_name

TRACES = Path(__file__).parent / "data" / "traces"
START = 1_790_000_000.0
UUID = "c7a5fdbd-edaf-9455-926a-d65c16db1809"


@dataclass(frozen=True, slots=True)
class Trace:
    """One recorded scenario: what truly happened, and each event as a fact in its host's order."""

    name: str
    release: str
    uuid: str
    happened: tuple[dict[str, Any], ...]
    facts: tuple[Fact, ...]

    def __str__(self) -> str:
        return f"{self.name}-{self.release}"


def traces() -> Iterator[Trace]:
    """Every recorded scenario of every release."""
    for path in sorted(TRACES.rglob("*.jsonl")):
        yield read_trace(path)


def read_trace(path: Path) -> Trace:
    head, *lines = (json.loads(line) for line in path.read_text().splitlines())
    uuids = [line["uuid"] for line in lines if "uuid" in line]
    uuid = uuids[0]
    script = Script()
    for line in lines:
        host, t = line["host"], line["t"]
        if line["what"] == "connected":
            for domain in line["domains"]:
                if domain["uuid"] == uuid:
                    state, reason = domain["state"]
                    script.state(
                        host, t, f"{state_name(state)}/{reason_name(state, reason)}", name=domain["name"]
                    )
            continue
        if line.get("uuid") != uuid:
            continue
        if line["what"] == "lifecycle":
            event, detail = line["event"], line["detail"]
            script.event(host, t, f"{lifecycle_name(event)}/{detail_name(event, detail)}", name=line["name"])
        elif line["what"] == "iteration":
            script.iteration(host, t, line["n"])
        elif line["what"] == "job_completed":
            params = line["params"]
            script.job_completed(
                host,
                t,
                operation_name(params["operation"]),
                params.get("time_elapsed"),
                params.get("downtime"),
            )
    return Trace(head["scenario"], head["libvirt"], uuid, tuple(head["happened"]), tuple(script.facts))


class Script:
    """Facts in the making: each host numbers its own."""

    def __init__(self, driver: str = "QEMU") -> None:
        self.facts: list[Fact] = []
        self.driver = driver
        self._sequences: dict[str, int] = {}

    def _add(self, host: str, t: float, kind: Any, what: str, **more: Any) -> Fact:
        sequence = self._sequences.get(host, 0)
        if kind not in ("state", "cleared"):
            sequence += 1
            self._sequences[host] = sequence
        fact = Fact(
            host=host,
            epoch=more.pop("epoch", 0),
            sequence=sequence,
            kind=kind,
            what=what,
            origin=more.pop("origin", "event"),
            driver=self.driver,
            name=more.pop("name", "web01"),
            at=START + t,
            received=START + t,
            stamp=stamp(START + t),
            id=more.pop("id", f"{host}-epoch-{sequence}" + ("" if kind not in ("state", "cleared") else "s")),
            **more,
        )
        self.facts.append(fact)
        return fact

    def event(self, host: str, t: float, what: str, **more: Any) -> Fact:
        return self._add(host, t, "lifecycle", what, **more)

    def iteration(self, host: str, t: float, n: int = 1) -> Fact:
        return self._add(host, t, "iteration", "", figures=(n, None))

    def job_completed(
        self,
        host: str,
        t: float,
        operation: str = "migration_out",
        elapsed: int | None = 948,
        down: int | None = 27,
    ) -> Fact:
        return self._add(host, t, "job_completed", operation, figures=(elapsed, down))

    def job_failed(self, host: str, t: float) -> Fact:
        return self._add(host, t, "job_failed", "migration_out", origin="poll")

    def state(self, host: str, t: float, what: str, **more: Any) -> Fact:
        return self._add(host, t, "state", what, origin="state", **more)

    def cleared(self, host: str, t: float) -> Fact:
        return self._add(host, t, "cleared", "", origin="state")


@dataclass(frozen=True, slots=True)
class Silence:
    """A host can't be heard from one moment (seconds after START) to another."""

    host: str
    begins: float
    ends: float = float("inf")


@dataclass(frozen=True, slots=True)
class Played:
    """What was told, when, and the case at the end."""

    tellings: tuple[tuple[float, Telling], ...]
    case: Case

    @property
    def migrations(self) -> list[Migration]:
        return [t.data for _, t in self.tellings if isinstance(t.data, Migration)]

    @property
    def words(self) -> list[str]:
        return [m.outcome for m in self.migrations]

    @property
    def verdicts(self) -> list[Migration]:
        """The last word on each attempt, in the order in which the attempts were first told."""
        last: dict[str | None, Migration] = {}
        for each in self.migrations:
            if each.outcome in ("completed", "failed", "conflict"):
                last[each.migration] = each
        return list(last.values())


def play(
    facts: Iterable[Fact],
    *,
    times: Times = Times(),  # noqa: B008  (frozen)
    until_s: float = 100_000.0,
    silences: Sequence[Silence] = (),
    settled: Callable[[Fact], bool] = lambda _: True,
    restart: Callable[[int], bool] = lambda _: False,
    uuid: str = UUID,
) -> Played:
    """Delivers the facts in this order, each at its `received`, and lets the clock run on afterwards."""
    case = Case.new(uuid)
    told: list[tuple[float, Telling]] = []
    due: float | None = None
    changes = sorted(
        {START + s.begins for s in silences} | {START + s.ends for s in silences if s.ends < 1e12}
    )

    def judge(now: float) -> None:
        nonlocal due
        blind = {s.host: START + s.begins for s in silences if START + s.begins <= now < START + s.ends}
        judgement = case.judge(now, blind, times)
        told.extend((now - START, t) for t in judgement.tellings)
        due = judgement.due

    def run_to(now: float) -> None:
        for _ in range(10_000):
            moments = [m for m in (due, changes[0] if changes else None) if m is not None and m <= now]
            if not moments:
                return
            moment = min(moments)
            if changes and changes[0] <= moment:
                changes.pop(0)
            judge(moment)
        raise AssertionError("a case that is always due")

    for n, fact in enumerate(facts):
        run_to(fact.received)
        case.add(fact, settled=settled(fact))
        if restart(n):
            case = Case.load(case.dump())
        judge(fact.received)
    run_to(START + until_s)
    return Played(tuple(told), case)


def arriving(facts: Iterable[Fact], order: Sequence[str], *, spacing_s: float = 0.001) -> list[Fact]:
    """The facts in another interleaving: `order` names the host of each next one."""
    queues: dict[str, list[Fact]] = {}
    for fact in facts:
        queues.setdefault(fact.host, []).append(fact)
    end = START + 1000.0
    return [replace(queues[host].pop(0), received=end + n * spacing_s) for n, host in enumerate(order)]
