"""Ours: the agent's sender with a full outbox. The rows are stored first, by the outbox itself."""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from bridge import __version__, log
from bridge.agent.inventory.drafts import Draft
from bridge.agent.inventory.encoder import Encoder
from bridge.agent.inventory.reports import Occurrence
from bridge.agent.outbox import Limits, Outbox
from bridge.agent.publish.sender import Sender
from bridge.mqtt.settings import BrokerSettings
from bridge.wire.topics import Topics
from tests.bench.programs import answers

BATCH = 500


def main(port: str, folder: str, rows: str) -> None:
    log.configure("json", "error")
    outbox = Outbox.open(Path(folder), Limits(rows=10_000_000, bytes=1 << 40))
    for first in range(0, int(rows), BATCH):
        outbox.append(drafts(first, min(BATCH, int(rows) - first)))
    tasks: queue.SimpleQueue[Callable[[Outbox], None]] = queue.SimpleQueue()
    sender = Sender(
        BrokerSettings(port=int(port)), Topics(), "bench", __version__, outbox, ask=tasks.put, on_cleared=None
    )
    threading.Thread(target=_write, args=(tasks, outbox), name="outbox", daemon=True).start()
    answered = sender.counters.answers
    began, done, until = 0.0, 0, 0
    for command, *numbers in answers.words():
        if command == "drain":
            threading.Thread(target=sender.run, name="mqtt", daemon=True).start()
            began = time.perf_counter()
        elif command == "part":
            until += int(numbers[0])
            while answered.total() < until:
                time.sleep(0.002)
            answers.say(rate=(answered.total() - done) / (time.perf_counter() - began))
            time.sleep(0.2)  # in which we are stopped, and go on later
            began, done = time.perf_counter(), answered.total()


def _write(tasks: queue.SimpleQueue[Callable[[Outbox], None]], outbox: Outbox) -> None:
    while True:
        tasks.get()(outbox)


def drafts(first: int, count: int) -> list[Draft]:
    """Lifecycle messages of a thousand domains, as the agent makes them."""
    encoder = Encoder(Topics(), "bench")
    found = []
    for number in range(first, first + count):
        uuid = f"{number % 1000:08x}-1111-4222-8333-444444444444"
        found.append(
            encoder.lifecycle(
                Occurrence(
                    1_790_000_000_000_000_000 + number, 0.0, "lifecycle", "QEMU", uuid, "guest", 7, 4, 0
                ),
                None,
            )
        )
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
