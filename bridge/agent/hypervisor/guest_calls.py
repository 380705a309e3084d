"""Calls that can wait for a guest's QEMU: at most two at a time, each over a connection of its own.

libvirtd keeps a worker busy for such a call until QEMU answers, even when the client that made it is gone:
only the call's return or the daemon's end frees it. So the limit counts not what this process waits for, but
what it left behind in libvirtd: a guest is *held* from the call about it until libvirtd has answered one. A
call that ends with its connection is no answer; virDomainGetControlInfo, called before each call, then says
whether the guest's monitor or job is still taken, which isn't so after a return or a restart. While two
guests are held, only these are asked about, and only as far as libvirt says that they are free.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from bridge.agent.hypervisor.caller import Caller
from bridge.agent.hypervisor.connection import CallFailed, Connection

MOST_OUTSTANDING: Final = 2

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class _Ask:
    guest: str | None
    call: Callable[[Connection], Any]
    answered: Callable[[Any], None]
    failed: Callable[[Exception], None]


@dataclass(slots=True)
class _Slot:
    caller: Caller
    connection: Connection | None = None


class GuestCalls:
    """Makes calls about guests in the order of the requests. Thread-safe; never blocks.

    `connect` opens a connection; it is called in a slot's thread, and again when the former one is down.
    """

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._guard = threading.Lock()
        self._queue: deque[_Ask] = deque()
        self._idle: list[_Slot] = []
        self._made = 0
        self._outstanding: set[str | None] = set()
        self._held: dict[str | None, float] = {}

    def ask(
        self,
        guest: str | None,
        call: Callable[[Connection], Result],
        answered: Callable[[Result], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Makes `call` once a slot is free and nothing else about this guest (None: the hypervisor itself) is
        outstanding.

        Then `answered` gets its result, or `failed` its error, in the slot's thread: also CallFailed where
        libvirt said that something holds the guest, so that no call was made.
        """
        with self._guard:
            self._queue.append(_Ask(guest, call, answered, failed))
            self._send()

    def forget(self, guest: str) -> None:
        """The guest is gone: no QEMU can be waited for, and queued calls about it are dropped."""
        with self._guard:
            self._queue = deque(ask for ask in self._queue if ask.guest != guest)
            if guest not in self._outstanding:
                self._held.pop(guest, None)
            self._send()

    def held_longer_than(self, seconds: float) -> dict[str, float]:
        """The guests that have been held for this long, each with since when (monotonic)."""
        before = time.monotonic() - seconds
        with self._guard:
            return {guest: since for guest, since in self._held.items() if guest and since <= before}

    def stop(self) -> None:
        """Closes the idle connections; nothing more is called."""
        with self._guard:
            self._queue.clear()
            idle, self._idle = self._idle, []
            self._made = MOST_OUTSTANDING
        for slot in idle:
            if slot.connection is not None:
                slot.caller.call(slot.connection.close, _done, _done)
            slot.caller.end()

    def _send(self) -> None:
        while self._queue and (self._idle or self._made < MOST_OUTSTANDING):
            ask = next((ask for ask in self._queue if self._may(ask.guest)), None)
            if ask is None:
                return
            self._queue.remove(ask)
            was_free = ask.guest not in self._held
            self._held.setdefault(ask.guest, time.monotonic())
            self._outstanding.add(ask.guest)
            slot = self._slot()
            slot.caller.call(partial(self._make, slot, ask, was_free), _done, _done)

    def _may(self, guest: str | None) -> bool:
        if guest in self._outstanding:
            return False
        return guest in self._held or len(self._held) < MOST_OUTSTANDING

    def _slot(self) -> _Slot:
        if self._idle:
            return self._idle.pop()
        self._made += 1
        return _Slot(Caller(f"asking-{self._made}"))

    def _make(self, slot: _Slot, ask: _Ask, was_free: bool) -> None:
        """In the slot's thread."""
        is_free = was_free
        try:
            connection = self._connected(slot)
            if ask.guest is not None and connection.is_busy(ask.guest):
                raise CallFailed("the guest's monitor or job is taken")
            is_free = False
            result = ask.call(connection)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is passed to `failed`
            is_answer = not isinstance(error, CallFailed) or error.answered
            self._returned(slot, ask, is_free=is_free or is_answer)
            ask.failed(error)
        else:
            self._returned(slot, ask, is_free=True)
            ask.answered(result)

    def _connected(self, slot: _Slot) -> Connection:
        if slot.connection is not None and not slot.connection.stands:
            slot.connection.close()
            slot.connection = None
        if slot.connection is None:
            slot.connection = self._connect()
        return slot.connection

    def _returned(self, slot: _Slot, ask: _Ask, *, is_free: bool) -> None:
        with self._guard:
            self._outstanding.discard(ask.guest)
            if is_free:
                self._held.pop(ask.guest, None)
            self._idle.append(slot)
            self._send()


def _done(_result: object) -> None:
    """The call has passed on its result itself."""
