"""SIGKILL at any moment: the sequence has no hole, and none comes again with other content."""

import random
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest

from bridge.agent.outbox import Limits, Outbox
from bridge.mqtt.session import Received
from tests.support.broker import Broker
from tests.support.outbox_sender import Stream, Subscriber

KILLS = 8
LIMITS = Limits(keep_bytes=300_000)


def run_and_kill(folder: Path, after_s: float, *arguments: str) -> tuple[str, dict[int, int]]:
    """Lets the process storm for a while once it has begun; its epoch and what it says it committed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.storming_agent", str(folder), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    epoch = process.stdout.readline().strip()
    time.sleep(after_s)
    process.kill()
    said = process.stdout.read()
    process.stdout.close()
    process.wait()
    lines = said.split("\n")[:-1]  # the last may be cut
    return epoch, {int(sequence): int(checksum) for sequence, checksum in map(str.split, lines)}


@pytest.mark.slow
def test_an_outbox_killed_at_random_moments_keeps_what_it_said(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    chance = random.Random()
    content: dict[int, int] = {}
    epochs = set()
    for _ in range(KILLS * (10 if pytestconfig.getoption("--soak") else 1)):
        epoch, said = run_and_kill(tmp_path, chance.uniform(0.0, 0.4))
        epochs.add(epoch)
        assert not said.keys() & content.keys(), "a sequence was given out twice"
        content |= said
        outbox = Outbox.open(tmp_path, LIMITS)
        reader = outbox.reader()
        rows = reader.replay(1, outbox.last_sequence, 10_000_000)
        reader.close()
        there = {row.sequence: zlib.crc32(row.payload) for row in rows}
        assert list(there) == list(range(outbox.last_sequence - len(there) + 1, outbox.last_sequence + 1))
        assert outbox.last_sequence >= max(content, default=0)
        assert all(there[sequence] == content[sequence] for sequence in there.keys() & content.keys())
        assert all(sequence in there for sequence in content if sequence > outbox.acknowledged)
        content |= there  # committed, but killed before it could be said
        assert outbox.dropped == []
        outbox.close()
    assert len(epochs) == 1
    assert sorted(content) == list(range(1, max(content) + 1)), "a hole"


@pytest.mark.server
def test_a_subscriber_of_a_killed_agent_misses_nothing(tmp_path: Path) -> None:
    chance = random.Random()
    content: dict[int, int] = {}
    with (
        Broker(tmp_path / "broker", "max_queued_messages 1000000") as broker,
        Subscriber(broker.settings()) as subscriber,
    ):
        epoch = ""
        for _ in range(6):
            epoch, said = run_and_kill(tmp_path, chance.uniform(0.2, 0.8), str(broker.port))
            content |= said
        with Stream(tmp_path, broker.settings(), LIMITS) as stream:
            last = stream.outbox.last_sequence
            subscriber.until(lambda: _sequence(subscriber.events[-1]) == last, 60)
    sequences = [_sequence(one) for one in subscriber.events]
    assert list(dict.fromkeys(sequences)) == list(range(1, last + 1)), "a hole, or out of order"
    for one in subscriber.events:
        assert one.payload.startswith(f"{epoch}-".encode())
        checksum = zlib.crc32(one.payload)
        assert content.setdefault(_sequence(one), checksum) == checksum, "other content under one sequence"


def _sequence(received: Received) -> int:
    return int(received.payload.split(b"-")[1])
