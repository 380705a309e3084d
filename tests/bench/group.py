"""Correlators of one group that share a PostgreSQL: one against one without a group, two against one.

On a machine with too few cores for all that runs, each correlator gets the same share of a core, so that the
correlators limit the rate and not the machine.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import psycopg

from bridge.mqtt.messages import Publication
from tests.bench import quota
from tests.bench.correlator import HOSTS
from tests.bench.figure import Figure, at_least, at_most
from tests.bench.place import Child, Place
from tests.bench.traffic import Publisher, Traffic
from tests.support.postgres import Postgres

CORES_FOR_TWO = 5
"""Two correlators, the broker, the database and the publisher."""
CORES_EACH = 0.25
"""The share of each where there are fewer: the broker and the database need a core for two such members."""


def measure(place: Place) -> Iterator[Figure]:
    """The same messages through a correlator without a group (0 members), a group of one and one of two."""
    rates: dict[int, list[float]] = {0: [], 1: [], 2: []}
    costs: dict[int, list[float]] = {0: [], 1: [], 2: []}
    messages = 4 * place.scale.messages  # for seconds: what one batch costs grows with what is under way
    cores = os.cpu_count() or 1
    share = CORES_EACH if cores < CORES_FOR_TWO and quota.is_available() else 0.0
    with Postgres() as postgres:
        for turn in range(max(1, place.scale.rounds - 2)):
            for members in (0, 1, 2) if turn % 2 else (2, 1, 0):
                url = postgres.create(f"group{members}_{turn}").replace("postgresql+psycopg", "postgresql")
                traffic = Traffic(HOSTS, place.scale.ordinary, turn)
                rate, cost = _run(place, url, members, traffic, messages, share=share)
                rates[members].append(rate)
                costs[members].append(cost)
    enough = bool(share) or cores >= CORES_FOR_TWO
    where = f"{share} of a core each" if share else f"on {cores} cores with broker and database"
    for members, base, against, least in (
        (1, 0, "a correlator without a group", 0.6),
        (2, 1, "a group of 1", 1.5),
    ):
        target = at_least(least) if enough else None
        yield Figure(
            f"group of {members}: messages/s", "/s", rates[members], against, rates[base], target, where
        )
    yield Figure("group of 1: CPU a message", "µs", costs[1], "a correlator without a group", costs[0])
    yield Figure("group of 2: CPU a message", "µs", costs[2], "a group of 1", costs[1], at_most(1.3))


def _run(
    place: Place, url: str, members: int, traffic: Traffic, messages: int, *, share: float
) -> tuple[float, float]:
    with place.broker() as broker, ExitStack() as stack:
        children = [
            stack.enter_context(
                Child(
                    "correlator",
                    broker.port,
                    place.state_dir("member"),
                    *(("group=bench", f"store={url}", f"id=member{number}") if members else ()),
                )
            )
            for number in range(max(1, members))
        ]
        publisher = Publisher(broker)
        publisher.publish(traffic.statuses())
        time.sleep(2.0)
        _take_in(publisher, traffic.take(place.scale.messages // 5), children, url if members else None)
        time.sleep(2.0)  # a host's first events wait until all members have caught up
        made = traffic.take(messages)  # before the clock runs: it costs a second
        for child in children if share else ():
            stack.enter_context(quota.limited(child.pid, share))
        rate, cpu_us = _take_in(publisher, made, children, url if members else None)
        publisher.close()
        return rate, cpu_us


def _take_in(
    publisher: Publisher, messages: Sequence[Publication], children: Sequence[Child], inbox: str | None
) -> tuple[float, float]:
    """Messages a second and CPU a message in µs, until all are processed. inbox: a group's store."""
    before = [child.ask("count") for child in children]
    began = time.perf_counter()
    publisher.publish(messages)
    end = began + 120
    while True:
        now = [child.ask("count") for child in children]
        took = sum(a["messages"] - b["messages"] for a, b in zip(now, before, strict=True))
        if took >= len(messages) and (inbox is None or _nothing_waits(inbox)):
            break
        assert time.perf_counter() < end, f"{took} of {len(messages)} after 120 s"
        time.sleep(0.05)
    took_s = time.perf_counter() - began
    cpu_s = sum(a["cpu_s"] - b["cpu_s"] for a, b in zip(now, before, strict=True))
    return len(messages) / took_s, cpu_s / len(messages) * 1e6


def _nothing_waits(url: str) -> bool:
    """Whether all that the members acknowledged is processed: what waits in the inbox isn't yet."""
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT FROM inbox LIMIT 1").fetchone() is None
