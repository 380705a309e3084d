"""Which departure belongs to which arrival.

No event, XML or statistic names the other host. The UUID pairs the sides; what settles the rest is that
the guest can only leave the host that it was on, that both halves of one attempt overlap in time, and
that links between two hosts keep their order. Stamps of different hosts are compared only to break a tie
or to hold back a doubtful link until the other hosts had their say (`Pair.doubtful`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from bridge.correlator.facts import Key, Mark
from bridge.correlator.track import Arrival, Departure, Stay, Track

_FARTHEST_S: Final = 3600.0
_SKEW_S: Final = 5.0
_FOREVER: Final = float("inf")

Moment = Callable[[Mark], float]
BY_STAMP: Final[Moment] = attrgetter("at")
BY_RECEIPT: Final[Moment] = attrgetter("received")

Half = tuple[str, Key]
"""A half of an attempt: its host, and the place of its first sign in that host's order."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One attempt: an arrival, a departure, or both. `source` is where the guest was, as far as known."""

    arrival: Arrival | None
    destination: str | None
    departure: Departure | None
    source: str | None
    doubtful: bool = False


def pair(tracks: Mapping[str, Track], done: frozenset[Half]) -> list[Pair]:
    """All attempts of one domain, arrivals first, each in its host's order. Halves in `done` are left out."""
    arrivals = [(h, a) for h, t in sorted(tracks.items()) for a in t.arrivals if (h, a.key) not in done]
    departures = [(h, d) for h, t in sorted(tracks.items()) for d in t.departures if (h, d.key) not in done]
    links = _link(arrivals, departures)
    pairs = []
    taken = set()
    for host, arrival in arrivals:
        link = links.get((host, arrival.key))
        if link is not None:
            source, departure, doubtful = link
            taken.add((source, departure.key))
            pairs.append(Pair(arrival, host, departure, source, doubtful))
        elif not arrival.tentative:
            pairs.append(Pair(arrival, host, None, _holder(tracks, host, arrival)))
    pairs.extend(Pair(None, None, d, h) for h, d in departures if (h, d.key) not in taken)
    return pairs


def span_of_arrival(arrival: Arrival, moment: Moment = BY_STAMP) -> tuple[float, float]:
    """When the destination took part, from the first to the last moment that is known."""
    last = arrival.switched or arrival.ended
    return (
        moment(arrival.opened) if arrival.opened else -_FOREVER,
        moment(last) if last is not None else _FOREVER,
    )


def span_of_departure(departure: Departure, moment: Moment = BY_STAMP) -> tuple[float, float]:
    """When the source took part, from the first to the last moment that is known. When something that was
    found afterwards happened, nobody knows.
    """
    last = departure.ended or departure.closed
    was_found = departure.ended is not None and departure.ended.origin not in ("event", "poll")
    only_the_end = departure.ended is not None and departure.opened.key == departure.ended.key
    return (
        -_FOREVER if only_the_end and was_found else moment(departure.opened),
        moment(last) if last is not None else _FOREVER,
    )


def _gap_s(arrival: Arrival, departure: Departure, moment: Moment) -> float:
    a_from, a_to = span_of_arrival(arrival, moment)
    d_from, d_to = span_of_departure(departure, moment)
    return max(0.0, a_from - d_to, d_from - a_to)


def _contradict(arrival: Arrival, departure: Departure) -> bool:
    """The guest left, but not to where its arrival ended; it stayed, but not where it never came from."""
    return departure.stage == "left" and arrival.stage == "ended"


def _link(
    arrivals: Iterable[tuple[str, Arrival]], departures: Iterable[tuple[str, Departure]]
) -> dict[Half, tuple[str, Departure, bool]]:
    """Arrival -> its departure, one to one: what overlaps first, then the nearest."""
    candidates = []
    departures = list(departures)
    for d_host, arrival in arrivals:
        for s_host, departure in departures:
            if s_host == d_host:
                continue
            gap_s = _gap_s(arrival, departure, BY_STAMP)
            least_s = min(gap_s, _gap_s(arrival, departure, BY_RECEIPT))
            has_left = departure.stage == "left"
            if least_s > (_FARTHEST_S if has_left else _SKEW_S) or (arrival.tentative and not has_left):
                continue
            apart_s = abs((arrival.opened or arrival.switched or departure.opened).at - departure.opened.at)
            is_apart = least_s > _SKEW_S
            rank = (is_apart, _contradict(arrival, departure), gap_s, apart_s)
            candidates.append((rank, d_host, arrival.key, s_host, departure.key, departure))
    links: dict[Half, tuple[str, Departure, bool]] = {}
    taken: set[Half] = set()
    for rank, d_host, a_key, s_host, d_key, departure in sorted(candidates, key=lambda c: c[:5]):
        if (d_host, a_key) in links or (s_host, d_key) in taken:
            continue
        if any(
            d == d_host and s == s_host and (a < a_key) != (other.key < d_key)
            for (d, a), (s, other, _) in links.items()
        ):
            continue
        links[(d_host, a_key)] = (s_host, departure, rank[0] or rank[1])
        taken.add((s_host, d_key))
    return links


def _holder(tracks: Mapping[str, Track], destination: str, arrival: Arrival) -> str | None:
    """The one other host on which the guest was when this arrival was opened: by the stamps or by the
    receipt, whichever fits better.
    """
    mark = arrival.opened or arrival.switched or arrival.ended
    if mark is None:
        return None
    found: list[tuple[float, float, str]] = []
    for host, track in tracks.items():
        if host == destination:
            continue
        for stay in [*track.past, track.stay] if track.stay else track.past:
            away_s = min(_away_s(stay, mark, BY_STAMP), _away_s(stay, mark, BY_RECEIPT))
            if away_s <= _SKEW_S:
                found.append((away_s, -stay.began.at, host))
    return min(found)[2] if found else None


def _away_s(stay: Stay, mark: Mark, moment: Moment) -> float:
    """How far a moment is from a stay."""
    ended_s = moment(stay.ended) if stay.ended else _FOREVER
    return max(0.0, moment(stay.began) - moment(mark), moment(mark) - ended_s)
