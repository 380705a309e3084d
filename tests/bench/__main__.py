"""`python -m tests.bench`: measures, prints one table, writes it as JSON and SVG.

--only PART … measures some parts only; --smoke measures everything in small, to see that it works;
--rounds N alternates so often; --results DIR is where the files go (build/bench).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tests.bench import plot, table
from tests.bench.figure import Figure
from tests.bench.parts import PARTS
from tests.bench.place import FULL, ROOT, SMOKE, Place


def main(arguments: Sequence[str] | None = None) -> list[Figure]:
    """Measures what is asked for; returns the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="What the program costs.")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART")
    parser.add_argument("--smoke", action="store_true", help="everything in small")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--results", type=Path, default=ROOT / "build" / "bench")
    given = parser.parse_args(arguments)
    scale = SMOKE if given.smoke else FULL
    if given.rounds:
        scale = replace(scale, rounds=given.rounds)
    figures: list[Figure] = []
    failed: list[str] = []
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for name in given.only:
            at = time.monotonic()
            try:
                figures += PARTS[name](Place(Path(folder), scale))
            except Exception:  # noqa: BLE001 - the other parts are measured all the same
                failed.append(name)
                traceback.print_exc()
            print(f"{name}: {time.monotonic() - at:.0f} s", file=sys.stderr)
            _write(given.results, "smoke" if given.smoke else "bench", figures)
    print("\n".join(table.lines(figures)))
    print(f"{time.monotonic() - began:.0f} s; load {os.getloadavg()[0]:.1f} of {os.cpu_count()} cores")
    print(f"written to {given.results}")
    if failed:
        sys.exit(f"not measured: {', '.join(failed)}")
    return figures


def _write(folder: Path, name: str, figures: Sequence[Figure]) -> None:
    """What there is so far, so that a part that hangs loses nothing of the others."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = {
        "machine": {
            "cores": os.cpu_count(),
            "system": platform.platform(),
            "python": platform.python_version(),
        },
        "load": os.getloadavg(),
        "figures": [figure.as_json() for figure in figures],
    }
    (folder / f"{name}.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
    (folder / f"{name}.svg").write_text(plot.svg(figures))


if __name__ == "__main__":
    main()
