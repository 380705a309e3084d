"""One host's side of one domain: its events folded into what the domain's part on this host is.

Everything that reads a single host's order is here and in the tables of `signs`: those say what each event
means, `TABLE` what it does in each phase. A detail means nothing without the host's role, so the phase is the
role: `resumed/migrated` ends an arrival well in `incoming` and a departure badly in `leaving`. A pair that
the table doesn't have changes nothing: an event that proves nothing is normal.
"""

from __future__ import annotations

from typing import Final

from msgspec import structs

from bridge.correlator.rules.acts import ACTS, KEPT, Act, Figures, begin, close, lapse, note_job_gone, reopen
from bridge.correlator.rules.exceptions import exception_to
from bridge.correlator.rules.facts import AS_IT_HAPPENED, CLEARED, LIVE_S, Fact, Instant, Mark
from bridge.correlator.rules.segments import begin_segment, was_unseen
from bridge.correlator.rules.signs import POSTCOPY_SIGNS, Sign, sign_of, sign_of_state
from bridge.correlator.rules.track import (
    PART_IN_A_MIGRATION,
    Arrival,
    Departure,
    GuestHere,
    Listed,
    Phase,
    Track,
)
from bridge.wire.messages import seconds

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
        "left": ("away", ("open_departure", "leave")),
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
        "stuck_again": ("here", ("stick_again",)),
        "iteration": ("copying", ("open_departure", "mark_iteration")),
        "first_iteration": ("copying", ("open_departure", "mark_iteration")),
        "switching": ("leaving", ("open_departure", "suspend")),
        "source_postcopy": ("leaving_postcopy", ("open_departure", "postcopy_out")),
        "source_broke": ("leaving_broken", ("open_departure", "postcopy_out", "break_out")),
        "job_failed": ("here", ("job_gone",)),
        "left": ("away", ("open_departure", "leave", "end")),
        "crashed": ("away", ("end",)),
        "stopped": ("away", ("end",)),
        "vanished": ("away", ("end",)),
    },
    "copying": {
        "iteration": ("copying", ("mark_iteration",)),
        "first_iteration": ("copying", ("close", "open_departure", "mark_iteration")),
        "paused": ("copying", ("pause",)),
        "resumed": ("copying", ("run",)),
        "stuck": ("here", ("stick",)),
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
        "left": ("away", ("arrive", "open_departure", "leave", "end")),
        "crashed": ("away", ("fail", "end")),
        "stopped": ("away", ("fail", "end")),
        "vanished": ("away", ("fail", "end")),
    },
}
for _known in TABLE:
    TABLE[_known]["announced"] = (_known, ("announce",))
    TABLE[_known]["updated"] = (_known, ("persist",))
    TABLE[_known].setdefault("defined", (_known, ("persist",)))
    TABLE[_known].setdefault("undefined", (_known, ("undefine",)))
    TABLE[_known].setdefault("undefined_silently", (_known, ("undefine",)))
"""(phase, sign) -> (next phase, what is noted on the way). Rows of MIGRATIONS: see `docs/migrations.md`."""

ACTIVE: Final[frozenset[Phase]] = frozenset(TABLE) - {"away", "incoming"}
"""The phases in which a guest is active on the host."""


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
        apply(track, sign, _mark(track, fact), fact.figures)
    if fact.copied is not None:
        _note_copied(track, fact)
    if fact.origin in AS_IT_HAPPENED:
        track.heard = Instant(fact.at, fact.received, seconds(fact.stamp))


def _note_copied(track: Track, fact: Fact) -> None:
    """The figures that both hosts hold of a pre-copy follow its end on either."""
    last: Arrival | Departure | None
    if fact.what == "migration_in":
        last = track.arrivals[-1] if track.arrivals else None
        is_over = last is not None and last.stage in ("arrived", "departed")
    else:
        last = track.departures[-1] if track.departures else None
        is_over = last is not None and last.stage == "left"
    if last is not None and is_over and not last.postcopy:
        last.copied = fact.copied


def _mark(track: Track, fact: Fact) -> Mark:
    """The mark of a fact; what was found afterwards happened after the last thing that was told as it did."""
    mark = Mark.of(fact)
    if mark.origin in AS_IT_HAPPENED or track.heard is None:
        return mark
    return structs.replace(mark, since=max(mark.earliest, track.heard.at))


def _renew(track: Track, mark: Mark) -> None:
    """The host was installed anew: what it was in the middle of went on unseen."""
    if track.phase.startswith("incoming"):
        lapse(track, mark)
    elif track.phase in ("copying", "leaving", "leaving_postcopy", "leaving_broken"):
        close(track, mark)
    if track.stay is not None:
        track.stay.ended = mark
        track.past = [*track.past, track.stay][-KEPT:]
    track.stay = track.roleless = track.lost = track.defined = None
    track.phase = "away"
    track.feel(None, mark)
    track.present = False
    track.key = track.moved = (mark.key[0], 0)


def apply(track: Track, sign: Sign, mark: Mark, figures: Figures = (None, None)) -> None:
    """Moves the track by one sign, as `TABLE` has it."""
    if sign == "switching" and _was_just_resumed(track):
        sign = "stuck_again"
    elif sign in _OF_A_JOB and _may_be_the_next_job(track):
        reopen(track)
    elif sign == "job_failed" and figures[0] is not None:
        meant = _job_begun(track, figures[0])
        if meant is not None and (track.phase == "here" or meant is not track.departures[-1]):
            note_job_gone(meant, mark)
            return
    row = TABLE[track.phase].get(sign)
    if row is None:
        return
    phase, acts = row
    _part_where_unseen(track, mark, acts)
    for act in acts:
        ACTS[act](track, mark, figures)
    track.phase = phase
    if phase == "leaving" and track.departures[-1].stage == "resumed":
        track.phase = "here"


def _part_where_unseen(track: Track, mark: Mark, acts: tuple[Act, ...]) -> None:
    """Of a half that goes on, or ends, the host may not have seen that it ended and another began."""
    if not _BEGIN_A_DEPARTURE & set(acts) and _OF_A_DEPARTURE & set(acts):
        departure = track.departures[-1] if track.departures else None
        if departure is not None and not departure.is_over and was_unseen(departure, mark):
            begin_segment(track, departure, mark)
    if _OF_AN_ARRIVAL & set(acts) and track.arrivals and was_unseen(track.arrivals[-1], mark):
        begin_segment(track, track.arrivals[-1], mark)


_BEGIN_A_DEPARTURE: Final[frozenset[Act]] = frozenset({"open_departure", "split", "drop"})
_OF_A_DEPARTURE: Final[frozenset[Act]] = frozenset(
    {
        "mark_iteration", "suspend", "unpause", "strand", "postcopy_out", "break_out",
        "leave", "resume", "stick", "crash", "stop", "vanish", "job_end",
    }
)  # fmt: skip
_OF_AN_ARRIVAL: Final[frozenset[Act]] = frozenset({"arrive", "arrive_paused", "fail", "flow", "break_in"})
_OF_A_JOB: Final[frozenset[Sign]] = frozenset({"iteration", "source_postcopy", "left", "resumed_migrated"})


def _job_begun(track: Track, began_us: int) -> Departure | None:
    """The departure whose job began then, by the host's own clock: a job begins before the first that it
    says, and after the last that the one before it said. None: nothing else was heard of it.
    """
    for departure in track.departures:
        marks = [mark for mark in (*departure.job_marks, departure.ended) if mark is not None]
        if not departure.is_over or max(seconds(mark.stamp) for mark in marks) * 1e6 >= began_us:
            return departure
    return None


@exception_to("TABLE", "the last job goes on as the next one, suspended before it iterated")
def _may_be_the_next_job(track: Track) -> bool:
    """A job goes on, the last one was taken for one that couldn't resume, and nothing was said since."""
    last = track.departures[-1] if track.departures else None
    if last is None or last.returned is None or last.ended is None or last.job_gone is not None:
        return False
    return track.phase == "here" and track.moods[-1].at == last.ended.at


@exception_to("TABLE", "`switching` is `stuck_again`")
def _was_just_resumed(track: Track) -> bool:
    """A source that can't resume after a failure says resumed and at once suspended; the next attempt, too,
    and then what only a job under way says.
    """
    last = track.departures[-1] if track.departures else None
    return (
        track.phase == "here"
        and last is not None
        and last.stage == "resumed"
        and last.ended is not None
        and track.moods[-1].at == last.ended.at
        and last.job_gone is None
    )


def list_state(track: Track, fact: Fact) -> None:
    """Takes in a retained state, or that it was cleared, for `believe`."""
    if fact.received - fact.at > LIVE_S:
        track.late = fact.received
    what = CLEARED if fact.kind == "cleared" else fact.what
    track.listed = Listed(fact.key, what, _mark(track, fact))
    track.driver = track.driver or fact.driver
    track.name = fact.name or track.name
    if fact.persistent is not None:
        track.persistent = fact.persistent


_ACTIVE_STATES: Final[dict[str, GuestHere]] = {
    "running": "running",
    "blocked": "running",
    "pmsuspended": "running",
    "paused": "paused",
}


def believe(track: Track) -> None:
    """Lets the listed state stand for the events that would have led to it, and won't come."""
    believe_presence(track)
    sign = sign_of_state(track)
    if sign is not None and track.listed is not None:
        apply(track, sign, track.listed.mark)


def believe_presence(track: Track) -> None:
    """Believes the listed state that the domain is here, or isn't, unless an event came after it. A part in a
    migration is left to `believe`, but for a post-copy: only that leaves no doubt which part it is.
    """
    listed = track.listed
    if listed is None or listed.key < track.moved:
        return
    if listed.key[0] > track.key[0] >= 0:
        _renew(track, listed.mark)
    track.key = max(track.key, (listed.key[0], 0))
    what = listed.what
    if track.roleless is not None and what in ("running/migrated", "running/migration_canceled"):
        _settle_role(track, what, track.roleless)
    if track.phase != "away":
        return
    guest = _ACTIVE_STATES.get(what.partition("/")[0])
    if guest is not None and what not in PART_IN_A_MIGRATION:
        begin(track, listed.mark)
        track.phase = "here"
        track.feel(guest, listed.mark)
        if what == "running/migrated":
            _believe_arrival(track, listed.mark)
    elif what in POSTCOPY_SIGNS:
        apply(track, POSTCOPY_SIGNS[what], listed.mark)
    elif what == "gone":
        track.present = track.present and bool(track.persistent)
    elif what not in PART_IN_A_MIGRATION:
        track.present = True


def _believe_arrival(track: Track, mark: Mark) -> None:
    """It came by a migration: by the one that had brought it, or was under way, when the host was lost from
    sight; else nobody heard when, and that counts where a source is known to have let it go.
    """
    last = track.arrivals[-1] if track.arrivals else None
    if last is not None and last.stage == "arrived":
        return
    if last is not None and last.over is not None and last.stage in ("open", "postcopy", "broken"):
        last.stage, last.guest, last.switched, last.over = "arrived", "running", mark, None
        return
    arrival = Arrival(
        key=mark.key, first=mark, tentative=True, stage="arrived", guest="running", switched=mark
    )
    track.arrivals = [*track.arrivals, arrival][-KEPT:]


def _settle_role(track: Track, what: str, resumed: Mark) -> None:
    """A resume by migration of which the role wasn't known: the state's reason tells it."""
    track.roleless = None
    if what == "running/migrated":
        arrival = Arrival(key=resumed.key, first=resumed, stage="arrived", guest="running", switched=resumed)
        track.arrivals = [*track.arrivals, arrival][-KEPT:]
        if track.stay is not None:
            track.stay.arrived = True
    else:
        departure = Departure(
            key=resumed.key, opened=resumed, stage="resumed", guest="running", ended=resumed
        )
        track.departures = [*track.departures, departure][-KEPT:]
        if track.stay is not None:
            track.stay.cancelled = True
