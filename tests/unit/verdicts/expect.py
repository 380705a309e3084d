"""What is to be told of a row, and the rules that hold for whatever is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from bridge.wire.messages import Migration
from tests.unit.verdicts.conduct import TimedMessage
from tests.unit.verdicts.rows import MigrationRow
from tests.unit.verdicts.stage import Voice

VERDICTS: Final = ("completed", "failed", "conflict")


def columns(data: Migration) -> dict[str, Any]:
    """The columns that a row of the table decides."""
    return {
        "outcome": data.outcome,
        "reason": data.reason,
        "guest": (data.guest.host, data.guest.state),
        "attention": data.attention,
        "mode": data.mode,
        "source": data.source.host,
        "destination": data.destination.host,
        "confirmed_by": tuple(data.confirmed_by),
    }


def expected(
    row: MigrationRow, source: str, destination: str, *, voice: Voice, persistent: bool
) -> dict[str, Any]:
    """The columns of a row's verdict between two hosts."""
    verdict = row.verdict
    assert verdict is not None
    host = {"S": source, "D": destination, "": None}[verdict.guest[0]]
    if verdict.guest == ("S", "shutoff") and not persistent:
        host = None
    sides = [
        side
        for letter, side in (("s", "source"), ("d", "destination"))
        if letter.upper() in verdict.confirmed or (letter in verdict.confirmed and voice.jobs)
    ]
    return {
        "outcome": verdict.outcome,
        "reason": verdict.reason,
        "guest": (host, verdict.guest[1]),
        "attention": verdict.attention,
        "mode": verdict.mode,
        "source": source,
        "destination": destination,
        "confirmed_by": tuple(sides),
    }


def words(published: Sequence[TimedMessage]) -> tuple[str, ...]:
    """The words on migrations, in the order in which they were told."""
    return tuple(each.migration.outcome for each in published if each.migration)


def verdicts(published: Sequence[TimedMessage]) -> list[Migration]:
    """All verdicts and conflicts, every revision."""
    return [each.migration for each in published if each.migration and each.migration.outcome in VERDICTS]


def places(published: Sequence[TimedMessage]) -> list[str | None]:
    """The hosts that the domain was said to be on, in order."""
    return [getattr(each.message.data, "host", None) for each in published if each.message.name == "location"]


def hold_the_contract(published: Sequence[TimedMessage]) -> None:
    """What is true of every telling, whatever was published: ids, revisions, what supersedes what."""
    ids = Counter(each.message.id for each in published)
    assert max(ids.values(), default=1) == 1, f"told twice: {ids.most_common(1)}"
    last: dict[str, TimedMessage] = {}
    opened: Counter[str] = Counter()
    for each in published:
        data = each.migration
        if data is None or data.migration is None:
            continue
        assert each.message.id.startswith(data.migration)
        assert data.evidence or data.outcome == "unresolved"
        if data.outcome == "started":
            opened[data.migration] += 1
            assert opened[data.migration] == 1, "started twice"
            assert data.migration not in last, "started after its verdict"
            assert (data.ended_at, data.reason, data.attention, data.confirmed_by) == (None, None, None, [])
        if data.outcome not in VERDICTS:
            continue
        before = last.get(data.migration)
        if before is None:
            assert (data.revision, data.supersedes) == (0, None)
        else:
            assert before.migration is not None
            assert data.revision == before.migration.revision + 1
            assert data.supersedes == before.message.id
            assert columns(data) | {"ms": data.downtime_ms} != columns(before.migration) | {
                "ms": before.migration.downtime_ms
            }, "a revision that changes nothing"
        last[data.migration] = each
