"""What one host's agent publishes of what happens there: the program's own (`MemoryAgent`), on its clock.

Events become messages as they come; after blindness the list is compared with what was known; states are read
after each change; an outgoing job is asked for every second, as `bridge.agent.jobs` does; libvirt's list is
read again every 30 s. libvirt itself is the world's steps.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from bridge.agent.inventory.domains import PAUSED_FOR_MIGRATION, ListedDomain
from bridge.agent.inventory.encoder import stamp_ns
from bridge.agent.inventory.reports import (
    ConnectionLost,
    ConnectionOpened,
    DomainsListed,
    DomainsRequested,
    JobEnded,
    JobFound,
    Occurrence,
    Report,
)
from bridge.agent.inventory.step import Step
from bridge.agent.jobs.beginning import Span, apart
from bridge.agent.jobs.watcher import ASK_EVERY_S, IN_POSTCOPY
from bridge.agent.publish.status import QUIET_S
from bridge.demo.memory_agent import MemoryAgent
from bridge.mqtt.messages import Publication
from bridge.wire.messages import Libvirt
from tests.explorer.world import Listed
from tests.explorer.world import Step as Happening
from tests.support.agent_messages import messages_of

START_S: Final = 1_790_000_000.0
CONNECTS_AT: Final = -2.0
UUID: Final = "c7a5fdbd-edaf-9455-926a-d65c16db1809"
LOOK_EVERY_S: Final = 30.0
FIRST_LIST_S: Final = 0.22
"""From the connection to its first list (`GRACE_S` of the supervisor, and reading it)."""
READ_S: Final = 0.02
"""From an event to the state that is read after it."""
_SEEN_JOB: Final[dict[str, object]] = {"operation": "migration_out", "time_elapsed": 900}

Kind = Literal["event", "state", "status", "cleared"]


class Message(NamedTuple):
    """What an agent publishes, `t` true seconds after the story began.

    step: the step that it tells of (None: none, or several), the first of `since`; since: the steps that it
    may be about, as many as happened since its agent last saw. id: the envelope's.
    """

    t: float
    kind: Kind
    topic: str
    payload: bytes
    retain: bool
    sequence: int
    epoch: str
    id: str
    steps: tuple[int, ...]
    origin: str


class Window(NamedTuple):
    """An agent doesn't see from one moment to another. why: `libvirt` isn't there, or the `agent` itself.

    says: when the status (or the Will) tells; None: never, the agent is back before.
    """

    begins: float
    ends: float | None
    why: Literal["libvirt", "agent"]
    says: float | None


class Clock(NamedTuple):
    """A host's clock: ahead by `ahead_s`, and from `steps_at` on by `step_s` more."""

    ahead_s: float = 0.0
    steps_at: float = 0.0
    step_s: float = 0.0

    def at(self, t: float) -> float:
        """What it shows, in seconds since the epoch."""
        return START_S + t + self.ahead_s + (self.step_s if self.step_s and t >= self.steps_at else 0.0)

    def at_ns(self, t: float) -> int:
        """The same in nanoseconds, to a microsecond."""
        return int(self.at(t) * 1_000_000) * 1000


TRUE: Final = Clock()


def host_name(letter: str) -> str:
    """What a host of the world is called on the topics."""
    return f"host-{letter.lower()}"


class Agent:
    """One host's agent over its lives. `run` returns all that it publishes, in order."""

    def __init__(
        self,
        host: str,
        *,
        driver: str,
        first: Listed | None,
        clock: Clock = TRUE,
    ) -> None:
        self.host = host_name(host)
        self.driver = driver
        self.clock = clock
        self.there = first
        self.job: int | None = None
        self.out: list[Message] = []
        self.epoch = f"{self.host}-epoch"
        self._agent = MemoryAgent(messages_of(self.host), self.epoch, driver)
        self._sees: Literal["yes", "libvirt", "agent"] = "yes"
        self._plan: list[tuple[float, int, str, object]] = []
        self._count = 0
        self._look = 0
        self._generation = 0
        self._since = ""
        self._unseen: list[int] = []
        """Steps that no message told of yet."""
        self._to_compare = False
        self._job_began = 0.0
        self._of_job: dict[int | None, list[int]] = {}
        """The steps at which each outgoing job began and ended."""
        self._because: tuple[int, ...] = ()
        self._origin = "event"
        self._watching = False
        self._leaving: int | None = None
        self._began: Span | None = None
        self._found: dict[str, int] = {}  # jobs by the beginning that the inventory knows
        self._there = 0.0
        self._seen_leaving: ListedDomain | None = None
        self._missed = 0
        self._next_ask = 0.0
        self._quiet_status: float | None = None
        self._said_sequence = 0

    def run(
        self, steps: Sequence[tuple[int, Happening]], windows: Sequence[Window], until: float
    ) -> list[Message]:
        """Lets the host's steps happen (each with its number), with windows of blindness, until a moment."""
        self._at(CONNECTS_AT, "connects", None)
        for n, step in steps:
            self._at(step.t, "step", (n, step))
            if step.kind == "blind":
                self._at(step.t + 0.001, "blind", "libvirt")
            elif step.kind == "dark":
                self._at(step.t + 0.001, "blind", "agent")
                self._at(step.t + 12.0, "will", step.t)
            elif step.kind == "back":
                self._at(step.t + 0.001, "back", None)
        for window in windows:
            self._at(window.begins, "blind", window.why)
            if window.says is not None and window.why == "agent":
                self._at(window.says, "will", window.begins)
            if window.ends is not None:
                self._at(window.ends, "back", None)
        while self._plan:
            t, _, what, args = heapq.heappop(self._plan)
            if t > until:
                break
            getattr(self, f"_{what}")(t, args)
        return self.out

    def _at(self, t: float, what: str, args: object) -> None:
        self._count += 1
        heapq.heappush(self._plan, (t, self._count, what, args))

    # What happens

    def _step(self, t: float, args: tuple[int, Happening]) -> None:
        n, step = args
        self.there, self.job = step.there, step.job
        if step.kind in ("blind", "dark", "back"):
            return
        if step.kind == "job":
            self._job_began = t
            self._of_job = {**self._of_job, step.job: [n]}
        elif step.kind == "end" and self._of_job:
            self._of_job[max(number or 0 for number in self._of_job)].append(n)
        if self._sees != "yes" or step.kind in ("quietly", "job", "end"):
            self._unseen.append(n)
            self._to_compare = self._to_compare or step.kind == "quietly"
            return
        there = step.there
        named = (self.driver, UUID, there.name if there else "web01", there.id if there else None)
        self._because, self._origin = (n,), "event"
        moment_ns = self.clock.at_ns(t)
        if step.kind == "event":
            report = Occurrence(moment_ns, t, "lifecycle", *named, *step.args)  # type: ignore[arg-type]
        elif step.kind == "iter":
            report = Occurrence(moment_ns, t, "migration_iteration", *named, arguments=step.args)
        else:
            done = {"operation": step.args[0], "time_elapsed": 948, "downtime": 27}
            report = Occurrence(moment_ns, t, "job_completed", *named, arguments=(done,))
        self._take(t, report)

    def _blind(self, t: float, why: Literal["libvirt", "agent"]) -> None:
        if self._sees == "yes" and why == "libvirt":
            self._take(t, ConnectionLost(self._generation, "gone"))
        if self._sees != "agent":
            self._sees = why
        self._watching = False
        if why == "libvirt":
            self._status(t, connected=False)

    def _will(self, t: float, began: float) -> None:
        if self._sees == "agent":
            self._status(t, state="offline", stamped=began)

    def _back(self, t: float, _: object) -> None:
        if self._sees == "agent":
            self._agent.start()
            self._leaving, self._missed, self._seen_leaving = None, 0, None
        self._sees = "yes"
        self._connects(t, None)

    def _connects(self, t: float, _: object) -> None:
        self._since = stamp_ns(self.clock.at_ns(t))
        self._generation += 1
        self._take(t, ConnectionOpened(self._generation, self.driver))
        self._status(t)
        self._at(t + FIRST_LIST_S, "lists", (self._generation, True))
        self._at(t + FIRST_LIST_S + LOOK_EVERY_S, "lists", (self._generation, False))

    # What the agent does by itself

    def _lists(self, t: float, args: tuple[int, bool]) -> None:
        generation, first = args
        if generation != self._generation or self._sees != "yes":
            return
        if not first:
            self._at(t + LOOK_EVERY_S, "lists", args)
        self._list(t, first=first)

    def _again(self, t: float, generation: int) -> None:
        if generation == self._generation and self._sees == "yes":
            self._list(t, first=False)

    def _list(self, t: float, *, first: bool) -> None:
        if not (first or self._to_compare) and self._seen() == self._agent.states.get(UUID):
            return
        self._look += 1
        seen = self._seen()
        self._take(t, DomainsRequested(self._look))
        self._because, self._origin = tuple(self._unseen), "resync"
        listed = {} if seen is None else {UUID: seen}
        looked = DomainsListed(self._look, self.driver, listed, first, self.clock.at_ns(t))
        self._to_compare = False
        self._take(t, looked)

    def _seen(self) -> ListedDomain | None:
        there = self.there
        if there is None:
            return None
        incoming = there.incoming if (there.state, there.reason) in PAUSED_FOR_MIGRATION else None
        return ListedDomain(UUID, there.name, there.id, there.state, there.reason, there.persistent, incoming)

    def _asks(self, t: float, _: object) -> None:
        """About the outgoing job; as `bridge.agent.jobs` concludes from the answer."""
        if not self._watching or self._sees != "yes" or t < self._next_ask:
            return
        seen = self._seen()
        in_postcopy = seen is not None and (seen.state, seen.reason) in IN_POSTCOPY
        if self.job is not None:
            began_ns = self.clock.at_ns(self._job_began)
            began = (began_ns, began_ns) if began_ns < self.clock.at_ns(t) else None
            is_other = not in_postcopy and apart(self._began, began)
            if self._leaving is not None and (self._missed or is_other):
                self._gone(t)
            if self._leaving is None or self._began is None:
                self._began = began
                self._found[stamp_ns(began_ns)] = self.job
                former = None if seen is None or in_postcopy else self._ended(t, seen)
                since_ns = None if began is None else began_ns
                self._take(t, JobFound(UUID, since_ns, since_ns, former))
            self._leaving, self._missed, self._there = self.job, 0, t
            self._seen_leaving = seen or self._seen_leaving
        elif self._leaving is None or seen is None or seen.id is None:
            self._watching, self._leaving = False, None
            return
        elif in_postcopy:
            self._missed = 0
        else:
            self._missed += 1
            self._seen_leaving = seen
            if self._missed >= 2:
                self._gone(t)
                self._watching, self._leaving = False, None
                return
        self._ask(t + ASK_EVERY_S)

    def _gone(self, t: float) -> None:
        seen = self._seen_leaving
        if seen is not None:
            self._take(t, self._ended(t, seen))
        self._leaving = None

    def _ended(self, t: float, seen: ListedDomain) -> JobEnded:
        named = (self.driver, UUID, seen.name, seen.id)
        return JobEnded(self.clock.at_ns(t), self._there, *named, dict(_SEEN_JOB))

    def _ask(self, t: float) -> None:
        self._next_ask = t
        self._at(t, "asks", None)

    def _take(self, t: float, report: Report) -> None:
        for step, published in self._agent.take(report, t):
            self._stored(t, step, published)

    def _stored(self, t: float, step: Step, published: list[Publication]) -> None:
        because, origin = self._because, self._origin
        for sequence, message in enumerate(published, self._agent.sequence - len(published) + 1):
            if message.topic.endswith("/job_failed"):  # asked, or known by the next job's first iteration
                began = json.loads(message.payload)["data"]["params"]["started_at"]
                self._because = tuple(self._of_job.get(self._found.get(began, self._leaving), ()))
                self._origin = "poll"
            self._publish(t, "event", message, sequence, f"{self.epoch}-{sequence}")
            self._because, self._origin = because, origin
            if self._origin != "event":
                self._unseen = [n for n in self._unseen if n not in self._because]
        if (
            step.changed
            or step.listed
            or step.gone
            or (step.compared is not None and self._agent.states.get(UUID) != self._seen())
        ):
            self._at(t + READ_S, "reads", self._because)
        if step.list_after_s is not None:
            self._to_compare = True
            self._at(t + step.list_after_s, "again", self._generation)
        if step.renewed:
            self._leaving, self._missed, self._seen_leaving = None, 0, None
        if step.working or step.leaving:
            if step.leaving and self._leaving is None:
                latest = max((number or 0 for number in self._of_job), default=0)
                self._leaving, self._missed, self._seen_leaving = self.job or latest, 0, self._seen()
                self._began = None
                self._there = t
            self._watching = True
            self._ask(t + 0.01)
        if step.drafts and self._quiet_status is None:
            self._quiet_status = t + QUIET_S
            self._at(self._quiet_status, "progress", None)
        elif step.drafts:
            self._quiet_status = t + QUIET_S

    def _reads(self, t: float, because: tuple[int, ...]) -> None:
        if self._sees != "yes":
            return
        name = f"{self.host}-{len(self.out):026}"[:36].ljust(36, "0")
        state = self._agent.read(UUID, self._seen(), self.clock.at_ns(t), message_id=name)
        if state is not None:
            kind: Kind = "state" if state.payload else "cleared"
            because = (*because, *self._unseen)
            self._publish(t, kind, state, self._agent.sequence, name if state.payload else "", steps=because)

    def _progress(self, t: float, _: object) -> None:
        """A status that tells how far the stream is, once nothing came for a while."""
        quiet = self._quiet_status
        if quiet is not None and t < quiet:
            self._at(quiet, "progress", None)
            return
        self._quiet_status = None
        if self._sees == "yes" and self._agent.sequence != self._said_sequence:
            self._status(t)

    def _status(
        self,
        t: float,
        *,
        connected: bool = True,
        state: Literal["online", "offline"] = "online",
        stamped: float | None = None,
    ) -> None:
        self._said_sequence = self._agent.sequence
        libvirt = Libvirt(connected=connected, uri="qemu:///system", since=self._since if connected else None)
        now_s = self.clock.at(t if stamped is None else stamped)
        message = self._agent.status(libvirt, now_s, state=state)
        self._publish(t, "status", message, self._agent.sequence, "", steps=())

    def _publish(
        self,
        t: float,
        kind: Kind,
        message: Publication,
        sequence: int,
        id_: str,
        *,
        steps: tuple[int, ...] | None = None,
    ) -> None:
        self.out.append(
            Message(
                t, kind, message.topic, message.payload, message.retain, sequence, self.epoch, id_,
                self._because if steps is None else steps, self._origin,
            )
        )  # fmt: skip
