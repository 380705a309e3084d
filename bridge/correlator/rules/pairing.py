"""Which departure belongs to which arrival.

No event, XML or statistic names the other host. The UUID pairs the sides; what settles the rest is that
the guest can only leave the host that it was on, that both halves of one attempt overlap in time, and
that attempts between two hosts, whichever way they went, come in the same order on both. Stamps of
different hosts are compared only to break a tie or to hold back a doubtful link until the other hosts had
their say (`Pair.doubtful`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter, itemgetter
from typing import Final, Literal

from bridge.correlator.rules.alignment import PROVEN_MS, Ends, Half, Link, best_links, crosses
from bridge.correlator.rules.facts import (
    AS_IT_HAPPENED,
    DELAYED_S,
    SKEW_S,
    Copied,
    Instant,
    Mark,
    as_stamped,
    is_live,
)
from bridge.correlator.rules.signs import end_of
from bridge.correlator.rules.track import Arrival, ArrivalStage, Departure, DepartureStage, Stay, Track

_DOUBTFUL_S: Final = 2.0
_ASKED_S: Final = 2.5
"""Agents ask for an outgoing job every second or two."""
_APART_S: Final = 1.0
"""Halves that are further apart by their stamps may have other halves that are still to be heard of."""
_AT_ONCE_S: Final = 0.3
_UNNOTICED_S: Final = 2.0
"""A clock may be wrong by so much, and its messages, late by as much, seem to come as they happened."""
_RECEIPT: Final = 0.6
_RECEIPT_IF_EXACT: Final = 0.2
"""How much the order of receipt counts beside the stamps: messages have their way to go. Less where the
clocks are known to be right.
"""
_LATER: Final = 0.1
_LATER_AT_MOST_S: Final = 2.0
"""The source begins to copy at once, or after its storage was copied."""
_TRAILS_S: Final = 3.0
"""The source's end comes a second or two after the guest was resumed there; it may be all that was seen."""
_FOREVER: Final = float("inf")

Moment = Callable[[Mark | Instant], float]
BY_STAMP: Final[Moment] = attrgetter("at")
BY_RECEIPT: Final[Moment] = attrgetter("received")


def _as_stamped(moment: Mark | Instant) -> float:
    """By the host's own clock, if that may be right though it seems to be behind; no later, where the stamp
    wasn't kept.
    """
    return as_stamped(moment) if isinstance(moment, Mark) else moment.at - DELAYED_S


_LinkedTo = tuple[str, Departure, bool]
"""The source, its departure, and whether that is doubtful."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One attempt: an arrival, a departure, or both. `source` is where the guest was, as far as known."""

    arrival: Arrival | None
    destination: str | None
    departure: Departure | None
    source: str | None
    doubtful: bool = False


def pair(tracks: Mapping[str, Track], done: Collection[Half], told: Collection[Ends] = ()) -> list[Pair]:
    """All attempts of one domain, arrivals first, each in its host's order. Halves in `done` are left out;
    what was `told` as one attempt stays so unless something speaks against it, and if it is done it stays.
    """
    arrivals = [(h, a) for h, t in sorted(tracks.items()) for a in t.arrivals if (h, a.key) not in done]
    departures = [(h, d) for h, t in sorted(tracks.items()) for d in t.departures if (h, d.key) not in done]
    fixed = [ends for ends in told if any(half in done for half in ends)]
    stays = {(host, arrival.key): _holders(tracks, host, arrival) for host, arrival in arrivals}
    held = {half: found[0] if found else None for half, found in stays.items()}
    exact = frozenset(host for host, track in tracks.items() if track.exact)
    links = _link(arrivals, departures, _Known(held, told, fixed, exact, _proven(arrivals, departures)))
    pairs = []
    taken = set()
    for host, arrival in arrivals:
        link = links.get((host, arrival.key))
        if link is not None:
            source, departure, doubtful = link
            taken.add((source, departure.key))
            pairs.append(Pair(arrival, host, departure, source, doubtful))
        elif not arrival.tentative:
            half = (host, arrival.key)
            ends = [
                (source, end)
                for n, (source, stay) in enumerate(stays[half])
                if (n == 0 or _ended_after(stay, arrival.first))
                and (end := _end_before_copy(arrival, source, stay, tracks, links))
            ]
            held_by, end = ends[0] if ends else (_source(host, arrival, held[half], links), None)
            pairs.append(Pair(arrival, host, end, held_by))
    pairs.extend(Pair(None, None, d, h) for h, d in departures if (h, d.key) not in taken)
    return pairs


def span_of_arrival(arrival: Arrival, moment: Moment = BY_STAMP) -> tuple[float, float]:
    """When the destination took part, from the first to the last moment that is known. When something that
    was found afterwards happened, nobody knows: some time before, and after what the host had told as it
    happened.
    """
    last = arrival.switched or arrival.ended or arrival.over
    return _begin(arrival.first, arrival.after, moment), moment(last) if last is not None else _FOREVER


def span_of_departure(departure: Departure, moment: Moment = BY_STAMP) -> tuple[float, float]:
    """As `span_of_arrival`, for the source."""
    last = departure.ended or departure.closed
    return (
        _begin(departure.opened, departure.after, moment),
        moment(last) if last is not None else _FOREVER,
    )


def _begin(first: Mark, after: Instant | None, moment: Moment) -> float:
    if first.origin in AS_IT_HAPPENED:
        return moment(first)
    return -_FOREVER if after is None else moment(after)


def _gap_s(arrival: Arrival, departure: Departure, moment: Moment, *, held: bool) -> float:
    """The seconds by which the halves miss each other, or the source was before its destination. held: it is
    the guest's own end on the host that had it when the arrival was opened, however long that took.
    """
    a_from, a_to = span_of_arrival(arrival, moment)
    d_from, d_to = span_of_departure(departure, moment)
    is_early = arrival.opened is not None and departure.opened.origin in AS_IT_HAPPENED
    early = a_from - d_from if is_early else 0.0
    is_all_an_end = departure.stage == "left" and departure.opened == departure.ended
    trails_s = 0.0 if not is_all_an_end else _FOREVER if held else _TRAILS_S
    if arrival.over is not None:
        trails_s = min(trails_s, max(0.0, moment(arrival.over) - a_to))  # nor after the guest had left again
    return max(0.0, early - _DOUBTFUL_S, a_from - d_to, d_from - a_to - trails_s)


def _room_s(marks: Iterable[Mark | None], *, exact: bool) -> float:
    """By how much the order of these may be wrong: if they came as they happened, by little more than stamps
    and receipts differ; else by what clocks may be apart. exact: the clocks are known to be right.
    """
    apart_s = max(abs(mark.received - mark.at) for mark in marks if mark is not None)
    least_s, most_s = (_AT_ONCE_S, _UNNOTICED_S) if exact else (_UNNOTICED_S, SKEW_S)
    return min(most_s, least_s + apart_s)


Fit = Literal["fits", "may_fit", "contradicts"]
_FITS: Final[dict[DepartureStage, dict[ArrivalStage, Fit]]] = {
    "leaving": {"arrived": "fits", "departed": "fits"},
    "left": {"arrived": "fits", "departed": "fits", "ended": "contradicts"},
    "resumed": {"ended": "fits"},
    "resumed_ended": {"ended": "fits"},
    "stuck": {"ended": "fits"},
    "job_ended": {"ended": "fits", "arrived": "contradicts", "departed": "contradicts"},
    "crashed": {"ended": "fits"},
    "stopped": {"ended": "fits"},
    "vanished": {"arrived": "fits", "departed": "fits"},
}
"""Which ends go together: the guest that left arrived, and one that was never suspended arrived nowhere. What
contradicts is linked only where nothing else could be.
"""
_COSTS_S: Final[dict[Fit, float]] = {"fits": 0.0, "may_fit": 0.5, "contradicts": 5.0}
"""How many seconds apart would be as doubtful."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What else is known: on which host the guest was when each arrival was opened and its stay there, what
    was told as one attempt, which of that is fixed, which hosts' clocks are known to be right, and what
    equal figures prove.
    """

    holders: Mapping[Half, tuple[str, Stay] | None]
    told: Collection[Ends]
    fixed: Collection[Ends]
    exact: frozenset[str]
    proven: Mapping[Half, Half]

    def proves(self, arrival: Half, departure: Half) -> bool | None:
        """Whether equal figures prove that these belong together, or not; None: they say nothing of them."""
        if arrival not in self.proven and departure not in self.proven.values():
            return None
        return self.proven.get(arrival) == departure


def _fit(arrival: Arrival, departure: Departure) -> Fit:
    """As `_FITS` has it; but what is found to have ended may have arrived before."""
    was_found = arrival.ended is not None and arrival.ended.origin not in AS_IT_HAPPENED
    fit: Fit = _FITS.get(departure.stage, {}).get(arrival.stage, "may_fit")
    return "may_fit" if fit == "contradicts" and was_found else fit


def _link(
    arrivals: Iterable[tuple[str, Arrival]],
    departures: Iterable[tuple[str, Departure]],
    known: _Known,
) -> dict[Half, _LinkedTo]:
    """Arrival -> its departure, one to one: the choice of links against which least speaks in all."""
    departures = list(departures)
    options: list[list[Link]] = []
    for host, arrival in arrivals:
        found = [
            link
            for s_host, departure in departures
            if s_host != host
            and (link := _candidate(host, arrival, s_host, departure, known)) is not None
            and not any(crosses(link.ends, ends) for ends in known.fixed)
        ]
        if found:
            options.append(found)
    chosen = best_links([link for found in options for link in found])
    linked = {link.arrival for link in chosen}
    wanted = {
        link.departure for found in options for link in found if link.arrival not in linked and link.fits
    }
    return {
        link.arrival: (link.departure[0], link.of, link.is_doubtful or link.departure in wanted)
        for link in chosen
    }


def _proven(
    arrivals: Sequence[tuple[str, Arrival]], departures: Sequence[tuple[str, Departure]]
) -> dict[Half, Half]:
    """Arrival -> departure, where both hold the same figures of the copy, and no other half does: the one
    thing that libvirt says of both sides.
    """
    halves: defaultdict[Copied, tuple[list[Half], list[Half]]] = defaultdict(lambda: ([], []))
    for host, arrival in arrivals:
        if arrival.copied is not None:
            halves[arrival.copied][0].append((host, arrival.key))
    for host, departure in departures:
        if departure.copied is not None:
            halves[departure.copied][1].append((host, departure.key))
    return {
        came[0]: left[0]
        for came, left in halves.values()
        if len(came) == len(left) == 1 and came[0][0] != left[0][0]
    }


def _is_plain(arrival: Arrival, fit: Fit, holder: tuple[str, Stay] | None) -> bool:
    """Whether the guest left the host that had it, and arrived: then only clocks can be wrong."""
    return fit == "fits" and holder is not None and _away_s(holder[1], arrival.first, BY_STAMP) == 0


def _candidate(host: str, arrival: Arrival, s_host: str, departure: Departure, known: _Known) -> Link | None:
    if arrival.tentative and departure.stage != "left":
        return None
    here, there = (host, arrival.key), (s_host, departure.key)
    if (proven := known.proves(here, there)) is not None:
        link = Link(here, there, -PROVEN_MS, 0, fits=True, is_doubtful=False, of=departure)
        return link if proven else None
    holder = known.holders[here]
    held = holder is not None and holder[0] == s_host and holder[1].ended in (None, departure.ended)
    gap_s, receipt_gap_s = (_gap_s(arrival, departure, by, held=held) for by in (BY_STAMP, BY_RECEIPT))
    stamp_gap_s, least_s = gap_s, min(gap_s, receipt_gap_s)
    is_all_a_job_that_was_gone = not (
        departure.iterated or departure.suspended or departure.postcopy or departure.stage == "left"
    )
    marks = (arrival.first, arrival.switched or arrival.ended, departure.opened, departure.ended)
    is_exact = {host, s_host} <= known.exact
    fit = _fit(arrival, departure)
    room_s = _room_s(marks, exact=is_exact)
    most_s = _ASKED_S if is_all_a_job_that_was_gone else room_s
    if least_s > most_s:
        by_own_clock_s = _gap_s(arrival, departure, _as_stamped, held=held)
        if by_own_clock_s <= most_s:
            least_s = by_own_clock_s
            gap_s, receipt_gap_s = least_s + _APART_S, 0.0
        elif least_s > SKEW_S or not (held and _is_plain(arrival, fit, holder)):
            return None
    if is_live(arrival.first, arrival.switched or arrival.ended) and is_live(
        departure.opened, departure.ended
    ):
        gap_s += (_RECEIPT_IF_EXACT if is_exact else _RECEIPT) * receipt_gap_s
    was_found = any(mark.origin not in AS_IT_HAPPENED for mark in (arrival.first, departure.opened))
    if fit == "contradicts" and (was_found or least_s > _AT_ONCE_S):
        return None
    cost_s = gap_s + _COSTS_S[fit]
    if is_all_a_job_that_was_gone:
        if arrival.first.at > departure.opened.at + _AT_ONCE_S:
            return None
        cost_s += _COSTS_S["may_fit"]
    is_early = departure.ended is not None and arrival.first.at > departure.ended.at
    is_doubtful = fit == "contradicts" or stamp_gap_s > _APART_S or is_early or was_found
    if holder is not None and (holder[0] != s_host or departure.key < holder[1].began.key):
        cost_s += _COSTS_S["may_fit"]  # it was elsewhere then, or had come back since
    if (here, there) in known.told:
        cost_s -= _COSTS_S["may_fit"]
    apart_s = abs(arrival.first.at - departure.opened.at)
    cost_s += min(_LATER_AT_MOST_S, _LATER * apart_s)
    return Link(
        here, there, round(1000 * cost_s), round(1000 * apart_s), fit == "fits", is_doubtful, departure
    )


def _holders(tracks: Mapping[str, Track], destination: str, arrival: Arrival) -> list[tuple[str, Stay]]:
    """The other hosts on which the guest was when this arrival was opened, and its stays there, the likeliest
    first: by the stamps, or by the receipt where all came as it happened. More than one only where the guest
    runs twice, or clocks don't tell.
    """
    mark = arrival.first
    found: list[tuple[float, float, str, Stay]] = []
    for host, track in tracks.items():
        if host == destination:
            continue
        for stay in [*track.past, track.stay] if track.stay else track.past:
            away_s = _away_s(stay, mark, BY_STAMP)
            if is_live(mark, stay.began, stay.ended):
                away_s = min(away_s, _away_s(stay, mark, BY_RECEIPT))
            if away_s <= SKEW_S:
                found.append((away_s, -stay.began.at, host, stay))
    likeliest: dict[str, Stay] = {}
    for _, _, host, stay in sorted(found, key=itemgetter(0, 1, 2)):
        likeliest.setdefault(host, stay)
    return list(likeliest.items())


def _source(
    host: str, arrival: Arrival, holder: tuple[str, Stay] | None, links: Mapping[Half, _LinkedTo]
) -> str | None:
    """The host that had the guest when this arrival began: where it was known to be, or where it had gone
    from there, though nothing was heard of it at that place yet.
    """
    if holder is None:
        return None
    source, stay = holder
    if stay.ended is not None and stay.ended.at <= arrival.first.at + _APART_S:
        for (destination, _), (s_host, departure, _) in links.items():
            if s_host == source and departure.stage == "left" and departure.ended == stay.ended:
                return None if destination == host else destination
    return source


def _ended_after(stay: Stay, mark: Mark) -> bool:
    """Whether the guest was seen to end there later, so that of two hosts that had it this was the source."""
    end = stay.announced or stay.ended
    return end is not None and end.origin == "event" and end.at >= mark.at


def _end_before_copy(
    arrival: Arrival,
    source: str,
    stay: Stay,
    tracks: Mapping[str, Track],
    links: Mapping[Half, _LinkedTo],
) -> Departure | None:
    """The source's half where nothing told of a job there, and the guest ended: whoever had the guest was the
    source, and its end ended the last attempt that had been prepared by then.
    """
    if arrival.stage not in ("open", "ended"):
        return None
    end = stay.ended
    stage = end_of(end) if end is not None else None
    if end is None or stage is None:
        return None
    began = stay.announced or end
    arrivals = {(host, each.key): each for host, track in tracks.items() for each in track.arrivals}
    if any(arrival.first.at < other.first.at <= began.at for other in arrivals.values()):
        return None
    if arrival.ended is not None and is_well_after(began, arrival.ended):
        return None
    for half, (host, departure, _) in links.items():
        over = arrivals[half].switched or arrivals[half].ended
        if host == source and departure.ended == end and not (over and is_well_after(began, over)):
            return None  # it ended that attempt
    return Departure(key=end.key, opened=end, stage=stage, ended=end, announced=stay.announced)


_AFTER_S: Final = 1.0
"""One end leads to the other's within a fraction of a second."""


def is_well_after(end: Mark, over: Mark) -> bool:
    """Whether an end began well after an attempt was over; of one that was found afterwards the earliest
    moment counts.

    By the stamps, and by the receipt where both came as they happened: a clock may be wrong, or seem so, by
    as much as the message seems to have been on its way.
    """
    if end.origin != "event":
        return end.earliest > over.at + SKEW_S
    if is_live(end, over):
        by_stamps = as_stamped(end) - as_stamped(over)
        at_least = end.at - abs(end.received - end.at) - over.received
        return min(end.at - over.at, end.received - over.received, by_stamps, at_least) > _AFTER_S
    return end.at > over.at + SKEW_S


def _away_s(stay: Stay, mark: Mark, moment: Moment) -> float:
    """How far a moment is from a stay."""
    ended_s = moment(stay.ended) if stay.ended else _FOREVER
    return max(0.0, moment(stay.began) - moment(mark), moment(mark) - ended_s)
