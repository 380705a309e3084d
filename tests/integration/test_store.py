"""What a store promises: the same on SQLite, on PostgreSQL, and in the memory of tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from sqlalchemy import event, text
from sqlalchemy.engine import Engine

from bridge.consumer.inputs import Cleared
from bridge.correlator.process.batch import of_domain
from bridge.correlator.store import DomainRow, Draft, GroupStore, HostRow, InboxRow, Store
from bridge.database import StoreTroubleError
from bridge.errors import ConfigError, StateInUseError
from tests.support.memory_store import MemoryStore
from tests.support.postgres import Postgres

pytestmark = pytest.mark.server

_numbers = count()
Open = Callable[..., Store]


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with Postgres() as running:
        yield running


DATABASES = ("sqlite", "UTF8", "SQL_ASCII")
in_a_database = pytest.mark.parametrize("url", DATABASES, indirect=True)


@pytest.fixture(params=["memory", *DATABASES])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "memory":
        return "memory"
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    postgres: Postgres = request.getfixturevalue("postgres")
    return postgres.create(f"store{next(_numbers)}", encoding=request.param)


@pytest.fixture
def open_store(url: str) -> Iterator[Open]:
    opened: list[Store] = []
    in_memory = MemoryStore()

    def open_it(owner: str = "correlator main") -> Store:
        store = in_memory if url == "memory" else Store(url, owner=owner)
        opened.append(store)
        return store

    yield open_it
    for store in opened:
        store.close()


def _draft(n: int, *, retain: bool = False) -> Draft:
    return Draft(
        id=f"id-{n}", uuid=f"uuid-{n % 3}", topic=f"topic/{n}", payload=b"\x00\xff%d" % n, retain=retain
    )


def test_what_was_kept_is_there_after_opening_again(open_store: Open) -> None:
    store = open_store()
    with store.begin() as tx:
        tx.keep_records([DomainRow("a", b"\x00one", 12.5, True, ("host1", "höst 2%"))])
        tx.keep_records([DomainRow("b", b"two", None, False)])
        tx.keep_hosts([HostRow("höst\x00/2", b"\x01", suspect=False)])
        tx.keep_meta("word", "kept")
    store.close()
    with open_store().begin() as tx:
        assert tx.records(["a", "b", "c"]) == {"a": b"\x00one", "b": b"two"}
        assert list(tx.pending_records()) == [("a", b"\x00one", ["host1", "höst 2%"])]
        assert tx.hosts() == {"höst\x00/2": b"\x01"}
        assert tx.meta("word") == "kept"
        assert tx.meta("other") is None


def test_a_transaction_that_fails_leaves_nothing(open_store: Open) -> None:
    store = open_store()

    def fail_half_way() -> None:
        with store.begin() as tx:
            tx.keep_records([DomainRow("a", b"one", 1.0, True)])
            tx.queue([_draft(1)])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    with store.begin() as tx:
        assert tx.records(["a"]) == {}
        assert tx.unsent(0, 10) == []


def test_a_case_is_replaced_as_a_whole(open_store: Open) -> None:
    with open_store().begin() as tx:
        tx.keep_records([DomainRow("a", b"one", 1.0, True, ("h",))])
        tx.keep_records([DomainRow("a", b"two", None, False)])
        assert tx.records(["a"]) == {"a": b"two"}
        assert tx.due(100.0, 10) == []
        assert list(tx.pending_records()) == []


def test_what_a_person_has_to_see_to_is_counted_by_domain(open_store: Open) -> None:
    store = open_store()
    with store.begin() as tx:
        both = ("conflict", "source_left_paused")
        tx.keep_records([DomainRow("a", b"", None, False, attention=both), DomainRow("c", b"", None, False)])
        tx.keep_records([DomainRow("b", b"", None, True, attention=("conflict",))])
        assert tx.attention() == {"conflict": 2, "source_left_paused": 1}
        tx.keep_records([DomainRow("a", b"", None, False)])
    store.close()
    with open_store().begin() as tx:
        assert tx.attention() == {"conflict": 1}


@in_a_database
def test_a_store_of_an_older_version_is_taken_over(open_store: Open) -> None:
    store = open_store()
    with store.begin() as tx:
        tx.keep_records([DomainRow("a", b"one", None, False)])
        tx.keep_meta("version", "2")
        for statement in ("DROP INDEX cases_attention", "ALTER TABLE cases DROP COLUMN attention"):
            tx._connection.execute(text(statement))
    store.close()
    for _ in range(2):
        store = open_store()
        with store.begin() as tx:
            assert tx.records(["a"]) == {"a": b"one"}
            assert tx.attention() == {}
            tx.keep_records([DomainRow("b", b"", None, True)])
        store.close()


def test_what_is_due_comes_in_its_order(open_store: Open) -> None:
    with open_store().begin() as tx:
        assert tx.next_due() is None
        rows = [("a", 3.25), ("b", 1.75), ("c", None), ("d", 2.0), ("e", 9.0)]
        tx.keep_records([DomainRow(uuid, b"", due, False) for uuid, due in rows])
        assert tx.next_due() == 1.75
        assert tx.due(3.25, 10) == ["b", "d", "a"]
        assert tx.due(3.25, 2) == ["b", "d"]
        assert tx.due(1.0, 10) == []


def test_tellings_leave_in_the_order_they_came_and_are_gone_when_sent(open_store: Open) -> None:
    store = open_store()
    with store.begin() as tx:
        tx.queue([_draft(n, retain=n == 2) for n in range(5)])
    with store.begin() as tx:
        rows = tx.unsent(0, 3)
        assert [row.topic for row in rows] == ["topic/0", "topic/1", "topic/2"]
        assert [row.payload for row in rows] == [b"\x00\xff%d" % n for n in range(3)]
        assert [row.retain for row in rows] == [False, False, True]
        assert [row.topic for row in tx.unsent(rows[-1].n, 10)] == ["topic/3", "topic/4"]
        tx.sent([rows[0].n, rows[2].n])
        assert [row.topic for row in tx.unsent(0, 10)] == ["topic/1", "topic/3", "topic/4"]


def test_a_telling_that_waits_is_not_queued_twice_and_no_number_is_used_twice(open_store: Open) -> None:
    with open_store().begin() as tx:
        tx.queue([_draft(1)])
        tx.queue([_draft(1), _draft(2)])
        first, second = tx.unsent(0, 10)
        tx.sent([first.n, second.n])
        tx.queue([_draft(3)])
        (third,) = tx.unsent(0, 10)
        assert third.n > second.n > first.n


def test_a_batch_may_change_a_retained_topic_twice(open_store: Open) -> None:
    first, last = (Draft(f"id-{n}", "uuid", "topic", b"%d" % n, retain=True) for n in range(2))
    with open_store().begin() as tx:
        tx.queue([first, last])
        assert [row.payload for row in tx.unsent(0, 10)] == [b"0", b"1"]
        assert tx.retained("", 10) == [last]


def test_a_groups_batch_is_as_many_statements_whatever_its_size(postgres: Postgres) -> None:
    """Each is a round trip for as long as other members wait for what this one has locked."""
    url = postgres.create(f"store{next(_numbers)}")
    store = GroupStore(url, name="crew", wish="main", instance="one")
    with store.begin_shared():
        pass  # connects
    counted: list[int] = []
    for size in (1, 50):
        hosts = [f"host{n}" for n in range(size)]
        uuids = [f"{size}-{n}" for n in range(size)]
        statements: list[str] = []

        def note(
            _connection: object, _cursor: object, statement: str, parameters: object, *more: object
        ) -> None:
            statements.extend([statement] * (len(parameters) if more[-1] else 1))  # type: ignore[arg-type] # noqa: B023

        event.listen(Engine, "before_cursor_execute", note)
        try:
            with store.begin_shared() as tx:
                assert tx.claim(hosts, hosts).keys() == set(hosts)
                tx.deliver([InboxRow(None, 1.0, of_domain(Cleared(host, "uuid"))) for host in hosts])
                waiting = tx.inbox(hosts, 100)
                assert [row.message.host for row in waiting] == hosts
                tx.taken([row.n for row in waiting if row.n is not None])
                assert tx.records(uuids) == {}
                tx.keep_records([DomainRow(uuid, b"case", None, True, (hosts[-1],)) for uuid in uuids])
                tx.keep_hosts([HostRow(host, b"host", suspect=True) for host in hosts])
                assert set(tx.open_on([hosts[-1], "other"])) >= set(uuids)
                tx.queue([Draft(uuid, uuid, f"topic/{uuid}", b"", retain=True) for uuid in uuids])
                tx.sent([row.n for row in tx.unsent(0, 100)])
        finally:
            event.remove(Engine, "before_cursor_execute", note)
        counted.append(len(statements))
    store.close()
    assert counted[0] == counted[1]


def test_what_topics_should_hold_is_kept_until_it_changes(open_store: Open) -> None:
    def location(number: int, payload: bytes) -> Draft:
        return Draft(f"id-{number}", "uuid", f"topic/{number % 3}", payload, retain=True)

    with open_store().begin() as tx:
        tx.queue([location(1, b"\x00one"), _draft(9), location(2, b"two"), location(3, b"three")])
        tx.queue([location(4, b"again"), location(5, b"")])
        tx.sent([row.n for row in tx.unsent(0, 10)])
        expected = [location(3, b"three"), location(4, b"again"), location(5, b"")]
        assert tx.retained("", 2) + tx.retained("topic/1", 2) == expected
        assert tx.retained_on(["topic/0", "topic/2", "other"]) == [expected[0], expected[2]]
        tx.queue(tx.retained_on(["topic/0"]))
        tx.queue(tx.retained_on(["topic/0"]))
        assert [row.payload for row in tx.unsent(0, 10)] == [b"three"]
        assert tx.retained_on([]) == []


def test_what_the_broker_refused_is_set_aside_and_bounded(
    open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.correlator.store.transaction.MAX_PARKED", 3)
    with open_store().begin() as tx:
        tx.queue([_draft(n) for n in range(6)])
        for row in tx.unsent(0, 5):
            tx.park(row.n, "not authorized")
        assert tx.parked() == 3
        assert [row.topic for row in tx.unsent(0, 10)] == ["topic/5"]


@in_a_database
def test_a_store_has_one_user(open_store: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.database.connection.LOCK_PATIENCE_S", 0.1)
    first = open_store()
    with first.begin():
        pass
    with pytest.raises(StateInUseError, match="in use by another correlator"), open_store().begin():
        pass
    first.close()
    with open_store().begin():
        pass


@in_a_database
def test_a_store_has_one_owner(open_store: Open) -> None:
    store = open_store("correlator one")
    with store.begin():
        pass
    store.close()
    with pytest.raises(ConfigError, match="belongs to correlator one"), open_store("correlator two").begin():
        pass


@in_a_database
def test_a_store_of_a_newer_version_is_left_alone(open_store: Open) -> None:
    store = open_store()
    with store.begin() as tx:
        tx.keep_meta("version", "99")
    store.close()
    with pytest.raises(ConfigError, match="schema 99"), open_store().begin():
        pass


def test_thousands_of_cases_in_one_transaction(open_store: Open) -> None:
    uuids = [f"{n:036d}" for n in range(3000)]
    with open_store().begin() as tx:
        tx.keep_records([DomainRow(uuid, b"x" * 300, None, False) for uuid in uuids])
        assert len(tx.records(uuids)) == 3000


def test_postgresql_that_goes_away_is_trouble_and_comes_back() -> None:
    with Postgres() as server:
        store = Store(server.create("one"), owner="correlator main")
        with store.begin() as tx:
            tx.keep_records([DomainRow("a", b"one", None, False)])
        server.kill()
        with pytest.raises(StoreTroubleError), store.begin() as tx:
            tx.keep_records([DomainRow("a", b"two", None, False)])
        with pytest.raises(StoreTroubleError), store.begin():
            pass
        server.start()
        with store.begin() as tx:
            assert tx.records(["a"]) == {"a": b"one"}
        store.close()


def test_a_file_that_is_no_database_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"this is no database at all, not even nearly")
    store = Store(f"sqlite:///{path}", owner="correlator main")
    with store.begin() as tx:
        assert list(tx.pending_records()) == []
    store.close()
    (aside,) = tmp_path.glob("store.db.damaged-*")
    assert aside.read_bytes().startswith(b"this is no database")


def test_only_its_owner_may_read_the_file(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/store.db", owner="correlator main")
    with store.begin() as tx:
        tx.keep_meta("word", "kept")
    assert {oct(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()} == {"0o600"}
    store.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be two users")
@pytest.mark.parametrize("name", ["store.db.lock", "store.db"])
def test_whose_a_file_is_that_can_not_be_opened_is_said(name: str) -> None:
    """It was started as root once, by hand."""
    nobody = 65534
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        (Path(folder) / name).touch(mode=0o600)
        code = (
            f"import os; from bridge.correlator.store import Store; os.setuid({nobody}); "
            f"Store('sqlite:///{folder}/store.db', owner='correlator main').begin().__enter__()"
        )
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"Permission denied, {folder}/{name} belongs to user 0, and we are {nobody}" in ended.stderr


def test_a_folder_that_cannot_be_made_is_a_wrong_configuration(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = Store(f"sqlite:///{tmp_path}/file/store.db", owner="correlator main")
    with pytest.raises(ConfigError, match="can't be used"), store.begin():
        pass
