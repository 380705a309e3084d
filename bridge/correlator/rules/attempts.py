"""What became of one attempt: what of it wasn't told yet, and is to be told now."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from bridge.correlator.rules.case import NAMESPACE, Telling, Told
from bridge.correlator.rules.facts import UNNOTICED_S
from bridge.correlator.rules.joint import BREATH_S, When, is_final
from bridge.correlator.rules.pairing import Pair
from bridge.correlator.rules.sitting import Sitting
from bridge.correlator.rules.verdict import Verdict, rule
from bridge.wire.messages import (
    DomainName,
    Evidence,
    Guest,
    HostRef,
    Migration,
    Missing,
    Outcome,
    Side,
    host_source,
)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt, and what was told of it: nothing yet, if the case has no such record."""

    pair: Pair
    verdict: Verdict
    told: Told

    @property
    def began(self) -> float:
        """When it began, in seconds of our clock."""
        return self.told.began

    @property
    def is_decided(self) -> bool:
        """Whether its verdict was told; a conflict isn't the last word."""
        return self.told.last is not None and self.told.last.outcome != "conflict"

    @property
    def is_evident(self) -> bool:
        """Whether it is a migration for sure: an iteration may as well be a save's."""
        arrival = self.pair.arrival
        is_open = arrival is not None and not arrival.tentative
        return is_open or (self.verdict.ruling, self.verdict.when) != ("under_way", "never")


def judge_attempt(sitting: Sitting, each: Pair) -> Attempt | None:
    """Tells what two halves, or one, prove and wasn't told; and notes which halves that was told of. None:
    it was told of others under the same name.
    """
    source_track = sitting.tracks.get(each.source) if each.source else None
    verdict = rule(each, source_track, sitting.silent, sitting.times.settle_s)
    told = _told_of(sitting, each)
    if told is None:
        return None
    attempt = Attempt(each, verdict, told)
    if each.arrival is None and not attempt.is_evident and told not in sitting.case.told:
        return attempt
    before = len(sitting.tellings)
    _tell_of(sitting, told, each, verdict)
    is_told = len(sitting.tellings) > before
    if is_told and each.arrival is not None and each.destination is not None:
        told.arrival = told.arrival or (each.destination, each.arrival.key)
    if each.departure is not None and each.source is not None:
        if is_told or told.arrival is not None:
            told.departure = (each.source, each.departure.key)
    elif is_told:
        told.departure = None
    told.absorbed = [
        (host, key)
        for host, half in ((each.destination, each.arrival), (each.source, each.departure))
        if host is not None and half is not None
        for key in half.absorbed
    ]
    if is_told and told not in sitting.case.told:
        sitting.case.told.append(told)
    return attempt


def _tell_of(sitting: Sitting, told: Told, each: Pair, verdict: Verdict) -> None:
    """Tells what of this attempt wasn't told."""
    arrival = each.arrival
    is_untold = not told.started and told.last is None
    if arrival and arrival.opened and not arrival.tentative and is_untold:
        told.started = True
        _tell(sitting, told, "started", each, verdict, message_id=f"{told.id}-started")
    _tell_interruptions(sitting, told, each, verdict)
    if _is_source_forgotten(told, each):
        return
    told.source = each.source or told.source
    if verdict.ruling in ("under_way", "interrupted"):
        if verdict.when == "patience" and told.last is None:
            _tell_unresolved(sitting, told, each, verdict, _missing(sitting, each, verdict.since))
        sitting.is_open = sitting.is_open or told.last is None
        return
    has_hole = each.source in sitting.case.tails or each.destination in sitting.case.tails
    wait_s = _wait_s(sitting, "settle" if has_hole else verdict.when)
    if wait_s and not sitting.ripe(verdict.since + wait_s):
        sitting.is_open = True
        return
    has_begun = each.arrival is None or each.arrival.opened is not None
    lacks = _missing_in_gaps(sitting, each)
    if not (is_final(each) and has_begun) and not sitting.is_whole(*(one.host for one in lacks)):
        if told.last is None:
            _tell_unresolved(sitting, told, each, verdict, (lacks, verdict.since))
        return
    is_settled = _tell_verdict(sitting, told, each, verdict)
    if is_settled and told.last is not None and told.last.outcome != "conflict":
        is_heard = all(
            host not in sitting.silent and sitting.is_heard_out(host)
            for host in (each.source, each.destination)
        )
        # Where both ran it counts which side ended first: one that can't be heard, or is late, may have.
        is_over = (
            is_heard and _are_both_over(each) if told.was_conflict else is_final(each) and not each.doubtful
        )
        told.done = is_over and not has_hole
    sitting.is_open = sitting.is_open or (not told.done and _may_change(sitting, told, each))


def _are_both_over(each: Pair) -> bool:
    return bool(each.arrival and each.arrival.over and each.departure and each.departure.over)


def _is_source_forgotten(told: Told, each: Pair) -> bool:
    """Whether so much happened since on the host that it came from that what it said isn't kept any more:
    that is no reason to take a guest that was found to be gone for one that never arrived.
    """
    ended = each.arrival.ended if each.arrival else None
    was_found = ended is not None and ended.origin != "event"
    return was_found and each.source is None and told.source is not None


def _wait_s(sitting: Sitting, when: When) -> float:
    return {"now": 0.0, "soon": min(BREATH_S, sitting.times.settle_s)}.get(when, sitting.times.settle_s)


def _may_change(sitting: Sitting, told: Told, each: Pair) -> bool:
    """Whether a host that is heard again could change this, or a conflict lasts. What else comes is a
    fact, and that leads to a judgement of its own.
    """
    return (
        told.last is None
        or told.last.outcome == "conflict"
        or each.source in sitting.silent
        or each.destination in sitting.silent
        or not sitting.ripe(told.at + UNNOTICED_S)  # that a host is lost shows later
    )


def _told_of(sitting: Sitting, each: Pair) -> Told | None:
    """What was told of this attempt; a new record where nothing was."""
    arrival = (each.destination, each.arrival.key) if each.arrival and each.destination else None
    departure = (each.source, each.departure.key) if each.departure and each.source else None
    found = [t for t in sitting.case.told if arrival is not None and t.arrival == arrival]
    found += [
        t
        for t in sitting.case.told
        if departure is not None and t.departure == departure and t.arrival is None
    ]
    if found:
        told = max(found, key=lambda told: told.last is not None)
        for other in found:
            if other is not told and arrival == other.arrival:
                other.arrival = None  # a verdict is revised, and none told beside it
        return told
    half = arrival or departure
    anchor = each.arrival.first if each.arrival else each.departure.opened if each.departure else None
    if half is None or anchor is None:
        return None
    name = f"{sitting.case.uuid} {half[0]} {anchor.id}"
    identity = uuid.uuid5(NAMESPACE, name).hex
    if any(told.id == identity for told in sitting.case.told):
        return None  # it was told under this name, and what it was linked to has found another half
    return Told(identity, arrival, departure, began=anchor.at)


def _tell_interruptions(sitting: Sitting, told: Told, each: Pair, verdict: Verdict) -> None:
    breaks = max(each.arrival.breaks if each.arrival else 0, each.departure.breaks if each.departure else 0)
    if breaks <= told.interrupted or told.last is not None:
        return
    if each.arrival is not None and each.arrival.ended is not None and not each.arrival.postcopy:
        return  # it was another's
    broke = each.departure.broke if each.departure and each.arrival is None else None
    if broke is not None and not sitting.ripe(broke.received + sitting.times.settle_s):
        return
    for n in range(told.interrupted + 1, breaks + 1):
        _tell(sitting, told, "interrupted", each, verdict, message_id=f"{told.id}-interrupted-{n}")
    told.interrupted = breaks


def is_unresolved(sitting: Sitting, told: Told, each: Pair) -> bool:
    """Whether what is missing for a verdict was told to be, and still is."""
    lacks = (_missing(sitting, each, 0.0)[0], _missing_in_gaps(sitting, each))
    return any(_key(missing) in told.unresolved for missing in lacks)


def _key(missing: list[Missing]) -> str:
    return "; ".join(one.text for one in missing)


def _tell_unresolved(
    sitting: Sitting, told: Told, each: Pair, verdict: Verdict, lacks: tuple[list[Missing], float]
) -> None:
    """Tells what has been missing, and since when, for `patience`: once for each set of it."""
    missing, since = lacks
    key = _key(missing)
    if key in told.unresolved or not sitting.ripe(since + sitting.times.patience_s):
        return
    told.unresolved = [*told.unresolved, key][-8:]
    n = len(told.unresolved)
    _tell(sitting, told, "unresolved", each, verdict, message_id=f"{told.id}-unresolved-{n}", missing=missing)


def _missing(sitting: Sitting, each: Pair, since: float) -> tuple[list[Missing], float]:
    """What is missing for a verdict, and since when."""
    missing = []
    if each.destination is None:
        missing.append(_lack("destination", None, "not_seen", "no host told of an arrival"))
    elif each.arrival is not None and each.arrival.stage in ("open", "ended"):
        text = f"how the arrival on {each.destination} ended"
        missing.append(_lack("destination", each.destination, "no_end", text))
    for side, host in _sides(each):
        if host in sitting.silent:
            missing.append(_lack(side, host, "blind", f"{host} can't be heard"))
            since = max(since, sitting.silent[host]) if side == "destination" else since
    if each.source is None:
        missing.append(_lack("source", None, "not_seen", "no host told of a departure"))
    return missing, since


def _missing_in_gaps(sitting: Sitting, each: Pair) -> list[Missing]:
    """What the hosts have given out and isn't here yet: a side that wasn't seen may be any of them."""
    sides = _sides(each)
    unseen: Side | None = "destination" if each.arrival is None else "source" if not each.departure else None
    if unseen is not None:
        known = {host for _, host in sides}
        sides += [(unseen, host) for host in sitting.tracks if host not in known]
    return [
        _lack(side, host, "gap", f"messages that {host} has given out")
        for side, host in sides
        if host in sitting.gaps
    ]


def _sides(each: Pair) -> list[tuple[Side, str]]:
    sides: tuple[tuple[Side, str | None], ...] = (("source", each.source), ("destination", each.destination))
    return [(side, host) for side, host in sides if host is not None]


def _lack(side: Side, host: str | None, code: str, text: str) -> Missing:
    return Missing(side=side, host=host, code=code, text=f"{side}: {text}")


def _tell_verdict(sitting: Sitting, told: Told, each: Pair, verdict: Verdict) -> bool:
    """Tells the verdict unless it was told; False where it will have to be told again, later."""
    outcome: Outcome = verdict.ruling  # type: ignore[assignment]
    data = data_of(sitting, told, outcome, each, verdict)
    last = told.last
    if last is not None:
        knew = _saw_the_end(sitting, each)
        data = _keeping_known(data, last, source_is_silent=each.source in sitting.silent and knew)
        if _substance(data) == _substance(last):
            return True
        if _substance(data)[:-1] == _substance(last)[:-1] and _is_state_alone(sitting, each):
            return True
        if outcome == "failed" and each.departure is not None and each.departure.stage == "vanished":
            kept: dict[str, object] = {"confirmed_by": last.confirmed_by}
            if last.guest.state != "unknown":
                kept["guest"] = last.guest
            if _substance(data.model_copy(update=kept)) == _substance(last):
                return True  # that the domain is gone by now says nothing of a copy of it that failed
        if not (sitting.is_heard_out(each.source) and sitting.is_heard_out(each.destination)):
            sitting.is_open = True
            return False
        data = data.model_copy(update={"revision": told.revision, "supersedes": told.last_id})
    sitting.tell_verdict(told, data)
    return True


def _is_state_alone(sitting: Sitting, each: Pair) -> bool:
    """Whether only a state tells that the guest is gone from its source: the event will say more."""
    track = sitting.tracks.get(each.source) if each.source is not None else None
    end = track.past[-1].ended if track is not None and track.past else None
    return end is not None and end.origin == "state"


def _saw_the_end(sitting: Sitting, each: Pair) -> bool:
    """Whether what was told of the source is its own word: it wasn't lost before it could say so."""
    over = (each.arrival.switched or each.arrival.ended) if each.arrival is not None else None
    if over is None or each.source is None or each.source not in sitting.silent:
        return True
    return sitting.silent[each.source] > over.received + sitting.times.settle_s


def _tell(
    sitting: Sitting,
    told: Told,
    outcome: Outcome,
    each: Pair,
    verdict: Verdict,
    *,
    message_id: str,
    missing: list[Missing] | None = None,
) -> None:
    data = data_of(sitting, told, outcome, each, verdict)
    blank: dict[str, object] = dict.fromkeys(("ended_at", "duration_ms", "downtime_ms", "reason"))
    if outcome == "started" and each.arrival is not None and each.destination is not None:
        source = sitting.tracks.get(each.source) if each.source else None
        state = source.guest if source and source.guest and each.source not in sitting.silent else "unknown"
        blank |= {
            "mode": None,
            "attention": None,
            "confirmed_by": [],
            "guest": Guest(host=each.source, state=state),
            "evidence": [Evidence(source=host_source(each.destination), id=each.arrival.first.id)],
        }
    if missing is not None:
        blank["missing"] = missing
    sitting.tellings.append(Telling(outcome, message_id, data.model_copy(update=blank)))


def data_of(sitting: Sitting, told: Told, outcome: Outcome, each: Pair, verdict: Verdict) -> Migration:
    """What is known of an attempt, as its messages have it."""
    return Migration(
        migration=told.id,
        revision=told.revision,
        outcome=outcome,
        domain=DomainName(uuid=sitting.case.uuid, name=_name(sitting, outcome, each)),
        source=HostRef(host=each.source),
        destination=HostRef(host=each.destination),
        mode=verdict.mode,
        reason=verdict.reason,
        attention=verdict.attention,
        guest=Guest(host=verdict.guest[0], state=verdict.guest[1]),
        started_at=verdict.started_at,
        ended_at=verdict.ended_at,
        duration_ms=verdict.duration_ms,
        downtime_ms=verdict.downtime_ms,
        confirmed_by=list(verdict.confirmed_by),
        evidence=[Evidence(source=host_source(host), id=mark) for host, mark in verdict.evidence],
    )


def _name(sitting: Sitting, outcome: Outcome, each: Pair) -> str | None:
    """The name the domain goes by where it is: it can change on the way (`migrate --dname`)."""
    order = (
        (each.source, each.destination)
        if outcome in ("failed", "started")
        else (
            each.destination,
            each.source,
        )
    )
    names = [sitting.tracks[host].name for host in order if host in sitting.tracks]
    names += [track.name for track in sitting.tracks.values()]
    return next((name for name in names if name), None)


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


def _keeping_known(data: Migration, last: Migration, *, source_is_silent: bool) -> Migration:
    """What was known stays known: a side that is forgotten, or can't be heard any more, is no evidence."""
    update: dict[str, object] = {}
    for name in ("started_at", "downtime_ms"):
        if getattr(data, name) is None and getattr(last, name) is not None:
            update[name] = getattr(last, name)
    for name in ("source", "destination"):
        if getattr(data, name).host is None:
            update[name] = getattr(last, name)
    if source_is_silent and (data.outcome, data.reason) == (last.outcome, last.reason):
        if "source" not in data.confirmed_by:
            update["attention"] = data.attention or last.attention
        if data.guest.state == "unknown" and last.guest.state != "unknown":
            update["guest"] = last.guest
    return data.model_copy(update=update) if update else data
