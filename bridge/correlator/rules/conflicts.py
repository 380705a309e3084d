"""Conflicts: a domain that runs on two hosts without a migration that explains it."""

from __future__ import annotations

import itertools
import uuid

from bridge.correlator.rules.clock_readings import FOREVER
from bridge.correlator.rules.context import EvaluationContext
from bridge.correlator.rules.observations import CLEARED
from bridge.correlator.rules.pairing import Pair
from bridge.correlator.rules.record import NAMESPACE, Conflict, OutboundMessage
from bridge.wire.messages import Guest, GuestState, Resolved


def evaluate_conflicts(context: EvaluationContext, pairs: list[Pair]) -> None:
    """One UUID running on two hosts without a migration that explains it. It is published once for as long as
    both residencies last, though they are paused or blind meanwhile; then it is resolved.
    """
    linked = {frozenset((p.source, p.destination)) for p in pairs if p.arrival and p.source}
    lasting = []
    for conflict in context.record.conflicts:
        hosts = (conflict.data.source.host, conflict.data.destination.host)
        if frozenset(hosts) not in linked and all(_has_guest(context, host) for host in hosts):
            lasting.append(conflict)
        elif context.has_no_gap(*hosts):
            context.messages.append(_resolved(context, conflict))
        else:
            lasting.append(conflict)
    context.record.conflicts = lasting
    context.is_open = context.is_open or bool(lasting)
    published = {frozenset((each.data.source.host, each.data.destination.host)) for each in lasting}
    residencies = sorted(
        (
            (view.residency.began, host)
            for host, view in context.views.items()
            if view.residency is not None and host not in context.gone
        ),
        key=lambda each: (each[0].at, each[1]),
    )
    for (began, host), (later, other) in itertools.combinations(residencies, 2):
        since = max(_runs_since(context, host), _runs_since(context, other))
        if since == FOREVER or frozenset((host, other)) in linked | published:
            continue
        context.is_open = True
        if not context.is_due(since + context.times.settle_s):
            continue
        if context.is_past_gaps(since, host, other):
            key = uuid.uuid5(NAMESPACE, f"{context.record.uuid} {host} {began.id} {other} {later.id}").hex
            guest = Guest(host=None, state="running")
            evidence = [began.evidence(host), later.evidence(other)]
            both = ["source", "destination"]
            data = context.data("conflict", host, other, guest=guest, confirmed_by=both, evidence=evidence)
            conflict = Conflict(key, data)
            context.record.conflicts.append(conflict)
            context.messages.append(OutboundMessage("conflict", f"{key}-conflict-0", data))


def _has_guest(context: EvaluationContext, host: str | None) -> bool:
    view = context.views.get(host) if host is not None and host not in context.gone else None
    return view is not None and view.residency is not None


def _resolved(context: EvaluationContext, conflict: Conflict) -> OutboundMessage:
    """The message that ends a conflict: where the guest is now, and the event that ended it elsewhere."""
    data, ended = conflict.data, None
    left: list[tuple[str, GuestState]] = []
    for host in (data.source.host, data.destination.host):
        view = context.views.get(host) if host is not None else None
        if host is not None and view is not None and _has_guest(context, host):
            left.append((host, view.guest or "unknown"))
        elif host is not None and view is not None and view.past and view.past[-1].ended is not None:
            ended = (host, view.past[-1].ended)
    place: str | None = None
    state: GuestState = "unknown" if left else "shutoff"
    if len(left) == 1:
        place, state = left[0]
    has_id = ended is not None and ended[1].what != CLEARED  # a cleared state has no id
    evidence = [ended[1].evidence(ended[0])] if ended and has_id else []
    update = {
        "outcome": "resolved",
        "guest": Guest(host=place, state=state),
        "ended_at": ended[1].stamp if ended else None,
        "supersedes": f"{conflict.id}-conflict-0",
        "evidence": evidence,
    }
    resolved = Resolved.model_validate({**dict(data), **update})
    return OutboundMessage("resolved", f"{conflict.id}-resolved-0", resolved)


def _runs_since(context: EvaluationContext, host: str) -> float:
    """Since when the guest is known to run on a host that isn't blind; else `FOREVER`."""
    view = context.views[host]
    if view.phase not in ("here", "copying") or view.guest != "running" or host in context.silent:
        return FOREVER
    return max(view.residency.began.received if view.residency else 0.0, view.run_states[-1].received)
