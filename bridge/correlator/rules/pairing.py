"""Which departure belongs to which arrival: the choice among the links of `candidates`. Pure.

No event, XML or statistic names the other host. The UUID pairs the sides; the rest follows from three rules:
a guest can only leave the host that it was on; both legs of one attempt overlap in time by some reading of
the hosts' clocks (`clock_readings`); attempts between two hosts, whatever their directions, have the same
order on both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise, product
from typing import get_args

from msgspec import structs

from bridge.correlator.rules.alignment import (
    ENDED_PENALTY,
    UNLINKED_PENALTY,
    Ends,
    LegId,
    Link,
    best_links,
    crosses,
)
from bridge.correlator.rules.candidates import (
    OF_A_MIGRATION,
    Agreement,
    ArrivalForm,
    ArrivalTimes,
    DepartureForm,
    candidate,
    next_after,
    proven_links,
)
from bridge.correlator.rules.clock_readings import (
    FOREVER,
    Overlap,
)
from bridge.correlator.rules.holders import holders_at, lasted, may_have_ended, source_without_job
from bridge.correlator.rules.host_view import (
    Arrival,
    Departure,
    HostView,
)
from bridge.correlator.rules.observations import (
    Instant,
    Key,
    Mark,
    newest,
)


@dataclass(frozen=True, slots=True)
class Pair:
    """One attempt: an arrival, a departure, or both. `source` is where the guest was, as far as known;
    `next_began` when the next attempt was prepared, wherever. `is_alone`: no other host has ever reported the
    domain.

    later: of attempts from there that began after this one was over, and its guest gone from the destination:
    their departures, or where the guest's residency there began. Where no departure of its own is known, of
    those that began after it: a source begins one job after the other.
    """

    arrival: Arrival | None
    destination: str | None
    departure: Departure | None
    source: str | None
    ambiguous: bool = False
    overlaps: Sequence[Overlap] = ()
    next_began: float = FOREVER
    later: frozenset[Key] = frozenset()
    is_alone: bool = False

    @property
    def first(self) -> Mark:
        """The first event of its arrival, else of its departure."""
        if self.arrival is not None:
            return self.arrival.first
        if self.departure is not None:
            return self.departure.opened
        raise ValueError("an attempt without either leg")

    def at_destination(self, moment: Mark) -> float:
        """A moment of the destination, by the likeliest reading of its clock."""
        return self.overlaps[0][0].read(moment) if self.overlaps else moment.at

    def at_source(self, moment: Mark | Instant) -> float:
        """A moment of the source, likewise."""
        return self.overlaps[0][1].read(moment) if self.overlaps else moment.at

    def over_by_source(self, source: HostView | None) -> list[float]:
        """When the attempt was over at its destination, by the receipt and by each reading of the source's
        clock; empty while it isn't.
        """
        over = self.arrival.decided if self.arrival is not None else None
        return [] if over is None else [over.received, *self.on_source_clock(over, source)]

    def ended_on_source_clock(self, source: HostView) -> float | None:
        """When its arrival ended, by the source's clock in the likeliest reading; None: it hasn't."""
        end = self.arrival.ended_by if self.arrival is not None else None
        return None if end is None else self.on_source_clock(end, source)[0]

    def on_source_clock(self, moment: Mark, source: HostView | None) -> list[float]:
        """A moment of the destination, by the source's clock as it is corrected: for each reading, or for the
        likeliest one if something of the guest had been heard there by then.
        """
        stamped = source.stamped if source is not None else None
        if source is None or stamped is None or not self.overlaps:
            return [self.at_destination(moment)]
        found = [a.read(moment) - (d.read(stamped) - stamped.at) for a, d in self.overlaps]
        return found[:1] if source.has_run_by(found[0]) else found


class Linker:
    """Links the legs of one domain, for one evaluation. Legs in `done` are left out; what was `published` as
    one attempt stays one unless there is evidence against it, and always if it is done.

    Segments are tried as one leg and as two (`segments.choose`): what was found of a leg in one form is kept.
    """

    def __init__(self, done: Collection[LegId], published: Collection[Ends] = ()) -> None:
        self._done = done
        self._published = published
        self._in_published = frozenset(leg for ends in published for leg in ends)
        self._fixed = [ends for ends in published if any(leg in done for leg in ends)]
        self._arrivals: dict[tuple[LegId, tuple[Key, ...], bool], ArrivalForm] = {}
        self._departures: dict[tuple[LegId, tuple[Key, ...], Mark | None], DepartureForm] = {}
        self._links: dict[tuple[ArrivalForm, Agreement], dict[DepartureForm, Link | None]] = defaultdict(dict)

    def pair(self, views: Mapping[str, HostView]) -> list[Pair]:
        """All attempts of one domain, arrivals first, each in its host's order."""
        arrivals, departures, links = self._linked(views)
        began = sorted(
            each.first.at for view in views.values() for each in view.arrivals if not each.tentative
        )
        pairs = []
        stays: dict[LegId, Key] = {}
        taken = set()
        for each in arrivals:
            arrival, host = each.arrival, each.host
            link = links.get(each.id)
            next_s = next_after(began, arrival.first)
            if link is not None:
                taken.add(link.departure)
                left = link.departure[0]
                pairs.append(Pair(arrival, host, link.of, left, link.is_ambiguous, link.overlaps, next_s))
            elif not arrival.tentative:
                source, departure, overlaps = source_without_job(host, arrival, each.holders, views, links)
                overlaps = _as_linked(overlaps, links.values(), source)
                stay = dict(each.holders).get(source or "")
                if stay is not None:
                    stays[each.id] = stay.began.key
                is_ambiguous = stay is not None and departure is not None and may_have_ended(stay, arrival)
                is_alone = len(views) == 1
                pairs.append(
                    Pair(arrival, host, departure, source, is_ambiguous, overlaps, next_s, is_alone=is_alone)
                )
        pairs = self._with_later(pairs, views, stays)
        pairs.extend(
            Pair(None, None, each.departure, each.host, next_began=next_after(began, each.departure.opened))
            for each in departures
            if each.id not in taken
        )
        return pairs

    def _with_later(
        self, pairs: Iterable[Pair], views: Mapping[str, HostView], stays: Mapping[LegId, Key]
    ) -> list[Pair]:
        """These, with what was `later` on their sources. stays: of an arrival without a link, where the
        guest's residency on its source began.
        """
        began = {(host, each.key): each.first for host, view in views.items() for each in view.arrivals}
        ends = {ends for ends in self._published if ends[0] in began}
        for each in pairs:
            if each.arrival and each.destination and each.source:
                came = each.destination, each.arrival.key
                key = each.departure.key if each.departure else stays.get(came)
                if key is not None:
                    ends.add((came, (each.source, key)))
        found = []
        for each in pairs:
            arrival, departure = each.arrival, each.departure
            over = (arrival.over or arrival.decided) if arrival else None
            if arrival and over:
                since = arrival.first if departure is None else over
                later = (
                    left
                    for (there, came), (source, left) in ends
                    if source == each.source
                    and (
                        came > arrival.key
                        if there == each.destination
                        else began[there, came].earliest > since.at
                    )
                )
                found.append(replace(each, later=frozenset(later)))
            else:
                found.append(each)
        return found

    def total_penalty(self, views: Mapping[str, HostView]) -> int:
        """The penalty of the best choice of links. Legs without a link count most, an arrival that is open
        not at all: messages of its source may still arrive.
        """
        arrivals, departures, links = self._linked(views)
        linked = {link.departure for link in links.values()}
        penalty = sum(link.penalty for link in links.values())
        for came in arrivals:
            arrival = came.arrival
            is_open = arrival.stage == "open" and arrival.over is None
            if arrival.tentative or is_open or came.id in links:
                continue
            if arrival.stage != "ended":
                penalty += UNLINKED_PENALTY
            elif source_without_job(came.host, arrival, came.holders, views, links)[1] is None:
                penalty += ENDED_PENALTY  # the guest's end on its source explains it, too
        for left in departures:
            each = left.departure
            if left.id in linked:
                continue
            if each.suspended or each.stage in OF_A_MIGRATION:
                penalty += UNLINKED_PENALTY
            elif each.iterated and each.job_gone:
                penalty += ENDED_PENALTY
        return penalty

    def _linked(
        self, views: Mapping[str, HostView]
    ) -> tuple[list[ArrivalForm], list[DepartureForm], dict[LegId, Link]]:
        """All legs except those in `done`, and each arrival's link: the choice with the lowest cost."""
        arrivals = [
            self._arrival(views, host, each)
            for host, view in sorted(views.items())
            for each in view.arrivals
            if (host, each.key) not in self._done
        ]
        departures = [
            self._departure(host, each, last)
            for host, view in sorted(views.items())
            for last, each in pairwise((None, *view.departures))
            if each is not None and (host, each.key) not in self._done
        ]
        times = self._times(views)
        proven = proven_links(arrivals, departures, self._fixed)
        proofs = {leg for ends in proven.items() for leg in ends}
        options: list[Link] = []
        chosen = best_links(
            Link(came.id, left.id, left.departure, proven=True)
            for came, left in product(arrivals, departures)
            if proven.get(came.id) == left.id
        )
        for times_agree in get_args(Agreement):
            taken = proofs.union(leg for link in chosen for leg in link.ends)
            fixed = [*self._fixed, *(link.ends for link in chosen)]
            coming = [came for came in arrivals if came.id not in taken]
            free = [left for left in departures if left.id not in taken]
            found = [
                link
                for came in coming
                for link in self._links_of(came, free, times, times_agree)
                if not any(crosses(link.ends, ends) for ends in fixed)
            ]
            if times_agree == "by_one":  # that is the best choice, if it links all without a penalty
                found = [link for link in found if link.penalty == 0]
                if len({link.arrival for link in found}) < len(coming):
                    continue
            best = best_links(found)
            if times_agree == "by_one" and len(best) < len(coming):
                continue
            options += found
            chosen += best
        linked = {link.arrival for link in chosen}
        wanted = {
            link.departure
            for link in options
            if link.arrival not in linked and not (link.unlikely or link.contradictory)
        }
        links = {
            link.arrival: structs.replace(link, is_ambiguous=True) if link.departure in wanted else link
            for link in chosen
        }
        return arrivals, departures, links

    @staticmethod
    def _times(views: Mapping[str, HostView]) -> ArrivalTimes:
        arrivals = [each for view in views.values() for each in view.arrivals]
        prepared = sorted(each.opened.at for each in arrivals if each.opened)
        ended = sorted((each.first.at, each.decided.at) for each in arrivals if each.decided)
        over = list(accumulate((over for _, over in reversed(ended)), min))[::-1]
        return ArrivalTimes(prepared, [began for began, _ in ended], over)

    def _arrival(self, views: Mapping[str, HostView], host: str, arrival: Arrival) -> ArrivalForm:
        form = (host, arrival.key), arrival.absorbed, arrival.tentative
        if form not in self._arrivals:
            self._arrivals[form] = ArrivalForm(
                host, arrival, lasted(arrival), holders_at(views, host, arrival)
            )
        return self._arrivals[form]

    def _departure(self, host: str, departure: Departure, last: Departure | None) -> DepartureForm:
        """last: the departure before it there."""
        marks = (*last.job_marks, last.ended) if last is not None else ()
        before = newest(mark for mark in marks if mark is not None and mark.origin == "event")
        form = (host, departure.key), departure.absorbed, before
        if form not in self._departures:
            earlier = [mark for mark in (before, departure.began) if mark is not None]
            self._departures[form] = DepartureForm(host, departure, lasted(departure), earlier)
        return self._departures[form]

    def _links_of(
        self,
        came: ArrivalForm,
        departures: Iterable[DepartureForm],
        times: ArrivalTimes,
        times_agree: Agreement,
    ) -> Iterator[Link]:
        """The links of one arrival with these."""
        known = self._links[came, times_agree]
        surer = self._links[came, "by_one"] if times_agree == "nearly" else {}
        for left in departures:
            if left not in known:
                known[left] = surer.get(left) or self._link(came, left, times, times_agree)
            link = known[left]
            if link is not None:
                yield link

    def _link(
        self, came: ArrivalForm, left: DepartureForm, times: ArrivalTimes, times_agree: Agreement
    ) -> Link | None:
        ends = came.id, left.id
        if came.host == left.host:
            return None
        differs = ends not in self._published and not self._in_published.isdisjoint(ends)
        return candidate(came, left, times, times_agree, differs=differs)


def _as_linked(overlaps: Sequence[Overlap], links: Iterable[Link], source: str | None) -> Sequence[Overlap]:
    """Those by the readings of the source's clock that its other attempts allow, if there are any."""
    reads = [a.read for link in links for a, _ in link.overlaps if link.arrival[0] == source]
    reads += [d.read for link in links for _, d in link.overlaps if link.departure[0] == source]
    return [each for each in overlaps if each[1].read in reads] or overlaps
