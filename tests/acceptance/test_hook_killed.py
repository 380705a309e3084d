"""Runners and brokers killed at random in a storm of verdicts: each is worked on, and none for nothing."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.broker import Broker
from tests.support.hooks import HookProcess, Publisher, Records, Run, verdict
from tests.support.postgres import Postgres

pytestmark = [pytest.mark.server, pytest.mark.slow]

DOMAINS = 30
VERDICTS = 400
PARALLEL = 4
Span = tuple[float, float]
LAG_S = 1.0
"""So long, on a machine that has much to do, a program may have ended before its runner has stored that."""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """One that has on disk what it acknowledged, when it is killed a moment later."""
    with Broker(
        tmp_path / "broker", "autosave_on_changes true", "autosave_interval 1", keeps_data=True
    ) as broker:
        yield broker


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path / "records")


@contextmanager
def _noted(killed: list[Span]) -> Iterator[None]:
    """Notes since when and until when something was killed."""
    since = time.time()
    yield
    killed.append((since, time.time()))


def _storm(broker: Broker, between: Callable[[int], None], seed: int) -> list[str]:
    """Publishes verdicts on all domains in some order, and all of them once more; returns the ids."""
    chance = random.Random(seed)
    domains = [chance.randrange(DOMAINS) for _ in range(VERDICTS)]
    publications = [verdict(number, domain) for number, domain in enumerate(domains)]
    publisher = Publisher(broker)
    for _ in range(2):  # a broker that is killed may forget what it had acknowledged
        for first in range(0, VERDICTS, 20):
            publisher.publish(*publications[first : first + 20])
            between(first)
    publisher.close()
    return [f"m{number}-failed-0" for number in range(VERDICTS)]


def _assert_each_once_but_those_that_ran(records: Records, ids: list[str], killed: list[Span]) -> None:
    by_id: defaultdict[str, list[Run]] = defaultdict(list)
    for run in records.runs:
        by_id[run.id].append(run)
    assert by_id.keys() == set(ids)
    assert all(any(run.ended for run in runs) for runs in by_id.values())
    again = 0
    for runs in by_id.values():
        for run in runs[:-1]:
            again += 1
            ended = run.ended or float("inf")
            assert any(run.began <= until and since <= ended + LAG_S for since, until in killed), (
                runs,
                killed,
            )
    assert again <= PARALLEL * len(killed)


def _assert_in_order(records: Records, ids: list[str], seed: int) -> None:
    """Of each domain they began in the order in which they were published."""
    chance = random.Random(seed)
    domain_of = {id_: chance.randrange(DOMAINS) for id_ in ids}
    first: defaultdict[int, list[str]] = defaultdict(list)
    for run in records.runs:
        if run.id not in first[domain_of[run.id]]:
            first[domain_of[run.id]].append(run.id)
    for domain, began in first.items():
        assert began == [id_ for id_ in ids if domain_of[id_] == domain]


@pytest.mark.parametrize("seed", [1, 2])
def test_runner_and_broker_killed_in_a_storm(
    broker: Broker, records: Records, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed + 1000)
    killed: list[Span] = []
    program = records.program(tmp_path / "program", "sleep 0.0$(( $$ % 10 ))")
    with HookProcess(broker, tmp_path, run=program, parallel=PARALLEL, max_age=86400) as hook:
        hook.until_subscribed()

        def trouble(_: int) -> None:
            what = chance.random()
            if what < 0.3:
                with _noted(killed):
                    hook.kill()
                hook.start()
            elif what < 0.4:
                time.sleep(1.5)  # for what it acknowledged to be on its disk
                broker.kill()
                broker.start()

        ids = _storm(broker, trouble, seed)
        records.until(lambda: set(records.ended) == set(ids), 120)
        time.sleep(1.0)
        assert hook.stop() == 0
    assert len(killed) > 5
    _assert_each_once_but_those_that_ran(records, ids, killed)
    _assert_in_order(records, ids, seed)


def test_members_of_a_group_share_the_work_and_any_may_die(
    broker: Broker, records: Records, tmp_path: Path
) -> None:
    chance = random.Random(5)
    killed: list[Span] = []
    program = records.program(tmp_path / "program", "sleep 0.0$(( $$ % 10 )); echo $PPID >> $0.runners")
    with Postgres() as postgres:
        store = postgres.create("hook")
        options = {"run": program, "group": "g", "store": store, "parallel": 2, "max_age": 86400}
        first = HookProcess(broker, tmp_path / "1", **options)
        second = HookProcess(broker, tmp_path / "2", **options)
        with first, second:
            first.until_logged("broker.connected")
            second.until_logged("broker.connected")
            time.sleep(0.5)

            def trouble(number: int) -> None:
                if chance.random() < 0.3:
                    member = chance.choice([first, second])
                    with _noted(killed):
                        member.kill()
                    member.start()
                if number == 200:
                    with _noted(killed):  # claims are gone with the connections
                        postgres.kill()
                    postgres.start()

            ids = _storm(broker, trouble, 5)
            records.until(lambda: set(records.ended) == set(ids), 120)
            time.sleep(1.0)
            names = {line["id"] for member in (first, second) for line in member.logged("hook.started")}
            assert names == {"g-main", "g-main-2"}
    assert killed
    _assert_each_once_but_those_that_ran(records, ids, killed)
    _assert_in_order(records, ids, 5)
    runners = (tmp_path / "program.runners").read_text().split()
    assert all(runners.count(each) > 10 for each in set(runners[-200:]))


def test_a_member_that_stalls_holds_up_only_the_domain_that_it_works_on(
    broker: Broker, records: Records, tmp_path: Path
) -> None:
    """With MQTT 3.1.1 too: nothing that is published is handed to one member only."""
    runner, leave = tmp_path / "runner", tmp_path / "leave"
    waits = f"echo $PPID > {runner}; while [ ! -e {leave} ]; do sleep 0.1; done"
    program = records.program(
        tmp_path / "program", f"if [ $LIBVIRT_MQTT_DOMAIN_NAME = web0 ]; then {waits}; fi"
    )
    with Postgres() as postgres:
        options = {"run": program, "group": "g", "store": postgres.create("hook"), "broker_version": "3.1.1"}
        first = HookProcess(broker, tmp_path / "1", **options)
        second = HookProcess(broker, tmp_path / "2", **options)
        publisher = Publisher(broker)
        with first, second:
            first.until_logged("broker.connected")
            second.until_logged("broker.connected")
            time.sleep(0.5)
            publisher.publish(verdict(0, 0))
            records.until(lambda: len(records.runs) == 1 and runner.exists())
            stalled = int(runner.read_text())
            assert stalled in (first.pid, second.pid)
            os.kill(stalled, signal.SIGSTOP)
            others = [verdict(number, 1 + number % 20) for number in range(1, 61)]
            publisher.publish(verdict(61, 0), *others)
            records.until(lambda: len(records.ended) == 60)
            leave.touch()
            records.until(lambda: len(records.ended) == 61)
            os.kill(stalled, signal.SIGCONT)
            records.until(lambda: len(records.ended) == 62)
        publisher.close()
    assert [run.id for run in records.runs if run.id in ("m0-failed-0", "m61-failed-0")] == [
        "m0-failed-0",
        "m61-failed-0",
    ]
    assert sorted(records.ended) == sorted(f"m{number}-failed-0" for number in range(62))
