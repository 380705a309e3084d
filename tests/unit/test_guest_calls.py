"""At most two calls that can wait for a QEMU, whatever hangs and however often the connection is lost."""

import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from bridge.agent.hypervisor import CallFailed, Connection, GuestCalls
from tests.lab import waiting


class Daemon:
    """A libvirtd: what it still waits for, and the connections that clients have to it."""

    def __init__(self) -> None:
        self.hanging: set[str] = set()
        self.calls: list[str] = []
        self.busy: set[str] = set()
        self.most_busy = 0
        self.is_down = False
        self.connections: list[Client] = []

    def connect(self) -> Connection:
        if self.is_down:
            raise CallFailed("refused")
        client = Client(self)
        self.connections.append(client)
        return cast("Connection", client)

    def cut(self) -> None:
        """Every connection ends; what was asked for goes on being waited for."""
        for client in self.connections:
            client.stands = False
            client.ended.set()

    def answer(self) -> None:
        """All guests answer."""
        self.hanging.clear()
        self.busy.clear()
        for client in self.connections:
            client.ended.set()


class Client:
    """One connection."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.stands = True
        self.ended = threading.Event()

    def is_busy(self, guest: str) -> bool:
        return guest in self.daemon.busy

    def job(self, guest: str) -> str:
        daemon = self.daemon
        daemon.calls.append(guest)
        if guest in daemon.hanging:
            daemon.busy.add(guest)
            daemon.most_busy = max(daemon.most_busy, len(daemon.busy))
            self.ended.wait(20)
            if not self.stands:
                raise CallFailed("end of file")
        return guest

    def close(self) -> None:
        """Frees nothing over there."""


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    daemon = Daemon()
    yield daemon
    daemon.answer()


class Askers:
    """Asks about guests, and keeps what comes back."""

    def __init__(self, daemon: Daemon) -> None:
        self.guest_calls = GuestCalls(daemon.connect)
        self.back: list[str] = []

    def ask(self, *guests: str) -> None:
        for guest in guests:
            self.guest_calls.ask(guest, self._call(guest), self.back.append, self._failed(guest))

    def _call(self, guest: str) -> Callable[[Connection], str]:
        return lambda connection: cast("Any", connection).job(guest)

    def _failed(self, guest: str) -> Callable[[Exception], None]:
        return lambda error: self.back.append(f"{guest}: {error}")

    def until_back(self, *back: str) -> None:
        waiting.until(lambda: sorted(self.back) == sorted(back), what=lambda: f"{back}, not {self.back}")
        self.back.clear()


def test_two_that_hang_are_all_that_is_ever_asked_for_across_connections(daemon: Daemon) -> None:
    askers = Askers(daemon)
    daemon.hanging = {f"g{n}" for n in range(20)}
    askers.ask(*sorted(daemon.hanging, key=lambda name: int(name[1:])))
    waiting.until(lambda: daemon.busy == {"g0", "g1"}, what="two calls to hang")
    daemon.cut()
    askers.until_back("g0: end of file", "g1: end of file")
    for _ in range(3):
        askers.ask("g0", "g1")
        busy = "the guest's monitor or job is taken"
        askers.until_back(f"g0: {busy}", f"g1: {busy}")
        daemon.cut()
        daemon.is_down = True
        askers.ask("g0", "g1")
        askers.until_back("g0: refused", "g1: refused")
        daemon.is_down = False
    assert (sorted(daemon.calls), daemon.most_busy) == (["g0", "g1"], 2)
    assert askers.guest_calls.held_longer_than(0).keys() == {"g0", "g1"}


def test_a_restart_of_the_daemon_lets_them_be_asked_about_again(daemon: Daemon) -> None:
    askers = Askers(daemon)
    daemon.hanging = {"a", "b"}
    askers.ask("a", "b", "c")
    waiting.until(lambda: daemon.busy == {"a", "b"}, what="two calls to hang")
    daemon.hanging.clear()
    daemon.busy.clear()
    daemon.cut()
    askers.until_back("a: end of file", "b: end of file")
    askers.ask("a")
    askers.until_back("a", "c")
    assert askers.guest_calls.held_longer_than(0).keys() == {"b"}


def test_what_others_hold_is_not_waited_for(daemon: Daemon) -> None:
    askers = Askers(daemon)
    daemon.busy = {"a"}
    askers.ask("a", "b")
    askers.until_back("a: the guest's monitor or job is taken", "b")
    assert daemon.calls == ["b"]
    daemon.busy.clear()
    askers.ask("a")
    askers.until_back("a")
    assert askers.guest_calls.held_longer_than(0) == {}


def test_each_gets_its_turn(daemon: Daemon) -> None:
    askers = Askers(daemon)
    daemon.hanging = {"hangs"}
    askers.ask("hangs")
    waiting.until(lambda: daemon.busy == {"hangs"}, what="a call to hang")
    askers.ask("a", "b", "c", "a", "b", "c")
    askers.until_back(*"abcabc")
    assert daemon.calls == ["hangs", *"abcabc"]


def test_a_guest_that_is_gone_holds_nothing(daemon: Daemon) -> None:
    askers = Askers(daemon)
    daemon.hanging = {"a", "b"}
    askers.ask("a", "b", "c")
    waiting.until(lambda: daemon.busy == {"a", "b"}, what="two calls to hang")
    daemon.cut()
    askers.until_back("a: end of file", "b: end of file")
    askers.guest_calls.forget("a")
    askers.until_back("c")
    assert askers.guest_calls.held_longer_than(0).keys() == {"b"}


def test_a_connection_that_can_t_be_had_holds_nothing(daemon: Daemon) -> None:
    askers = Askers(daemon)
    daemon.is_down = True
    askers.ask("a", "b", "c")
    askers.until_back("a: refused", "b: refused", "c: refused")
    assert askers.guest_calls.held_longer_than(0) == {}
