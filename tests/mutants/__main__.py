"""The command; what it does is in the package's docstring."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Final

import pytest

from tests.mutants.run import SURVIVORS, Options, Session
from tests.unit.verdicts.exceptions import HELD_BY

TESTS: Final = (
    "tests/unit/verdicts",
    "tests/unit/test_correlator_clocks.py",
    "tests/unit/test_inbound.py",
    "tests/unit/test_state_counts.py",
    "tests/unit/test_hosts.py",
)
_OF_THE_PAGE: Final = "tests/unit/verdicts/test_state_machine.py"
"""It holds the page to the tables: no change of a table would survive it."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--only", default="", help="mutants whose name matches this pattern")
    parser.add_argument("--tests", nargs="+", default=TESTS, help="the tests, as pytest takes them")
    parser.add_argument("--every", type=int, default=1, help="of the explorer's one in so many; 0: none")
    parser.add_argument("--most", type=int, default=8, help="of each kind of trial so many before the others")
    parser.add_argument("--survivors", type=Path, default=SURVIVORS, help="the file that names them")
    parser.add_argument(
        "--exceptions", action="store_true", help="try each exception's absence with the test that holds it"
    )
    parser.add_argument("--check", action="store_true", help="try each that was killed with its killer alone")
    parser.add_argument("--open", action="store_true", help="those alone that aren't known to be killed")
    parser.add_argument("--list", action="store_true", help="print the mutants' names and end")
    parser.add_argument("-v", "--verbose", action="store_true", help="print what kills each mutant, too")
    parser.add_argument("-j", "--jobs", type=int, default=1)
    given = parser.parse_args()
    began = monotonic()
    options = Options(
        given.only,
        given.every,
        given.most,
        given.survivors,
        given.list,
        given.jobs,
        given.verbose,
        given.check,
        given.open,
    )
    tests = given.tests
    if given.exceptions:
        tests = dict.fromkeys(HELD_BY.values())
        options = replace(
            options, every=0, held_by={f"{name}: False": test for name, test in HELD_BY.items()}
        )
    session = Session(options)
    of_pytest = ["-q", "-s", "-x", "--tb=native", "--timeout=0", "-p", "no:xdist", f"--ignore={_OF_THE_PAGE}"]
    root = Path(__file__).parents[2]
    marked = [] if given.exceptions else ["-m", "not slow and not server and not lab"]
    ended = pytest.main([*of_pytest, *marked, f"--rootdir={root}", *tests], plugins=[session])
    print(f"{session.said}; {monotonic() - began:.0f} s", flush=True)
    return int(ended) or session.is_wrong


if __name__ == "__main__":
    sys.exit(main())
