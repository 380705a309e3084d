"""What of a domain a person has to see to, for as long as it lasts. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, get_args

from bridge.correlator.rules.alignment import Half
from bridge.correlator.rules.context import Sitting
from bridge.correlator.rules.record import Told
from bridge.wire.messages import Attention

ATTENTION: Final = ("conflict", *get_args(Attention), "unresolved")
"""A guest that runs twice, what a verdict names (`attention`), and evidence that is missing for too long."""


def attention(sitting: Sitting) -> frozenset[str]:
    """Those of `ATTENTION` that hold now."""
    case = sitting.case
    found = {kind for told in case.told for kind in _of_attempt(sitting, told)}
    if case.conflicts:
        found.add("conflict")
    if case.told and case.told[-1].unresolved and case.told[-1].last is None:
        found.add("unresolved")  # of an earlier attempt, the next one has shown where the guest was
    return frozenset(found)


def _of_attempt(sitting: Sitting, told: Told) -> Iterator[str]:
    last = told.last
    if last is None:
        return
    if last.outcome == "conflict":
        yield "conflict"
    if last.attention == "postcopy_incomplete":
        if _phase(sitting, told.arrival).startswith("incoming_"):
            yield last.attention
    elif last.attention is not None and _is_still_paused(sitting, told.departure):
        yield last.attention


def _phase(sitting: Sitting, half: Half | None) -> str:
    return sitting.tracks[half[0]].phase if half is not None and half[0] in sitting.tracks else "away"


def _is_still_paused(sitting: Sitting, half: Half | None) -> bool:
    """Whether the source was neither resumed nor ended since the attempt left it paused."""
    track = sitting.tracks.get(half[0]) if half is not None else None
    if half is None or track is None or not track.moods:
        return False
    left = next((each for each in track.departures if each.key == half[1]), None)
    since = (left.ended or left.suspended) if left is not None else None
    mood = track.moods[-1]
    return mood.guest == "paused" and since is not None and mood.at <= since.at
