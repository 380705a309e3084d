"""Ours: the correlator as it is, with its store on the disk."""

from __future__ import annotations

import sys

from bridge import log
from bridge.config import PROGRAMS, CorrelatorSettings
from bridge.correlator.service import Correlator
from bridge.options import load
from tests.bench.programs import intake


def main(port: str, folder: str, *more: str) -> None:
    log.configure("json", "error")
    given: dict[str, object] = {"broker": f"mqtt://127.0.0.1:{port}", "state_dir": folder}
    given |= dict(word.split("=", 1) for word in more)
    correlator = Correlator(load(CorrelatorSettings, "correlator", given, {}, PROGRAMS).settings)
    intake.serve(correlator, correlator.counters)


if __name__ == "__main__":
    main(*sys.argv[1:])
