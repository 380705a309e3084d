"""The links between arrivals and departures with the lowest total cost. No recursion; bounded. Pure.

Attempts between two hosts have the same order on both, whatever their directions. So the legs of two hosts
are two sequences, and the best links are their alignment, found in a table with one row for each leg of the
one host and one column for each leg of the other.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Final

from msgspec import Struct

from bridge.correlator.rules.clock_readings import Overlap
from bridge.correlator.rules.host_view import Departure
from bridge.correlator.rules.observations import Key

LegId = tuple[str, Key]
"""Identifies a leg: its host, and the place of its first event in that host's order."""
Ends = tuple[LegId, LegId]
"""An attempt's arrival and departure."""


class Link(Struct, frozen=True, eq=False, dict=True):
    """One departure that may belong to one arrival, and the penalties, the highest first.

    proven: equal figures of both hosts prove it. contradictory: their ends don't go together.
    guest_elsewhere: the guest was on another host, or had come back since. between_readings: no reading of
    the clocks allows it, only an offset between two readings. unlikely: their ends rarely go together.
    unpublished: it differs from what was published.
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
    unpublished: bool = False
    distance_ms: int = 0
    overlaps: Sequence[Overlap] = ()

    @property
    def ends(self) -> Ends:
        """The two legs."""
        return self.arrival, self.departure

    @cached_property
    def cost(self) -> int:
        """Lower is better; no number of lower penalties outweighs a higher one."""
        found = -(_MOST**2) * self.proven + self.contradictory
        for digit in (
            self.guest_elsewhere,
            self.between_readings,
            self.unlikely,
            self.unpublished,
        ):
            found = found * _MOST + digit
        return found * _MOST_MS + min(self.distance_ms, _MOST_MS // _MOST)

    @property
    def penalty(self) -> int:
        """The cost without the time between the legs."""
        return self.cost // _MOST_MS


_MOST: Final = 1000
"""More than the number of links."""
_MOST_MS: Final = 10**12
UNLINKED_PENALTY: Final = _MOST**5
"""The penalty of an arrival without a departure: only a proof outweighs it."""
ENDED_PENALTY: Final = _MOST**2
"""The penalty of one that ended: a source may fail without an event, but no reading of its clock is wrong."""


def best_links(links: Iterable[Link]) -> list[Link]:
    """At most one link for each arrival and each departure, and no two that cross.

    Exact between two hosts. With three or more, each two are aligned; of chosen links with a common leg the
    one with the lowest cost stays, and all are aligned again without what it excludes.
    """
    by_hosts: defaultdict[frozenset[str], list[Link]] = defaultdict(list)
    for link in links:
        by_hosts[frozenset((link.arrival[0], link.departure[0]))].append(link)
    aligned = {hosts: _aligned(of_them) for hosts, of_them in by_hosts.items()}
    while True:
        chosen = [link for of_them in aligned.values() for link in of_them]
        uses = Counter(leg for link in chosen for leg in link.ends)
        contested = [link for link in chosen if any(uses[leg] > 1 for leg in link.ends)]
        if not contested:
            return chosen
        stays: dict[LegId, Link] = {}
        for link in sorted(contested, key=lambda link: link.cost):
            if stays.keys().isdisjoint(link.ends):
                stays |= dict.fromkeys(link.ends, link)
        for hosts, of_them in by_hosts.items():
            left = [
                link
                for link in of_them
                if stays.get(link.arrival, link) is link is stays.get(link.departure, link)
            ]
            if len(left) < len(of_them):
                by_hosts[hosts], aligned[hosts] = left, _aligned(left)


def _aligned(links: Sequence[Link]) -> list[Link]:
    """The links of two hosts with the lowest total cost of which no two cross or have a leg in common."""
    if not links:
        return []
    one = min(links[0].ends)[0]
    places: defaultdict[LegId, dict[LegId, Link]] = defaultdict(dict)
    for link in links:
        here, there = link.ends if link.arrival[0] == one else link.ends[::-1]
        places[here][there] = link
    rows, columns = sorted(places), sorted({leg for row in places.values() for leg in row})
    arrivals = {link.arrival for link in links}
    alone = {leg: UNLINKED_PENALTY * _MOST_MS if leg in arrivals else 0 for leg in (*rows, *columns)}
    best = [[0]]
    for column in columns:
        best[0].append(best[0][-1] + alone[column])
    for row in rows:
        above, skip, found = best[-1], alone[row], places[row]
        least = above[0] + skip
        costs = [least]
        for m, column in enumerate(columns):
            least = min(above[m + 1] + skip, least + alone[column])
            if column in found:
                least = min(least, above[m] + found[column].cost)
            costs.append(least)
        best.append(costs)
    chosen = []
    n, m = len(rows), len(columns)
    while n and m:
        row, column = rows[n - 1], columns[m - 1]
        linked = places[row].get(column)
        if linked is not None and best[n][m] == best[n - 1][m - 1] + linked.cost:
            chosen.append(linked)
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
