"""Migrations whose sides come to believe different things: an answer lost, a daemon dead at the switch."""

import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab import process, waiting
from tests.lab.interception import Interception
from tests.lab.migration import Migration
from tests.lab.scenarios.failed import failed
from tests.lab.scenarios.story import CANCELED, GONE, RUNNING, Truth, scenario
from tests.lab.stage import Stage

STANDOFF_S = 3.0
"""How long the guest runs on both hosts before somebody sees it."""
SWITCHED = "iter* 3,1 iter*"
STUCK = {"S": "paused (migrating)", "D": RUNNING}
LEFT_PAUSED = Truth("completed", attention="source_left_paused")
BOTH_RUN = Truth("conflict", guest=None)


@scenario("25", emits={"S": SWITCHED, "D": "2,1 4,1"}, afterwards=STUCK, truths=LEFT_PAUSED)
def confirm_lost(stage: Stage) -> None:
    """The client that steers dies after the destination resumed and before the source is told."""
    stage.start()
    with _resumed_unanswered(stage, direct=True) as (_, migration):
        migration.kill()


@scenario("26", emits={"S": f"{SWITCHED} lost back", "D": "2,1 4,1"}, afterwards=STUCK, truths=LEFT_PAUSED)
def source_libvirtd_killed_at_switch(stage: Stage) -> None:
    """The source's libvirtd is killed just after the destination resumed."""
    stage.start()
    with _resumed_unanswered(stage):
        stage.source.restart_libvirtd(signal.SIGKILL)


@scenario(
    "27",
    emits={"S": f"{SWITCHED} lost back", "D": "2,1 4,1"},
    afterwards={"S": GONE, "D": RUNNING},
    truths=Truth("completed"),
)
def source_libvirtd_killed_in_confirm(stage: Stage) -> None:
    """The source's libvirtd dies while it ends its QEMU: its last word is lost."""
    guest = stage.start()
    with _resumed_unanswered(stage) as (between, _):
        qemu = stage.source.qemu_pid(guest.uuid)
        assert qemu is not None
        # A stopped QEMU keeps libvirtd waiting for its end for long enough to kill it.
        os.kill(qemu, signal.SIGSTOP)
        between.release()
        waiting.until(lambda: process.told_to_end(qemu), what="the source to end its QEMU")
        stage.source.stop_libvirtd(signal.SIGKILL)
        os.kill(qemu, signal.SIGCONT)
        waiting.until(lambda: stage.source.qemu_pid(guest.uuid) is None, what="QEMU to end")
        stage.source.start_libvirtd()


@scenario(
    "28",
    emits={"S": f"{SWITCHED} 4,1", "D": "2,1 4,1"},
    afterwards={"S": CANCELED, "D": RUNNING},
    truths=BOTH_RUN,
)
def finish_answer_lost(stage: Stage) -> None:
    """The destination resumed, but its answer is lost on the way: the source resumes, too."""
    stage.start()
    with _resumed_unanswered(stage) as (between, migration):
        between.cut()
        migration.fail()


@scenario(
    "28",
    emits={"S": f"{SWITCHED} 4,1", "D": "2,1 4,1"},
    afterwards={"S": CANCELED, "D": RUNNING},
    truths=BOTH_RUN,
)
def finish_answer_lost_direct(stage: Stage) -> None:
    """The same when the client steers."""
    stage.start()
    with _resumed_unanswered(stage, direct=True) as (between, migration):
        between.cut()
        migration.fail()


@scenario(
    "28",
    emits={"S": f"{SWITCHED} 4,1 5,1", "D": "2,1 4,1"},
    afterwards={"S": GONE, "D": RUNNING},
    truths=(BOTH_RUN, Truth("completed")),
)
def conflict_ended(stage: Stage) -> None:
    """The guest runs on both hosts until somebody destroys it on the source."""
    finish_answer_lost(stage)
    stage.await_event("S", "4,1")
    time.sleep(STANDOFF_S)
    stage.source.virsh("destroy", stage.guest.uuid)


@scenario(
    "39",
    emits={"S": f"{SWITCHED} (4,1 3,1|3,6)?", "D": "2,1 5,5"},
    afterwards={
        "S": ("paused (migrating)", "paused (unknown)", "paused (user)", "paused (api error)"),
        "D": GONE,
    },
    truths=failed("destination_failed", guest=("S", "paused"), attention="guest_left_paused"),
)
def source_unable_to_resume(stage: Stage) -> None:
    """The switch-over fails, and the source can't go on, either: something else has its disk."""
    guest = stage.start(disk="shared")
    with Interception(stage.source, stage.destination, "call:finish") as between:
        # libvirt takes only network file systems for shared storage.
        migration = stage.migrate("--unsafe", port=between.port)
        between.wait_held()
        stage.destination.kill_qemu(guest.uuid)
        stage.await_event("D", "5,5")
        with _image_locked(guest.disk_on(stage.source)):
            between.release()
            migration.fail()


@contextmanager
def _resumed_unanswered(stage: Stage, *, direct: bool = False) -> Iterator[tuple[Interception, Migration]]:
    """A migration whose destination has resumed, its answer still held."""
    with Interception(stage.source, stage.destination, "reply:finish") as between:
        migration = stage.migrate(direct=direct, port=between.port)
        between.wait_held()
        stage.await_event("D", "4,1")
        yield between, migration


@contextmanager
def _image_locked(image: Path) -> Iterator[None]:
    """Hold all the locks by which QEMU tells others what it does with an image (from byte 100 on)."""
    with image.open("r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX, 200, 100)
        yield
