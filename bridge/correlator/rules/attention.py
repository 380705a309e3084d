"""What of a domain a person has to see to, for as long as it lasts. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, get_args

from bridge.correlator.rules.alignment import LegId
from bridge.correlator.rules.context import EvaluationContext
from bridge.correlator.rules.record import Published
from bridge.wire.messages import Attention

ATTENTION: Final = ("conflict", *get_args(Attention), "unresolved")
"""A guest that runs twice, what a verdict names (`attention`), and evidence that is missing for too long."""


def attention(context: EvaluationContext) -> frozenset[str]:
    """Those of `ATTENTION` that hold now."""
    record = context.record
    found = {kind for published in record.published for kind in _of_attempt(context, published)}
    if record.conflicts:
        found.add("conflict")
    if record.published and record.published[-1].unresolved and record.published[-1].last is None:
        found.add("unresolved")  # of an earlier attempt, the next one has shown where the guest was
    return frozenset(found)


def _of_attempt(context: EvaluationContext, published: Published) -> Iterator[str]:
    last = published.last
    if last is None:
        return
    if last.outcome == "conflict":
        yield "conflict"
    if last.attention == "postcopy_incomplete":
        if _phase(context, published.arrival).startswith("incoming_"):
            yield last.attention
    elif last.attention is not None and _is_still_paused(context, published.departure):
        yield last.attention


def _phase(context: EvaluationContext, leg: LegId | None) -> str:
    return context.views[leg[0]].phase if leg is not None and leg[0] in context.views else "away"


def _is_still_paused(context: EvaluationContext, leg: LegId | None) -> bool:
    """Whether the source was neither resumed nor ended since the attempt left it paused."""
    view = context.views.get(leg[0]) if leg is not None else None
    if leg is None or view is None or not view.run_states:
        return False
    left = next((each for each in view.departures if each.key == leg[1]), None)
    since = (left.ended or left.suspended) if left is not None else None
    run_state = view.run_states[-1]
    return run_state.guest == "paused" and since is not None and run_state.at <= since.at
