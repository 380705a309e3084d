"""`python -m tests.simulator`: plays a fleet against a correlator and says what it told wrong."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.bench.place import SMOKE, Child, Place, peak_mb
from tests.simulator.fleet import Fleet
from tests.simulator.play import Play

SETTLE_S = 5.0


def main() -> int:
    """The exit status says whether every verdict was right."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulator")
    for name, default in (("seed", 1), ("hosts", 1000), ("domains", 100_000), ("attempts", 2000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--seconds", type=float, default=60.0)
    given = parser.parse_args()
    fleet = Fleet(given.seed, given.hosts, given.domains, given.attempts, given.seconds)
    with tempfile.TemporaryDirectory(prefix="fleet-") as folder:
        place = Place(Path(folder), SMOKE)
        with (
            place.broker() as broker,
            Child(
                "correlator", broker.port, place.state_dir("correlator"), f"settle_s={SETTLE_S}"
            ) as correlator,
        ):
            outcome = Play(broker.port).run(fleet, quiet_s=SETTLE_S * 2 + 5)
            cpu_s, peak = correlator.ask("count")["cpu_s"], peak_mb(correlator.pid)
    faults = list(outcome.faults(fleet))
    print("\n".join(faults[:40]))
    print(
        f"seed {given.seed}: {given.hosts} hosts, {given.domains} domains, {len(fleet.played)} attempts,"
        f" {outcome.messages} messages in {outcome.took_s:.0f} s (late by {outcome.lag_s:.1f} s at most);"
        f" correlator {cpu_s:.1f} s of CPU, {peak:.0f} MB; {len(faults)} verdicts wrong"
    )
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
