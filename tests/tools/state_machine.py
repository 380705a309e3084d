"""Draws the decision from its own tables, for docs/state-machine.md and docs/migrations.md.

`part` makes one generated part of a page; `tests.tools.pages` writes the pages and a test holds them.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Final, get_args

from bridge.correlator.rules import evaluate  # noqa: F401 - with it all of them are in the list of exceptions
from bridge.correlator.rules.event_types import (
    EVENT_TYPES,
    EVENT_TYPES_BY_DRIVER,
    STATE_EVENT_TYPES,
    STATE_EVENT_TYPES_BY_PHASE,
)
from bridge.correlator.rules.exceptions import EXCEPTIONS
from bridge.correlator.rules.host_view import ArrivalStage, DepartureStage, HostPhase
from bridge.correlator.rules.outcomes import ArrivalState, DepartureState, ruling
from bridge.correlator.rules.transitions import TABLE, EventType, Transition, transition
from tests.support.coverage_table import ROWS
from tests.unit.verdicts.exceptions import HELD_BY
from tests.unit.verdicts.rows import LOOK_ALIKES, MIGRATIONS, MigrationRow

PHASES: Final[dict[HostPhase, str]] = {
    "away": "not active here: shut off, or unknown",
    "here": "active, with no part in a migration",
    "copying": "an outgoing job was seen; it may be a save or a dump as well",
    "leaving": "suspended for the switch-over",
    "leaving_postcopy": "the guest runs on the destination, this side serves its memory",
    "leaving_broken": "as before, and the post-copy is interrupted",
    "incoming": "prepared for an arrival, and nothing more",
    "incoming_postcopy": "the guest runs here, its memory is still coming",
    "incoming_broken": "as before, and the post-copy is interrupted",
}
"""What each phase of a domain on a host means."""

DEPARTURE: Final[tuple[HostPhase, ...]] = (
    "here",
    "copying",
    "leaving",
    "leaving_postcopy",
    "leaving_broken",
    "away",
)
ARRIVAL: Final[tuple[HostPhase, ...]] = (
    "away",
    "incoming",
    "incoming_postcopy",
    "incoming_broken",
    "here",
)
STAGES: Final[dict[str, str]] = {
    "unseen": "no message of this leg",
    "open": "prepared, and nothing more",
    "postcopy": "the guest runs on the destination, its memory is still coming",
    "broken": "the post-copy is interrupted",
    "arrived": "the guest was resumed there, or left paused as asked for",
    "ended": "the arrival ended without a guest",
    "departed": "it arrived, and that residency is over by now",
    "copying": "the source sends memory, the guest runs on it",
    "leaving": "the source is suspended for the switch-over",
    "unpaused": "the source was resumed by hand after that",
    "left": "the source emitted *stopped, migrated*: the one event that proves success alone",
    "resumed": "cancelled after the suspend: the guest runs on the source again",
    "resumed_ended": "as before, and that residency is over by now",
    "left_paused": "cancelled, and the source couldn't be resumed",
    "job_lost": "suspended for the switch-over, and its job is gone",
    "job_ended": "the source's job is gone, and it was never suspended",
    "crashed": "the source's QEMU died",
    "stopped": "the source was shut down or destroyed",
    "vanished": "the guest is gone from the source, and no event shows how",
}
"""What each stage of a leg means."""


def part(name: str) -> str:
    """A generated part of a page. Raises KeyError for one that there isn't."""
    return {
        "source": lambda: diagram(DEPARTURE),
        "destination": lambda: diagram(ARRIVAL),
        "phases": lambda: table(("phase", ""), [(f"`{phase}`", PHASES[phase]) for phase in TABLE]),
        "events": event_types,
        "states": states,
        "transitions": transitions,
        "outcomes": outcomes,
        "exceptions": exceptions,
        "stages": lambda: table(("stage", ""), [(f"`{stage}`", text) for stage, text in STAGES.items()]),
        "rows": rows,
        "look-alikes": look_alikes,
    }[name]()


def diagram(phases: Sequence[HostPhase]) -> str:
    """The transitions between some phases, each arrow with its event types."""
    lines = ["```mermaid", "stateDiagram-v2", "    direction LR"]
    for phase in phases:
        arrows: dict[HostPhase, list[str]] = {}
        for event_type, (after, _) in row_of(phase).items():
            if after in phases and after != phase:
                arrows.setdefault(after, []).append(event_type)
        lines += [f"    {phase} --> {after}: {', '.join(made_by)}" for after, made_by in arrows.items()]
    return "\n".join([*lines, "```"])


def row_of(phase: HostPhase) -> dict[EventType, Transition]:
    """What each event that happens does in a phase."""
    found = {event_type: transition(phase, event_type) for event_type in get_args(EventType)}
    return {event_type: then for event_type, then in found.items() if then and event_type != "came"}


def event_types() -> str:
    """The type of each event."""
    listed = [(f"`{event}`", "", f"`{event_type}`") for event, event_type in EVENT_TYPES.items()]
    listed += [
        (f"`{event}`", driver, f"`{event_type}`")
        for driver, special in EVENT_TYPES_BY_DRIVER.items()
        for event, event_type in special.items()
    ]
    return table(("event", "only of driver", "event type"), listed)


def states() -> str:
    """What a listed state means, in any phase and in some."""
    listed = [(f"`{state}`", "", f"`{event_type}`") for state, event_type in STATE_EVENT_TYPES.items()]
    listed += [
        (f"`{state}`", f"`{phase}`", f"`{event_type}`" if event_type else "")
        for phase, special in STATE_EVENT_TYPES_BY_PHASE.items()
        for state, event_type in special.items()
    ]
    return table(("state", "only in phase", "event type"), listed)


def transitions() -> str:
    """The whole table of one host."""
    return table(
        ("phase", "event type", "next phase", "actions"),
        [
            (
                f"`{phase}`",
                f"`{event_type}`",
                f"`{after}`",
                ", ".join(action.__name__.replace("_", " ") for action in actions),
            )
            for phase in TABLE
            for event_type, (after, actions) in row_of(phase).items()
        ],
    )


def outcomes() -> str:
    """The whole table of two legs: what they prove together, and when it is published."""
    arrivals: tuple[ArrivalState, ...] = ("unseen", *get_args(ArrivalStage))
    departures: tuple[DepartureState, ...] = ("unseen", *get_args(DepartureStage))
    return table(
        ("source ↓ destination →", *(f"`{a}`" for a in arrivals)),
        [(f"`{d}`", *(_ruling(a, d) for a in arrivals)) for d in departures],
    )


def exceptions() -> str:
    """What overrules a table, and the test that fails without it."""
    return table(
        ("table", "exception", "where", "then", "held by"),
        [
            (f"`{one.table}`", f"`{one.name}`", one.reason, one.instead, f"`{_function(HELD_BY[one.name])}`")
            for one in sorted(EXCEPTIONS, key=attrgetter("table", "name"))
        ],
    )


def _function(test: str) -> str:
    return test.partition("::")[2].partition("[")[0]


def _ruling(a: ArrivalState, d: DepartureState) -> str:
    if a == d == "unseen":
        return ""
    outcome, timing = ruling(a, d)
    if outcome == "under_way":
        return "unresolved after `patience`" if timing == "patience" else "under way"
    if outcome == "interrupted":
        return f"**{outcome}**"
    return f"**{outcome}**, {timing}" if timing in ("now", "soon") else f"**{outcome}** after `settle`"


def rows() -> str:
    """Every way a migration goes: what the hosts say of it, and what is published."""
    return table(
        ("", "what happens", "events of the hosts", "published"),
        [(row.number, _what(row), f"`{row.said}`", _published(row)) for row in MIGRATIONS],
    )


def look_alikes() -> str:
    """What resembles a migration."""
    rows = [(row.what, f"`{row.said}`") for row in LOOK_ALIKES]
    return table(("what happens", "events of the hosts"), rows)


def _what(row: MigrationRow) -> str:
    general = ROWS[row.number]
    return general if row.what in general else f"{general}: {row.what}"


_WHERE: Final = {"S": "on the source", "D": "on the destination", "": ""}


def _published(row: MigrationRow) -> str:
    words = [f"`{word}`" for word in row.published]
    verdict = row.verdict
    if verdict is None:
        return ", ".join(words) or "nothing"
    said = f"`{verdict.outcome}`"
    if verdict.outcome != "conflict":
        said += f", guest {verdict.guest[1]} {_WHERE[verdict.guest[0]]}".rstrip()
    if verdict.mode != "precopy":
        said += f", mode `{verdict.mode}`"
    if verdict.reason:
        said += f", reason `{verdict.reason}`"
    if verdict.attention:
        said += f", attention `{verdict.attention}`"
    return ", ".join([*words, said])


def table(head: tuple[str, ...], lines: Sequence[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    rule = "|---" * len(head) + "|"
    return "\n".join([f"| {' | '.join(head)} |", rule, *(f"| {' | '.join(line)} |" for line in lines)])
