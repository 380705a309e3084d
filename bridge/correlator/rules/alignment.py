"""The links between arrivals and departures with the lowest total cost. No recursion; bounded. Pure.

Attempts between two hosts have the same order on both, whatever their directions. So the legs of two hosts
are two sequences, and the best links are their alignment, found in a table with one row for each leg of the
one host and one column for each leg of the other.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from bridge.correlator.rules.clock_readings import Overlap
from bridge.correlator.rules.host_view import Departure
from bridge.correlator.rules.observations import Key

LegId = tuple[str, Key]
"""Identifies a leg: its host, and the place of its first event in that host's order."""
Ends = tuple[LegId, LegId]
"""An attempt's arrival and departure."""


@dataclass(frozen=True, slots=True)
class Link:
    """One departure that may belong to one arrival, and the penalties, the highest first.

    proven: equal figures of both hosts prove it. contradictory: their ends don't go together.
    guest_elsewhere: the guest was on another host, or had come back since. between_readings: no reading of
    the clocks allows it, only an offset between two readings. unlikely: their ends rarely go together.
    clock_set: only if a clock was set, against the stamps. unpublished: it differs from what was published.
    distance_ms: the time between their beginnings.
    """

    arrival: LegId
    departure: LegId
    of: Departure
    is_ambiguous: bool = False
    proven: bool = False
    contradictory: bool = False
    guest_elsewhere: bool = False
    between_readings: bool = False
    unlikely: bool = False
    clock_set: bool = False
    unpublished: bool = False
    distance_ms: int = 0
    overlaps: Sequence[Overlap] = ()

    @property
    def ends(self) -> Ends:
        """The two legs."""
        return self.arrival, self.departure

    @property
    def cost(self) -> int:
        """Lower is better; no number of lower penalties outweighs a higher one."""
        return self.penalty * _MOST_MS + min(self.distance_ms, _MOST_MS // _MOST)

    @property
    def penalty(self) -> int:
        """The cost without the time between the legs."""
        found = -int(self.proven)
        for digit in (
            0,
            self.contradictory,
            self.guest_elsewhere,
            self.between_readings,
            self.unlikely,
            self.clock_set,
            self.unpublished,
        ):
            found = found * _MOST + digit
        return found


_MOST: Final = 1000
"""More than the number of links."""
_MOST_MS: Final = 10**12
UNLINKED_PENALTY: Final = _MOST**6
"""The penalty of an arrival without a departure: only a proof outweighs it."""
ENDED_PENALTY: Final = _MOST**3
"""The penalty of one that ended: a source may fail without an event, but no reading of its clock is wrong."""


def best_links(links: Iterable[Link]) -> list[Link]:
    """At most one link for each arrival and each departure, and no two that cross.

    Exact between two hosts. With three or more, each two are aligned; of links with a common leg the one
    stays without which its arrival would cost most; the others are barred, and their hosts are aligned again.
    """
    by_hosts: defaultdict[frozenset[str], dict[Ends, Link]] = defaultdict(dict)
    by_arrival: defaultdict[LegId, dict[Ends, Link]] = defaultdict(dict)
    for link in links:
        by_hosts[_hosts(link)][link.ends] = by_arrival[link.arrival][link.ends] = link
    aligned = {hosts: _aligned(list(of_them.values())) for hosts, of_them in by_hosts.items()}
    while True:
        chosen = [link for of_them in aligned.values() for link in of_them]
        uses = Counter(leg for link in chosen for leg in link.ends)
        contested = [link for link in chosen if any(uses[leg] > 1 for leg in link.ends)]
        if not contested:
            return chosen
        worth = {link.ends: _worth(link, by_arrival[link.arrival].values()) for link in contested}
        taken: set[LegId] = set()
        barred: set[frozenset[str]] = set()
        for link in sorted(contested, key=lambda link: (-worth[link.ends], link.cost)):
            if taken.isdisjoint(link.ends):
                taken.update(link.ends)
            else:
                del by_hosts[_hosts(link)][link.ends], by_arrival[link.arrival][link.ends]
                barred.add(_hosts(link))
        aligned |= {hosts: _aligned(list(by_hosts[hosts].values())) for hosts in barred}


def _hosts(link: Link) -> frozenset[str]:
    return frozenset((link.arrival[0], link.departure[0]))


def _worth(link: Link, links: Iterable[Link]) -> int:
    """How much more its arrival would cost with the next best of its links, or with none."""
    others = (other.cost for other in links if other is not link)
    return min(others, default=UNLINKED_PENALTY * _MOST_MS) - link.cost


def _aligned(links: Sequence[Link]) -> list[Link]:
    if not links:
        return []
    one, other = sorted({host for host, _ in links[0].ends})
    by_ends = {leg: link for link in links for leg in (link.ends, link.ends[::-1])}
    rows = sorted({leg for link in links for leg in link.ends if leg[0] == one})
    columns = sorted({leg for link in links for leg in link.ends if leg[0] == other})
    arrivals = {link.arrival for link in links}
    alone = {leg: UNLINKED_PENALTY * _MOST_MS if leg in arrivals else 0 for leg in (*rows, *columns)}
    best = [[0] * (len(columns) + 1) for _ in range(len(rows) + 1)]
    for m, column in enumerate(columns):
        best[0][m + 1] = best[0][m] + alone[column]
    for n, row in enumerate(rows):
        above, here, skip = best[n], best[n + 1], alone[row]
        here[0] = above[0] + skip
        for m, column in enumerate(columns):
            cost = min(above[m + 1] + skip, here[m] + alone[column])
            link = by_ends.get((row, column))
            here[m + 1] = cost if link is None else min(cost, above[m] + link.cost)
    chosen = []
    n, m = len(rows), len(columns)
    while n and m:
        row, column = rows[n - 1], columns[m - 1]
        link = by_ends.get((row, column))
        if link is not None and best[n][m] == best[n - 1][m - 1] + link.cost:
            chosen.append(link)
            n, m = n - 1, m - 1
        elif best[n][m] == best[n - 1][m] + alone[row]:
            n -= 1
        else:
            m -= 1
    return chosen


def crosses(one: Ends, other: Ends) -> bool:
    """Whether two attempts between the same two hosts have different orders on them."""
    places, others = dict(one), dict(other)
    if places.keys() != others.keys():
        return False
    here, there = places
    return (places[here] < others[here]) != (places[there] < others[there])
