"""Holds what was told of a fleet against what truly happened. Returns what is wrong, in words.

A verdict may be told again only where it had to be: a message of the attempt came later than `settle`, a host
was blind, or the row itself takes long (a conflict that ends, a host that is lost and found). What was told
before must have been right about what had been heard.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from typing import Any, Final

from bridge.wire.messages import Migration
from tests.unit.verdicts.conduct import TIMES, TimedMessage
from tests.unit.verdicts.expect import VERDICTS, columns, hold_the_contract
from tests.unit.verdicts.fleets import Attempt, Fleet

IN_TIME_S: Final = TIMES.settle_s - 5.0
"""Messages late by less than this never make a verdict change: an attempt's own events take the rest."""


_CLEANED_UP: Final = ("25", "26", "33", "37")
"""Where somebody ended what was left, and did so before the late side was heard."""
_SLOW: Final = ("10", "21", "22b", "23", "33")
"""What takes a look, or somebody, to be known: a host that is blind just then may never tell."""


def wrong_with(fleet: Fleet, published: list[TimedMessage]) -> list[str]:
    """Everything that is wrong with what was told; empty when all is right."""
    faults = []
    for uuid in sorted({attempt.uuid for attempt in fleet.attempts} | {each.uuid for each in published}):
        of_it = [each for each in published if each.uuid == uuid]
        try:
            hold_the_contract(of_it)
        except AssertionError as error:
            faults.append(f"{uuid[:4]} contract: {str(error).splitlines()[0]}")
        faults += _domain(fleet, uuid, of_it)
    return faults


def _domain(fleet: Fleet, uuid: str, published: list[TimedMessage]) -> Iterator[str]:
    migrations: dict[str, list[TimedMessage]] = {}
    for each in published:
        data = each.migration
        if each.message.name == "resolved":
            continue
        if data is not None and data.migration is None:
            if not _is_excused(fleet, uuid, each.t):
                yield f"{uuid[:4]} a conflict without a migration at {each.t:.1f}: {columns(data)}"
        elif data is not None and data.migration is not None:
            migrations.setdefault(data.migration, []).append(each)
    groups: dict[int, dict[str, list[TimedMessage]]] = {}
    for migration, messages in migrations.items():
        last = messages[-1].migration
        assert last is not None
        owners = {fleet.of[one.id] for one in last.evidence if one.id in fleet.of}
        if len(owners) != 1 and not any(_may_be_unclear(fleet.attempts[n]) for n in owners):
            yield f"{uuid[:4]} {last.outcome} rests on {len(owners)} attempts: {columns(last)}"
        if owners:
            groups.setdefault(_owner(fleet, messages, owners), {})[migration] = messages
    for n, attempt in enumerate(fleet.attempts):
        if attempt.uuid == uuid:
            outcomes = {each.verdict.outcome for each in fleet.attempts if each.hurt and each.verdict}
            yield from (f"{attempt}: {fault}" for fault in _attempt(attempt, groups.get(n, {}), outcomes))
    yield from _place(fleet, uuid, published)


def _owner(fleet: Fleet, messages: list[TimedMessage], owners: Collection[int]) -> int:
    """The attempt that is told of: the one whose beginning was told. Two of which one wasn't seen may look
    like one.
    """
    first = messages[0].migration
    if first is not None and first.outcome == "started" and first.evidence[0].id in fleet.of:
        return fleet.of[first.evidence[0].id]
    return min(owners, key=lambda n: (fleet.attempts[n].verdict is None, n))


def _may_be_unclear(attempt: Attempt) -> bool:
    """Whether one attempt's missing or late end may be known from the next one's beginning."""
    return attempt.hurt or attempt.revised or attempt.late_s > IN_TIME_S


def _is_excused(fleet: Fleet, uuid: str, t: float) -> bool:
    """Whether something of the domain had not been heard in time."""
    if any(attempt.uuid == uuid and attempt.touched for attempt in fleet.attempts):
        return True
    if any(trouble.kind in ("blind", "dark", "anew", "cut") for trouble in fleet.plan.troubles):
        return True
    return any(
        d.sent.uuid == uuid and d.sent.t < t <= d.received + 15.0 and d.received - d.sent.t > IN_TIME_S
        for d in fleet.deliveries
    )


def _attempt(attempt: Attempt, groups: dict[str, list[TimedMessage]], hurt: Collection[str]) -> Iterator[str]:
    """hurt: the outcomes of attempts that weren't seen in full; which was which can't always be told."""
    verdicts = {
        migration: found
        for migration, messages in groups.items()
        if (found := [each for each in messages if each.migration and each.migration.outcome in VERDICTS])
    }
    is_late = attempt.late_s > IN_TIME_S
    is_slow = attempt.row.number in _SLOW and (is_late or attempt.touched)
    is_exact = not attempt.hurt and not is_slow
    if len(verdicts) > 1 and is_exact:
        yield f"{len(verdicts)} migrations of one attempt: {[v[-1].message.id for v in verdicts.values()]}"
        return
    if attempt.verdict is None:
        if verdicts:
            yield f"a verdict of what has none: {_last(verdicts)}"
        return
    if not verdicts:
        if is_exact:
            yield f"no verdict; told {[e.message.name for g in groups.values() for e in g]}"
        return
    migration, messages = list(verdicts.items())[-1]
    last = messages[-1].migration
    assert last is not None
    wanted = truth(attempt)
    if attempt.undefined_silently and wanted["guest"] == (None, "shutoff"):
        wanted["guest"] = (columns(last)["guest"][0], "shutoff")
    if is_late:
        # Its definition, or how it fares, may have changed before the late side was heard.
        host, state = columns(last)["guest"]
        same = (host, "shutoff") if state == "shutoff" else (wanted["guest"][0], state)
        wanted["guest"] = same if wanted["guest"][1] != "lost" else wanted["guest"]
    if (is_late or attempt.touched) and attempt.row.number in _CLEANED_UP:
        wanted |= {key: columns(last)[key] for key in ("confirmed_by", "attention")}
    if is_exact and columns(last) != wanted:
        yield f"told {columns(last)}, true is {wanted}"
    elif (
        not is_exact
        and not attempt.unknowable
        and attempt.row.number != "28"
        and all(each[-1].message.name not in {*hurt, wanted["outcome"]} for each in verdicts.values())
    ):
        yield f"told {last.outcome} ({columns(last)}), true is {wanted['outcome']}"
    yield from _history(attempt, messages, [e.message.name for e in groups[migration]])


def _history(attempt: Attempt, messages: list[TimedMessage], words: list[str]) -> Iterator[str]:
    is_late = attempt.late_s > IN_TIME_S
    may_change = is_late or attempt.hurt or attempt.touched or attempt.revised
    if len(messages) > 1 and not may_change:
        published = [columns(each.migration) for each in messages if each.migration]
        changes = [
            {key: (one[key], other[key]) for key in one if one[key] != other[key]}
            for one, other in itertools.pairwise(published)
        ]
        yield f"revised without need: {changes} at {[round(each.t, 1) for each in messages]}"
    if attempt.hurt or is_late or (attempt.touched and attempt.row.number in _SLOW):
        return
    before = tuple(word for word in words if word not in ("completed", "failed"))
    if before != attempt.words and (attempt.late_s < 1.0 or sorted(before) != sorted(attempt.words)):
        yield f"told {words}, before the verdict {attempt.words} is true"


def truth(attempt: Attempt) -> dict[str, Any]:
    """The columns of an attempt's true verdict."""
    verdict = attempt.verdict
    assert verdict is not None
    host = {"S": attempt.source, "D": attempt.destination, "": None}[verdict.guest[0]]
    state: str = verdict.guest[1]
    if verdict.guest == ("S", "shutoff") and not attempt.persistent:
        host = None
    if verdict.guest == ("S", "running") and attempt.guest_before == "paused":
        state = "paused"
    sides = (
        ["source"] if "S" in verdict.confirmed or ("s" in verdict.confirmed and attempt.job_failed) else []
    )
    sides += ["destination"] if "D" in verdict.confirmed else []
    return {
        "outcome": verdict.outcome,
        "reason": verdict.reason,
        "guest": (host, state),
        "attention": verdict.attention,
        "mode": verdict.mode,
        "source": attempt.source,
        "destination": attempt.destination,
        "confirmed_by": tuple(sides),
    }


def _last(verdicts: dict[str, list[TimedMessage]]) -> dict[str, Any]:
    data: Migration | None = next(iter(verdicts.values()))[-1].migration
    assert data is not None
    return columns(data)


def _place(fleet: Fleet, uuid: str, published: list[TimedMessage]) -> Iterator[str]:
    """The last location is where the domain is active, or else where it is defined."""
    if any(attempt.hurt for attempt in fleet.attempts if attempt.uuid == uuid):
        return
    if not fleet.plan.voice.states or any(trouble.kind == "anew" for trouble in fleet.plan.troubles):
        return  # what was there in a host's former life, nobody says that it is gone
    active = fleet.ends_on.get(uuid, set())
    if len(active) > 1:
        return
    said = [getattr(each.message.data, "host", None) for each in published if each.message.name == "location"]
    place = said[-1] if said else None
    if active:
        if place not in active:
            yield f"{uuid[:4]} said to be on {place}, is on {active}"
    elif place is not None and place not in fleet.defined_on.get(uuid, set()):
        yield f"{uuid[:4]} said to be on {place}, is defined on {fleet.defined_on.get(uuid)}"
