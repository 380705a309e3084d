"""The witness's ears: a process that writes down what several libvirtds emit, and uses none of our code.

`python listener.py START NAME=URI …` prints a JSON line for each connection made and lost and each event, as
{"t", "host", "what", …}; `t` is in seconds since START, a reading of the monotonic clock.
"""

import json
import sys
import threading
import time
from contextlib import suppress
from typing import Any

import libvirt

EVENTS = {
    "lifecycle": libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE,
    "iteration": libvirt.VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION,
    "job_completed": libvirt.VIR_DOMAIN_EVENT_ID_JOB_COMPLETED,
}
JOB_FIGURES = ("operation", "time_elapsed", "downtime")


class Ear:
    """Listens to one host, and connects again whenever the connection is lost."""

    def __init__(self, host: str, uri: str, start_s: float, out: threading.Lock) -> None:
        self.host, self.uri, self.start_s, self.out = host, uri, start_s, out

    def say(self, what: str, **more: Any) -> None:
        line = {"t": round(time.monotonic() - self.start_s, 4), "host": self.host, "what": what, **more}
        with self.out:
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()

    def keep_listening(self) -> None:
        while True:
            try:
                connection = libvirt.openReadOnly(self.uri)
            except libvirt.libvirtError:
                time.sleep(0.05)
                continue
            lost, callbacks = threading.Event(), list[int]()
            try:
                self.listen(connection, lost, callbacks)
                lost.wait()
                self.say("disconnected")
            except libvirt.libvirtError:
                time.sleep(0.05)
            for callback in callbacks:  # it would live on with any, and all be heard twice
                with suppress(libvirt.libvirtError):
                    connection.domainEventDeregisterAny(callback)
            with suppress(libvirt.libvirtError):
                connection.unregisterCloseCallback()
            with suppress(libvirt.libvirtError):
                connection.close()

    def listen(self, connection: libvirt.virConnect, lost: threading.Event, callbacks: list[int]) -> None:
        connection.registerCloseCallback(lambda *_: lost.set(), None)
        connection.setKeepAlive(2, 3)
        handlers = {
            "lifecycle": self.on_lifecycle,
            "iteration": self.on_iteration,
            "job_completed": self.on_job_completed,
        }
        for name, number in EVENTS.items():
            callbacks.append(connection.domainEventRegisterAny(None, number, handlers[name], None))
        domains = [
            {"uuid": domain.UUIDString(), "name": domain.name(), "id": domain.ID(), "state": domain.state()}
            for domain in connection.listAllDomains()
        ]
        self.say("connected", domains=domains)

    def on_lifecycle(self, _: Any, domain: Any, event: int, detail: int, _opaque: Any) -> None:
        self.say("lifecycle", **self.names(domain), id=domain.ID(), event=event, detail=detail)

    def on_iteration(self, _: Any, domain: Any, iteration: int, _opaque: Any) -> None:
        self.say("iteration", **self.names(domain), n=iteration)

    def on_job_completed(self, _: Any, domain: Any, figures: dict[str, Any], _opaque: Any) -> None:
        kept = {name: figures[name] for name in JOB_FIGURES if name in figures}
        self.say("job_completed", **self.names(domain), params=kept)

    def names(self, domain: Any) -> dict[str, str]:
        return {"uuid": domain.UUIDString(), "name": domain.name()}


def turn() -> None:
    """Run libvirt's event loop for ever; the timer keeps it from sleeping for ever."""
    libvirt.virEventAddTimeout(500, lambda *_: None, None)
    while True:
        libvirt.virEventRunDefaultImpl()


def main(start_s: float, hosts: list[str]) -> None:
    libvirt.registerErrorHandler(lambda *_: None, None)
    libvirt.virEventRegisterDefaultImpl()
    threading.Thread(target=turn, name="events", daemon=True).start()
    out = threading.Lock()
    pairs = [host.split("=", 1) for host in hosts]
    ears = [Ear(name, uri, start_s, out) for name, uri in pairs]
    threads = [threading.Thread(target=ear.keep_listening, name=ear.host, daemon=True) for ear in ears]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2:])
