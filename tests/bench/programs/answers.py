"""How a program of the bench is spoken to: a line of words in, a line of JSON out."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator


def words(**facts: object) -> Iterator[list[str]]:
    """Says that it is ready, and these facts, and yields each line until the input ends or SIGTERM comes."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    say(**facts)
    for line in sys.stdin:
        yield line.split()


def say(**facts: object) -> None:
    """One answer."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()
