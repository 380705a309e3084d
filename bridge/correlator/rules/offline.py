"""Offline migrations: the definition moves, and no guest runs."""

from __future__ import annotations

import itertools
import uuid

from bridge.correlator.rules.clock_readings import intervals
from bridge.correlator.rules.context import EvaluationContext
from bridge.correlator.rules.host_view import HostView
from bridge.correlator.rules.observations import SKEW_S, Mark, is_found
from bridge.correlator.rules.record import NAMESPACE, Published, Times
from bridge.wire.messages import Guest


def evaluate_offline(context: EvaluationContext) -> None:
    """A definition without an earlier one on one host, and one that is gone without an event on another. It
    can only have gone to one host: the one where a definition came last.
    """
    for source, here in context.views.items():
        gone = here.lost
        if (
            gone is None
            or here.phase != "away"
            or source in context.record.reordering
            or source in context.gone
        ):
            continue
        came = [
            (there.defined.at, destination, there.defined)
            for destination, there in context.views.items()
            if destination != source
            and destination not in context.record.reordering
            and there.defined is not None
            and _came_when_it_went(there.defined, gone, context.times)
            and not _ran_since(here, there.defined)
        ]
        leg = (source, gone.key)
        if not came or any(published.departure == leg for published in context.record.published):
            continue
        _, destination, mark = max(came)
        if any(published.arrival == (destination, mark.key) for published in context.record.published):
            continue
        if not context.is_past_gaps(gone.received, source, destination):
            continue  # an event may say that somebody removed it
        name = f"{context.record.uuid} {destination} {mark.id}"
        published = Published(
            uuid.uuid5(NAMESPACE, name).hex, (destination, mark.key), leg, done=True, began=mark.at
        )
        context.record.published.append(published)
        guest = Guest(host=destination, state="shutoff")
        data = context.data(
            "completed",
            source,
            destination,
            migration=published.id,
            mode="offline",
            guest=guest,
            ended_at=gone.stamp,
            confirmed_by=["source", "destination"],
            evidence=[mark.evidence(destination), gone.evidence(source)],
        )
        context.publish_verdict(published, data)


def _came_when_it_went(came: Mark, gone: Mark, times: Times) -> bool:
    """Whether a definition may have come from where one went, by some reading of the hosts' clocks."""
    return any(
        there.ends - times.settle_s <= here.ends <= there.ends + times.patience_s
        for there, here in itertools.product(intervals(came, None, came), intervals(gone, None, gone))
    )


def _ran_since(view: HostView, mark: Mark) -> bool:
    """Whether the domain was active here after that happened on another host, or may have been: what was
    defined there was a copy.
    """
    return any(
        residency.began.earliest > mark.at + SKEW_S
        or ((end := residency.ended) is not None and is_found(end) and end.at > mark.at + SKEW_S)
        for residency in view.past
    )
