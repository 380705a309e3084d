"""What no pair of halves tells of: an offline migration, and a domain that runs on two hosts."""

from __future__ import annotations

import itertools
import uuid
from typing import Final

from bridge.correlator.case import NAMESPACE, Telling, Told
from bridge.correlator.facts import SKEW_S, Mark
from bridge.correlator.pairing import Pair
from bridge.correlator.sitting import Sitting
from bridge.correlator.track import Track
from bridge.wire.messages import DomainName, Evidence, Guest, HostRef, Migration, host_source

_NEVER: Final = float("inf")


def judge_offline(sitting: Sitting) -> None:
    """A definition that came out of nothing here, and one that went without a word there. What went can
    only have gone to one place: to where a definition came last.
    """
    for source, here in sitting.tracks.items():
        gone = here.lost
        if gone is None or here.phase != "away" or source in sitting.case.tails:
            continue
        came = [
            (there.defined.at, destination, there.defined)
            for destination, there in sitting.tracks.items()
            if destination != source
            and destination not in sitting.case.tails
            and there.defined is not None
            and there.defined.at - sitting.times.settle_s <= gone.at
            and gone.at <= there.defined.at + sitting.times.patience_s
            and not _ran_since(here, there.defined)
        ]
        half = (source, gone.key)
        if not came or any(told.departure == half for told in sitting.case.told):
            continue
        _, destination, mark = max(came)
        if any(told.arrival == (destination, mark.key) for told in sitting.case.told):
            continue
        name = f"{sitting.case.uuid} {destination} {mark.id}"
        told = Told(uuid.uuid5(NAMESPACE, name).hex, (destination, mark.key), half, done=True)
        sitting.case.told.append(told)
        sitting.tell_verdict(
            told, _offline_data(sitting, told, source=source, gone=gone, destination=destination, came=mark)
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
    long as both stays last, however often they are paused or can't be heard meanwhile.
    """
    stays = sorted(
        ((track.stay.began, host) for host, track in sitting.tracks.items() if track.stay is not None),
        key=lambda each: (each[0].at, each[1]),
    )
    linked = {frozenset((p.source, p.destination)) for p in pairs if p.arrival and p.source}
    told = []
    for (began, host), (later, other) in itertools.combinations(stays, 2):
        since = max(_runs_since(sitting, host), _runs_since(sitting, other))
        if since == _NEVER and not sitting.case.conflicts:
            continue
        key = uuid.uuid5(NAMESPACE, f"{sitting.case.uuid} {host} {began.id} {other} {later.id}").hex
        if key in sitting.case.conflicts:
            told.append(key)
        elif since < _NEVER and frozenset((host, other)) not in linked:
            sitting.is_open = True
            if sitting.ripe(since + sitting.times.settle_s):
                told.append(key)
                sitting.tellings.append(
                    Telling(
                        "conflict", f"{key}-conflict-0", _conflict_data(sitting, host, began, other, later)
                    )
                )
    sitting.case.conflicts = told


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
