"""A service of ours that takes messages in: run in a thread, and asked how far it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from tests.bench.programs import answers


class Counters(Protocol):
    """What both services count."""

    @property
    def broker_connected(self) -> bool:
        """Whether its session is there."""

    @property
    def messages(self) -> int:
        """How many it has taken in."""


class Service(Protocol):
    """The correlator, or the dashboard."""

    def run(self) -> None:
        """Works until it is asked to stop."""

    def ask_to_stop(self) -> None:
        """From any thread."""


def serve(
    service: Service, counters: Counters, more: Callable[[], dict[str, object]] = dict, **facts: object
) -> None:
    """Answers `consume` with a number of messages, and `count`, with `more` counts; ends as `words` does."""
    thread = threading.Thread(target=service.run, name="service")
    thread.start()
    try:
        while not counters.broker_connected:
            time.sleep(0.01)
        time.sleep(0.3)
        for command, *numbers in answers.words(**facts):
            if command == "consume":
                until = counters.messages + int(numbers[0])
                cpu, own = time.process_time(), time.thread_time()
                while counters.messages < until:
                    time.sleep(0.001)
                done = time.time()
                cpu = time.process_time() - cpu - (time.thread_time() - own)
                answers.say(done=done, cpu_us=cpu / int(numbers[0]) * 1e6)
            elif command == "count":
                answers.say(messages=counters.messages, cpu_s=time.process_time(), **more())
    finally:  # at SIGTERM, too: the interpreter doesn't end before the thread
        service.ask_to_stop()
        thread.join()
