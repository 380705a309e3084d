"""What no pair of halves tells of: an offline migration, and a domain that runs on two hosts."""

from __future__ import annotations

import itertools
import uuid
from typing import Final

from bridge.correlator.rules.clock_readings import spans
from bridge.correlator.rules.context import Sitting
from bridge.correlator.rules.host_view import Track
from bridge.correlator.rules.observations import CLEARED, SKEW_S, Mark
from bridge.correlator.rules.pairing import Pair
from bridge.correlator.rules.record import NAMESPACE, Conflict, Telling, Times, Told
from bridge.wire.messages import (
    DomainName,
    Evidence,
    Guest,
    GuestState,
    HostRef,
    Migration,
    Resolved,
    host_source,
)

_NEVER: Final = float("inf")


def judge_offline(sitting: Sitting) -> None:
    """A definition that came out of nothing here, and one that went without a word there. What went can
    only have gone to one place: to where a definition came last.
    """
    for source, here in sitting.tracks.items():
        gone = here.lost
        if gone is None or here.phase != "away" or source in sitting.case.tails or source in sitting.gone:
            continue
        came = [
            (there.defined.at, destination, there.defined)
            for destination, there in sitting.tracks.items()
            if destination != source
            and destination not in sitting.case.tails
            and there.defined is not None
            and _came_when_it_went(there.defined, gone, sitting.times)
            and not _ran_since(here, there.defined)
        ]
        half = (source, gone.key)
        if not came or any(told.departure == half for told in sitting.case.told):
            continue
        _, destination, mark = max(came)
        if any(told.arrival == (destination, mark.key) for told in sitting.case.told):
            continue
        name = f"{sitting.case.uuid} {destination} {mark.id}"
        told = Told(uuid.uuid5(NAMESPACE, name).hex, (destination, mark.key), half, done=True, began=mark.at)
        sitting.case.told.append(told)
        sitting.tell_verdict(
            told, _offline_data(sitting, told, source=source, gone=gone, destination=destination, came=mark)
        )


def _came_when_it_went(came: Mark, gone: Mark, times: Times) -> bool:
    """Whether a definition may have come from where one went, by whichever reading of the hosts' clocks."""
    return any(
        there.ends - times.settle_s <= here.ends <= there.ends + times.patience_s
        for there, here in itertools.product(spans(came, None, came), spans(gone, None, gone))
    )


def _ran_since(track: Track, mark: Mark) -> bool:
    """Whether the domain came, or was started, after that happened on another host: what was defined there
    before was a copy.
    """
    return any(stay.began.at > mark.at + SKEW_S for stay in track.past)


def _offline_data(
    sitting: Sitting, told: Told, *, source: str, gone: Mark, destination: str, came: Mark
) -> Migration:
    return Migration(
        migration=told.id,
        revision=0,
        outcome="completed",
        domain=DomainName(uuid=sitting.case.uuid, name=sitting.tracks[destination].name),
        source=HostRef(host=source),
        destination=HostRef(host=destination),
        mode="offline",
        reason=None,
        attention=None,
        guest=Guest(host=destination, state="shutoff"),
        started_at=None,
        ended_at=gone.stamp,
        duration_ms=None,
        downtime_ms=None,
        confirmed_by=["source", "destination"],
        evidence=[
            Evidence(source=host_source(destination), id=came.id),
            Evidence(source=host_source(source), id=gone.id),
        ],
    )


def judge_conflict(sitting: Sitting, pairs: list[Pair]) -> None:
    """One UUID running on two hosts, and no migration to explain it. Each two are told of once for as
    long as both stays last, however often they are paused or can't be heard meanwhile; then it is resolved.
    """
    linked = {frozenset((p.source, p.destination)) for p in pairs if p.arrival and p.source}
    lasting = []
    for conflict in sitting.case.conflicts:
        hosts = (conflict.data.source.host, conflict.data.destination.host)
        if frozenset(hosts) not in linked and all(_has_guest(sitting, host) for host in hosts):
            lasting.append(conflict)
        elif sitting.is_whole(*hosts):
            sitting.tellings.append(_resolved(sitting, conflict))
        else:
            lasting.append(conflict)
    sitting.case.conflicts = lasting
    sitting.is_open = sitting.is_open or bool(lasting)
    told = {frozenset((each.data.source.host, each.data.destination.host)) for each in lasting}
    stays = sorted(
        (
            (track.stay.began, host)
            for host, track in sitting.tracks.items()
            if track.stay is not None and host not in sitting.gone
        ),
        key=lambda each: (each[0].at, each[1]),
    )
    for (began, host), (later, other) in itertools.combinations(stays, 2):
        since = max(_runs_since(sitting, host), _runs_since(sitting, other))
        if since == _NEVER or frozenset((host, other)) in linked | told:
            continue
        sitting.is_open = True
        if not sitting.ripe(since + sitting.times.settle_s):
            continue
        if sitting.is_whole(host, other) or sitting.ripe(since + sitting.times.patience_s):
            key = uuid.uuid5(NAMESPACE, f"{sitting.case.uuid} {host} {began.id} {other} {later.id}").hex
            conflict = Conflict(key, _conflict_data(sitting, host, began, other, later))
            sitting.case.conflicts.append(conflict)
            sitting.tellings.append(Telling("conflict", f"{key}-conflict-0", conflict.data))


def _has_guest(sitting: Sitting, host: str | None) -> bool:
    track = sitting.tracks.get(host) if host is not None and host not in sitting.gone else None
    return track is not None and track.stay is not None


def _resolved(sitting: Sitting, conflict: Conflict) -> Telling:
    """Both no longer run: where the guest is now, and what ended it elsewhere."""
    data, ended = conflict.data, None
    left: list[tuple[str, GuestState]] = []
    for host in (data.source.host, data.destination.host):
        track = sitting.tracks.get(host) if host is not None else None
        if host is not None and track is not None and _has_guest(sitting, host):
            left.append((host, track.guest or "unknown"))
        elif host is not None and track is not None and track.past and track.past[-1].ended is not None:
            ended = (host, track.past[-1].ended)
    place: str | None = None
    state: GuestState = "unknown" if left else "shutoff"
    if len(left) == 1:
        place, state = left[0]
    is_said = ended is not None and ended[1].what != CLEARED  # a cleared state has no id
    evidence = [Evidence(source=host_source(ended[0]), id=ended[1].id)] if ended and is_said else []
    update = {
        "outcome": "resolved",
        "guest": Guest(host=place, state=state),
        "ended_at": ended[1].stamp if ended else None,
        "supersedes": f"{conflict.id}-conflict-0",
        "evidence": evidence,
    }
    resolved = Resolved.model_validate({**dict(data), **update})
    return Telling("resolved", f"{conflict.id}-resolved-0", resolved)


def _runs_since(sitting: Sitting, host: str) -> float:
    """Since when the guest is known to run on a host that can be heard; else `_NEVER`."""
    track = sitting.tracks[host]
    if track.phase not in ("here", "copying") or track.guest != "running" or host in sitting.silent:
        return _NEVER
    return max(track.stay.began.received if track.stay else 0.0, track.moods[-1].received)


def _conflict_data(sitting: Sitting, host: str, began: Mark, other: str, later: Mark) -> Migration:
    return Migration(
        migration=None,
        revision=0,
        outcome="conflict",
        domain=DomainName(uuid=sitting.case.uuid, name=sitting.tracks[other].name),
        source=HostRef(host=host),
        destination=HostRef(host=other),
        mode=None,
        reason=None,
        attention=None,
        guest=Guest(host=None, state="running"),
        started_at=None,
        ended_at=None,
        duration_ms=None,
        downtime_ms=None,
        confirmed_by=["source", "destination"],
        evidence=[
            Evidence(source=host_source(host), id=began.id),
            Evidence(source=host_source(other), id=later.id),
        ],
    )
