"""What is known of one host's side of one domain: its stays, arrivals and departures, and its phase.

Values only: `event_types` says what an observation means, `machine` what that does in each phase, `actions`
how it is noted here.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field
from typing import Final, Literal

from msgspec import Struct

from bridge.correlator.rules.observations import CLEARED, Copied, Instant, Key, Mark

KEPT_RUN_STATES: Final = 16
PART_IN_A_MIGRATION: Final = frozenset(
    f"{state}/{reason}"
    for state, reasons in {
        "running": ("postcopy", "postcopy_failed"),
        "paused": ("migration", "starting_up", "postcopy", "postcopy_failed"),
    }.items()
    for reason in reasons
)
"""Listed states that only a domain in a migration has; which side of it, most don't say."""

HostPhase = Literal[
    "away",  # not here, shut off, or never heard of
    "here",  # active, with no part in a migration
    "copying",  # an outgoing job was seen; it may be a save or a dump as well
    "leaving",  # suspended for the switch-over
    "leaving_postcopy",
    "leaving_broken",  # post-copy interrupted
    "incoming",  # prepared, nothing arrived
    "incoming_postcopy",  # the guest runs here, its memory is still coming
    "incoming_broken",
    "restored",  # drivers that announce an arrival as a restore: it may be either
]
GuestHere = Literal["running", "paused"]
ArrivalStage = Literal["open", "postcopy", "broken", "arrived", "ended", "departed"]
DepartureStage = Literal[
    "copying",
    "leaving",
    "unpaused",  # somebody resumed it after the suspend
    "postcopy",
    "broken",
    "left",  # stopped/migrated: the one conclusive event
    "resumed",  # cancelled after the suspend: it runs here again
    "resumed_ended",
    "left_paused",  # cancelled, and left paused by an error
    "job_lost",  # suspended for the switch-over, and its job is gone
    "job_ended",  # its job is gone, the guest wasn't suspended
    "crashed",
    "stopped",
    "vanished",
]


@dataclass(slots=True)
class Arrival:
    """The destination's half of an attempt: a beginning that may become a stay. `first` is its first sign;
    `opened` that sign where it was the preparation.
    """

    key: Key
    first: Mark
    opened: Mark | None = None
    tentative: bool = False
    stage: ArrivalStage = "open"
    guest: GuestHere | None = None
    switched: Mark | None = None
    postcopy: bool = False
    breaks: int = 0
    broke: Mark | None = None
    postcopy_started: Mark | None = None  # when it became, or became again, a post-copy
    ended: Mark | None = None
    over: Mark | None = None  # the end of the stay that it began
    after: Instant | None = None  # what was found afterwards happened after this
    copied: Copied | None = None
    continues: bool = False  # or is another: the host couldn't see in between
    absorbed: tuple[Key, ...] = ()  # where its later segments began

    @property
    def last_mark(self) -> Mark:
        """The newest that was said of it."""
        marks = (self.first, self.switched, self.broke, self.postcopy_started, self.ended)
        return max((mark for mark in marks if mark is not None), key=lambda mark: mark.key)


@dataclass(slots=True)
class Departure:
    """The source's half of an attempt."""

    key: Key
    opened: Mark
    stage: DepartureStage = "copying"
    before_end: DepartureStage = "copying"
    iterated: bool = False
    iterated_last: Mark | None = None
    suspended: Mark | None = None
    postcopy: bool = False
    breaks: int = 0
    broke: Mark | None = None
    postcopy_started: Mark | None = None  # when it became, or became again, a post-copy
    ended: Mark | None = None
    guest: GuestHere | None = None
    figures: tuple[int | None, int | None] | None = None
    measured: Mark | None = None
    returned: Mark | None = None  # its resume, where it was suspended again
    job_gone: Mark | None = None
    state_before: str | None = None  # what the host listed when it began: its reason may be an older one's
    over: Mark | None = None  # the end of the stay that went on after it
    closed: Mark | None = None  # another job began: whatever became of this one, it is over
    after: Instant | None = None  # what was found afterwards happened after this
    announced: Mark | None = None  # when its end began, where the host said so
    copied: Copied | None = None
    continues: bool = False  # or is another: the host couldn't see in between
    absorbed: tuple[Key, ...] = ()  # where its later segments began

    @property
    def last_mark(self) -> Mark:
        """The newest that was said of it."""
        marks = (*self.job_marks, self.ended)
        return max((mark for mark in marks if mark is not None), key=lambda mark: mark.key)

    @property
    def is_over(self) -> bool:
        """Whether its job is, by what else the host said."""
        return self.ended is not None or self.closed is not None

    @property
    def job_marks(self) -> tuple[Mark | None, ...]:
        """What its job said while it was under way."""
        return (self.opened, self.iterated_last, self.suspended, self.postcopy_started, self.broke)


@dataclass(slots=True)
class Residency:
    """A time in which the domain was active on this host, as far as it is known."""

    began: Mark
    ended: Mark | None = None
    arrived: bool = False
    cancelled: bool = False  # a departure was cancelled in it: a state's reason may be that one's
    announced: Mark | None = None  # when its end began, where the host said so


class Listed(Struct, frozen=True, gc=False):
    """What the host's retained state last said: `running/migrated`, or `gone` when it was cleared."""

    key: Key
    what: str
    mark: Mark


class RunState(Struct, frozen=True, gc=False):
    """How the guest fared on this host from a moment on; None where it wasn't there or that isn't known.

    earliest: the moment before which it can't have changed.
    """

    at: float
    received: float
    guest: GuestHere | None
    earliest: float = float("inf")


@dataclass(slots=True)
class HostView:
    """All that one host's order says of one domain."""

    phase: HostPhase = "away"
    key: Key = (-1, 0)
    last_live: Instant | None = None  # the last thing that was told as it happened
    late: float = 0.0  # when a message last came that wasn't sent just then
    moved: Key = (-1, 0)  # the last lifecycle event; jobs' figures and iterations come after it
    driver: str = ""
    name: str | None = None
    run_states: list[RunState] = field(default_factory=list)
    present: bool | None = None
    persistent: bool | None = None
    residency: Residency | None = None
    began: Key = (-1, 0)  # where the last stay or definition here began
    past: list[Residency] = field(default_factory=list)
    arrivals: list[Arrival] = field(default_factory=list)
    departures: list[Departure] = field(default_factory=list)
    defined: Mark | None = None  # a definition that came out of nothing
    lost: Mark | None = None  # a definition that went without a word
    unclassified_resume: Mark | None = None  # resumed/migrated, and no role known
    listed: Listed | None = None

    def copy(self) -> HostView:
        """One that can be folded further without this one."""
        other = copy(self)
        other.arrivals = [copy(arrival) for arrival in self.arrivals]
        other.departures = [copy(departure) for departure in self.departures]
        other.residency = copy(self.residency)
        return other

    @property
    def is_listed_here(self) -> bool:
        """Whether the domain is on this host, running or not, by what came last: an event or a state."""
        if self.listed is None or self.listed.key < self.moved:
            return bool(self.present)
        return self.listed.what != CLEARED and self.listed.what not in PART_IN_A_MIGRATION

    @property
    def guest(self) -> GuestHere | None:
        """How the guest fares here now."""
        return self.run_states[-1].guest if self.run_states else None

    def guest_at(self, mark: Mark, before: Mark | None = None) -> GuestHere | None:
        """How it fared here when that happened on another host, and before that happened here; where it
        wasn't here then, soon after. What was found afterwards may have been so by then. None: it may have
        been lost by then.
        """
        after: GuestHere | None = None
        for run_state in reversed(self.run_states):
            if before is not None and run_state.at >= before.at:
                continue
            if run_state.at <= mark.at:
                return run_state.guest or after
            if run_state.earliest <= mark.at:
                return run_state.guest
            after = run_state.guest or after
        return after

    def guest_before(self, mark: Mark) -> GuestHere | None:
        """How it fared here before that happened here."""
        return next(
            (run_state.guest for run_state in reversed(self.run_states) if run_state.at < mark.at), None
        )

    def set_run_state(self, guest: GuestHere | None, mark: Mark) -> None:
        """Notes how the guest fares from this mark on."""
        if guest != self.guest:
            self.run_states = [*self.run_states, RunState(mark.at, mark.received, guest, mark.earliest)][
                -KEPT_RUN_STATES:
            ]
