"""Post-copy: the guest runs on the destination while its memory is still on the way."""

import signal
import time

from tests.lab import waiting
from tests.lab.migration import Migration
from tests.lab.scenarios.completed import ARRIVED
from tests.lab.scenarios.story import GONE, Truth, scenario
from tests.lab.stage import Stage

AWAY_S = 12
_ITS_PEER_S = 0.5
BEGUN = "iter* 3,1 iter* 3,7 iter*"
COMPLETED = Truth("completed", mode="postcopy")
INTERRUPTED = Truth("interrupted", mode="postcopy", guest=None)
MAYBE_INTERRUPTED = Truth("interrupted", mode="postcopy", guest=None, optional=True)


@scenario("12", emits={"S": f"{BEGUN} 5,3 job5", "D": "2,1 4,3 4,1"}, afterwards=ARRIVED, truths=COMPLETED)
def postcopy(stage: Stage) -> None:
    """A copy that doesn't end is switched to post-copy."""
    stage.start(busy=True)
    migration = _begin(stage)
    _hurry(stage)
    migration.succeed()


@scenario(
    "33",
    emits={"S": f"{BEGUN} 3,8", "D": "2,1 4,3 4,4"},
    afterwards={"S": "paused (post-copy failed)", "D": "running (post-copy failed)"},
    truths=INTERRUPTED,
)
def postcopy_broken(stage: Stage) -> None:
    """A post-copy is broken off, and stays so."""
    stage.start(busy=True)
    _break(stage)


@scenario(
    "34",
    emits={"S": f"{BEGUN} 3,8 3,7 iter* 5,3 job5", "D": "2,1 4,3 4,4 4,3 4,1"},
    afterwards=ARRIVED,
    truths=(INTERRUPTED, COMPLETED),
)
def postcopy_recovered(stage: Stage) -> None:
    """A post-copy is broken off and then resumed."""
    stage.start(busy=True)
    _break(stage)
    _recover(stage)


@scenario(
    "35",
    emits={"S": f"{BEGUN} 3,8 iter* 5,3 job5", "D": "2,1 4,3 4,1"},
    afterwards=ARRIVED,
    truths=(INTERRUPTED, COMPLETED),
)
def postcopy_network_away(stage: Stage) -> None:
    """The network is away for a while during a post-copy, which then completes by itself."""
    stage.start(busy=True)
    _begin(stage)
    stage.source.cut(stage.destination)
    time.sleep(AWAY_S)
    stage.source.join(stage.destination)
    _hurry(stage)


@scenario(
    "36",
    emits={"S": f"{BEGUN} 3,8? iter* 5,3 job5", "D": "2,1 4,3 4,4? 4,3? 4,1"},
    afterwards=ARRIVED,
    truths=(MAYBE_INTERRUPTED, COMPLETED),
)
def postcopy_client_killed(stage: Stage) -> None:
    """The client that steers dies during a post-copy, which completes all the same."""
    stage.start(busy=True)
    migration = _begin(stage, direct=True)
    migration.kill()
    _hurry(stage)


@scenario(
    "36",
    emits={"S": f"{BEGUN} lost back 3,8? iter* 5,3 job5", "D": "2,1 4,3 4,4? 4,3? 4,1"},
    afterwards=ARRIVED,
    truths=(MAYBE_INTERRUPTED, COMPLETED),
)
def postcopy_source_libvirtd_killed(stage: Stage) -> None:
    """The source's libvirtd is killed during a post-copy, and started again."""
    stage.start(busy=True)
    _begin(stage)
    stage.source.restart_libvirtd(signal.SIGKILL)
    _hurry(stage)


@scenario(
    "36",
    emits={"S": f"{BEGUN} 3,8? iter* 5,3 job5", "D": "2,1 4,3 lost back 4,4? 4,3? 4,1"},
    afterwards=ARRIVED,
    truths=(MAYBE_INTERRUPTED, COMPLETED),
)
def postcopy_destination_libvirtd_killed(stage: Stage) -> None:
    """The destination's libvirtd is killed during a post-copy, and started again."""
    stage.start(busy=True)
    _begin(stage)
    stage.destination.restart_libvirtd(signal.SIGKILL)
    _hurry(stage)


@scenario(
    "37",
    emits={"S": f"{BEGUN} 3,8? 5,5", "D": "2,1 4,3 4,4"},
    afterwards={"S": GONE, "D": "running (post-copy failed)"},
    truths=(
        MAYBE_INTERRUPTED,
        Truth(
            "failed",
            mode="postcopy",
            reason=("source_crashed", "postcopy_failed"),
            guest=(None, "lost"),
            attention="postcopy_incomplete",
        ),
    ),
)
def postcopy_source_qemu_killed(stage: Stage) -> None:
    """The source's QEMU dies during a post-copy, and the guest's missing pages with it."""
    guest = stage.start(busy=True)
    _begin(stage)
    stage.source.kill_qemu(guest.uuid)


@scenario(
    "38",
    emits={"S": f"{BEGUN} 3,8", "D": "2,1 4,3 5,5"},
    afterwards={"S": "paused (post-copy failed)", "D": GONE},
    truths=(
        MAYBE_INTERRUPTED,
        Truth("failed", mode="postcopy", reason=("postcopy_failed",), guest=(None, "lost")),
    ),
)
def postcopy_destination_qemu_killed(stage: Stage) -> None:
    """The destination's QEMU, which has the guest's newest state, dies during a post-copy."""
    guest = stage.start(busy=True)
    _begin(stage)
    stage.destination.kill_qemu(guest.uuid)


def _begin(stage: Stage, *, direct: bool = False) -> Migration:
    """A post-copy that is under way and goes on for half a minute unless hurried."""
    migration = stage.copy_slowly("--postcopy", "--postcopy-bandwidth", "1", direct=direct)
    stage.source.virsh("migrate-postcopy", stage.guest.uuid)
    stage.await_event("S", "3,7")
    stage.await_event("D", "4,3")
    return migration


def _break(stage: Stage) -> None:
    migration = _begin(stage)
    migration.abort("--postcopy")
    stage.await_event("S", "3,8")
    stage.await_event("D", "4,4")
    migration.fail()


def _recover(stage: Stage) -> None:
    # A try that comes before the QEMUs see the break fails, and in 11.3 takes the destination's libvirtd down
    # with it. The destination's can't be asked: it waits for memory, and its monitor with it.
    command = ("qemu-monitor-command", stage.guest.uuid, "--hmp", "info migrate")
    waiting.until(lambda: "postcopy-paused" in stage.source.virsh(*command), what="QEMU to see the break")
    time.sleep(_ITS_PEER_S)
    migration = stage.migrate("--postcopy", "--postcopy-resume")
    stage.await_event("S", "3,7", times=2)
    _hurry(stage)
    migration.succeed()


def _hurry(stage: Stage) -> None:
    stage.source.virsh("migrate-setspeed", "--postcopy", stage.guest.uuid, "1000")
