"""The agent beside a real libvirtd that comes, goes, dies and hangs, and beside real migrations that fail."""

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bridge.wire import messages
from tests.lab import process, waiting
from tests.lab.guest import Guest
from tests.lab.host import Host
from tests.lab.interception import Interception
from tests.lab.lab import Lab
from tests.lab.migration import Migration
from tests.support.agents import AgentProcess, Subscriber, assert_no_hole
from tests.support.broker import Broker, free_port

pytestmark = [pytest.mark.lab, pytest.mark.server]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(2) as running:
        yield running


@pytest.fixture
def host(lab: Lab) -> Iterator[Host]:
    host = lab["host1"]
    host.ensure_up()
    yield host
    host.ensure_up()


@pytest.fixture
def other(lab: Lab) -> Iterator[Host]:
    other = lab["host2"]
    other.ensure_up()
    yield other
    other.ensure_up()


@pytest.fixture
def subscriber(tmp_path: Path) -> Iterator[Subscriber]:
    with Broker(tmp_path / "broker") as broker, Subscriber(broker) as hearing:
        yield hearing


@pytest.fixture
def agent(subscriber: Subscriber, host: Host, tmp_path: Path) -> Iterator[AgentProcess]:
    """Beside host1, connected, its first list read; it looks for quiet changes every second."""
    running = AgentProcess(subscriber.broker, tmp_path / "agent", connect=host.uri, reconcile=1)
    with running:
        until_connected(subscriber)
        yield running


@pytest.fixture
def guest(host: Host, other: Host) -> Iterator[Guest]:
    guest = Guest("web01")
    yield guest
    guest.remove(host)
    guest.remove(other)


@pytest.fixture
def busy(host: Host, other: Host) -> Iterator[Guest]:
    guest = Guest("busy01", busy=True)
    yield guest
    guest.remove(host)
    guest.remove(other)


def is_connected(subscriber: Subscriber) -> bool:
    return bool(subscriber.status().get("libvirt", {}).get("connected"))


def until_connected(subscriber: Subscriber, timeout_s: float = 20.0) -> float:
    return subscriber.until(lambda: is_connected(subscriber), timeout_s)


def until_disconnected(subscriber: Subscriber, timeout_s: float = 20.0) -> float:
    return subscriber.until(lambda: not is_connected(subscriber), timeout_s)


def until_told(subscriber: Subscriber, guest: Guest, *what: str, timeout_s: float = 20.0) -> None:
    """Hears until exactly this was told of the guest since the test began."""
    subscriber.until(lambda: len(subscriber.published(guest.uuid)) >= len(what), timeout_s)
    assert subscriber.published(guest.uuid) == [*what]


BOOT = ("resumed/unpaused", "started/booted")


def test_it_starts_without_a_libvirtd_and_is_connected_within_two_seconds_of_its_coming(
    host: Host, subscriber: Subscriber, guest: Guest, tmp_path: Path
) -> None:
    host.stop_libvirtd()
    with AgentProcess(subscriber.broker, tmp_path / "agent", connect=host.uri) as agent:
        subscriber.until(lambda: "no connection to libvirt" in (subscriber.status().get("reason") or ""))
        subscriber.listen(2)
        host.start_libvirtd()
        assert until_connected(subscriber) < 2
        subscriber.listen(0.5)
        guest.start(host)
        until_told(subscriber, guest, *BOOT)
        assert len(agent.logged("libvirt.unavailable")) <= 2
        assert agent.stop() == 0


def test_a_modular_daemon_s_socket_is_as_good(
    host: Host, subscriber: Subscriber, guest: Guest, tmp_path: Path
) -> None:
    """virtqemud serves the same protocol under another name. Debian builds none: libvirtd lends its own."""
    lent = host.socket.with_name("virtqemud-sock")
    lent.symlink_to(host.socket.name)
    try:
        where = f"qemu+unix:///system?mode=direct&socket={lent}"
        with AgentProcess(subscriber.broker, tmp_path / "agent", connect=where):
            until_connected(subscriber)
            guest.start(host)
            until_told(subscriber, guest, *BOOT)
            host.stop_libvirtd(signal.SIGKILL)
            until_disconnected(subscriber)
            host.start_libvirtd()
            until_connected(subscriber)
            subscriber.listen(0.5)
            host.virsh("suspend", guest.uuid)
            until_told(subscriber, guest, *BOOT, "suspended/paused")
    finally:
        lent.unlink()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_a_libvirtd_that_was_restarted_is_listened_to_again_and_reported_once(
    agent: AgentProcess, host: Host, subscriber: Subscriber, guest: Guest, number: signal.Signals
) -> None:
    guest.start(host)
    until_told(subscriber, guest, *BOOT)
    before = subscriber.status()["libvirt"]["since"]
    host.stop_libvirtd(number)
    until_disconnected(subscriber, 5)
    host.start_libvirtd()
    assert until_connected(subscriber) < 2
    assert subscriber.status()["libvirt"]["since"] > before
    subscriber.listen(1)
    host.virsh("suspend", guest.uuid)
    until_told(subscriber, guest, *BOOT, "suspended/paused")
    subscriber.until(lambda: subscriber.state(guest.uuid) == "paused/user")
    assert_no_hole(subscriber.stream())


def test_what_happened_while_libvirtd_was_dead_is_published_by_a_resync(
    agent: AgentProcess, host: Host, other: Host, subscriber: Subscriber, guest: Guest
) -> None:
    """One guest's QEMU dies unseen, one guest ran through, one was defined: a persistent one says why."""
    lasting = Guest("lasting", persistent=True)
    quiet = Guest("quiet")
    try:
        for each in (guest, lasting, quiet):
            each.start(host)
        subscriber.until(lambda: subscriber.state(quiet.uuid) == "running/booted")
        pids = [host.qemu_pid(each.uuid) for each in (guest, lasting)]
        host.stop_libvirtd(signal.SIGKILL)
        until_disconnected(subscriber)
        for pid in pids:
            assert pid is not None
            host.kill_process(pid)
        host.start_libvirtd()
        until_connected(subscriber)
        subscriber.until(lambda: len(subscriber.published(guest.uuid)) == 3)
        subscriber.until(lambda: len(subscriber.published(lasting.uuid)) >= 4)
        subscriber.until(lambda: subscriber.state(guest.uuid) is None)
        assert subscriber.published(guest.uuid)[2:] == ["~stopped/unknown"]
        assert subscriber.published(lasting.uuid)[3:] in (
            ["~stopped/failed"],
            ["~stopped/crashed"],
            ["~stopped/unknown"],
        )
        subscriber.listen(3)
        assert subscriber.published(quiet.uuid) == [*BOOT]
        assert len(subscriber.published(guest.uuid)) == 3
        assert_no_hole(subscriber.stream())
    finally:
        for each in (lasting, quiet):
            each.remove(host)


def test_a_libvirtd_killed_while_one_guest_dies_and_another_leaves(
    agent: AgentProcess, host: Host, other: Host, subscriber: Subscriber, guest: Guest
) -> None:
    """The other arrived; the libvirtd that was to end its QEMU here dies before it can tell of that."""
    leaving = Guest("leaving")
    try:
        for each in (guest, leaving):
            each.start(host)
            until_told(subscriber, each, *BOOT)
        with Interception(host, other, "reply:finish") as between:
            migration = Migration(leaving, host, other, port=between.port)
            between.wait_held()
            qemu, dying = host.qemu_pid(leaving.uuid), host.qemu_pid(guest.uuid)
            assert qemu is not None
            assert dying is not None
            # An agent that asks about the job just now would wait for this QEMU, and libvirtd for the agent.
            os.kill(agent.pid, signal.SIGSTOP)
            try:
                host.virsh("domjobinfo", leaving.uuid)  # what it had asked is answered
                os.kill(qemu, signal.SIGSTOP)  # libvirtd waits for its end, and is killed meanwhile
                between.release()
                waiting.until(lambda: process.told_to_end(qemu), what="the source to end its QEMU")
            finally:
                os.kill(agent.pid, signal.SIGCONT)
            host.stop_libvirtd(signal.SIGKILL)
            host.kill_process(dying)
            os.kill(qemu, signal.SIGCONT)
            waiting.until(lambda: host.qemu_pid(leaving.uuid) is None, what="QEMU to end")
            until_disconnected(subscriber)
            migration.kill()
        host.start_libvirtd()
        until_connected(subscriber)
        for each in (guest, leaving):
            subscriber.until(lambda each=each: subscriber.state(each.uuid) is None)  # type: ignore[misc]
            assert subscriber.published(each.uuid)[-1] == "~stopped/unknown"
            assert subscriber.published(each.uuid).count("~stopped/unknown") == 1
        assert_no_hole(subscriber.stream())
    finally:
        leaving.remove(host)
        leaving.remove(other)


def test_a_libvirtd_that_hangs_is_noticed_within_15_s_and_taken_up_within_2_s_of_its_going_on(
    agent: AgentProcess, host: Host, subscriber: Subscriber, guest: Guest
) -> None:
    guest.start(host)
    until_told(subscriber, guest, *BOOT)
    host.signal_libvirtd(signal.SIGSTOP)
    try:
        assert until_disconnected(subscriber) < 15
        assert "sign of life" in subscriber.status()["reason"]
        subscriber.listen(5)
    finally:
        host.signal_libvirtd(signal.SIGCONT)
    assert until_connected(subscriber) < 2
    subscriber.listen(1)
    host.virsh("suspend", guest.uuid)
    host.virsh("resume", guest.uuid)
    until_told(subscriber, guest, *BOOT, "suspended/paused", "resumed/unpaused")
    subscriber.listen(2)
    until_told(subscriber, guest, *BOOT, "suspended/paused", "resumed/unpaused")


class Line:
    """Between the agent and libvirtd: `freeze` has all present connections fall silent without an end."""

    def __init__(self, path: Path, target: Path) -> None:
        self.path, self._target = path, target
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(8)
        self._sockets: list[socket.socket] = [self._listener]
        self._frozen: set[socket.socket] = set()
        threading.Thread(target=self._accept, name="line", daemon=True).start()

    def freeze(self) -> None:
        """From now on nothing passes through the connections that there are."""
        self._frozen.update(self._sockets)

    def cut(self) -> None:
        """Ends all present connections."""
        for each in self._sockets[1:]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Ends all of it."""
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(str(self._target))
                self._sockets += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if source not in self._frozen:
                    sink.sendall(data)


def test_a_connection_that_falls_silent_is_replaced_by_another(
    host: Host, subscriber: Subscriber, guest: Guest, tmp_path: Path
) -> None:
    line = Line(tmp_path / "line", host.socket)
    uri = f"qemu+unix:///system?socket={line.path}"
    try:
        with AgentProcess(subscriber.broker, tmp_path / "agent", connect=uri, reconcile=1) as agent:
            until_connected(subscriber)
            guest.start(host)
            until_told(subscriber, guest, *BOOT)
            line.freeze()
            host.virsh("suspend", guest.uuid)
            agent.until_logged("libvirt.connected", 2, timeout_s=15)
            until_told(subscriber, guest, *BOOT, "~suspended/paused")
            host.virsh("resume", guest.uuid)
            until_told(subscriber, guest, *BOOT, "~suspended/paused", "resumed/unpaused")
            subscriber.until(lambda: subscriber.state(guest.uuid) == "running/unpaused")
    finally:
        line.close()


def test_a_stop_doesn_t_wait_for_a_libvirtd_that_hangs(
    agent: AgentProcess, host: Host, subscriber: Subscriber
) -> None:
    host.signal_libvirtd(signal.SIGSTOP)
    try:
        subscriber.listen(0.5)
        began = time.monotonic()
        assert agent.stop() == 0
        assert time.monotonic() - began < 5
        subscriber.until(lambda: subscriber.status().get("state") == "offline")
    finally:
        host.signal_libvirtd(signal.SIGCONT)


def test_a_definition_that_went_along_unannounced_is_published_by_the_next_look(
    agent: AgentProcess, host: Host, other: Host, subscriber: Subscriber
) -> None:
    lasting = Guest("offline", persistent=True)
    try:
        lasting.define(host)
        until_told(subscriber, lasting, "defined/added")
        Migration(lasting, host, other, "--offline", "--persistent", "--undefinesource", live=False).succeed()
        until_told(subscriber, lasting, "defined/added", "~undefined/removed", timeout_s=10)
        subscriber.until(lambda: subscriber.state(lasting.uuid) is None)
    finally:
        lasting.remove(host)
        lasting.remove(other)


def jobs_failed(subscriber: Subscriber, guest: Guest) -> int:
    return subscriber.published(guest.uuid).count("job_failed")


def begin_to_copy(subscriber: Subscriber, busy: Guest, host: Host, other: Host, *options: str) -> Migration:
    """A copy that goes on for as long as it is let; it is under way when this returns."""
    busy.start(host)
    migration = Migration(busy, host, other, *options, slow=True)
    subscriber.until(lambda: "migration_iteration" in subscriber.published(busy.uuid))
    return migration


def test_a_copy_that_was_aborted_is_published_once_as_a_failed_job(
    agent: AgentProcess, host: Host, other: Host, subscriber: Subscriber, busy: Guest
) -> None:
    with begin_to_copy(subscriber, busy, host, other) as migration:
        subscriber.listen(1.5)
        migration.abort()
        migration.fail()
    assert subscriber.until(lambda: jobs_failed(subscriber, busy) == 1) < 5
    subscriber.listen(4)
    assert subscriber.published(busy.uuid)[-1] == "job_failed"
    assert jobs_failed(subscriber, busy) == 1
    (failed,) = [m.data for m in subscriber.stream() if m.data.event == "job_failed"]
    assert failed.origin == "poll"
    assert failed.params["operation"] == "migration_out"
    assert failed.params["time_elapsed"] > 0


def test_each_of_two_attempts_that_failed_is_published(
    agent: AgentProcess, host: Host, other: Host, subscriber: Subscriber, busy: Guest
) -> None:
    with begin_to_copy(subscriber, busy, host, other) as migration:
        subscriber.listen(1.5)
        migration.abort()
        migration.fail()
    with Migration(busy, host, other, slow=True) as migration:
        subscriber.until(lambda: subscriber.published(busy.uuid).count("migration_iteration") >= 2)
        subscriber.listen(2.5)
        migration.abort()
        migration.fail()
    subscriber.until(lambda: jobs_failed(subscriber, busy) == 2)
    subscriber.listen(3)
    assert jobs_failed(subscriber, busy) == 2


def fail_unseen(agent: AgentProcess, subscriber: Subscriber, busy: Guest, host: Host, other: Host) -> None:
    """A copy begins, and fails after the agent was killed."""
    with begin_to_copy(subscriber, busy, host, other) as migration:
        subscriber.listen(1.5)
        agent.kill()
        migration.abort()
        migration.fail()


def test_each_of_two_is_published_though_the_first_ended_and_the_next_began_while_the_agent_was_dead(
    agent: AgentProcess, host: Host, other: Host, subscriber: Subscriber, busy: Guest
) -> None:
    fail_unseen(agent, subscriber, busy, host, other)
    between = datetime.now(UTC)
    with Migration(busy, host, other, slow=True) as migration:
        subscriber.until(lambda: "Outgoing migration" in host.virsh("domjobinfo", busy.uuid))
        agent.start()
        subscriber.until(lambda: jobs_failed(subscriber, busy) == 1)
        subscriber.listen(2.5)
        migration.abort()
        migration.fail()
    subscriber.until(lambda: jobs_failed(subscriber, busy) == 2)
    failed = [m.data for m in subscriber.stream() if m.data.event == "job_failed"]
    first, second = (datetime.fromisoformat(each.params["started_at"]) for each in failed)
    assert first < between < second


def test_a_post_copy_that_goes_on_has_not_failed_whatever_is_restarted(
    agent: AgentProcess, host: Host, other: Host, subscriber: Subscriber, busy: Guest
) -> None:
    with begin_to_copy(subscriber, busy, host, other, "--postcopy", "--postcopy-bandwidth", "1"):
        host.virsh("migrate-postcopy", busy.uuid)
        subscriber.until(lambda: subscriber.state(busy.uuid) == "paused/postcopy")
        subscriber.listen(1.5)
        host.restart_libvirtd(signal.SIGKILL)
        subscriber.listen(3)
        agent.kill()
        agent.start()
        subscriber.listen(3)
        host.virsh("migrate-setspeed", busy.uuid, "--postcopy", "1000")
    subscriber.until(lambda: subscriber.published(busy.uuid)[-1] == "job_completed")
    assert jobs_failed(subscriber, busy) == 0


@pytest.fixture(params=["idle", "loaded"])
def cores(request: pytest.FixtureRequest) -> Iterator[None]:
    """The machine's processors, kept busy by something else or not."""
    busy = [process.start(["sh", "-c", "while :; do :; done"]) for _ in range(4)]
    try:
        if request.param == "idle":
            for each in busy:
                each.kill()
        yield
    finally:
        for each in busy:
            each.kill()
            each.wait()


@pytest.mark.usefixtures("agent", "cores")
def test_a_copy_that_is_tried_again_at_once_is_published_as_failed_before_the_next_begins(
    host: Host, other: Host, subscriber: Subscriber, busy: Guest
) -> None:
    def firsts() -> list[messages.Envelope[Any]]:
        return [m for m in of_jobs() if m.data.params.get("iteration") == 1]

    def of_jobs() -> list[messages.Envelope[Any]]:
        kinds = ("migration_iteration", "job_failed")
        return [m for m in subscriber.stream() if m.data.domain.uuid == busy.uuid and m.data.event in kinds]

    def is_known(attempt: int) -> bool:
        """Whether libvirt has answered that the newest copy is a migration: iterations may be a save's."""
        job, before = subscriber.job(busy.uuid), firsts()[:attempt]
        return job is not None and (not before or job["started_at"] > before[-1].time)

    busy.start(host)
    attempts = 4
    for attempt in range(attempts):
        with Migration(busy, host, other, slow=True) as migration:
            subscriber.until(lambda: len(firsts()) > attempt and is_known(attempt))  # noqa: B023 - in this round
            migration.abort()
            migration.fail()
    subscriber.until(lambda: jobs_failed(subscriber, busy) == attempts)
    story = [m for m in of_jobs() if m.data.event == "job_failed" or m.data.params["iteration"] == 1]
    assert [m.data.event for m in story] == ["migration_iteration", "job_failed"] * attempts
    began = [datetime.fromisoformat(m.data.params["started_at"]) for m in story[1::2]]
    first = [datetime.fromisoformat(m.time) for m in story[::2]]
    assert [*itertools.chain(*zip(began, first, strict=True))] == sorted(began + first)


def busy_workers(host: Host) -> int:
    """How many of libvirtd's workers do something, by libvirtd's own count."""
    where = f"libvirtd:///system?socket={host.folder}/run/libvirt/libvirt-admin-sock"
    said = subprocess.run(
        ["virt-admin", "-c", where, "srv-threadpool-info", "libvirtd"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    pool = dict(line.split(":") for line in said.replace(" ", "").split())
    return int(pool["nWorkers"]) - int(pool["freeWorkers"])


def test_guests_that_hang_take_neither_the_agent_nor_libvirtd_with_them(
    host: Host, other: Host, subscriber: Subscriber, guest: Guest, tmp_path: Path
) -> None:
    """Their QEMUs stand still in the midst of a copy, as with a storage that does."""
    many = [Guest(f"hang{number}", busy=True) for number in range(8)]
    line = Line(tmp_path / "line", host.socket)
    uri = f"qemu+unix:///system?socket={line.path}"
    port = free_port()
    agent = AgentProcess(
        subscriber.broker, tmp_path / "agent", connect=uri, reconcile=1, http=f"127.0.0.1:{port}"
    )

    def page(path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=5) as answer:
            return str(answer.read().decode())

    def is_lively() -> None:
        for action, event in (("suspend", "suspended/paused"), ("resume", "resumed/unpaused")):
            count = subscriber.published(guest.uuid).count(event)
            host.virsh(action, guest.uuid, timeout_s=5)
            assert subscriber.until(lambda: subscriber.published(guest.uuid).count(event) > count) < 2  # noqa: B023

    with contextlib.ExitStack() as stack, agent:
        stack.callback(line.close)
        until_connected(subscriber)
        guest.start(host)
        for each in many:
            stack.callback(each.remove, other)
            stack.callback(each.remove, host)
            each.start(host)
            host.virsh("suspend", each.uuid)
        moves = [stack.enter_context(Migration(each, host, other, slow=True)) for each in many]
        subscriber.until(
            lambda: all("migration_iteration" in subscriber.published(each.uuid) for each in many)
        )
        for each in many:
            host.kill_qemu(each.uuid, signal.SIGSTOP)
            stack.callback(host.kill_qemu, each.uuid, signal.SIGCONT)
        agent.until_logged("guest.hangs", 2)
        for connections in (1, 2, 3):
            agent.until_logged("libvirt.connected", connections)
            subscriber.listen(1)
            for _ in range(4):
                is_lively()
                subscriber.listen(1)
            line.cut()
        assert busy_workers(host) <= len(many) + 2
        agent.until_logged("libvirt.connected", 4)
        assert len(agent.logged("libvirt.connected")) == 4, "lost when it was cut, and not else"
        ready = json.loads(page("readyz"))
        named = {f"guest {said['uuid']}" for said in agent.logged("guest.hangs")}
        assert (ready["ok"], ready["detail"].keys()) == (True, named | {"jobs"})
        assert "libvirt_mqtt_agent_guests_hung 2.0" in page("metrics")
        others = len([*many, guest]) - 2  # a new connection has all asked about
        assert f"libvirt_mqtt_agent_guests_not_askable {others}.0" in page("metrics")
        for each in many:
            host.kill_qemu(each.uuid, signal.SIGCONT)
        subscriber.until(lambda: "libvirt_mqtt_agent_guests_hung 0.0" in page("metrics"))
        for move in moves:
            move.abort()
            move.fail()
        subscriber.until(lambda: all(jobs_failed(subscriber, each) == 1 for each in many))
        assert "detail" not in json.loads(page("readyz"))


def test_a_copy_that_failed_while_the_agent_was_dead_is_published_by_the_next_one(
    agent: AgentProcess, host: Host, other: Host, subscriber: Subscriber, busy: Guest
) -> None:
    fail_unseen(agent, subscriber, busy, host, other)
    agent.start()
    subscriber.until(lambda: jobs_failed(subscriber, busy) == 1)
    agent.kill()
    agent.start()
    subscriber.listen(5)
    assert jobs_failed(subscriber, busy) == 1
    assert_no_hole(subscriber.stream())


def test_a_copy_that_began_while_the_agent_was_dead_is_watched(
    agent: AgentProcess, host: Host, other: Host, subscriber: Subscriber, busy: Guest
) -> None:
    busy.start(host)
    agent.kill()
    with Migration(busy, host, other, slow=True) as migration:
        waiting.until(lambda: "Unbounded" in host.virsh("domjobinfo", busy.uuid), what="the copy to begin")
        agent.start()
        subscriber.listen(4)
        migration.abort()
        migration.fail()
    subscriber.until(lambda: jobs_failed(subscriber, busy) == 1)


@pytest.mark.usefixtures("agent")
def test_a_migration_that_succeeds_a_save_and_a_dump_have_no_failed_job(
    host: Host, other: Host, subscriber: Subscriber, busy: Guest, guest: Guest
) -> None:
    with begin_to_copy(subscriber, busy, host, other) as migration:
        subscriber.listen(1.5)
        migration.hurry()
        migration.succeed()
    subscriber.until(lambda: subscriber.published(busy.uuid)[-1] == "job_completed")
    guest.start(host)
    host.virsh("dump", guest.uuid, "/var/lib/libvirt/dump", "--memory-only")
    host.virsh("save", guest.uuid, "/var/lib/libvirt/save")
    subscriber.until(lambda: "stopped/saved" in subscriber.published(guest.uuid))
    subscriber.listen(4)
    assert jobs_failed(subscriber, busy) + jobs_failed(subscriber, guest) == 0


def test_the_figures_of_an_arrival_are_the_sources(
    agent: AgentProcess, subscriber: Subscriber, host: Host, other: Host, guest: Guest
) -> None:
    """And they are still there for whoever asks next."""

    def figures(name: str) -> list[messages.Envelope[Any]]:
        return [each for each in subscriber.stream(name) if each.data.event == "job_completed"]

    guest.start(host)
    with AgentProcess(subscriber.broker, agent.folder / "h2", connect=other.uri, host="h2"):
        subscriber.until(lambda: bool(subscriber.status("h2").get("libvirt", {}).get("connected")))
        Migration(guest, host, other).succeed()
        subscriber.until(lambda: bool(figures("h1") and figures("h2")))
    (left,), (arrived,) = figures("h1"), figures("h2")
    assert (left.data.params["operation"], arrived.data.params["operation"]) == (
        "migration_out",
        "migration_in",
    )
    assert arrived.data.origin == "poll"
    same = ("memory_total", "memory_processed", "memory_constant", "memory_normal", "setup_time", "downtime")
    for name in same:
        assert arrived.data.params[name] == left.data.params[name]
    assert "Operation:" in other.virsh("domjobinfo", guest.uuid, "--completed", "--keep-completed")
