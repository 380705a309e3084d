"""Evaluates one attempt: compares its verdict with what was published of it, and publishes the difference."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from bridge.correlator.rules.context import EvaluationContext
from bridge.correlator.rules.exceptions import exception_to
from bridge.correlator.rules.host_view import HostView
from bridge.correlator.rules.observations import UNNOTICED_S, is_found
from bridge.correlator.rules.outcomes import RESUSPEND_S, Timing, is_final
from bridge.correlator.rules.pairing import Pair
from bridge.correlator.rules.record import NAMESPACE, OutboundMessage, Published
from bridge.correlator.rules.verdict import Verdict, decide
from bridge.wire.messages import (
    Guest,
    Migration,
    Missing,
    Outcome,
    Side,
)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt, its verdict, and what was published of it."""

    pair: Pair
    verdict: Verdict
    published: Published

    @property
    def began(self) -> float:
        """When it began, in seconds of our clock."""
        return self.published.began

    @property
    def is_decided(self) -> bool:
        """Whether its verdict was published; a conflict isn't final."""
        return self.published.last is not None and self.published.last.outcome != "conflict"

    @property
    def is_evident(self) -> bool:
        """Whether it certainly is a migration: an iteration may belong to a save."""
        arrival = self.pair.arrival
        is_open = arrival is not None and not arrival.tentative
        return is_open or (self.verdict.outcome, self.verdict.timing) != ("under_way", "never")


def evaluate_attempt(context: EvaluationContext, each: Pair) -> Attempt | None:
    """Publishes what one or two legs prove and wasn't published, and notes for which legs. None: an attempt
    of other legs was published under the same id.
    """
    source_view = context.views.get(each.source) if each.source else None
    verdict = decide(each, source_view, context.silent, context.times.settle_s)
    published = _published_of(context, each)
    if published is None:
        return None
    attempt = Attempt(each, verdict, published)
    is_evident = attempt.is_evident and not _may_be_the_one_before(each, source_view)
    if each.arrival is None and not is_evident and published not in context.record.published:
        return attempt
    before = len(context.messages)
    _publish_attempt(context, attempt)
    is_published = len(context.messages) > before
    if is_published and each.arrival is not None and each.destination is not None:
        published.arrival = published.arrival or (each.destination, each.arrival.key)
    if each.departure is not None and each.source is not None:
        if is_published or published.arrival is not None:
            published.departure = (each.source, each.departure.key)
    elif is_published:
        published.departure = None
    published.absorbed = [
        (host, key)
        for host, leg in ((each.destination, each.arrival), (each.source, each.departure))
        if host is not None and leg is not None
        for key in leg.absorbed
    ]
    if is_published and published not in context.record.published:
        context.record.published.append(published)
    return attempt


@exception_to("OUTCOMES", "not published: it may be how the attempt before ended")
def _may_be_the_one_before(each: Pair, source_view: HostView | None) -> bool:
    """All of it was found after a blind time in which the job before it ended."""
    departure = each.departure
    if departure is None or source_view is None or departure.job_gone or not is_found(departure.opened):
        return False
    return any(
        before.job_gone and before.closed and before.closed.key == departure.key
        for before in source_view.departures
    )


def _publish_attempt(context: EvaluationContext, attempt: Attempt) -> None:
    """Publishes what wasn't published of this attempt."""
    each, verdict, published = attempt.pair, attempt.verdict, attempt.published
    arrival = each.arrival
    is_unpublished = not published.started and published.last is None
    if arrival and arrival.opened and not arrival.tentative and is_unpublished:
        published.started = True
        _publish(context, attempt, "started", f"{published.id}-started")
    _publish_interruptions(context, attempt)
    if _is_source_forgotten(published, each):
        return
    published.source = each.source or published.source
    if verdict.outcome in ("under_way", "interrupted"):
        if verdict.timing == "patience" and published.last is None:
            _publish_unresolved(context, attempt, *_missing(context, each, verdict.since))
        context.is_open = context.is_open or published.last is None
        return
    has_hole = each.source in context.record.reordering or each.destination in context.record.reordering
    wait_s = _wait_s(context, "settle" if has_hole else verdict.timing)
    if wait_s and not context.is_due(verdict.since + wait_s):
        context.is_open = True
        return
    has_begun = each.arrival is None or each.arrival.opened is not None
    lacks = _missing_in_gaps(context, each)
    if not (is_final(each) and has_begun):
        hosts = [one.host for one in lacks]
        if published.last is None and not context.has_no_gap(*hosts):
            _publish_unresolved(context, attempt, lacks, verdict.since)
            return
        if not context.is_past_gaps(max(verdict.since, published.at), *hosts):
            return
    is_settled = _publish_verdict(context, attempt)
    # Where both ran, the side that ended first decides: a side that is blind or late may have.
    if is_settled and not published.was_conflict:
        published.done = is_final(each) and not each.ambiguous and not has_hole
    context.is_open = context.is_open or (not published.done and _may_change(context, published, each))


@exception_to("revision", "none: its absence is no evidence that a guest which was found gone never arrived")
def _is_source_forgotten(published: Published, each: Pair) -> bool:
    """The source's departure was pruned: so much happened since on that host."""
    ended = each.arrival.ended if each.arrival else None
    was_found = ended is not None and ended.origin != "event"
    return was_found and each.source is None and published.source is not None


def _wait_s(context: EvaluationContext, timing: Timing) -> float:
    return {"now": 0.0, "soon": min(RESUSPEND_S, context.times.settle_s)}.get(timing, context.times.settle_s)


def _may_change(context: EvaluationContext, published: Published, each: Pair) -> bool:
    """Whether this can change without a new observation: a blind host may come back, or a conflict lasts."""
    source = context.views.get(each.source) if each.source else None
    heard = source.last_live.received if source is not None and source.last_live is not None else 0.0
    by_then = max(published.at, heard, *each.over_by_source(source))
    return (
        published.last is None
        or published.last.outcome == "conflict"
        or each.source in context.silent
        or each.destination in context.silent
        or not context.is_due(by_then + UNNOTICED_S)  # that it is blind is noticed later
    )


def _published_of(context: EvaluationContext, each: Pair) -> Published | None:
    """What was published of this attempt; a new object if nothing was."""
    arrival = (each.destination, each.arrival.key) if each.arrival and each.destination else None
    departure = (each.source, each.departure.key) if each.departure and each.source else None
    found = [t for t in context.record.published if arrival is not None and t.arrival == arrival]
    found += [
        t
        for t in context.record.published
        if departure is not None and t.departure == departure and t.arrival is None
    ]
    if found:  # revise a verdict, don't duplicate it
        return max(found, key=lambda published: published.last is not None)
    leg = arrival or departure
    if leg is None:
        return None
    name = f"{context.record.uuid} {leg[0]} {each.first.id}"
    identity = uuid.uuid5(NAMESPACE, name).hex
    if any(published.id == identity for published in context.record.published):
        return None  # published with this id, and the leg it was linked to has another link now
    return Published(identity, arrival, departure, began=each.first.at)


def _publish_interruptions(context: EvaluationContext, attempt: Attempt) -> None:
    each, published = attempt.pair, attempt.published
    breaks = max(each.arrival.breaks if each.arrival else 0, each.departure.breaks if each.departure else 0)
    if breaks <= published.interrupted or published.last is not None:
        return
    if each.arrival is not None and each.arrival.ended is not None and not each.arrival.postcopy:
        return  # another attempt's
    broke = each.departure.broke if each.departure and each.arrival is None else None
    if broke is not None and not context.is_due(broke.received + context.times.settle_s):
        return
    for n in range(published.interrupted + 1, breaks + 1):
        _publish(context, attempt, "interrupted", f"{published.id}-interrupted-{n}")
    published.interrupted = breaks


def is_unresolved(context: EvaluationContext, attempt: Attempt) -> bool:
    """Whether an `unresolved` was published, and the same evidence is still missing."""
    lacks = (_missing(context, attempt.pair, 0.0)[0], _missing_in_gaps(context, attempt.pair))
    return any(_key(missing) in attempt.published.unresolved for missing in lacks)


def _key(missing: list[Missing]) -> str:
    return "; ".join(one.text for one in missing)


def _publish_unresolved(
    context: EvaluationContext, attempt: Attempt, missing: list[Missing], since: float
) -> None:
    """Publishes `unresolved` where evidence has been missing for `patience`: once for each set of it."""
    key, published = _key(missing), attempt.published
    if key in published.unresolved or not context.is_due(since + context.times.patience_s):
        return
    published.unresolved = [*published.unresolved, key][-8:]
    _publish(
        context, attempt, "unresolved", f"{published.id}-unresolved-{len(published.unresolved)}", missing
    )


def _missing(context: EvaluationContext, each: Pair, since: float) -> tuple[list[Missing], float]:
    """What evidence is missing for a verdict, and since when."""
    missing = []
    if each.destination is None:
        missing.append(_lack("destination", None, "not_seen", "no host reported an arrival"))
    elif each.arrival is not None and each.arrival.stage in ("open", "ended"):
        text = f"how the arrival on {each.destination} ended"
        missing.append(_lack("destination", each.destination, "no_end", text))
    for side, host in _sides(each):
        if host in context.silent:
            missing.append(_lack(side, host, "blind", f"{host} is blind"))
            since = max(since, context.silent[host].since) if side == "destination" else since
    if each.source is None:
        missing.append(_lack("source", None, "not_seen", "no host reported a departure"))
    return missing, since


def _missing_in_gaps(context: EvaluationContext, each: Pair) -> list[Missing]:
    """The gaps in the event streams of the attempt's hosts; a side that wasn't seen may be any host."""
    sides = _sides(each)
    unseen: Side | None = "destination" if each.arrival is None else "source" if not each.departure else None
    if unseen is not None:
        known = {host for _, host in sides}
        sides += [(unseen, host) for host in context.views if host not in known]
    return [
        _lack(side, host, "gap", f"messages that {host} has given out")
        for side, host in sides
        if host in context.gaps
    ]


def _sides(each: Pair) -> list[tuple[Side, str]]:
    sides: tuple[tuple[Side, str | None], ...] = (("source", each.source), ("destination", each.destination))
    return [(side, host) for side, host in sides if host is not None]


def _lack(side: Side, host: str | None, code: str, text: str) -> Missing:
    return Missing(side=side, host=host, code=code, text=f"{side}: {text}")


def _publish_verdict(context: EvaluationContext, attempt: Attempt) -> bool:
    """Publishes the verdict unless it was; False if it has to be published later."""
    each, published = attempt.pair, attempt.published
    outcome: Outcome = attempt.verdict.outcome  # type: ignore[assignment]
    data = data_of(context, attempt, outcome)
    last = published.last
    if last is not None:
        data = _keeping_known(data, last, has_guest=not _is_guest_forgotten(context, each))
        if _substance(data) == _substance(last):
            return True
        if _substance(data)[:-1] == _substance(last)[:-1] and _is_state_alone(context, each):
            return True
        departure = each.departure
        if outcome == "failed" and departure and departure.stage == "vanished" and not departure.announced:
            kept: dict[str, object] = {"confirmed_by": last.confirmed_by}
            if last.guest.state != "unknown":
                kept["guest"] = last.guest
            if _substance(data.model_copy(update=kept)) == _substance(last):
                return True  # that the domain is gone by now is no evidence about its failed copy
        if not (context.has_caught_up(each.source) and context.has_caught_up(each.destination)):
            context.is_open = True
            return False
        data = data.model_copy(update={"revision": published.revision, "supersedes": published.last_id})
    context.publish_verdict(published, data)
    return True


@exception_to("revision", "none that changes the guest alone: the event will show more")
def _is_state_alone(context: EvaluationContext, each: Pair) -> bool:
    """Only a state shows that the guest left its source."""
    view = context.views.get(each.source) if each.source is not None else None
    end = view.past[-1].ended if view is not None and view.past else None
    return end is not None and end.origin == "state"


def _publish(
    context: EvaluationContext,
    attempt: Attempt,
    outcome: Outcome,
    message_id: str,
    missing: list[Missing] | None = None,
) -> None:
    each, data = attempt.pair, data_of(context, attempt, outcome)
    blank: dict[str, object] = dict.fromkeys(("ended_at", "duration_ms", "downtime_ms", "reason"))
    if outcome == "started" and each.arrival is not None and each.destination is not None:
        source = context.views.get(each.source) if each.source else None
        state = source.guest if source and source.guest and each.source not in context.silent else "unknown"
        blank |= {
            "mode": None,
            "attention": None,
            "confirmed_by": [],
            "guest": Guest(host=each.source, state=state),
            "evidence": [each.arrival.first.evidence(each.destination)],
        }
    if missing is not None:
        blank["missing"] = missing
    context.messages.append(OutboundMessage(outcome, message_id, data.model_copy(update=blank)))


def data_of(context: EvaluationContext, attempt: Attempt, outcome: Outcome) -> Migration:
    """What is known of an attempt, as the model of its messages."""
    each, verdict, published = attempt.pair, attempt.verdict, attempt.published
    return context.data(
        outcome,
        each.source,
        each.destination,
        migration=published.id,
        revision=published.revision,
        mode=verdict.mode,
        **verdict.known,
    )


def _substance(data: Migration) -> tuple[object, ...]:
    return (
        data.outcome,
        data.reason,
        data.source.host,
        data.destination.host,
        data.mode,
        data.attention,
        tuple(data.confirmed_by),
        data.downtime_ms,
        (data.guest.host, data.guest.state),
    )


def _is_guest_forgotten(context: EvaluationContext, each: Pair) -> bool:
    """Whether the guest's state on its source when the attempt was over isn't kept any more."""
    source = context.views.get(each.source) if each.source else None
    ended_s = each.ended_on_source_clock(source) if source is not None else None
    return source is not None and ended_s is not None and source.has_forgotten(ended_s)


def _keeping_known(data: Migration, last: Migration, *, has_guest: bool) -> Migration:
    """Keeps what is known: that a side was pruned is no evidence against it."""
    update: dict[str, object] = {}
    if not has_guest and data.guest.state == "unknown" and data.outcome == last.outcome:
        update["guest"] = last.guest
    for name in ("started_at", "downtime_ms"):
        if getattr(data, name) is None and getattr(last, name) is not None:
            update[name] = getattr(last, name)
    for name in ("source", "destination"):
        if getattr(data, name).host is None:
            update[name] = getattr(last, name)
    return data.model_copy(update=update) if update else data
