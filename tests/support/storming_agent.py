"""A process for tests that kill it: appends messages without end, sends them, and says what it committed.

    python -m tests.support.storming_agent FOLDER [BROKER_PORT]

Each line on standard output: `sequence checksum` of a row, written after `append` returned it. The first line
is the epoch.
"""

import queue
import random
import sys
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import structlog

from bridge.agent.inventory.drafts import Draft
from bridge.agent.outbox import Limits, Outbox
from bridge.agent.publish.sender import Sender
from bridge.mqtt.session import BrokerSettings
from tests.support.outbox_sender import HOST, TOPICS, UUID


def main(folder: Path, port: int | None) -> None:
    """Runs until it is killed."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    outbox = Outbox.open(folder, Limits(keep_bytes=300_000))
    print(outbox.epoch, flush=True)
    tasks: queue.SimpleQueue[Callable[[Outbox], None]] = queue.SimpleQueue()
    sender = None
    if port is not None:
        sender = Sender(BrokerSettings(port=port), TOPICS, HOST, "0", outbox, ask=tasks.put)
        threading.Thread(target=sender.run, name="mqtt", daemon=True).start()
    chance = random.Random()
    topic = TOPICS.lifecycle(HOST, UUID, "started")
    while True:
        rows = outbox.append([_draft(topic, chance) for _ in range(chance.randint(1, 40))])
        if sender is not None:
            sender.committed(rows)
        else:
            outbox.acknowledge(max(0, outbox.last_sequence - chance.randint(0, 300)))
        while not tasks.empty():
            tasks.get()(outbox)
        sys.stdout.write("".join(f"{row.sequence} {zlib.crc32(row.payload)}\n" for row in rows))
        sys.stdout.flush()


def _draft(topic: str, chance: random.Random) -> Draft:
    content = chance.randbytes(chance.randint(0, 400)).hex()
    return Draft(topic, lambda epoch, sequence: f"{epoch}-{sequence}-{content}".encode(), UUID)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None)
