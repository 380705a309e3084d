"""Carries a plan out: what every agent sends, how it arrives, and what truly became of each attempt."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from tests.unit.verdicts.conduct import Conductor, Delivery, TimedMessage
from tests.unit.verdicts.plans import IN_PLACE, ROWS, Life, Plan, Step, Trouble
from tests.unit.verdicts.rows import RELEASES, ExpectedVerdict, MigrationRow, announced
from tests.unit.verdicts.stage import Sent, Stage

LOST: Final = ExpectedVerdict("failed", ("", "lost"), "postcopy_failed", mode="postcopy", confirmed="D")
LOST_WITH_SOURCE: Final = ExpectedVerdict(
    "failed", ("", "lost"), "source_stopped", mode="postcopy", attention="postcopy_incomplete", confirmed="S"
)


@dataclass(slots=True)
class Attempt:
    """What truly happened in one attempt. `ended_s`: its last event, with what was cleaned up after it.

    hurt: something of it was never seen, because a host was blind; unknowable: what its source saw is
    forgotten, or neither side was seen; late_s: by how much the latest of its
    messages came late; undefined_silently: the definition on its source went without a message, which a look
    may find later; touched: a host was blind so soon after that the verdict had to be told without it.
    """

    uuid: str
    row: MigrationRow
    source: str
    destination: str
    began_s: float
    ended_s: float
    persistent: bool
    guest_before: str
    verdict: ExpectedVerdict | None
    words: tuple[str, ...]
    hurt: bool = False
    unknowable: bool = False
    touched: bool = False
    late_s: float = 0.0
    job_failed: bool = False
    undefined_silently: bool = False
    revised: bool = False

    def __str__(self) -> str:
        marks = "".join(
            f" {word}" for word in ("hurt", "touched", "job_failed", "revised") if getattr(self, word)
        )
        return (
            f"{self.uuid[:4]} {self.row} {self.source}->{self.destination}"
            f" {self.began_s:.1f}…{self.ended_s:.1f} late {self.late_s:.1f}{marks}"
        )


@dataclass(slots=True)
class Blindness:
    """A host was blind from one moment to another, because of one attempt or of a trouble."""

    host: str
    begins_s: float
    ends_s: float
    because_of: int | None
    forgets: bool = False


@dataclass(slots=True)
class Fleet:
    """A plan that was carried out."""

    plan: Plan
    attempts: list[Attempt] = field(default_factory=list)
    blind: list[Blindness] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    restarts: frozenset[int] = frozenset()
    of: dict[str, int] = field(default_factory=dict)
    """Which attempt a message belongs to, by its id."""
    ends_on: dict[str, set[str]] = field(default_factory=dict)
    """Where each domain is active in the end."""
    defined_on: dict[str, set[str]] = field(default_factory=dict)

    def tell(self) -> tuple[list[TimedMessage], int]:
        """What a correlator tells of it, and how many batches that took."""
        clocks = {self.host(n): host.skew_s for n, host in enumerate(self.plan.hosts)}
        conductor = Conductor(clocks=clocks)
        published = conductor.deliver(self.deliveries, restart=self.restarts.__contains__)
        return published, conductor.batches

    def host(self, number: int) -> str:
        """The name of a host of the plan."""
        return f"host{number + 1}"


def carry_out(plan: Plan) -> Fleet:
    """Everything that the plan leads to. The same plan always leads to the same."""
    fleet = Fleet(plan)
    stage = Stage(plan.voice)
    for n, host in enumerate(plan.hosts):
        stage.host(fleet.host(n)).skew_s = host.skew_s
    for n, life in enumerate(plan.lives):
        _Living(fleet, stage, life, f"{n:08x}-0000-4000-8000-000000000000").live()
    for trouble in plan.troubles:
        _cause(fleet, stage, trouble)
    fleet.sent = stage.run()
    fleet.ends_on = {
        uuid: {
            name for name, host in stage.hosts.items() if uuid in host.domains and host.domains[uuid].active
        }
        for uuid in stage.driver
    }
    fleet.defined_on = {
        uuid: {name for name, host in stage.hosts.items() if uuid in host.domains} for uuid in fleet.ends_on
    }
    _send(fleet)
    _note_what_was_seen(fleet)
    return fleet


class _Living:
    """One domain's life: keeps in mind where it is while its steps are planned."""

    def __init__(self, fleet: Fleet, stage: Stage, life: Life, uuid: str) -> None:
        self.fleet = fleet
        self.stage = stage
        self.life = life
        self.uuid = uuid
        self.hosts = [fleet.host(n) for n in range(len(fleet.plan.hosts))]
        self.at = self.hosts[life.home]
        self.defined = {self.at} if life.persistent else set()
        self.undefined: set[str] = set()
        self.guest = "running"
        self.t = life.begins_s

    def live(self) -> None:
        stage, at = self.stage, self.at
        stage.driver[self.uuid] = self.life.driver
        place = partial(stage.place, stage.host(at), self.uuid, "running/booted")
        stage.at(1.0, partial(place, persistent=self.life.persistent))
        for step in self.life.steps:
            self.t += step.wait_s
            self.take(step)

    def say(self, said: str, destination: str, step: Step, row: MigrationRow | None = None) -> None:
        rng = random.Random(f"{step.choice}{said}")
        played = replace(row or MigrationRow("-", "life", "", None, driver=self.life.driver), said=said)
        self.t = self.stage.row(
            played,
            self.t,
            self.uuid,
            (self.at, destination),
            gap=lambda: rng.uniform(0.005, step.pace),
        )

    def take(self, step: Step) -> None:
        others = [host for host in self.hosts if host != self.at]
        to = others[step.to % len(others)]
        if step.what == "down":
            self.go_down(step, self.hosts[step.to % len(self.hosts)])
        elif step.what == "in place":
            if self.guest == "running":
                self.t += 5.0
                row = ROWS[f"--{IN_PLACE[step.choice % len(IN_PLACE)].replace(' ', '_')}"]
                self.say(self.as_told(row.said, to), to, step)
        else:
            self.t += 4.0 if step.what.startswith("15-") else 0.0
            self.migrate(ROWS[step.what], step, to)

    def go_down(self, step: Step, to: str) -> None:
        self.t += 5.0
        if self.guest != "down":
            self.say("S(6,1) S(5,0) ~3", to, step)
        self.t += 3.0
        self.at, self.guest = to, "running"
        self.say("S(4,0) S(2,0)", to, step)

    def as_told(self, said: str, destination: str) -> str:
        """As each host's own release tells it."""
        release = {host: self.fleet.plan.hosts[n].release for n, host in enumerate(self.hosts)}
        if self.life.driver != "QEMU":
            return said
        for side, host in (("S", self.at), ("D", destination)):
            if release[host] == RELEASES[1]:
                said = announced(said, side)
        return said

    def migrate(self, row: MigrationRow, step: Step, to: str) -> None:
        said = row.said
        is_offline = row.number in ("10", "10b") and row.before.startswith("shutoff")
        if row.number in ("10", "10b") and to in self.defined:
            return
        if (is_offline or row.number == "22b") and self.at not in self.defined:
            return
        if self.guest == "down":
            if not is_offline:
                return
        elif is_offline:
            self.t += 6.0
            self.say("S(6,1) S(5,0)", to, step)
            self.t += 20.0
            self.guest = "down"
        elif row.before == "paused/user" and self.guest == "running":
            self.t += 5.0
            self.say("S(3,0)", to, step)
            self.t, self.guest = self.t + 2.0, "paused"
        elif row.before.startswith("running") and self.guest == "paused":
            self.say("S(4,0)", to, step)
            self.t, self.guest = self.t + 2.0, "running"
        verdict, words = row.verdict, row.published
        if row.number == "21":
            said += " ~60 D=ended D:back"
            assert verdict is not None
            verdict = replace(verdict, reason="destination_vanished", confirmed="sD")
        elif row.number == "23":
            said = (row.newer or said) if self.release_of(to) == RELEASES[1] else said
        attempt = Attempt(
            self.uuid,
            row,
            self.at,
            to,
            self.t,
            self.t,
            self.at in self.defined,
            self.guest,
            verdict,
            words,
            undefined_silently=self.at in self.undefined,
            revised=row.number in ("21", "22b", "23"),
        )
        number = len(self.fleet.attempts)
        self.fleet.attempts.append(attempt)
        before = self.t
        self.stage.owner = number
        self.say(self.as_told(said, to), to, step, row)
        self.note_blindness(row, before, to, number)
        self.move_on(attempt, step, to)
        self.stage.owner = None
        attempt.ended_s = self.t
        if row.number in ("15", "32"):
            self.t += 5.0
        if row.number in ("10", "21", "22b", "23"):
            self.t += 40.0

    def release_of(self, host: str) -> str:
        return self.fleet.plan.hosts[self.hosts.index(host)].release

    def note_blindness(self, row: MigrationRow, began_s: float, to: str, number: int) -> None:
        for side, host in (("S", self.at), ("D", to)):
            if f"{side}:blind" in row.said or f"{side}:dark" in row.said:
                self.fleet.blind.append(Blindness(host, began_s, self.t, number))

    def move_on(self, attempt: Attempt, step: Step, to: str) -> None:
        """What is left, and what somebody does about it."""
        row, verdict = attempt.row, attempt.verdict
        if any(word in row.said.split() for word in ("D(0,0)", "D(0,1)")):
            self.defined.add(to)
        if row.number in ("6", "10"):
            self.defined.discard(self.at)
            if not self.fleet.plan.voice.states:
                self.undefined.add(self.at)
        if row.number == "10":
            self.at, self.guest = to, "down"
        elif row.leaves == "D":
            assert verdict is not None
            if row.number == "37":
                self.destroy(step, to, "D")
            else:
                self.at, self.guest = to, verdict.guest[1]
        elif row.leaves == "SD":
            self.mend(attempt, step, to)
        elif row.leaves == "" and not row.before.startswith("shutoff"):
            self.guest = "down"
        elif row.number == "38":
            self.destroy(step, to, "S")
        elif row.number == "39":
            self.guest = "paused"

    def destroy(self, step: Step, to: str, side: str) -> None:
        self.t += 20.0 + step.choice % 60
        self.say(f"{side}(6,2) {side}(5,1)", to, step)
        self.guest = "down"

    def mend(self, attempt: Attempt, step: Step, to: str) -> None:
        """Two hosts have it: one of them has to go."""
        choice = step.choice % 2
        if attempt.row.number in ("25", "26"):
            self.destroy(step, to, "S")
            self.at, self.guest = to, "running"
        elif attempt.row.number == "28":
            self.t += 3.0
            self.destroy(step, to, "SD"[choice])
            verdict = ExpectedVerdict("completed", ("D", "running"))
            if choice:
                verdict = ExpectedVerdict("failed", ("S", "running"), "destination_destroyed", confirmed="SD")
            else:
                self.at = to
            attempt.verdict, attempt.words = verdict, ("started", "conflict")
            self.guest = "running"
            attempt.revised = True
        else:
            self.destroy(step, to, "SD"[choice])
            self.destroy(step, to, "DS"[choice])
            attempt.verdict = LOST if choice else LOST_WITH_SOURCE


def _cause(fleet: Fleet, stage: Stage, trouble: Trouble) -> None:
    """Plans a trouble that changes what an agent sees."""
    if trouble.kind not in ("blind", "dark", "anew"):
        return
    host = stage.host(fleet.host(trouble.host))
    ends_s = trouble.at_s + trouble.length_s
    fleet.blind.append(Blindness(host.name, trouble.at_s, ends_s, None, trouble.kind == "anew"))
    stage.at(trouble.at_s, partial(stage.go_blind, host, "libvirt" if trouble.kind == "blind" else "agent"))
    if trouble.kind == "anew":
        stage.at(ends_s - 0.001, partial(stage.install_anew, host))
    stage.at(ends_s, partial(stage.come_back, host))


def _send(fleet: Fleet) -> None:
    """How what was sent arrives: each host's order is kept, unless there is a hole."""
    plan = fleet.plan
    rng = random.Random(plan.seed)
    delay = {fleet.host(n): host.delay_s for n, host in enumerate(plan.hosts)}
    before: dict[str, float] = {}
    deliveries = _words_about_agents(fleet)
    anew = {trouble.host for trouble in plan.troubles if trouble.kind == "anew"}  # and its outbox is gone
    holes = [trouble for trouble in plan.troubles if trouble.kind == "hole" and trouble.host not in anew]
    for each in fleet.sent:
        received = each.t + delay[each.host] + rng.uniform(0.0, 0.05)
        is_twice = False
        for trouble in plan.troubles:
            if fleet.host(trouble.host) != each.host:
                continue
            if trouble.at_s <= each.t < trouble.at_s + trouble.length_s:
                if trouble.kind == "cut":
                    received = max(received, trouble.at_s + trouble.length_s + 0.01)
                is_twice = is_twice or trouble.kind == "doubled"
            if trouble.kind == "slow" and each.t >= trouble.at_s:
                received = max(received, each.t + trouble.length_s)
        received = max(received, before.get(each.host, 0.0))
        hole = next((h for h in holes if fleet.host(h.host) == each.host and each.t >= h.at_s), None)
        if (
            hole is not None
            and each.observation is not None
            and each.observation.kind not in ("state", "cleared")
        ):
            holes.remove(hole)
            deliveries.append(Delivery(received + hole.length_s, each))
            continue
        before[each.host] = received
        deliveries.append(Delivery(received, each))
        if is_twice and each.observation is not None:
            deliveries.append(Delivery(received + rng.uniform(0.0, 5.0), each))
    deliveries.sort(key=lambda delivery: delivery.received)
    fleet.deliveries = deliveries
    restarts = [t.at_s for t in plan.troubles if t.kind == "restart"]
    fleet.restarts = frozenset(
        next((n for n, d in enumerate(deliveries) if d.received >= at_s), 0) for at_s in restarts
    )


def _words_about_agents(fleet: Fleet) -> list[Delivery]:
    """What the broker and the agents themselves say of being connected."""
    said = [
        Delivery(0.5, Sent(0.5, fleet.host(n), sees=True, place=(0, 0))) for n in range(len(fleet.plan.hosts))
    ]
    for trouble in fleet.plan.troubles:
        if trouble.kind == "cut" and trouble.length_s > 10.0:
            host, ends_s = fleet.host(trouble.host), trouble.at_s + trouble.length_s
            if not any(b.host == host and b.begins_s - 1.0 <= ends_s <= b.ends_s + 1.0 for b in fleet.blind):
                lost_s = trouble.at_s + 8.0
                said.append(Delivery(lost_s, Sent(lost_s, host, sees=False, why="agent")))
                place = max(
                    (
                        each.observation.key
                        for each in fleet.sent
                        if each.observation and each.host == host and each.t < ends_s
                    ),
                    default=(0, 0),
                )
                said.append(Delivery(ends_s, Sent(ends_s, host, sees=True, place=place)))
    return said


def _note_what_was_seen(fleet: Fleet) -> None:  # noqa: C901, PLR0912 - one pass over each kind of trouble
    """Which message belongs to which attempt, which came late, and which attempts nobody saw in full."""
    spans: dict[str, list[tuple[float, int]]] = {}
    for n, attempt in enumerate(fleet.attempts):
        spans.setdefault(attempt.uuid, []).append((attempt.began_s, n))
    for delivery in fleet.deliveries:
        observation = delivery.sent.observation
        if observation is None:
            continue
        owner = delivery.sent.owner
        if owner is not None and fleet.attempts[owner].uuid != delivery.sent.uuid:
            owner = None
        if owner is None:
            owner = max(
                (
                    n
                    for began_s, n in spans.get(delivery.sent.uuid, ())
                    if delivery.sent.t >= began_s
                    and delivery.sent.host in (fleet.attempts[n].source, fleet.attempts[n].destination)
                ),
                key=lambda n: (fleet.attempts[n].verdict is not None, n),
                default=None,
            )
        if owner is None:
            continue
        fleet.of[observation.id] = owner
        attempt = fleet.attempts[owner]
        attempt.late_s = max(attempt.late_s, delivery.received - delivery.sent.t)
        attempt.job_failed = attempt.job_failed or observation.kind == "job_failed"
    for delivery in fleet.deliveries:
        if delivery.sent.observation is not None and delivery.received - delivery.sent.t > 5.0:
            for attempt in fleet.attempts:
                just_before = attempt.began_s - 60.0 < delivery.sent.t < attempt.began_s
                if attempt.uuid == delivery.sent.uuid and (just_before or attempt.row.number == "Xen"):
                    attempt.hurt = True
            for attempt in fleet.attempts:
                # What comes after a hole waits for it, whichever domain the hole is about.
                is_part = delivery.sent.host in (attempt.source, attempt.destination)
                if (
                    is_part
                    and attempt.began_s - 60.0 < delivery.received
                    and delivery.sent.t < attempt.ended_s
                ):
                    attempt.touched = True
    for attempt in fleet.attempts:
        # A part of one attempt that is missing for a while may be looked for in the next one.
        if attempt.late_s > 5.0:
            for other in fleet.attempts:
                other.touched = other.touched or other.uuid == attempt.uuid
    for trouble in fleet.plan.troubles:
        if trouble.kind == "cut":
            ends_s = trouble.at_s + trouble.length_s
            for attempt in fleet.attempts:
                is_part = fleet.host(trouble.host) in (attempt.source, attempt.destination)
                if is_part and trouble.at_s <= attempt.ended_s + 45.0 and ends_s >= attempt.began_s - 30.0:
                    attempt.touched = True
                    attempt.hurt = attempt.hurt or attempt.row.number == "22b"
    for n, attempt in enumerate(fleet.attempts):
        unseen = set()
        for blind in fleet.blind:
            if blind.host == attempt.source and not fleet.plan.voice.jobs and blind.ends_s > attempt.ended_s:
                attempt.hurt = True  # nobody said that it was over before the host went blind
            if blind.because_of == n or blind.host not in (attempt.source, attempt.destination):
                continue
            if blind.begins_s <= attempt.ended_s + 3.0 and blind.ends_s >= attempt.began_s - 5.0:
                attempt.hurt = True
                unseen.add(blind.host)
                attempt.unknowable = attempt.unknowable or (blind.forgets and blind.host == attempt.source)
            if blind.begins_s <= attempt.ended_s + 45.0 and blind.ends_s >= attempt.began_s - 30.0:
                attempt.touched = True
        attempt.unknowable = attempt.unknowable or unseen == {attempt.source, attempt.destination}
