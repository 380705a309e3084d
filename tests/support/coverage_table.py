"""What a run has proven of each row of the table of migrations, printed at its end.

A test says what it tried by the fixture `proof`; what it tried counts as right when it passed. The counts
travel with the tests' reports, so they add up whichever process a test ran in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import pytest

ROWS: Final[dict[str, str]] = {
    "1": "live, tunnelled, p2p",
    "2": "non-live",
    "3": "--suspend",
    "4": "paused before",
    "5": "--persistent",
    "6": "--undefinesource",
    "8": "--dname",
    "9": "--copy-storage-all",
    "10": "offline with --undefinesource",
    "10b": "offline, source keeps its definition",
    "11": "suspended during the copy",
    "12": "post-copy",
    "13": "aborted, live",
    "14": "aborted, non-live or suspended",
    "15": "Prepare fails",
    "16": "destination's QEMU dies",
    "17": "destination destroyed by hand",
    "18": "network cut while copying",
    "19": "client killed, direct",
    "20": "client killed, p2p",
    "21": "destination's host lost",
    "22": "source's libvirtd killed",
    "22b": "source's host lost",
    "23": "destination's libvirtd restarted",
    "24": "Finish fails",
    "25": "Confirm lost",
    "26": "source's libvirtd killed at the end",
    "27": "source's libvirtd stopped during Confirm",
    "28": "Finish's answer lost: conflict",
    "29": "the guest powers off",
    "30": "source's QEMU crashes",
    "31": "source destroyed by hand",
    "32": "storage copy aborted",
    "33": "post-copy broken",
    "34": "post-copy broken and resumed",
    "35": "post-copy, network away",
    "36": "post-copy, client or libvirtd gone",
    "37": "post-copy, source's QEMU killed",
    "38": "post-copy, destination's QEMU killed",
    "39": "source can't resume",
    "-": "what is no migration",
    "Xen": "Xen's vocabulary",
}
"""The numbers of the table of migrations, and what it says to none of them."""

PROPERTY: Final = "migration_row"


@dataclass(slots=True)
class Tally:
    """What was tried of one row."""

    traces: int = 0
    interleavings: int = 0
    lab_runs: int = 0
    wrong: int = 0

    @property
    def verdict(self) -> str:
        """Whether the verdict was right wherever it was tried."""
        if self.wrong:
            return "WRONG"
        return "right" if self.traces or self.interleavings or self.lab_runs else "not tried"


Proof = Callable[..., None]
"""`proof(row, traces=…, interleavings=…, lab_runs=…)`: counts what a test tried of a row."""


@pytest.fixture
def proof(request: pytest.FixtureRequest) -> Proof:
    """Counts what a test tried, for the table at the end of the run; to be called before it can fail."""

    def note(row: str, *, traces: int = 0, interleavings: int = 0, lab_runs: int = 0) -> None:
        if row not in ROWS:
            raise ValueError(f"{row!r} is no row of the table of migrations")
        request.node.user_properties.append((PROPERTY, [row, traces, interleavings, lab_runs]))

    return note


class CoverageTable:
    """The plugin: adds up the reports' counts and prints them when all is done."""

    def __init__(self) -> None:
        self.tallies = {row: Tally() for row in ROWS}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Adds what a test noted, once it has run."""
        if report.when != "call" or report.skipped:
            return
        for name, value in report.user_properties:
            if name == PROPERTY:
                assert isinstance(value, list)
                tally = self.tallies[value[0]]
                tally.traces += value[1]
                tally.interleavings += value[2]
                tally.lab_runs += value[3]
                tally.wrong += report.failed

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Prints the table, unless nothing of it was tried."""
        if all(tally.verdict == "not tried" for tally in self.tallies.values()):
            return
        terminalreporter.section("every way a migration goes")
        for line in self.lines():
            terminalreporter.write_line(line)

    def lines(self) -> Iterable[str]:
        """The table as text."""
        yield f"{'row':>4}  {'what happens':<42}{'traces':>7}{'interleavings':>15}{'lab runs':>10}  verdict"
        for row, tally in self.tallies.items():
            yield (
                f"{row:>4}  {ROWS[row]:<42}{tally.traces:>7}{tally.interleavings:>15}{tally.lab_runs:>10}"
                f"  {tally.verdict}"
            )


def pytest_configure(config: pytest.Config) -> None:
    """Registers the plugin in the process that prints."""
    config.pluginmanager.register(CoverageTable(), "coverage-table")
