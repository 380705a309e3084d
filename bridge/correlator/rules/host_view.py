"""One host's side of one domain: its residencies, arrivals and departures, and its phase.

Values only: `event_types` defines what an observation means, `machine` what that does in each phase,
`actions` how it changes these values.
"""

from __future__ import annotations

from copy import copy
from dataclasses import KW_ONLY, dataclass, field
from typing import Final, Literal

from msgspec import Struct

from bridge.correlator.rules.observations import (
    CLEARED,
    Copied,
    Instant,
    Key,
    Mark,
    is_found,
    newest,
    was_blind,
)

KEPT_RUN_STATES: Final = 16
PART_IN_A_MIGRATION: Final = frozenset(
    f"{state}/{reason}"
    for state, reasons in {
        "running": ("postcopy", "postcopy_failed"),
        "paused": ("migration", "starting_up", "postcopy", "postcopy_failed"),
    }.items()
    for reason in reasons
)
"""States of a domain in a migration; most don't show on which side."""

HostPhase = Literal[
    "away",  # not here, shut off, or unknown
    "here",  # active, with no part in a migration
    "copying",  # an outgoing job was seen; it may be a save or a dump as well
    "leaving",  # suspended for the switch-over
    "leaving_postcopy",
    "leaving_broken",  # post-copy interrupted
    "incoming",  # prepared, nothing arrived
    "incoming_postcopy",  # the guest runs here, its memory is still coming
    "incoming_broken",
]
GuestHere = Literal["running", "paused"]
ArrivalStage = Literal["open", "postcopy", "broken", "arrived", "ended", "departed"]
DepartureStage = Literal[
    "copying",
    "leaving",
    "unpaused",  # resumed by a client after the suspend
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
class Leg:
    """What both legs of an attempt have."""

    key: Key
    _: KW_ONLY
    guest: GuestHere | None = None
    postcopy: bool = False
    postcopy_started: Mark | None = None  # when it became, or became again, a post-copy
    breaks: int = 0
    broke: Mark | None = None
    ended: Mark | None = None
    over: Mark | None = None  # the end of the residency that it began, or that continued after it
    announced: Mark | None = None  # when its end began, if the host reported that
    after: Instant | None = None  # what was found afterwards happened after this
    copied: Copied | None = None
    continues: bool = False  # or is another: the host couldn't see in between
    absorbed: tuple[Key, ...] = ()  # where its later segments began


@dataclass(slots=True)
class Arrival(Leg):
    """The destination's leg of an attempt, which may begin a residency. `first` is its first event; `opened`
    that event if it was the preparation.
    """

    first: Mark
    opened: Mark | None = None
    tentative: bool = False
    stage: ArrivalStage = "open"
    switched: Mark | None = None
    relisted: Mark | None = None  # a state after a blind time that shows no side: it may be leaving again

    @property
    def may_have_come(self) -> bool:
        """Whether the guest may have arrived and ended unseen: the host was blind before the end that is
        known.
        """
        return self.ended is not None and (is_found(self.ended) or bool(self.absorbed))

    @property
    def decided(self) -> Mark | None:
        """The guest's arrival, or that it won't arrive."""
        return self.switched or self.ended

    @property
    def ended_by(self) -> Mark | None:
        """Its end; its beginning, if only something later showed the end."""
        end = self.ended
        is_seen = end is None or (not is_found(end) and end.what.startswith("stopped/"))
        return end if is_seen else self.announced or end

    @property
    def last_mark(self) -> Mark:
        """The newest mark of it."""
        marks = (self.switched, self.broke, self.postcopy_started, self.ended)
        return newest(marks) or self.first


@dataclass(slots=True)
class Departure(Leg):
    """The source's leg of an attempt."""

    opened: Mark
    stage: DepartureStage = "copying"
    before_end: DepartureStage = "copying"
    iterated: bool = False
    iteration: int = 0  # the last one's number; they count up within a job
    iterated_last: Mark | None = None
    suspended: Mark | None = None
    listed_suspended: Mark | None = None  # the last state that showed it still suspended
    figures: tuple[int | None, int | None] | None = None
    returned: Mark | None = None  # its resume, where it was suspended again
    job_gone: Mark | None = None
    began: Mark | None = None  # when its job began, where only the report of its end shows that
    state_before: str | None = None  # the listed state when it began: its reason may be an earlier attempt's
    closed: Mark | None = None  # another job began: this one is over

    @property
    def last_mark(self) -> Mark:
        """The newest event of it, or what a state showed if nothing else did."""
        marks = [mark for mark in (*self.job_marks, self.ended) if mark is not None]
        return max(marks, key=lambda mark: (mark.origin != "state", mark.key))

    @property
    def is_over(self) -> bool:
        """Whether its job is over."""
        return self.ended is not None or self.closed is not None

    def is_of_job(self, began_us: int) -> bool:
        """Whether this has an event of the job that began then; what was asked for may have happened before,
        and what was found as early as it can have. If the clock was set back before the next job, one that
        began by the new clock is the next one.
        """
        closed = self.closed
        if closed is not None and began_us < closed.stamped * 1e6 < self.opened.stamped * 1e6:
            return False
        ended = None if self.ended == self.job_gone else self.ended
        marks = [mark for mark in (*self.job_marks, ended) if mark is not None]
        return any((mark.stamped - mark.at + mark.earliest) * 1e6 >= began_us for mark in marks)

    def began_before(self, began_us: int, gone: Mark) -> bool:
        """Whether its job was seen to begin before the one that began then, by the same clock, and is gone,
        of which the host saw nothing else.
        """
        was_seen = not is_found(self.opened) and was_blind(self.last_mark, gone)
        was_set = gone.stamped * 1e6 < began_us
        return was_seen and not was_set and not self.is_of_job(began_us)

    @property
    def copied_last(self) -> Mark | None:
        """The last that showed its copy under way, as it happened."""
        marks = (self.iterated_last, self.suspended, self.postcopy_started)
        return newest(mark for mark in marks if mark and not is_found(mark) and not mark.late)

    @property
    def job_marks(self) -> tuple[Mark | None, ...]:
        """The marks of its job while it was under way."""
        return (self.opened, self.iterated_last, self.suspended, self.postcopy_started, self.broke)


@dataclass(slots=True)
class Residency:
    """A time in which the domain was active on this host, as far as known."""

    began: Mark
    ended: Mark | None = None
    arrived: bool = False
    cancelled: bool = False  # a departure was cancelled in it: a state's reason may be that one's
    announced: Mark | None = None  # when its end began, if the host reported that
    ran: Mark | None = None  # the last that showed the guest running


class Listed(Struct, frozen=True, gc=False):
    """The host's last retained state: `running/migrated`, or `gone` when it was cleared."""

    key: Key
    what: str
    mark: Mark


class RunState(Struct, frozen=True, gc=False):
    """Whether the guest ran or was paused from a moment on; None: it wasn't here, or that isn't known.

    earliest: the moment before which it can't have changed.
    """

    at: float
    received: float
    guest: GuestHere | None
    earliest: float = float("inf")


@dataclass(slots=True)
class HostView:
    """All that one host's observations show of one domain."""

    phase: HostPhase = "away"
    key: Key = (-1, 0)
    last_live: Instant | None = None  # the last message that was sent as it happened
    late: float = 0.0  # when a late message was last received
    moved: Key = (-1, 0)  # the last lifecycle event; jobs' figures and iterations come after it
    driver: str = ""
    name: str | None = None
    run_states: list[RunState] = field(default_factory=list)
    present: bool | None = None
    persistent: bool | None = None
    residency: Residency | None = None
    began: Key = (-1, 0)  # where the last residency or definition here began
    past: list[Residency] = field(default_factory=list)
    arrivals: list[Arrival] = field(default_factory=list)
    departures: list[Departure] = field(default_factory=list)
    defined: Mark | None = None  # a definition without an earlier one
    lost: Mark | None = None  # a definition that is gone without an event
    unclassified_resume: Mark | None = None  # resumed/migrated, and the role is unknown
    listed: Listed | None = None

    def copy(self) -> HostView:
        """A copy that can be folded further."""
        other = copy(self)
        other.arrivals = [copy(arrival) for arrival in self.arrivals]
        other.departures = [copy(departure) for departure in self.departures]
        other.residency = copy(self.residency)
        return other

    @property
    def is_listed_here(self) -> bool:
        """Whether the domain is on this host, running or not, by the last event or state."""
        if self.listed is None or self.listed.key < self.moved:
            return bool(self.present)
        return self.listed.what != CLEARED and self.listed.what not in PART_IN_A_MIGRATION

    @property
    def was_resumed_last(self) -> bool:
        """Whether nothing happened since a migration failed and resumed the guest here."""
        last = self.departures[-1] if self.departures else None
        if last is None or last.stage != "resumed" or last.ended is None:
            return False
        return self.run_states[-1].at == last.ended.at

    @property
    def stamped(self) -> Mark | Instant | None:
        """A moment that its own clock has stamped."""
        last = self.residency or (self.past[-1] if self.past else None)
        return self.last_live or (last.began if last is not None else None)

    @property
    def guest(self) -> GuestHere | None:
        """The guest's present run state here."""
        return self.run_states[-1].guest if self.run_states else None

    def guest_at(self, moment_s: float, before: Mark | None = None) -> GuestHere | None:
        """The run state here at that moment on another host, and before `before` happened here; if it
        wasn't here then, the next one. A change that was found afterwards may have happened by then. None: it
        may have ended by then, or that is forgotten.
        """
        after: GuestHere | None = None
        for run_state in reversed(self.run_states):
            if before is not None and run_state.at >= before.at:
                continue
            if run_state.at <= moment_s:
                return run_state.guest or after
            if run_state.earliest <= moment_s:
                return run_state.guest
            after = run_state.guest or after
        return None if self.has_forgotten(moment_s) else after

    def has_forgotten(self, moment_s: float) -> bool:
        """Whether the run state of that moment may have been dropped."""
        return len(self.run_states) == KEPT_RUN_STATES and moment_s < self.run_states[0].at

    def has_run_by(self, moment_s: float) -> bool:
        """Whether the guest's run state was known here by then."""
        return bool(self.run_states) and self.run_states[0].at <= moment_s

    def guest_before(self, mark: Mark) -> GuestHere | None:
        """The run state here before this happened here."""
        return next(
            (run_state.guest for run_state in reversed(self.run_states) if run_state.at < mark.at), None
        )

    def set_run_state(self, guest: GuestHere | None, mark: Mark) -> None:
        """Notes the run state from this mark on."""
        self.unclassified_resume = None  # a listed reason is that of the last change
        if guest == "running" and self.residency is not None:
            self.residency.ran = mark
        if guest != self.guest:
            known = [each for each in self.run_states if each.at != mark.at]
            self.run_states = [*known, RunState(mark.at, mark.received, guest, mark.earliest)][
                -KEPT_RUN_STATES:
            ]
