"""The table of migrations, row by row: the hosts' events, what libvirt lists then, and what to publish.

`said` is written as the table writes it. S is the source, D the destination:

    S(3,1)        a lifecycle event by its numbers; `!` after it: a QEMU died by itself
    S:iter S:JC   a migration iteration; the job completed (`S:JC(save)`: of another operation)
    S:job_failed  the agent says that the job before the one under way failed
    S:end         the outgoing job is gone and nothing tells; the agent finds out by asking
    S:blind       the connection to libvirt is lost; `S:back`: it is there again
    S:dark        the host is blind; `S:back` again
    S=gone        what libvirt's list says from now on, without an event
    ~5            seconds go by

`alone` is what is told where nothing is ever heard of the other side.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final, Literal

from bridge.wire.messages import Attention, GuestState, Mode, Reason

SideName = Literal["S", "D", ""]
Release = Literal["9.0", "11.3"]
RELEASES: Final[tuple[Release, ...]] = ("9.0", "11.3")


@dataclass(frozen=True, slots=True)
class ExpectedVerdict:
    """The columns of a verdict, hosts by their side.

    confirmed: the sides that confirm it; `s` in lower case only where an agent told of the job's end.
    """

    outcome: Literal["completed", "failed", "conflict"]
    guest: tuple[SideName, GuestState]
    reason: Reason | None = None
    mode: Mode = "precopy"
    attention: Attention | None = None
    confirmed: str = "SD"


@dataclass(frozen=True, slots=True)
class MigrationRow:
    """One way a migration goes. `published`: the words before the verdict; `before`: the domain on S at
    first.

    source_alone, destination_alone: the words that are told of one side alone, patience included.
    leaves: where the domain is active afterwards: on S, on D, on both, or nowhere (``).
    without_job: whether the verdict needs no word of an agent about the job.
    revised: where a side can only tell after more than `settle`, so that the verdict is told again.
    """

    number: str
    what: str
    said: str
    verdict: ExpectedVerdict | None
    published: tuple[str, ...] = ("started",)
    source_alone: tuple[str, ...] = ()
    destination_alone: tuple[str, ...] = ()
    leaves: str = "S"
    before: str = "running/booted"
    without_job: bool = True
    newer: str | None = None
    driver: str = "QEMU"
    renamed: bool = False
    undefines: bool = False
    revised: tuple[Release, ...] = ()

    def __str__(self) -> str:
        return f"{self.number}-{self.what.replace(' ', '_')}"

    def on(self, release: Release) -> MigrationRow:
        """The row as this release of libvirt tells it."""
        if release == "9.0" or self.driver != "QEMU":
            return self
        return replace(self, said=self.newer or announced(self.said))


def announced(said: str, sides: str = "SD") -> str:
    """What 9.0 says, as 11.3 says it: `shutdown/host` before every end that libvirtd itself brings about."""
    return re.sub(rf"([{sides}])\(5,[345]\)(?!!)", r"\1(6,2) \g<0>", said)


ON_D: Final = ("D", "running")
ON_S: Final = ("S", "running")
MOVED: Final = ExpectedVerdict("completed", ON_D)
MOVED_PAUSED: Final = ExpectedVerdict("completed", ("D", "paused"))
FLOWED: Final = ExpectedVerdict("completed", ON_D, mode="postcopy")
FAILED: Final = ExpectedVerdict("failed", ON_S, "destination_failed", confirmed="sD")
DESTROYED: Final = ExpectedVerdict("failed", ON_S, "destination_destroyed", confirmed="sD")
STOPPED: Final = ExpectedVerdict("failed", ("S", "shutoff"), "source_stopped")
CRASHED: Final = ExpectedVerdict("failed", ("", "lost"), "source_crashed")

COMPLETED: Final = ("completed",)
ARRIVED: Final = ("started", "completed")
BROKE_OFF: Final = ("started", "failed")
JOB_ENDED: Final = ("failed",)

_LIVE: Final = "D(2,1) S:iter S:iter S(3,1) S:iter D(4,1) ~1.4 S(5,3) S:JC"
_PAGES_LOST: Final = ExpectedVerdict(
    "failed",
    ("", "lost"),
    "source_crashed",
    mode="postcopy",
    attention="postcopy_incomplete",
    confirmed="S",
)
_FLOWING: Final = "D(2,1) S:iter ~1 S(3,1) S(3,7) S:iter D(4,3)"


def _success(
    number: str, what: str, said: str, verdict: ExpectedVerdict = MOVED, **more: object
) -> MigrationRow:
    more = {"source_alone": COMPLETED, "destination_alone": ARRIVED, "leaves": "D"} | more
    return MigrationRow(number, what, said, verdict, **more)  # type: ignore[arg-type]


def _failure(
    number: str, what: str, said: str, verdict: ExpectedVerdict = FAILED, **more: object
) -> MigrationRow:
    more = {"source_alone": JOB_ENDED, "destination_alone": BROKE_OFF} | more
    return MigrationRow(number, what, said, verdict, **more)  # type: ignore[arg-type]


MIGRATIONS: Final[tuple[MigrationRow, ...]] = (
    _success("1", "live", _LIVE),
    _success("1", "destination has a definition", "D(0,0) ~3 " + _LIVE),
    _success("2", "non-live", "D(2,1) S(3,1) S:iter S:iter D(4,1) ~1.4 S(5,3) S:JC"),
    _success("3", "suspend", "D(2,1) S:iter S(3,1) S:iter D(3,0) ~1.4 S(5,3) S:JC", MOVED_PAUSED),
    _success(
        "4",
        "paused before",
        "D(2,1) S:iter S:iter D(3,0) ~1.4 S(5,3) S:JC",
        MOVED_PAUSED,
        before="paused/user",
    ),
    _success("5", "persistent", "D(2,1) S:iter S(3,1) S:iter D(0,0) D(4,1) ~1.4 S(5,3) S:JC"),
    _success("5", "persistent again", "D(2,1) S:iter S(3,1) S:iter D(0,1) D(4,1) ~1.4 S(5,3) S:JC"),
    _success(
        "6",
        "undefinesource",
        "D(2,1) S:iter S(3,1) S:iter D(0,0) D(4,1) ~1.4 S(5,3) S:JC S=gone",
        undefines=True,
    ),
    _success("8", "dname", _LIVE, renamed=True),
    _success("9", "copy storage", "D(2,1) ~20 S:iter S:iter S(3,1) S:iter D(4,1) ~1.4 S(5,3) S:JC"),
    _success(
        "10",
        "offline undefinesource",
        "D(0,0) ~0.1 S=gone",
        ExpectedVerdict("completed", ("D", "shutoff"), mode="offline"),
        published=(),
        source_alone=(),
        destination_alone=(),
        leaves="",
        before="shutoff/unknown",
        undefines=True,
    ),
    MigrationRow(
        "10b", "offline, source keeps it", "D(0,0)", None, published=(), leaves="", before="shutoff/unknown"
    ),
    MigrationRow("10b", "offline while it runs", "D(0,0)", None, published=()),
    _success(
        "11", "suspended during the copy", "D(2,1) S:iter ~2 S(3,1) ~4 S:iter S:iter D(4,1) ~1.9 S(5,3) S:JC"
    ),
    _success("12", "post-copy", _FLOWING + " ~5 D(4,1) ~1.2 S(5,3) S:JC", FLOWED),
    _failure("13", "aborted live", "D(2,1) S:iter ~2 S:end D(5,5)"),
    _failure(
        "14",
        "aborted non-live",
        "D(2,1) S(3,1) S:iter ~2 S(4,1) S:end ~1.4 D(5,5)",
        ExpectedVerdict("failed", ON_S, "destination_failed"),
    ),
    MigrationRow("15", "prepare fails", "S:end", None, published=()),
    _failure("16", "destination's QEMU dies", "D(2,1) S:iter ~2 D(5,5)! S:end"),
    _failure("17", "destination destroyed", "D(2,1) S:iter ~2 D(6,2) D(5,1) S:end", DESTROYED),
    _failure("18", "network cut", "D(2,1) S:iter ~8 D(6,2) D(5,1) ~1 S:end", DESTROYED),
    _failure("19", "client killed", "D(2,1) S:iter ~2 D(6,2) D(5,1) S:end", DESTROYED),
    _success("20", "client killed, p2p", _LIVE),
    _failure(
        "21",
        "destination's host lost",
        "D(2,1) S:iter ~2 D:dark S:end",
        ExpectedVerdict("failed", ON_S, "source_job_ended", confirmed="S"),
        destination_alone=("started", "unresolved"),
        without_job=False,
    ),
    _failure("22", "source's libvirtd killed", "D(2,1) S:iter ~2 S:blind D(5,5) ~1.5 S:back S:end"),
    _failure(
        "22",
        "source's libvirtd killed, p2p",
        "D(2,1) S:iter ~2 S:blind D(6,2) D(5,1) ~1.5 S:back S:end",
        DESTROYED,
    ),
    _failure(
        "22b",
        "source's host lost",
        "D(2,1) S:iter ~2 S:dark ~3 D(5,5) ~90 S=shutoff/crashed S:back",
        ExpectedVerdict("failed", ("", "lost"), "source_crashed"),
        source_alone=(),
        leaves="",
        revised=RELEASES,
    ),
    _failure(
        "23",
        "destination's libvirtd killed",
        "D(2,1) S:iter ~2 D:blind S:end ~1.5 D=ended D:back",
        ExpectedVerdict("failed", ON_S, "destination_vanished", confirmed="sD"),
        newer="D(2,1) S:iter ~2 D:blind S:end ~1.5 D:back D(6,2) D=shutdown/unknown ~1 D=ended",
        revised=("11.3",),
    ),
    _failure(
        "24",
        "finish fails",
        "D(2,1) S:iter S(3,1) S:iter ~1.4 D(5,5) S(4,1) S:end",
        ExpectedVerdict("failed", ON_S, "destination_failed"),
    ),
    _success(
        "25",
        "confirm lost",
        "D(2,1) S:iter S(3,1) S:iter D(4,1)",
        ExpectedVerdict("completed", ON_D, attention="source_left_paused", confirmed="D"),
        source_alone=("unresolved",),
        leaves="SD",
    ),
    _success(
        "26",
        "source's libvirtd killed at the end",
        "D(2,1) S:iter S(3,1) S:iter D(4,1) S:blind ~1.5 S:back",
        ExpectedVerdict("completed", ON_D, attention="source_left_paused", confirmed="D"),
        source_alone=("unresolved",),
        leaves="SD",
    ),
    _success(
        "27",
        "source's libvirtd stopped during confirm",
        "D(2,1) S:iter S(3,1) S:iter D(4,1) S:blind ~1 S=ended ~1 S:back",
        source_alone=("unresolved",),
    ),
    _success(
        "28",
        "finish's answer lost",
        "D(2,1) S:iter S(3,1) S:iter D(4,1) ~0.2 S(4,1) S:end",
        ExpectedVerdict("conflict", ("", "running")),
        source_alone=JOB_ENDED,
        leaves="SD",
    ),
    _failure(
        "29",
        "guest powers off",
        "D(2,1) S:iter ~2 S(6,1) S(5,0) D(5,5)",
        STOPPED,
        source_alone=(),
        leaves="",
    ),
    _failure(
        "30",
        "source's QEMU crashes",
        "D(2,1) S:iter ~2 S(5,5)! D(5,5)",
        CRASHED,
        source_alone=(),
        leaves="",
    ),
    _failure(
        "31",
        "source destroyed",
        "D(2,1) S:iter ~2 S(6,2) S(5,1) D(5,5)",
        STOPPED,
        source_alone=(),
        leaves="",
    ),
    _failure(
        "29",
        "guest powers off before the first iteration",
        "D(2,1) ~0.5 S(6,1) S(5,0) ~0.2 D(5,5)",
        STOPPED,
        source_alone=(),
        leaves="",
    ),
    _failure(
        "30",
        "source's QEMU crashes before the first iteration",
        "D(2,1) ~0.5 S(5,5)! ~0.2 D(5,5)",
        CRASHED,
        source_alone=(),
        leaves="",
    ),
    _failure(
        "31",
        "source destroyed before the first iteration",
        "D(2,1) ~0.5 S(6,2) S(5,1) ~2 D(5,5)",
        STOPPED,
        source_alone=(),
        leaves="",
    ),
    _failure(
        "29",
        "guest powers off, its end reported last",
        "D(2,1) S:iter ~2 S(6,1) ~0.2 D(5,5) ~1.5 S(5,0)",
        STOPPED,
        source_alone=(),
        leaves="",
    ),
    _failure(
        "31",
        "source destroyed, its end reported last",
        "D(2,1) S:iter ~2 S(6,2) ~0.2 D(5,5) ~1.5 S(5,1)",
        STOPPED,
        source_alone=(),
        leaves="",
    ),
    _failure(
        "32",
        "storage copy aborted",
        "D(2,1) ~2 D(5,5)",
        ExpectedVerdict("failed", ON_S, "destination_failed", confirmed="D"),
        source_alone=(),
    ),
    MigrationRow(
        "33",
        "post-copy broken",
        _FLOWING + " ~1 S(3,8) D(4,4)",
        None,
        published=("started", "interrupted"),
        source_alone=("interrupted",),
        destination_alone=("started", "interrupted"),
        leaves="SD",
    ),
    _success(
        "34",
        "post-copy recovered",
        _FLOWING + " ~1 S(3,8) D(4,4) ~15 D(4,3) S(3,7) ~6 D(4,1) ~1.7 S(5,3) S:JC",
        FLOWED,
        published=("started", "interrupted"),
        source_alone=("interrupted", "completed"),
        destination_alone=("started", "interrupted", "completed"),
    ),
    _success(
        "35",
        "post-copy, network away",
        _FLOWING + " ~8 S(3,8) ~12 D(4,1) ~1.2 S(5,3) S:JC",
        FLOWED,
        published=("started", "interrupted"),
        source_alone=("interrupted", "completed"),
    ),
    _success(
        "36",
        "post-copy, source's libvirtd restarted",
        _FLOWING + " ~1 S:blind ~3 S:back ~4 D(4,1) ~1.8 S(5,3) S:JC",
        FLOWED,
    ),
    _success(
        "36",
        "post-copy, client killed",
        _FLOWING + " ~1 S(3,8) ~14 D(4,1) ~1.8 S(5,3) S:JC",
        FLOWED,
        published=("started", "interrupted"),
        source_alone=("interrupted", "completed"),
    ),
    _failure(
        "37",
        "post-copy, source's QEMU killed",
        _FLOWING + " ~1 D(4,4) ~1.4 S(3,8) S(5,5)!",
        _PAGES_LOST,
        published=("started", "interrupted"),
        source_alone=("interrupted", "unresolved"),
        destination_alone=("started", "interrupted"),
        leaves="D",
    ),
    _failure(
        "37",
        "its death seen first",
        _FLOWING + " ~1 D(4,4) ~0.4 S(5,5)!",
        _PAGES_LOST,
        published=("started", "interrupted"),
        source_alone=("unresolved",),
        destination_alone=("started", "interrupted"),
        leaves="D",
    ),
    _failure(
        "38",
        "post-copy, destination's QEMU killed",
        _FLOWING + " ~1 S(3,8) D(5,5)!",
        ExpectedVerdict("failed", ("", "lost"), "postcopy_failed", mode="postcopy", confirmed="D"),
        published=("started", "interrupted"),
        source_alone=("interrupted",),
        leaves="S",
    ),
    _failure(
        "39",
        "source can't resume",
        "D(2,1) S:iter S(3,1) S:iter ~1.4 D(5,5) S(4,1) ~0.01 S(3,1) S:end",
        ExpectedVerdict("failed", ("S", "paused"), "destination_failed", attention="guest_left_paused"),
    ),
    _failure(
        "39",
        "source can't resume, and reports that",
        "D(2,1) S:iter S(3,1) S:iter ~1.4 D(5,5) S(3,6) S:end",
        ExpectedVerdict("failed", ("S", "paused"), "destination_failed", attention="guest_left_paused"),
    ),
    _success("Xen", "live", "D(2,2) ~1 D(4,1) D(0,0) S(5,3)", driver="Xen"),
    _success(
        "Xen",
        "paused",
        "D(2,2) ~1 D(3,0) S(5,3)",
        ExpectedVerdict("completed", ("D", "paused")),
        driver="Xen",
        published=(),
        destination_alone=(),
        before="paused/user",
    ),
    _success(
        "Xen", "causes unknown", "D(2,2) ~1 D(4,0) S(5,3)", driver="Xen", published=(), destination_alone=()
    ),
)
"""Each row of the table of migrations."""

LOOK_ALIKES: Final[tuple[MigrationRow, ...]] = (
    MigrationRow("-", "save", "S(3,0) S:iter S:iter S:JC(save) ~1.3 S(5,4)", None, published=(), leaves=""),
    MigrationRow("-", "restore", "S(2,2) S(4,2)", None, published=(), before="shutoff/saved"),
    MigrationRow(
        "-", "restore of a paused image", "S(2,2) S(3,4)", None, published=(), before="shutoff/saved"
    ),
    MigrationRow("-", "dump", "S(3,0) S:iter S:iter S:JC(dump) S(4,0)", None, published=()),
    MigrationRow("-", "dump live", "S:iter S(3,0) S:JC(dump) S(4,0)", None, published=()),
    MigrationRow("-", "boot", "S(4,0) S(2,0)", None, published=(), before="shutoff/shutdown"),
    MigrationRow("-", "crash", "S(5,5)!", None, published=(), leaves=""),
    MigrationRow("-", "panic and crash", "S(8,0) S(5,2)", None, published=(), leaves=""),
    MigrationRow("-", "crash while saved", "S(3,0) S:iter S(5,5)!", None, published=(), leaves=""),
    MigrationRow("-", "reboot by power cycle", "S(6,0) S(5,0) ~1 S(4,0) S(2,0)", None, published=()),
    MigrationRow("-", "paused by hand", "S(3,0) ~3 S(4,0)", None, published=()),
    MigrationRow("-", "io error", "S(3,2) ~3 S(4,0)", None, published=()),
    MigrationRow("-", "snapshot", "S(3,0) S(4,2)", None, published=()),
    MigrationRow("-", "suspend to memory", "S(7,0) ~3 S(2,4)", None, published=()),
    MigrationRow("-", "definition copied by hand", "D(0,0) ~60 D(0,1)", None, published=()),
    MigrationRow("-", "definition copied and removed", "D(0,0) ~60 D(1,0)", None, published=()),
    MigrationRow(
        "-",
        "definition moved by hand",
        "D(0,0) ~60 S(1,0)",
        None,
        published=(),
        before="shutoff/unknown",
        leaves="",
    ),
    MigrationRow(
        "-", "definition renamed", "S(1,1) S(0,2)", None, published=(), before="shutoff/unknown", leaves=""
    ),
    MigrationRow(
        "-",
        "shut down and started elsewhere",
        "S(6,1) S(5,0) ~30 D(4,0) D(2,0)",
        None,
        published=(),
        leaves="D",
    ),
    MigrationRow(
        "-",
        "saved, restored elsewhere",
        "S(3,0) S:iter S:JC(save) S(5,4) ~9 D(2,2) D(4,2)",
        None,
        published=(),
        leaves="D",
    ),
)
"""What resembles a migration and is none."""

CONFLICT_ALONE: Final = MigrationRow(
    "-",
    "both run without a migration",
    "D(4,0) D(2,0)",
    ExpectedVerdict("conflict", ("", "running")),
    published=(),
    leaves="SD",
)
"""The same UUID started on a second host by hand."""
