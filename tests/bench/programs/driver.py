"""Has libvirt's test hypervisor emit events: its domains live in the process, so they are driven there."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import libvirt


class Driver:
    """So many running domains, each to be paused and resumed in turn."""

    def __init__(self, domains: int) -> None:
        self.connection: Any = libvirt.open("test:///default")
        self._domains = [self._define(number) for number in range(domains)]
        self._turn = 0
        self.cpu_s = 0.0
        """Processor time of the driving itself, which is no part of what is measured."""

    def _define(self, number: int) -> Any:
        domain = self.connection.defineXML(
            f"<domain type='test'><name>guest{number}</name><memory>8192</memory>"
            "<os><type>hvm</type></os></domain>"
        )
        domain.create()
        return domain

    def drive(self, events: int, gap_s: float = 0.0) -> None:
        """Has so many lifecycle events emitted, with a pause after each."""
        domains, began = self._domains, time.thread_time()
        for _ in range(events):
            rest, at = divmod(self._turn, len(domains))
            self._turn += 1
            if rest % 2:
                domains[at].resume()
            else:
                domains[at].suspend()
            if gap_s:
                time.sleep(gap_s)
        self.cpu_s += time.thread_time() - began


def timed(driver: Driver, events: int, is_done: Callable[[], bool]) -> dict[str, float]:
    """Drives in one burst and waits until everything is done: rate, and processor time an event."""
    driver.cpu_s = 0.0
    cpu, began = time.process_time(), time.perf_counter()
    driver.drive(events)
    driven_s = time.perf_counter() - began
    waited = time.thread_time()
    while not is_done():
        time.sleep(0.001)
    waited = time.thread_time() - waited
    took_s = time.perf_counter() - began
    cpu = time.process_time() - cpu - driver.cpu_s - waited
    return {"rate": events / took_s, "cpu_us": cpu / events * 1e6, "driven_s": driven_s}
