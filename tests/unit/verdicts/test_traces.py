"""Every recorded scenario of both releases gives what truly happened: in its order, in others, in part."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from typing import Any, Final

import pytest

from bridge.demo.trace import Trace
from bridge.wire.messages import Migration
from tests.support import traces
from tests.support.coverage_table import ROWS, Proof
from tests.unit.verdicts.conduct import (
    Conductor,
    Delivery,
    TimedMessage,
    in_order,
    interleaved,
    late,
    messages,
)
from tests.unit.verdicts.expect import VERDICTS, hold_the_contract
from tests.unit.verdicts.stage import Sent
from tests.unit.verdicts.trace_input import sent_in

EVERY: Final = [pytest.param(row, trace, id=name) for name, row, trace in traces.every()]
every_trace = pytest.mark.parametrize(("row", "trace"), EVERY)
every_side = pytest.mark.parametrize(
    ("row", "trace", "host"),
    [
        pytest.param(row, trace, host, id=f"{name}-{host}")
        for name, row, trace in traces.every()
        for host in sorted(trace.hosts)
    ],
)
DRAWN: Final = 200


def excerpt(data: Migration, of: dict[str, Any]) -> dict[str, Any]:
    """The same columns of a telling as an excerpt of the truth has."""
    whole = data.model_dump()
    return {
        key: whole[key]["host"]
        if key in ("source", "destination")
        else {part: whole[key][part] for part in value}
        if isinstance(value, dict)
        else whole[key]
        for key, value in of.items()
    }


def check(published: Sequence[TimedMessage], trace: Trace, *, may_revise: bool = False) -> None:
    """What was told, `started` aside, is what happened, in its order."""
    hold_the_contract(published)
    said = [each.migration for each in published if each.migration and each.migration.outcome != "started"]
    if may_revise:
        kept = {(d.migration, d.outcome in VERDICTS): d for d in said if d.outcome != "unresolved"}
        said = list(kept.values())
    assert [excerpt(data, truth) for data, truth in zip(said, trace.happened, strict=False)] == list(
        trace.happened
    )
    assert len(said) == len(trace.happened), [data.outcome for data in said]


def proven(row: str) -> str:
    """The row of the coverage table that a trace belongs to."""
    return row if row in ROWS else "-"


def observations_of(sent: Sequence[Sent]) -> list[Sent]:
    """Without the times of blindness: in another order they mean nothing. A host that stays away is kept."""
    lost = {each.host for each in sent if each.sees is False} - {
        each.host for n, each in enumerate(sent) if each.sees and any(e.sees is False for e in sent[:n])
    }
    return [
        each for each in sent if each.observation is not None or (each.host in lost and each.sees is False)
    ]


@every_trace
def test_played_as_it_was(row: str, trace: Trace, proof: Proof) -> None:
    proof(proven(row), traces=1)
    published = Conductor().deliver(in_order(sent_in(trace)))
    check(published, trace)


@pytest.mark.slow
@every_trace
def test_played_in_any_order_of_the_hosts(row: str, trace: Trace, proof: Proof) -> None:
    """All interleavings, or 200 of them."""
    sent = observations_of(sent_in(trace))
    orders = _orders(sent, trace.scenario)
    proof(proven(row), interleavings=len(orders))
    for order in orders:
        published = Conductor().deliver(interleaved(sent, order, begins_s=2000.0))
        try:
            check(published, trace)
        except AssertionError as error:
            error.add_note(f"order {order}")
            raise


@every_trace
def test_played_doubled_and_again(row: str, trace: Trace, proof: Proof) -> None:
    proof(proven(row), interleavings=1)
    once = in_order(sent_in(trace))
    twice = [delivery for each in once for delivery in (each, each)]
    last = once[-1].received + 2000.0
    again = [Delivery(last + n * 0.01, each.sent) for n, each in enumerate(once) if each.sent.observation]
    assert Conductor().deliver([*twice, *again]) == Conductor().deliver(once)


@pytest.mark.slow
@every_trace
def test_played_with_the_correlator_restarted_after_each_message(
    row: str, trace: Trace, proof: Proof
) -> None:
    deliveries = in_order(sent_in(trace))
    proof(proven(row), interleavings=len(deliveries) + 1)
    once = messages(Conductor().deliver(deliveries))
    assert messages(Conductor().deliver(deliveries, restart=lambda _: True)) == once
    for prefix in range(len(deliveries)):
        published = Conductor().deliver(deliveries, restart=lambda n, at=prefix: n == at)  # type: ignore[misc]
        assert messages(published) == once


@every_trace
def test_what_is_published_of_times_is_what_the_hosts_stamped_however_fast_it_comes(
    row: str, trace: Trace
) -> None:
    sent = observations_of(sent_in(trace))
    as_it_was = Conductor().deliver(in_order(sent))
    at_once = Conductor().deliver([Delivery(2000.0 + n * 0.001, each) for n, each in enumerate(sent)])
    assert [_times(each) for each in at_once if each.migration] == [
        _times(each) for each in as_it_was if each.migration
    ]


def _times(published: TimedMessage) -> dict[str, Any]:
    """What is said of when, and what `started` rests on."""
    data = published.migration
    assert data is not None
    columns = {"outcome", "started_at", "ended_at", "duration_ms", "downtime_ms"}
    return data.model_dump(include=columns | ({"evidence"} if data.outcome == "started" else set()))


@every_side
def test_played_with_one_side_withheld_to_the_end(row: str, trace: Trace, host: str, proof: Proof) -> None:
    """Hours late: in the end the truth, whatever had to be told before."""
    proof(proven(row), interleavings=1)
    published = Conductor().deliver(late(sent_in(trace), host, 3 * 3600.0))
    check(published, trace, may_revise=True)


@every_side
def test_played_with_one_side_never_heard(row: str, trace: Trace, host: str, proof: Proof) -> None:
    """Nothing is told of a host that nothing is known of, and no telling contradicts the truth but by
    what only the other side knows.
    """
    proof(proven(row), interleavings=1)
    published = Conductor().deliver(in_order(each for each in sent_in(trace) if each.host == host))
    hold_the_contract(published)
    others = set(trace.hosts) - {host}
    outcomes = {truth["outcome"] for truth in trace.happened}
    for each in published:
        data = each.migration
        if data is None:
            continue
        assert others.isdisjoint((data.source.host, data.destination.host, data.guest.host))
        assert all(one.source == f"/hosts/{host}" for one in data.evidence)
        if data.outcome in VERDICTS and "conflict" not in outcomes:
            assert data.outcome in outcomes


def _orders(sent: Sequence[Sent], seed: str) -> list[tuple[str, ...]]:
    hosts = [each.host for each in sent]
    names = sorted(set(hosts))
    if len(names) == 1:
        return [tuple(hosts)]
    if math.comb(len(hosts), hosts.count(names[0])) <= DRAWN:
        return list(_all_orders(hosts, names))
    rng = random.Random(seed)
    drawn = {tuple(hosts), *(tuple(sorted(hosts, reverse=up)) for up in (True, False))}
    while len(drawn) < DRAWN:
        rng.shuffle(hosts)
        drawn.add(tuple(hosts))
    return sorted(drawn)


def _all_orders(hosts: list[str], names: list[str]) -> Iterator[tuple[str, ...]]:
    for chosen in itertools.combinations(range(len(hosts)), hosts.count(names[0])):
        at = set(chosen)
        yield tuple(names[0] if n in at else names[1] for n in range(len(hosts)))


@every_trace
def test_played_at_once_with_its_statuses_last(row: str, trace: Trace) -> None:
    """A state, at QoS 0, may overtake the status that says that its host is back."""
    sent = sorted(sent_in(trace), key=lambda each: each.sees is not None)
    check(Conductor().deliver([Delivery(2000.0 + n * 0.001, each) for n, each in enumerate(sent)]), trace)
