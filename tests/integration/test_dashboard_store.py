"""What the dashboard's store promises: the same on SQLite and on PostgreSQL."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from bridge.dashboard.moments import Moment
from bridge.dashboard.store import Archive, Cursor, CursorGoneError, Filter, Store, Stored
from bridge.dashboard.store.query import Query
from bridge.database import StoreTroubleError
from bridge.errors import ConfigError, StateInUseError
from tests.support.postgres import Postgres

pytestmark = pytest.mark.server

_numbers = count()
HOSTS = ("host1", "host2", "host3")
UUIDS = ("a", "b", "c", "d")
REASONS = ("source_crashed", "destination_failed")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with Postgres() as running:
        yield running


@pytest.fixture(params=["sqlite", "UTF8", "SQL_ASCII"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ä %20 store.db"
    postgres: Postgres = request.getfixturevalue("postgres")
    return postgres.create(f"dashboard{next(_numbers)}", encoding=request.param)


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    opened = Store(url, id="main")
    with opened.begin():
        pass
    yield opened
    opened.close()


@pytest.fixture
def archive(url: str, store: Store) -> Iterator[Archive]:
    opened = Archive(url)
    yield opened
    opened.close()


def event(n: int, *, at: int | None = None, host: str = "host1", uuid: str | None = "a") -> Moment:
    return Moment(n if at is None else at, f"/hosts/{host}", f"e-{n}", host, uuid, b"\x00\xff%d" % n)


def migration(n: int, attempt: str | None = "m1", outcome: str = "completed", **more: object) -> Moment:
    first = {"at": n, "source": "/correlators/main", "id": f"m-{n}", "host": "host1", "uuid": "a"}
    rest = {"payload": b"%d" % n, "peer": "host2", "attempt": attempt, "outcome": outcome}
    return Moment(**(first | rest | more))  # type: ignore[arg-type]


ROOM = 2**62
TAKEN = {
    "sqlite": "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
    "postgresql": "SELECT pg_total_relation_size('rows')",
}


def put(store: Store, *moments: Moment, came: int = 0) -> None:
    with store.begin() as tx:
        known = tx.known(moments)
        tx.add(tx.last() + 1, came, [m for m in moments if (m.source, m.id) not in known])


def numbers(rows: list[Stored] | tuple[Stored, ...]) -> list[int]:
    return [row.n for row in rows]


def test_a_message_that_comes_twice_is_one_row(store: Store, archive: Archive) -> None:
    put(store, event(1), event(2))
    put(store, event(2), event(3), event(2, host="host2"))
    page = archive.page(Filter(), limit=10)
    assert [row.payload for row in page.rows] == [b"\x00\xff3", b"\x00\xff2", b"\x00\xff2", b"\x00\xff1"]


def test_a_transaction_that_fails_leaves_nothing(store: Store, archive: Archive) -> None:
    def fail_half_way() -> None:
        with store.begin() as tx:
            tx.add(1, 0, [event(1)])
            tx.keep_hosts([("host1", b"x")])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert archive.ends() == (None, None)
    with store.begin() as tx:
        assert tx.hosts() == {}
        assert tx.last() == 0


def test_what_was_kept_is_there_after_opening_again(url: str, store: Store) -> None:
    put(store, event(1))
    with store.begin() as tx:
        tx.keep_hosts([("höst\x00/2", b"\x00one"), ("host1", b"two")])
        tx.keep_hosts([("host1", b"three")])
        tx.keep_names([("wéb\x0001", "a"), ("web01", "b"), ("web01", "c"), ("web01", "b")])
    store.close()
    again = Store(url, id="main")
    with again.begin() as tx:
        assert tx.hosts() == {"höst\x00/2": b"\x00one", "host1": b"three"}
        assert tx.last() == 1
    again.close()
    archive = Archive(url)
    assert archive.uuids("web01") == ("b", "c")
    assert archive.uuids("wéb\x0001") == ("a",)
    assert archive.uuids("other") == ()
    archive.close()


def test_a_store_has_one_owner(url: str, store: Store) -> None:
    other = Store(url, id="other")
    with pytest.raises(StateInUseError), other.begin():
        pass
    store.close()
    with pytest.raises(ConfigError, match="belongs to dashboard main"), other.begin():
        pass
    other.close()


def test_an_attempt_is_shown_by_its_newest_message(store: Store, archive: Archive) -> None:
    put(store, migration(1, outcome="started"))
    put(store, migration(2, outcome="interrupted"), migration(3, "m2", outcome="started"))
    put(store, migration(4), migration(5, "m2", outcome="failed", at=2))
    put(store, migration(6, outcome="started"))  # late
    page = archive.page(Filter(latest=True), limit=10)
    assert [(row.n, row.attempt) for row in page.rows] == [(4, "m1"), (5, "m2")]
    assert numbers(archive.attempt("m1")) == [1, 2, 4, 6]
    assert archive.holds("m2")
    assert not archive.holds("m3")


def test_a_conflict_without_a_migration_is_named_by_its_first_message(store: Store, archive: Archive) -> None:
    put(store, migration(1, None, "conflict"))
    put(store, migration(2, None, "conflict", supersedes="m-1"))
    put(
        store,
        migration(3, None, "resolved", supersedes="m-2"),
        migration(4, None, "resolved", supersedes="x"),
    )
    page = archive.page(Filter(latest=True), limit=10)
    assert [(row.n, row.attempt) for row in page.rows] == [(4, "x"), (3, "m-1")]


FILTERS: list[dict[str, Any]] = [
    {"uuids": ("b",)},
    {"uuids": ("a", "d")},
    {"uuids": ()},
    {"host": "host2"},
    {"host": "host2", "uuids": ("a",)},
    {"outcomes": ("completed", "started")},
    {"outcomes": ("failed",), "host": "host3"},
    {"reasons": ("source_crashed",)},
    {"reasons": REASONS, "uuids": ("c",)},
    {"min_downtime_ms": 0},
    {"min_downtime_ms": 37},
    {"min_downtime_ms": 300, "host": "host1"},
    {"min_downtime_ms": 2**40},
    {"since": 30, "until": 90},
    {"since": 30, "host": "host1"},
    {"until": 70, "min_downtime_ms": 100, "outcomes": ("completed",)},
    {"attention": True},
    {"attention": True, "host": "host1"},
    {},
]


def random_moments(rng: random.Random) -> list[Moment]:
    made = []
    for n in range(1, 400):
        host, peer = rng.sample(HOSTS, 2)
        at = rng.randrange(0, 100)  # many at the same moment, none in the order of arrival
        if rng.random() < 0.5:
            made.append(event(n, at=at, host=host, uuid=rng.choice((*UUIDS, None))))
            continue
        outcome = rng.choice(("started", "completed", "failed"))
        made.append(
            migration(
                n,
                f"m{rng.randrange(60)}",
                outcome,
                at=at,
                host=rng.choice((host, None)),
                peer=peer,
                uuid=rng.choice(UUIDS),
                reason=rng.choice(REASONS) if outcome == "failed" else None,
                downtime_ms=rng.choice((None, 0, 1, 36, 37, 38, 63, 64, 300, 2**33, 2**41)),
                attention=rng.choice((None, None, "guest_left_paused")),
            )
        )
    return made


def passes(moment: Moment, wanted: Filter) -> bool:
    return all(
        (
            wanted.uuids is None or moment.uuid in wanted.uuids,
            wanted.host is None or wanted.host in (moment.host, moment.peer),
            not wanted.outcomes or moment.outcome in wanted.outcomes,
            not wanted.reasons or moment.reason in wanted.reasons,
            wanted.min_downtime_ms is None
            or (moment.downtime_ms or -1) >= wanted.min_downtime_ms
            or (moment.downtime_ms == 0 == wanted.min_downtime_ms),
            wanted.since is None or moment.at >= wanted.since,
            wanted.until is None or moment.at < wanted.until,
            not wanted.attention or moment.attention is not None,
        )
    )


def latest_of(moments: list[Moment]) -> set[int]:
    newest: dict[str, int] = {}
    for n, moment in enumerate(moments, 1):
        if moment.attempt is not None and (moment.attempt not in newest or moment.outcome != "started"):
            newest[moment.attempt] = n
    return set(newest.values())


def test_pages_have_what_their_filter_says_each_once_in_order(store: Store, archive: Archive) -> None:
    moments = random_moments(random.Random(7))
    put(store, *moments)
    latest = latest_of(moments)
    for given in FILTERS:
        for only_latest in (True,) if "attention" in given else (False, True):
            wanted = Filter(latest=only_latest, **given)
            expected = sorted(
                Cursor(m.at, n)
                for n, m in enumerate(moments, 1)
                if passes(m, wanted) and (not only_latest or n in latest)
            )
            for newest_first in (True, False):
                found: list[Cursor] = []
                after = None
                while True:
                    page = archive.page(wanted, limit=7, after=after, newest_first=newest_first)
                    found += [row.cursor for row in page.rows]
                    after = page.next
                    if after is None:
                        break
                assert found == (expected[::-1] if newest_first else expected), (given, only_latest)


def test_rows_that_come_meanwhile_shift_no_page(store: Store, archive: Archive) -> None:
    put(store, *(event(n, at=n * 10) for n in range(1, 10)))
    first = archive.page(Filter(), limit=4)
    put(store, event(100, at=1000), event(101, at=65), event(102, at=15))
    second = archive.page(Filter(), limit=20, after=first.next)
    assert numbers([*first.rows]) == [9, 8, 7, 6]
    assert numbers([*second.rows]) == [5, 4, 3, 2, 12, 1]


def test_what_came_after_a_row_comes_in_the_order_of_arrival(store: Store, archive: Archive) -> None:
    put(store, event(1, at=50), event(2, at=10), event(3, at=90), event(4, at=20))
    assert numbers(archive.since(Cursor(50, 1), 2)) == [2, 3]
    assert numbers(archive.since(Cursor(20, 4), 2)) == []


def test_the_oldest_go_first_and_their_cursors_are_known_to_be_gone(store: Store, archive: Archive) -> None:
    put(store, event(1, at=50), event(2, at=10), came=100)
    put(store, event(3, at=5), event(4, at=1), came=200)
    with store.begin() as tx:
        assert tx.prune(100, ROOM) == 0
        assert tx.prune(101, ROOM) == 2
        assert tx.prune(101, ROOM) == 0
    page = archive.page(Filter(), limit=1)
    assert page.oldest == Cursor(5, 3)
    assert page.newest == Cursor(1, 4)
    assert numbers([*archive.page(Filter(), limit=9).rows]) == [3, 4]
    with pytest.raises(CursorGoneError) as gone:
        archive.page(Filter(), limit=1, after=Cursor(10, 2))
    assert gone.value.oldest == Cursor(5, 3)
    assert numbers(archive.since(Cursor(10, 2), 9)) == [3, 4]  # nothing after it is missing
    with pytest.raises(CursorGoneError):
        archive.since(Cursor(50, 1), 9)


def test_numbers_go_on_after_all_rows_are_gone(url: str, store: Store) -> None:
    put(store, event(1), event(2))
    with store.begin() as tx:
        tx.prune(1, ROOM)
        assert tx.last() == 2
    store.close()
    again = Store(url, id="main")
    with again.begin() as tx:
        assert tx.last() == 2
    again.close()


def size_of(store: Store) -> int:
    with store.begin() as tx:
        return tx.size()


def filled(store: Store) -> None:
    rows = [Moment(n, "/hosts/host1", f"e-{n}", "host1", "a", bytes(1000)) for n in range(3000)]
    put(store, *rows, came=5)


def test_the_size_is_that_of_the_rows(url: str, store: Store) -> None:
    with store.begin_on_connection() as connection:
        before = connection.exec_driver_sql(TAKEN[connection.dialect.name]).scalar_one()
    filled(store)
    with store.begin_on_connection() as connection:
        taken = connection.exec_driver_sql(TAKEN[connection.dialect.name]).scalar_one() - before
    assert 0.7 < size_of(store) / taken < 1.4


def test_no_more_goes_than_what_is_too_much(store: Store, archive: Archive) -> None:
    filled(store)
    keep = size_of(store) * 2 // 3
    with store.begin() as tx:
        assert tx.prune(0, keep) == 1000
        assert tx.prune(0, keep) == 0
    assert size_of(store) == keep
    assert archive.ends()[0] == Cursor(1000, 1001)


def test_a_store_that_did_not_count_its_bytes_counts_them(store: Store) -> None:
    def forget() -> None:
        with store.begin_on_connection() as connection:
            connection.exec_driver_sql("DELETE FROM meta WHERE key = 'bytes'")

    filled(store)
    forget()
    put(store, event(-1))
    counted = size_of(store)
    forget()
    assert size_of(store) == counted
    with store.begin_on_connection() as connection:
        kept = connection.exec_driver_sql("SELECT value FROM meta WHERE key = 'bytes'").scalar()
    assert kept == str(counted), "they are counted once, not at each look"
    with store.begin() as tx:
        assert tx.prune(0, counted - 1) == 1
    pruned = size_of(store)
    forget()
    assert size_of(store) == pruned < counted


def test_a_store_that_is_not_there_is_trouble_and_is_not_made(tmp_path: Path) -> None:
    archive = Archive(f"sqlite:///{tmp_path}/none.db")
    with pytest.raises(StoreTroubleError):
        archive.ends()
    assert not list(tmp_path.iterdir())


def test_each_filter_reads_a_range_of_an_index_and_begins_it_at_the_cursor(tmp_path: Path) -> None:
    """By SQLite's own plan: without `USING INDEX` a page of a long history would read all of it."""
    store = Store(f"sqlite:///{tmp_path}/store.db", id="main")
    for given in FILTERS:
        for after in (None, Cursor(50, 5)):
            wanted = Filter(latest=True, **given)
            query = Query(wanted, limit=5, after=after, newest_first=True, names_indexes=True)
            with store.begin_on_connection() as connection:
                explained = connection.execute(text(f"EXPLAIN QUERY PLAN {query.sql}"), query.values)
                plan = [row.detail for row in explained]
            reads = [step for step in plan if "rows" in step and "PRIMARY KEY" not in step]
            if given.get("uuids") == ():
                assert "SCAN page" in plan  # of nothing
                continue
            assert all("USING" in step and "INDEX" in step for step in reads), (given, plan)
            assert after is None or all("at<?" in step for step in reads), (given, plan)
    store.close()
