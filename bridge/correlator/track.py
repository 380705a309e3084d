"""One host's side of one domain: its events folded into what the domain's part on this host is.

Everything that reads a single host's order is in this file: `SIGNS` says what each event means, `TABLE`
what it does in each phase. A detail means nothing without the host's role, so the phase is the role:
`resumed/migrated` ends an arrival well in `incoming` and a departure badly in `leaving`. A pair that the
table doesn't have changes nothing: an event that proves nothing is normal.
"""

# ruff: noqa: ARG001 - every act of the table is called the same way, whatever it needs

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from msgspec import Struct

from bridge.correlator.facts import Fact, Key, Mark

Phase = Literal[
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
    "stuck",  # cancelled, and left paused by an error
    "stranded",  # suspended for the switch-over, and its job is gone
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
    flowed: Mark | None = None  # when it became, or became again, a post-copy
    ended: Mark | None = None
    over: Mark | None = None  # the end of the stay that it began

    @property
    def last_key(self) -> Key:
        """The place of the last sign of it that is known."""
        marks = (self.first, self.flowed, self.switched, self.broke, self.ended)
        return max(mark.key for mark in marks if mark is not None)


@dataclass(slots=True)
class Departure:
    """The source's half of an attempt."""

    key: Key
    opened: Mark
    stage: DepartureStage = "copying"
    before_end: DepartureStage = "copying"
    iterated: bool = False
    suspended: Mark | None = None
    postcopy: bool = False
    breaks: int = 0
    broke: Mark | None = None
    flowed: Mark | None = None  # when it became, or became again, a post-copy
    ended: Mark | None = None
    guest: GuestHere | None = None
    figures: tuple[int | None, int | None] | None = None
    measured: Mark | None = None
    job_gone: Mark | None = None
    state_before: str | None = None  # what the host listed when it began: its reason may be an older one's
    over: Mark | None = None  # the end of the stay that went on after it
    closed: Mark | None = None  # another job began: whatever became of this one, it is over

    @property
    def last_key(self) -> Key:
        """The place of the last sign of it that is known."""
        marks = (self.opened, self.suspended, self.flowed, self.broke, self.ended, self.measured)
        return max(mark.key for mark in marks if mark is not None)


@dataclass(slots=True)
class Stay:
    """A time in which the domain was active on this host, as far as it is known."""

    began: Mark
    ended: Mark | None = None
    arrived: bool = False


class Listed(Struct, frozen=True, gc=False):
    """What the host's retained state last said: `running/migrated`, or `gone` when it was cleared."""

    key: Key
    what: str
    mark: Mark


class Mood(Struct, frozen=True, gc=False):
    """How the guest fared on this host from a moment on; None where it wasn't there or that isn't known."""

    at: float
    received: float
    guest: GuestHere | None


@dataclass(slots=True)
class Track:
    """All that one host's order says of one domain."""

    phase: Phase = "away"
    key: Key = (-1, 0)
    late: float = 0.0  # when a message last came that wasn't sent just then
    moved: Key = (-1, 0)  # the last lifecycle event; jobs' figures and iterations come after it
    driver: str = ""
    name: str | None = None
    moods: list[Mood] = field(default_factory=list)
    present: bool | None = None
    believed: Key = (-1, 0)  # the place of the listed state by which it counts as present
    persistent: bool | None = None
    stay: Stay | None = None
    began: Key = (-1, 0)  # where the last stay or definition here began
    past: list[Stay] = field(default_factory=list)
    arrivals: list[Arrival] = field(default_factory=list)
    departures: list[Departure] = field(default_factory=list)
    defined: Mark | None = None  # a definition that came out of nothing
    lost: Mark | None = None  # a definition that went without a word
    roleless: Mark | None = None  # resumed/migrated, and no role known
    listed: Listed | None = None

    @property
    def guest(self) -> GuestHere | None:
        """How the guest fares here now."""
        return self.moods[-1].guest if self.moods else None

    def guest_at(self, mark: Mark, before: Mark | None = None) -> GuestHere | None:
        """How it fared here when that happened on another host, and before that happened here; where it
        wasn't here then, soon after.
        """
        after: GuestHere | None = None
        for mood in reversed(self.moods):
            if before is not None and mood.at >= before.at:
                continue
            if mood.at <= mark.at:
                return mood.guest or after
            after = mood.guest or after
        return after

    def guest_before(self, mark: Mark) -> GuestHere | None:
        """How it fared here before that happened here."""
        return next((mood.guest for mood in reversed(self.moods) if mood.at < mark.at), None)

    def feel(self, guest: GuestHere | None, mark: Mark) -> None:
        """Notes how the guest fares from this mark on."""
        if guest != self.guest:
            self.moods = [*self.moods, Mood(mark.at, mark.received, guest)][-_KEPT_MOODS:]


Sign = Literal[
    "incoming",
    "restored",
    "booted",
    "switching",
    "stuck",
    "paused",
    "source_postcopy",
    "source_broke",
    "resumed_migrated",
    "resumed",
    "destination_postcopy",
    "destination_broke",
    "left",
    "crashed",
    "stopped",
    "vanished",
    "stuck_again",
    "defined",
    "updated",
    "undefined",
    "undefined_silently",
    "iteration",
    "first_iteration",
    "job_completed",
    "other_job",
    "job_failed",
]

SIGNS: Final[dict[str, Sign]] = {
    "started/migrated": "incoming",
    "started/*": "booted",
    "suspended/migrated": "switching",
    "suspended/api_error": "stuck",
    "suspended/postcopy": "source_postcopy",
    "suspended/postcopy_failed": "source_broke",
    "suspended/*": "paused",
    "resumed/migrated": "resumed_migrated",
    "resumed/postcopy": "destination_postcopy",
    "resumed/postcopy_failed": "destination_broke",
    "resumed/*": "resumed",
    "stopped/migrated": "left",
    "stopped/failed": "crashed",
    "stopped/crashed": "crashed",
    "stopped/unknown": "vanished",
    "stopped/*": "stopped",
    "defined/added": "defined",
    "defined/*": "updated",
    "undefined/renamed": "updated",
    "undefined/*": "undefined",
}
"""What a lifecycle event is a sign of. `shutdown/*` announces an end and says nothing of its kind; events
that aren't named prove nothing."""

SIGNS_BY_DRIVER: Final[dict[str, dict[str, Sign]]] = {
    # libxl announces an incoming migration as a restore (libxl_migration.c), and a restore is one too.
    "Xen": {"started/restored": "restored"},
}

STATE_SIGNS: Final[dict[Phase, dict[str, Sign]]] = {
    "here": {
        "shutoff/migrated": "left",
        "shutoff/crashed": "crashed",
        "shutoff/failed": "crashed",
        "shutoff/unknown": "vanished",
        "shutoff/*": "stopped",
        "gone": "vanished",
    },
    "incoming": {
        "running/postcopy": "destination_postcopy",
        "running/postcopy_failed": "destination_broke",
        "running/*": "resumed_migrated",
        "paused/user": "paused",
        "shutoff/failed": "crashed",
        "shutoff/*": "vanished",
        "gone": "vanished",
    },
    "incoming_postcopy": {
        "running/migrated": "resumed_migrated",
        "running/postcopy_failed": "destination_broke",
        "shutoff/*": "vanished",
        "gone": "vanished",
    },
    "incoming_broken": {
        "running/migrated": "resumed_migrated",
        "running/postcopy": "destination_postcopy",
        "shutoff/*": "vanished",
        "gone": "vanished",
    },
    "copying": {
        "running/migration_canceled": "resumed_migrated",
        "paused/migration": "switching",
        "paused/postcopy": "source_postcopy",
        "paused/postcopy_failed": "source_broke",
        "shutoff/migrated": "left",
        "shutoff/crashed": "crashed",
        "shutoff/failed": "crashed",
        "shutoff/unknown": "vanished",
        "shutoff/*": "stopped",
        "gone": "vanished",
    },
}
_LEAVING = {what: sign for what, sign in STATE_SIGNS["copying"].items() if what != "paused/migration"}
STATE_SIGNS["leaving"] = _LEAVING | {"running/unpaused": "resumed"}
STATE_SIGNS["leaving_postcopy"] = STATE_SIGNS["leaving_broken"] = _LEAVING
"""What a listed state is a sign of when no event came for it: what an agent that was blind finds."""

Act = Literal[
    "begin",
    "end",
    "open_arrival",
    "open_tentative",
    "arrive",
    "arrive_paused",
    "fail",
    "lapse",
    "flow",
    "break_in",
    "open_departure",
    "mark_iteration",
    "close",
    "split",
    "suspend",
    "unpause",
    "strand",
    "drop",
    "postcopy_out",
    "break_out",
    "leave",
    "leave_after_all",
    "crash_after_all",
    "stop_after_all",
    "crash_belatedly",
    "stop_belatedly",
    "resume",
    "stick",
    "crash",
    "stop",
    "vanish",
    "job_end",
    "measure",
    "run",
    "pause",
    "define",
    "persist",
    "undefine",
    "lose",
    "note",
    "job_gone",
]

Row = dict[Sign, tuple[Phase, tuple[Act, ...]]]

TABLE: Final[dict[Phase, Row]] = {
    "away": {
        "incoming": ("incoming", ("open_arrival",)),
        "restored": ("restored", ("begin", "open_tentative")),
        "booted": ("here", ("begin", "run")),
        "resumed": ("here", ("begin", "run")),
        "resumed_migrated": ("here", ("begin", "run", "note")),
        "paused": ("here", ("begin", "pause")),
        "destination_postcopy": ("incoming_postcopy", ("open_arrival", "flow")),
        "destination_broke": ("incoming_broken", ("open_arrival", "flow", "break_in")),
        "iteration": ("copying", ("begin", "open_departure", "mark_iteration")),
        "first_iteration": ("copying", ("begin", "open_departure", "mark_iteration")),
        "switching": ("leaving", ("begin", "open_departure", "suspend")),
        "source_postcopy": ("leaving_postcopy", ("begin", "open_departure", "postcopy_out")),
        "source_broke": ("leaving_broken", ("begin", "open_departure", "postcopy_out", "break_out")),
        "left": ("away", ("leave_after_all",)),
        "crashed": ("away", ("crash_after_all",)),
        "stopped": ("away", ("stop_after_all",)),
        "job_completed": ("away", ("measure",)),
        "defined": ("away", ("define",)),
        "undefined": ("away", ("undefine",)),
        "undefined_silently": ("away", ("lose",)),
        "vanished": ("away", ("lose",)),
    },
    "here": {
        "incoming": ("incoming", ("end", "open_arrival")),
        "restored": ("restored", ("end", "begin", "open_tentative")),
        "booted": ("here", ("run",)),
        "resumed": ("here", ("run",)),
        "resumed_migrated": ("here", ("run", "note")),
        "paused": ("here", ("pause",)),
        "stuck": ("here", ("pause",)),
        "stuck_again": ("here", ("stick",)),
        "iteration": ("copying", ("open_departure", "mark_iteration")),
        "first_iteration": ("copying", ("open_departure", "mark_iteration")),
        "switching": ("leaving", ("open_departure", "suspend")),
        "source_postcopy": ("leaving_postcopy", ("open_departure", "postcopy_out")),
        "source_broke": ("leaving_broken", ("open_departure", "postcopy_out", "break_out")),
        "job_failed": ("here", ("job_gone",)),
        "left": ("away", ("open_departure", "leave", "end")),
        "crashed": ("away", ("crash_belatedly", "end")),
        "stopped": ("away", ("stop_belatedly", "end")),
        "vanished": ("away", ("end",)),
        "undefined": ("here", ("undefine",)),
    },
    "copying": {
        "iteration": ("copying", ("mark_iteration",)),
        "first_iteration": ("copying", ("close", "open_departure", "mark_iteration")),
        "paused": ("copying", ("pause",)),
        "resumed": ("copying", ("run",)),
        "switching": ("leaving", ("suspend",)),
        "source_postcopy": ("leaving_postcopy", ("postcopy_out",)),
        "source_broke": ("leaving_broken", ("postcopy_out", "break_out")),
        "resumed_migrated": ("here", ("resume",)),
        "other_job": ("here", ("drop",)),
        "job_failed": ("here", ("job_end",)),
        "booted": ("here", ("drop", "end", "begin", "run")),
        "incoming": ("incoming", ("vanish", "end", "open_arrival")),
        "left": ("away", ("leave", "end")),
        "crashed": ("away", ("crash", "end")),
        "stopped": ("away", ("stop", "end")),
        "vanished": ("away", ("vanish", "end")),
    },
    "leaving": {
        "first_iteration": ("leaving", ("split",)),
        "resumed_migrated": ("here", ("resume",)),
        "resumed": ("leaving", ("unpause",)),
        "switching": ("leaving", ("suspend",)),
        "stuck": ("here", ("stick",)),
        "job_failed": ("leaving", ("strand",)),
        "source_postcopy": ("leaving_postcopy", ("postcopy_out",)),
        "source_broke": ("leaving_broken", ("postcopy_out", "break_out")),
        "booted": ("here", ("vanish", "end", "begin", "run")),
        "incoming": ("incoming", ("vanish", "end", "open_arrival")),
        "left": ("away", ("leave", "end")),
        "crashed": ("away", ("crash", "end")),
        "stopped": ("away", ("stop", "end")),
        "vanished": ("away", ("vanish", "end")),
    },
    "leaving_postcopy": {
        "source_broke": ("leaving_broken", ("break_out",)),
        "resumed_migrated": ("here", ("resume",)),
        "incoming": ("incoming", ("vanish", "end", "open_arrival")),
        "left": ("away", ("leave", "end")),
        "crashed": ("away", ("crash", "end")),
        "stopped": ("away", ("stop", "end")),
        "vanished": ("away", ("vanish", "end")),
    },
    "leaving_broken": {
        "source_postcopy": ("leaving_postcopy", ("postcopy_out",)),
        "resumed_migrated": ("here", ("resume",)),
        "incoming": ("incoming", ("vanish", "end", "open_arrival")),
        "left": ("away", ("leave", "end")),
        "crashed": ("away", ("crash", "end")),
        "stopped": ("away", ("stop", "end")),
        "vanished": ("away", ("vanish", "end")),
    },
    "incoming": {
        "resumed_migrated": ("here", ("arrive",)),
        "resumed": ("here", ("arrive",)),
        "paused": ("here", ("arrive_paused",)),
        "destination_postcopy": ("incoming_postcopy", ("flow",)),
        "destination_broke": ("incoming_broken", ("flow", "break_in")),
        "incoming": ("incoming", ("fail", "open_arrival")),
        "booted": ("here", ("fail", "begin", "run")),
        "iteration": ("copying", ("arrive", "open_departure", "mark_iteration")),
        "first_iteration": ("copying", ("arrive", "open_departure", "mark_iteration")),
        "switching": ("leaving", ("arrive", "open_departure", "suspend")),
        "left": ("away", ("arrive", "open_departure", "leave", "end")),
        "crashed": ("away", ("fail",)),
        "stopped": ("away", ("fail",)),
        "vanished": ("away", ("fail",)),
    },
    "incoming_postcopy": {
        "incoming": ("incoming", ("lapse", "end", "open_arrival")),
        "resumed_migrated": ("here", ("arrive",)),
        "destination_broke": ("incoming_broken", ("break_in",)),
        "source_broke": ("incoming_broken", ("break_in",)),  # libvirt before 8.5
        "paused": ("incoming_postcopy", ("pause",)),
        "resumed": ("incoming_postcopy", ("run",)),
        "first_iteration": ("copying", ("arrive", "open_departure", "mark_iteration")),
        "left": ("away", ("arrive", "open_departure", "leave", "end")),
        "crashed": ("away", ("fail", "end")),
        "stopped": ("away", ("fail", "end")),
        "vanished": ("away", ("fail", "end")),
    },
    "incoming_broken": {
        "incoming": ("incoming", ("lapse", "end", "open_arrival")),
        "destination_postcopy": ("incoming_postcopy", ("flow",)),
        "resumed_migrated": ("here", ("arrive",)),
        "left": ("away", ("arrive", "open_departure", "leave", "end")),
        "crashed": ("away", ("fail", "end")),
        "stopped": ("away", ("fail", "end")),
        "vanished": ("away", ("fail", "end")),
    },
    "restored": {
        "resumed_migrated": ("here", ("arrive",)),
        "resumed": ("here", ("arrive",)),
        "paused": ("here", ("arrive_paused",)),
        "crashed": ("away", ("fail", "end")),
        "stopped": ("away", ("fail", "end")),
        "vanished": ("away", ("fail", "end")),
    },
}
for _known in TABLE:
    TABLE[_known]["updated"] = (_known, ("persist",))
    TABLE[_known].setdefault("defined", (_known, ("persist",)))
"""(phase, sign) -> (next phase, what is noted on the way). Rows of MIGRATIONS: see `docs/migrations.md`."""

ACTIVE: Final[frozenset[Phase]] = frozenset(TABLE) - {"away", "incoming"}
"""The phases in which a guest is active on the host."""

_KEPT = 8
_KEPT_MOODS = 16
_ONE_BREATH_S = 0.5
_SKEW_S = 5.0
LIVE_S: Final = 4.0
"""What comes later than this after it was sent was waiting somewhere."""
_JOB_TRAILS_S = 60.0


def sign_of(fact: Fact) -> Sign | None:
    """What a fact is a sign of; None for one that proves nothing. States are read by `sign_of_state`."""
    if fact.kind == "lifecycle":
        event = fact.what.partition("/")[0]
        sign = (
            SIGNS_BY_DRIVER.get(fact.driver, {}).get(fact.what)
            or SIGNS.get(fact.what)
            or SIGNS.get(f"{event}/*")
        )
        if sign == "undefined" and fact.origin == "resync":
            return "undefined_silently"
        return sign
    if fact.kind == "iteration":
        return "first_iteration" if fact.figures[0] == 1 else "iteration"
    if fact.kind == "job_completed":
        return "job_completed" if fact.what == "migration_out" else "other_job"
    if fact.kind == "job_failed":
        return "job_failed" if fact.what == "migration_out" else None
    return None


def sign_of_state(track: Track) -> Sign | None:
    """What the listed state says in this phase beyond what is known already; None for nothing."""
    listed = track.listed
    if listed is None or listed.key < track.moved:
        return None
    what = listed.what
    if track.phase == "away":
        was_here = what == "gone" and track.persistent and track.present
        return "undefined_silently" if was_here else None
    if track.phase == "copying":
        was_cancelled = any(earlier.stage == "resumed" for earlier in track.departures[:-1])
        if what == track.departures[-1].state_before or (
            was_cancelled and what == "running/migration_canceled"
        ):
            return None  # the reason is an earlier one's
    row = STATE_SIGNS.get(track.phase, {})
    return row.get(what) or row.get(f"{what.partition('/')[0]}/*")


def fold(track: Track, fact: Fact) -> None:
    """Takes in the next event of the host's order."""
    if fact.key[0] > track.key[0] >= 0:
        _renew(track, Mark.of(fact))
    track.key = fact.key
    if fact.received - fact.at > LIVE_S:
        track.late = fact.received
    if fact.kind == "lifecycle":
        track.moved = fact.key
    track.driver = fact.driver or track.driver
    track.name = fact.name or track.name
    sign = sign_of(fact)
    if sign is not None:
        apply(track, sign, Mark.of(fact), fact.figures)


def _renew(track: Track, mark: Mark) -> None:
    """The host was installed anew: what it was in the middle of went on unseen."""
    if track.phase.startswith("incoming"):
        _lapse(track, mark)
    elif track.phase in ("copying", "leaving", "leaving_postcopy", "leaving_broken"):
        _close(track, mark)
    if track.stay is not None:
        track.stay.ended = mark
        track.past = [*track.past, track.stay][-_KEPT:]
    track.stay = track.roleless = track.lost = track.defined = None
    track.phase = "away"
    track.feel(None, mark)
    track.present = False
    track.key = track.moved = (mark.key[0], 0)


def apply(
    track: Track, sign: Sign, mark: Mark, figures: tuple[int | None, int | None] = (None, None)
) -> None:
    """Moves the track by one sign, as `TABLE` has it."""
    if sign == "switching" and _was_just_resumed(track, mark):
        sign = "stuck_again"
    row = TABLE[track.phase].get(sign)
    if row is None:
        return
    phase, acts = row
    for act in acts:
        _ACTS[act](track, mark, figures)
    track.phase = phase
    if phase == "leaving" and track.departures[-1].stage == "resumed":
        track.phase = "here"


def _was_just_resumed(track: Track, mark: Mark) -> bool:
    """A source that can't resume after a failure says resumed and suspended in one breath."""
    last = track.departures[-1] if track.departures else None
    return (
        track.phase == "here"
        and last is not None
        and last.stage == "resumed"
        and last.ended is not None
        and mark.at - last.ended.at < _ONE_BREATH_S
    )


def end_departure(track: Track, over: Mark) -> None:
    """A verdict ends the source's part as well: the copy failed, and what comes is another job's."""
    track.departures[-1].closed = over
    track.phase = "here"


def list_state(track: Track, fact: Fact) -> None:
    """Takes in a retained state, or that it was cleared, for `believe_presence` and `sign_of_state`."""
    if track.listed is not None and fact.key < track.listed.key:
        return
    what = "gone" if fact.kind == "cleared" else fact.what
    track.listed = Listed(fact.key, what, Mark.of(fact))
    track.driver = track.driver or fact.driver
    track.name = fact.name or track.name
    if fact.persistent is not None:
        track.persistent = fact.persistent


_PART_IN_A_MIGRATION: Final = frozenset(
    f"{state}/{reason}"
    for state, reasons in {
        "running": ("postcopy", "postcopy_failed"),
        "paused": ("migration", "starting_up", "postcopy", "postcopy_failed"),
    }.items()
    for reason in reasons
)
_ACTIVE_STATES: Final[dict[str, GuestHere]] = {
    "running": "running",
    "blocked": "running",
    "pmsuspended": "running",
    "paused": "paused",
}


def believe_presence(track: Track) -> None:
    """Believes the listed state that the domain is here, or isn't, unless an event came after it. To be
    called only where no event before it is missing. A part in a migration is left to the events, and to
    `sign_of_state` where none comes.
    """
    listed = track.listed
    if listed is None or listed.key < track.moved:
        return
    if listed.key[0] > track.key[0] >= 0:
        _renew(track, listed.mark)
    what = listed.what
    if track.roleless is not None and what in ("running/migrated", "running/migration_canceled"):
        _settle_role(track, what, track.roleless)
    if track.phase != "away":
        return
    guest = _ACTIVE_STATES.get(what.partition("/")[0])
    if guest is not None and what not in _PART_IN_A_MIGRATION:
        _begin(track, listed.mark)
        track.phase = "here"
        track.feel(guest, listed.mark)
    elif what == "gone":
        track.present = track.present and bool(track.persistent)
    else:
        if not track.present:
            track.believed = listed.key
        track.present = True


def _settle_role(track: Track, what: str, resumed: Mark) -> None:
    """A resume by migration of which the role wasn't known: the state's reason tells it."""
    track.roleless = None
    if what == "running/migrated":
        arrival = Arrival(key=resumed.key, first=resumed, stage="arrived", guest="running", switched=resumed)
        track.arrivals = [*track.arrivals, arrival][-_KEPT:]
        if track.stay is not None:
            track.stay.arrived = True
    else:
        departure = Departure(
            key=resumed.key, opened=resumed, stage="resumed", guest="running", ended=resumed
        )
        track.departures = [*track.departures, departure][-_KEPT:]


def _begin(track: Track, mark: Mark, _: object = None) -> None:
    track.stay = Stay(began=mark)
    track.began = mark.key
    track.feel(None, mark)
    track.present = True
    track.lost = track.roleless = None


def _end(track: Track, mark: Mark, _: object = None) -> None:
    if track.stay is not None:
        track.stay.ended = mark
        track.past = [*track.past, track.stay][-_KEPT:]
    track.stay = track.roleless = None
    track.feel(None, mark)
    if track.persistent is False:
        track.present = False
    for arrival in track.arrivals:
        if arrival.stage == "arrived":
            arrival.stage, arrival.over = "departed", mark
    for departure in track.departures:
        if departure.stage == "resumed":
            departure.stage, departure.over = "resumed_ended", mark


def _open_arrival(track: Track, mark: Mark, _: object = None) -> None:
    opened = mark if mark.what in ("started/migrated", "started/restored") else None
    track.arrivals = [*track.arrivals, Arrival(key=mark.key, first=mark, opened=opened)][-_KEPT:]
    track.defined = track.lost = None
    track.feel(None, mark)


def _open_tentative(track: Track, mark: Mark, _: object = None) -> None:
    _open_arrival(track, mark)
    track.arrivals[-1].tentative = True


def _arrive(track: Track, mark: Mark, _: object = None) -> None:
    arrival = track.arrivals[-1]
    arrival.stage = "arrived"
    arrival.switched = mark
    arrival.guest = "running"
    if mark.what == "resumed/migrated":
        arrival.tentative = False
    track.stay = Stay(began=mark, arrived=True)
    track.began = mark.key
    track.feel("running", mark)
    track.present = True


def _arrive_paused(track: Track, mark: Mark, _: object = None) -> None:
    _arrive(track, mark)
    track.arrivals[-1].guest = "paused"
    track.feel("paused", mark)


def _fail(track: Track, mark: Mark, _: object = None) -> None:
    arrival = track.arrivals[-1]
    arrival.stage = "ended"
    arrival.ended = mark
    track.present = bool(track.persistent)


def _lapse(track: Track, mark: Mark, _: object = None) -> None:
    """Whatever became of it wasn't seen; it was over by now."""
    track.arrivals[-1].over = mark


def _flow(track: Track, mark: Mark, _: object = None) -> None:
    arrival = track.arrivals[-1]
    arrival.stage = "postcopy"
    arrival.postcopy = True
    arrival.flowed = mark
    track.feel("running", mark)
    if track.stay is None:
        track.stay = Stay(began=mark, arrived=True)


def _break_in(track: Track, mark: Mark, _: object = None) -> None:
    arrival = track.arrivals[-1]
    arrival.stage = "broken"
    arrival.breaks += 1
    arrival.broke = mark


def _open_departure(track: Track, mark: Mark, _: object = None) -> None:
    departure = Departure(key=mark.key, opened=mark, guest=track.guest)
    departure.state_before = track.listed.what if track.listed else None
    track.departures = [*track.departures, departure][-_KEPT:]


def _mark_iteration(track: Track, mark: Mark, _: object = None) -> None:
    track.departures[-1].iterated = True


def _close(track: Track, mark: Mark, _: object = None) -> None:
    track.departures[-1].closed = mark


def _split(track: Track, mark: Mark, _: object = None) -> None:
    """Iterations count from one: a copy that had them already and was suspended were two jobs, the second
    not live. Nothing told of the first one's end.
    """
    last = track.departures[-1]
    if last.iterated and last.suspended is not None:
        began, last.suspended = last.suspended, None
        last.stage, last.closed, last.guest = "copying", began, track.guest_before(began)
        _open_departure(track, began)
        _suspend(track, began)
    track.departures[-1].iterated = True


def _suspend(track: Track, mark: Mark, _: object = None) -> None:
    departure = track.departures[-1]
    departure.ended = None
    departure.suspended = mark
    departure.stage = "leaving"
    departure.guest = "paused"
    track.feel("paused", mark)


def _unpause(track: Track, mark: Mark, _: object = None) -> None:
    departure = track.departures[-1]
    departure.stage = "resumed" if departure.stage == "stranded" else "unpaused"
    departure.ended = mark
    departure.guest = "running"
    track.feel("running", mark)


def _strand(track: Track, mark: Mark, _: object = None) -> None:
    departure = track.departures[-1]
    departure.before_end = departure.stage
    departure.stage = "resumed" if departure.stage == "unpaused" else "stranded"
    departure.ended = mark


def _drop(track: Track, mark: Mark, _: object = None) -> None:
    track.departures = track.departures[:-1]


def _postcopy_out(track: Track, mark: Mark, _: object = None) -> None:
    departure = track.departures[-1]
    departure.stage = "postcopy"
    departure.postcopy = True
    departure.flowed = mark
    departure.guest = "paused"
    track.feel("paused", mark)


def _break_out(track: Track, mark: Mark, _: object = None) -> None:
    departure = track.departures[-1]
    departure.stage = "broken"
    departure.breaks += 1
    departure.broke = mark


def _finish(track: Track, mark: Mark, stage: DepartureStage) -> None:
    departure = track.departures[-1]
    departure.before_end = departure.stage
    departure.stage = stage
    departure.ended = mark


def _leave(track: Track, mark: Mark, _: object = None) -> None:
    """Found afterwards, it may have been another job by which the guest left than the one that was seen."""
    if mark.origin in ("resync", "state") and track.departures[-1].stage == "copying":
        _close(track, mark)
        _open_departure(track, mark)
    _finish(track, mark, "left")


def _leave_after_all(track: Track, mark: Mark, _: object = None) -> None:
    if not _amend(track, mark, "left"):
        _open_departure(track, mark)
        _leave(track, mark)


def _crash_after_all(track: Track, mark: Mark, _: object = None) -> None:
    _amend(track, mark, "crashed")


def _stop_after_all(track: Track, mark: Mark, _: object = None) -> None:
    _amend(track, mark, "stopped")


def _crash_belatedly(track: Track, mark: Mark, _: object = None) -> None:
    if _is_belated(track, mark):
        _finish(track, mark, "crashed")


def _stop_belatedly(track: Track, mark: Mark, _: object = None) -> None:
    if _is_belated(track, mark):
        _finish(track, mark, "stopped")


def _is_belated(track: Track, mark: Mark) -> bool:
    """Whether an end comes late, and happened before a verdict ended the departure."""
    last = track.departures[-1] if track.departures else None
    if last is None or last.closed is None or last.ended is not None or mark.origin != "event":
        return False
    return last.key >= track.began and mark.at <= last.closed.at + _SKEW_S


def _amend(track: Track, mark: Mark, stage: DepartureStage) -> bool:
    """The event of an end that a state had told already: what was in a hole, or came late."""
    arrival = track.arrivals[-1] if track.arrivals else None
    departure = track.departures[-1] if track.departures else None
    if departure is not None and (arrival is None or departure.key > arrival.key):
        if departure.ended is not None and departure.ended.origin == "state":
            departure.stage, departure.ended = stage, mark
            return True
    elif arrival is not None and arrival.ended is not None and arrival.ended.origin == "state":
        arrival.ended = mark
        return stage != "left"
    return False


def _crash(track: Track, mark: Mark, _: object = None) -> None:
    _finish(track, mark, "crashed")


def _stop(track: Track, mark: Mark, _: object = None) -> None:
    _finish(track, mark, "stopped")


def _vanish(track: Track, mark: Mark, _: object = None) -> None:
    _finish(track, mark, "vanished")


def _job_end(track: Track, mark: Mark, _: object = None) -> None:
    _finish(track, mark, "job_ended")
    track.departures[-1].guest = track.guest
    if mark.what == "migration_out":
        track.departures[-1].job_gone = mark


def _resume(track: Track, mark: Mark, _: object = None) -> None:
    _finish(track, mark, "resumed")
    track.departures[-1].guest = "running"
    track.feel("running", mark)


def _stick(track: Track, mark: Mark, _: object = None) -> None:
    _finish(track, mark, "stuck")
    track.departures[-1].guest = "paused"
    track.feel("paused", mark)


def _measure(track: Track, mark: Mark, figures: tuple[int | None, int | None] = (None, None)) -> None:
    if track.departures and track.departures[-1].stage == "left":
        track.departures[-1].figures = figures
        track.departures[-1].measured = mark


def _run(track: Track, mark: Mark, _: object = None) -> None:
    track.feel("running", mark)


def _pause(track: Track, mark: Mark, _: object = None) -> None:
    track.feel("paused", mark)


def _define(track: Track, mark: Mark, _: object = None) -> None:
    """A new definition came out of nothing, unless the domain was here. Its own state may come before it."""
    if not track.present or track.believed >= mark.key:
        track.defined = mark
        track.began = mark.key
    track.lost = None
    track.present = track.persistent = True


def _persist(track: Track, mark: Mark, _: object = None) -> None:
    track.persistent = True
    if track.phase == "away":
        track.present = True


def _note(track: Track, mark: Mark, _: object = None) -> None:
    """A resume by migration, and no role known; unless it is the event of what a state had told already."""
    arrival = track.arrivals[-1] if track.arrivals else None
    departure = track.departures[-1] if track.departures else None
    if arrival is not None and arrival.switched is not None and arrival.switched.origin == "state":
        arrival.switched = mark
    elif departure is not None and departure.ended is not None and departure.ended.origin == "state":
        departure.ended = mark
    else:
        track.roleless = mark


def _job_gone(track: Track, mark: Mark, _: object = None) -> None:
    """The agent's word that the job is gone may follow a departure that ended by its own event."""
    last = track.departures[-1] if track.departures else None
    over = (last.ended or last.closed) if last is not None and last.job_gone is None else None
    if last is not None and over is not None and mark.at - over.at < _JOB_TRAILS_S:
        last.job_gone = mark
        if last.ended is None:
            last.stage, last.ended = "job_ended", mark
        return
    _open_departure(track, mark)
    _job_end(track, mark)


def _undefine(track: Track, mark: Mark, _: object = None) -> None:
    track.persistent = False
    track.present = track.phase != "away"
    track.defined = None


def _lose(track: Track, mark: Mark, _: object = None) -> None:
    last = track.departures[-1] if track.departures else None
    is_left_behind = last is not None and last.stage == "left" and track.began <= last.key
    if track.present is not False and not is_left_behind:
        track.lost = mark
    track.present = False
    track.persistent = None
    track.defined = None


_ACTS = {
    "begin": _begin,
    "end": _end,
    "open_arrival": _open_arrival,
    "open_tentative": _open_tentative,
    "arrive": _arrive,
    "arrive_paused": _arrive_paused,
    "fail": _fail,
    "lapse": _lapse,
    "flow": _flow,
    "break_in": _break_in,
    "open_departure": _open_departure,
    "mark_iteration": _mark_iteration,
    "close": _close,
    "split": _split,
    "suspend": _suspend,
    "unpause": _unpause,
    "strand": _strand,
    "drop": _drop,
    "postcopy_out": _postcopy_out,
    "break_out": _break_out,
    "leave": _leave,
    "leave_after_all": _leave_after_all,
    "crash_after_all": _crash_after_all,
    "stop_after_all": _stop_after_all,
    "crash_belatedly": _crash_belatedly,
    "stop_belatedly": _stop_belatedly,
    "resume": _resume,
    "stick": _stick,
    "crash": _crash,
    "stop": _stop,
    "vanish": _vanish,
    "job_end": _job_end,
    "measure": _measure,
    "run": _run,
    "pause": _pause,
    "define": _define,
    "undefine": _undefine,
    "lose": _lose,
    "persist": _persist,
    "note": _note,
    "job_gone": _job_gone,
}
