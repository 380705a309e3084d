"""One attempt or two: a job's events before and after a time in which the host was blind. Sans-I/O.

A copy that was seen to begin, and a guest that was found to have left, may be one migration, or one that
failed and the next. The host can't know. So they are kept as segments, and the other hosts' legs decide: the
segments are one leg, unless two explain more.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from copy import copy
from dataclasses import replace
from itertools import pairwise, takewhile
from typing import Any, Final, NamedTuple, TypeVar

from bridge.correlator.rules.actions import KEPT, close_arrival, close_departure
from bridge.correlator.rules.alignment import LegId
from bridge.correlator.rules.clock_readings import ORDER_S
from bridge.correlator.rules.exceptions import exception_to
from bridge.correlator.rules.host_view import Arrival, Departure, HostView, Leg
from bridge.correlator.rules.observations import Mark, is_found, was_blind
from bridge.correlator.rules.pairing import Pair

TRIED: Final = 6
"""At most so many borders are tried; the rest stays joined until these are decided. In ten-minute storms of
real migrations, with agents that died every few seconds, no domain had more than five.
"""


class Alone(NamedTuple):
    """The legs that were published as the first of an attempt: a guest's end may be of either kind."""

    arrivals: Collection[LegId]
    departures: Collection[LegId]


Penalty = Callable[[Mapping[str, HostView]], int]
"""The penalty of the best choice of links."""


@exception_to("TABLE", "what follows is a segment, which may be another attempt's")
def was_unseen(leg: Arrival | Departure, mark: Mark) -> bool:
    """The host was blind for a while between this leg's last event and what follows. What was found together,
    after one such time, belongs together; so does an end with its announcement.
    """
    if mark.origin == "state" or leg.announced is not None:  # a state's event may still come
        return False
    return was_blind(leg.last_mark, mark)


def begin_segment(view: HostView, leg: Arrival | Departure, mark: Mark) -> None:
    """What follows may belong to another attempt than what came before."""
    if isinstance(leg, Departure):
        close_departure(view, mark)
        departure = Departure(mark.key, mark, guest=view.guest, after=view.last_live, continues=True)
        view.departures = [*view.departures, departure][-KEPT:]
    else:
        close_arrival(view, mark)
        arrival = Arrival(mark.key, mark, after=view.last_live, continues=True)
        view.arrivals = [*view.arrivals, arrival][-KEPT:]


def choose(
    views: Mapping[str, HostView],
    done: Collection[LegId],
    published: Alone,
    total_penalty: Penalty,
) -> None:
    """Joins segments to one leg, unless two have a lower penalty, or the second was published alone."""
    borders: list[Leg] = []
    for host, view in views.items():
        for before, after in pairwise(view.departures):  # two jobs that are gone are two
            after.continues = after.continues and not (before.job_gone and after.job_gone)
        for one, other in (*pairwise(view.arrivals), *pairwise(view.departures)):
            ends = {(host, one.key), (host, other.key)}
            if other.continues and ends & set(done):
                _part(other)
            alone = published.arrivals if isinstance(other, Arrival) else published.departures
            other.continues = other.continues and (host, other.key) not in alone
            if other.continues:
                borders.append(other)
    if borders:
        least = total_penalty(joined(views))
        for border in borders[:TRIED]:
            if least == 0:  # below it, something is proven: the rest may be explained yet
                break
            border.continues = False
            separate = total_penalty(joined(views))
            least, border.continues = (separate, False) if separate < least else (least, True)
            if not border.continues:
                _part(border)
        for host, view in joined(views).items():
            views[host].arrivals, views[host].departures = view.arrivals, view.departures


def return_suspends(views: Mapping[str, HostView], pairs: Iterable[Pair]) -> None:
    """A job is suspended after its destination was prepared: a suspend before that is the last job's, which
    failed to resume the guest.
    """
    for pair in pairs:
        departure, arrival = pair.departure, pair.arrival
        if departure is None or arrival is None or arrival.opened is None:
            continue
        if is_found(departure.opened) or is_found(arrival.opened):
            continue
        prepared_s, suspended_s = pair.at_destination(arrival.opened), pair.at_source(departure.opened)
        if departure.opened != departure.suspended or prepared_s <= suspended_s + ORDER_S:
            continue
        for before, after in pairwise(views[pair.source or ""].departures):
            if after.key == departure.key and before.stage in ("resumed", "resumed_ended"):
                before.returned, before.ended = before.ended, departure.opened
                before.stage, before.guest = "left_paused", "paused"
                departure.suspended, departure.guest = None, "paused"


def remains(views: Mapping[str, HostView]) -> frozenset[LegId]:
    """The segments of legs that aren't kept any more."""
    return frozenset(
        (host, leg.key)
        for host, view in views.items()
        for legs in (view.arrivals, view.departures)
        for leg in takewhile(lambda leg: leg.continues, legs)
    )


def _part(leg: Leg) -> None:
    """It is another attempt's than the leg before it; an end alone is that of a guest which had arrived."""
    leg.continues = False
    if isinstance(leg, Arrival):
        leg.tentative = leg.first == leg.ended


def joined_as(host: str, view: HostView, absorbed: Collection[LegId]) -> HostView:
    """The view with exactly the `absorbed` segments joined to those before them."""
    for leg in (*view.arrivals, *view.departures):
        if leg.continues and (host, leg.key) not in absorbed:
            _part(leg)
    return joined({host: view})[host]


def joined(views: Mapping[str, HostView]) -> dict[str, HostView]:
    """The views with each leg that continues joined to the leg before it."""
    found = {}
    for host, view in views.items():
        other = found[host] = copy(view)
        other.arrivals = _joined(view.arrivals, _of_arrivals)
        other.departures = _joined(view.departures, _of_departures)
    return found


_L = TypeVar("_L", bound=Leg)


def _joined(legs: Iterable[_L], of_both: Callable[[_L, _L], dict[str, Any]]) -> list[_L]:
    """of_both: what the two make together, besides what all legs have."""
    found: list[_L] = []
    for leg in legs:
        if not (leg.continues and found):
            found.append(leg)
            continue
        before = found[-1]
        found[-1] = replace(
            leg,
            key=before.key,
            after=before.after,
            postcopy=before.postcopy or leg.postcopy,
            breaks=before.breaks + leg.breaks,
            broke=leg.broke or before.broke,
            postcopy_started=leg.postcopy_started or before.postcopy_started,
            announced=leg.announced or before.announced,
            guest=leg.guest or before.guest,
            continues=before.continues,
            absorbed=(*before.absorbed, leg.key, *leg.absorbed),
            **of_both(before, leg),
        )
    return found


def _of_arrivals(before: Arrival, after: Arrival) -> dict[str, Any]:
    return {
        "first": before.first,
        "opened": before.opened,
        "tentative": before.tentative and after.tentative,
        "switched": after.switched or before.switched,
    }


def _of_departures(before: Departure, after: Departure) -> dict[str, Any]:
    is_at_its_beginning = after.stage == "copying"
    is_lost = after.stage in ("copying", "leaving") and before.job_gone is not None
    return {
        "opened": before.opened,
        "stage": before.stage if is_at_its_beginning else "job_lost" if is_lost else after.stage,
        "ended": before.ended if is_lost else after.ended,
        "job_gone": after.job_gone or before.job_gone,
        "began": before.began or after.began if is_found(before.opened) else None,
        "before_end": before.stage if after.before_end == "copying" else after.before_end,
        "iterated": before.iterated or after.iterated,
        "iteration": after.iteration or before.iteration,
        "iterated_last": after.iterated_last or before.iterated_last,
        "suspended": after.suspended or before.suspended,
        "listed_suspended": after.listed_suspended or before.listed_suspended,
        "state_before": before.state_before,
    }
