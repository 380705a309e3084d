"""libvirt's callbacks: each makes a report of its arguments and nothing else."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from typing import Any, Final

import libvirt
import structlog

from bridge.agent.hypervisor.handles import domain_id, identity
from bridge.agent.inventory.reports import ObjectOccurrence, Occurrence, Report
from bridge.wire import events
from bridge.wire.events import Object

_log = structlog.get_logger()

faults: Final[Counter[str]] = Counter()
"""Callbacks that failed, by kind of event. Each was an event that could not be read."""

_EVENTS_OF: Final = {
    "domains": "domain",
    "networks": "network",
    "pools": "storagePool",
    "nodedevs": "nodeDevice",
    "secrets": "secret",
}
"""The prefix of the binding's methods for events of a class."""


class Callbacks:
    """The callbacks of one connection. While `live` is false, their events are ignored."""

    def __init__(self, conn: libvirt.virConnect, driver: str, put: Callable[[Report], None]) -> None:
        self._conn = conn
        self._driver = driver
        self._put = put
        self._registered: list[tuple[Callable[[int], None], int]] = []
        self.live = True

    def register(self, names: Collection[str]) -> None:
        """Registers for the events of these names. Raises libvirt.libvirtError where lifecycle events fail.

        An event that this hypervisor, or this build of libvirt, doesn't have is left out. Each kind is a call
        of its own: lifecycle events come last, so that the job of a departure that is received is received,
        too. A list makes up for a missed lifecycle event, and nothing for a job.
        """
        for event in events.TABLE:
            if event.option in names and event.object is None:
                with suppress(libvirt.libvirtError, AttributeError):
                    self._register("domains", event.constant, self._on_event(event.name))
        self._register("domains", events.LIFECYCLES["lifecycle"][0], self._on_event("lifecycle"))
        for name, constant, each in _of_objects():
            if name in names:
                with suppress(libvirt.libvirtError, AttributeError):
                    self._register(each.plural, constant, self._on_object(name, each))

    def deregister(self) -> None:
        """Deregisters what was registered."""
        for deregister, callback in self._registered:
            with suppress(libvirt.libvirtError):
                deregister(callback)

    def _register(self, plural: str, constant: str, callback: Callable[..., None]) -> None:
        """Raises AttributeError where this build of libvirt is older than the event."""
        register, deregister = (
            getattr(self._conn, f"{_EVENTS_OF[plural]}Event{verb}Any") for verb in ("Register", "Deregister")
        )
        self._registered.append((deregister, register(None, getattr(libvirt, constant), callback, None)))

    def _on_event(self, kind: str) -> Callable[..., None]:
        """The callback of a domain's event: lifecycle's two numbers have their place, the table names the
        arguments of the others later.
        """

        def report(at_ns: int, at_s: float, domain: libvirt.virDomain, arguments: tuple[Any, ...]) -> Report:
            about = (self._driver, domain.UUIDString(), domain.name(), domain_id(domain))
            if kind == "lifecycle":
                return Occurrence(at_ns, at_s, kind, *about, *arguments)
            return Occurrence(at_ns, at_s, kind, *about, arguments=arguments)

        return self._callback(kind, report)

    def _on_object(self, event: str, each: Object) -> Callable[..., None]:
        """The callback of an event of another object than a domain."""

        def report(at_ns: int, at_s: float, found: Any, arguments: tuple[Any, ...]) -> Report:  # noqa: ANN401
            return ObjectOccurrence(at_ns, at_s, each, event, self._driver, *identity(found, each), arguments)

        return self._callback(event, report)

    def _callback(
        self, kind: str, report: Callable[[int, float, Any, tuple[Any, ...]], Report]
    ) -> Callable[..., None]:
        """What libvirt calls with the connection, the object, the event's arguments and an opaque value.
        report: makes the report of the time, the object and the arguments.
        """

        def received(_conn: libvirt.virConnect, subject: Any, *arguments: Any) -> None:  # noqa: ANN401
            received_ns, received_s = time.time_ns(), time.monotonic()
            if not self.live:
                return
            try:
                self._put(report(received_ns, received_s, subject, arguments[:-1]))
            except Exception as error:  # noqa: BLE001 - libvirt would print it and go on
                _failed(kind, error)

        return received


def _of_objects() -> Iterator[tuple[str, str, Object]]:
    """The events of other objects than domains: name, constant, class."""
    for name, (constant, each, _, _) in events.LIFECYCLES.items():
        if each is not None:
            yield name, constant, each
    for event in events.TABLE:
        if event.object is not None:
            yield event.option, event.constant, event.object


def _failed(kind: str, error: Exception) -> None:
    faults[kind] += 1
    if faults[kind] == 1:
        _log.error("libvirt.callback_failed", kind=kind, error=repr(error))
