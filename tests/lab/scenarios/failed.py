"""Migrations that fail, with the guest where it was, or down."""

import signal

from tests.lab import waiting
from tests.lab.guest import Guest
from tests.lab.interception import Interception
from tests.lab.scenarios.completed import LEFT
from tests.lab.scenarios.story import BOOTED, CANCELED, GONE, RUNNING, Truth, scenario
from tests.lab.stage import Stage

STAYED = {"S": BOOTED, "D": GONE}
DOWN = {"S": GONE, "D": GONE}


def failed(
    *reason: str, guest: tuple[str | None, str] | None = ("S", "running"), attention: str | None = None
) -> Truth:
    """A failure for one of these reasons, the guest on the source unless said."""
    return Truth("failed", reason=reason, guest=guest, attention=attention)


@scenario("13", emits={"S": "iter+", "D": "2,1 5,5"}, afterwards=STAYED, truths=failed("destination_failed"))
def aborted(stage: Stage) -> None:
    """The job is aborted during a live copy: the source says nothing at all."""
    stage.start(busy=True)
    migration = stage.copy_slowly()
    migration.abort()
    migration.fail()


@scenario(
    "14",
    emits={"S": "3,1 iter+ 4,1", "D": "2,1 5,5"},
    afterwards={"S": CANCELED, "D": GONE},
    truths=failed("destination_failed"),
)
def aborted_non_live(stage: Stage) -> None:
    """The job is aborted while the guest is paused for it."""
    stage.start(busy=True)
    migration = stage.copy_slowly(live=False)
    migration.abort()
    migration.fail()


@scenario(
    "14",
    emits={"S": "iter+ 3,1 iter* 4,1", "D": "2,1 5,5"},
    afterwards={"S": CANCELED, "D": GONE},
    truths=failed("destination_failed"),
)
def aborted_suspended(stage: Stage) -> None:
    """The job is aborted after somebody suspended the guest during the copy."""
    guest = stage.start(busy=True)
    migration = stage.copy_slowly()
    stage.source.virsh("suspend", guest.uuid)
    stage.await_event("S", "3,1")
    migration.abort()
    migration.fail()


@scenario("15", emits={"S": "", "D": ""}, afterwards=STAYED)
def prepare_refused(stage: Stage) -> None:
    """The destination has another guest of that name: nothing begins, and nobody says anything."""
    guest = stage.start()
    other = Guest(guest.name)
    stage.guests.append(other)
    other.start(stage.destination)
    stage.migrate().fail()


@scenario("16", emits={"S": "iter+", "D": "2,1 5,5"}, afterwards=STAYED, truths=failed("destination_failed"))
def destination_qemu_killed(stage: Stage) -> None:
    """The destination's QEMU dies during the copy."""
    guest = stage.start(busy=True)
    migration = stage.copy_slowly()
    stage.destination.kill_qemu(guest.uuid)
    migration.fail()


@scenario(
    "17", emits={"S": "iter+", "D": "2,1 5,1"}, afterwards=STAYED, truths=failed("destination_destroyed")
)
def destination_destroyed(stage: Stage) -> None:
    """Somebody destroys the incoming guest."""
    guest = stage.start(busy=True)
    migration = stage.copy_slowly()
    stage.destination.virsh("destroy", guest.uuid)
    migration.fail()


@scenario(
    "18", emits={"S": "iter+", "D": "2,1 5,1"}, afterwards=STAYED, truths=failed("destination_destroyed")
)
def network_cut(stage: Stage) -> None:
    """The network between the two hosts goes away during the copy."""
    stage.start(busy=True)
    migration = stage.copy_slowly()
    stage.source.cut(stage.destination)
    migration.fail()


@scenario(
    "19", emits={"S": "iter+", "D": "2,1 5,1"}, afterwards=STAYED, truths=failed("destination_destroyed")
)
def client_killed_direct(stage: Stage) -> None:
    """The client that steers dies during the copy."""
    stage.start(busy=True)
    stage.copy_slowly(direct=True).kill()


@scenario(
    "21",
    emits={"S": "iter+", "D": "2,1 lost"},
    afterwards={"S": BOOTED},
    truths=failed("source_job_ended", "destination_vanished"),
)
def destination_lost(stage: Stage) -> None:
    """The destination host is lost during the copy: neither side says anything."""
    stage.start(busy=True)
    migration = stage.copy_slowly()
    stage.destination.lose()
    migration.fail()


@scenario(
    "22",
    emits={"S": "iter+ lost back", "D": "2,1 5,1"},
    afterwards=STAYED,
    truths=failed("destination_destroyed"),
)
def source_libvirtd_killed(stage: Stage) -> None:
    """The source's libvirtd is killed during the copy, and started again."""
    stage.start(busy=True)
    stage.copy_slowly()
    stage.source.restart_libvirtd(signal.SIGKILL)


@scenario(
    "22",
    emits={"S": "iter+ lost back", "D": "2,1 5,5"},
    afterwards=STAYED,
    truths=failed("destination_failed"),
)
def source_libvirtd_killed_direct(stage: Stage) -> None:
    """The same when the client steers: it tells the destination."""
    stage.start(busy=True)
    migration = stage.copy_slowly(direct=True)
    stage.source.restart_libvirtd(signal.SIGKILL)
    migration.fail()


@scenario(
    "22b",
    emits={"S": "iter+ lost back", "D": "2,1 5,1"},
    afterwards={"S": "shut off (crashed)", "D": GONE},
    truths=failed("source_crashed", "destination_destroyed", guest=(None, "lost")),
)
def source_lost(stage: Stage) -> None:
    """The source host is lost during the copy, and comes back without the guest."""
    stage.start(busy=True, persistent=True)
    stage.copy_slowly()
    stage.source.lose()
    stage.await_event("D", "5,1")
    stage.source.ensure_up()


@scenario(
    "23",
    emits={"S": "iter+", "D": "2,1 lost 6,2? back 6,2?"},
    afterwards=STAYED,
    truths=failed("destination_vanished"),
)
def destination_libvirtd_killed(stage: Stage) -> None:
    """The destination's libvirtd is killed during the copy, and started again."""
    stage.start(busy=True)
    migration = stage.copy_slowly()
    stage.destination.restart_libvirtd(signal.SIGKILL)
    migration.fail()


@scenario(
    "24",
    emits={"S": "iter* 3,1 iter* 4,1", "D": "2,1 5,5"},
    afterwards={"S": CANCELED, "D": GONE},
    truths=failed("destination_failed"),
)
def finish_fails(stage: Stage) -> None:
    """All is copied, but the destination's QEMU dies before it is told to go on."""
    guest = stage.start()
    with Interception(stage.source, stage.destination, "call:finish") as between:
        migration = stage.migrate(port=between.port)
        between.wait_held()
        stage.destination.kill_qemu(guest.uuid)
        stage.await_event("D", "5,5")
        between.release()
        migration.fail()


@scenario(
    "29",
    emits={"S": "iter+ 6,1 5,0", "D": "2,1 5,5"},
    afterwards=DOWN,
    truths=failed("source_stopped", guest=(None, "shutoff")),
)
def guest_powered_off(stage: Stage) -> None:
    """The guest shuts itself down during the copy."""
    guest = stage.start(busy=True)
    migration = stage.copy_slowly()
    guest.power_off(stage.source)
    migration.fail()


@scenario(
    "30",
    emits={"S": "iter+ 5,5", "D": "2,1 5,5"},
    afterwards=DOWN,
    truths=failed("source_crashed", guest=(None, "lost")),
)
def source_qemu_killed(stage: Stage) -> None:
    """The source's QEMU dies during the copy."""
    guest = stage.start(busy=True)
    migration = stage.copy_slowly()
    stage.source.kill_qemu(guest.uuid)
    migration.fail()


@scenario(
    "31",
    emits={"S": "iter+ 5,1", "D": "2,1 5,5"},
    afterwards=DOWN,
    truths=failed("source_stopped", guest=(None, "shutoff")),
)
def source_destroyed(stage: Stage) -> None:
    """Somebody destroys the guest on the source during the copy."""
    guest = stage.start(busy=True)
    migration = stage.copy_slowly()
    stage.source.virsh("destroy", guest.uuid)
    migration.fail()


@scenario("32", emits={"S": "", "D": "2,1 5,5"}, afterwards=STAYED, truths=failed("destination_failed"))
def storage_copy_aborted(stage: Stage) -> None:
    """The job is aborted while the disk is copied, before the memory's turn."""
    guest = stage.start(disk="private")
    guest.make_disk(stage.destination)
    migration = stage.migrate("--copy-storage-all", "--bandwidth", "1")
    stage.await_event("D", "2,1")
    command = ("blockjob", guest.uuid, "vda", "--raw")
    waiting.until(
        lambda: "type=" in stage.source.virsh(*command, check=False), what="the disk's copy to begin"
    )
    migration.abort()
    migration.fail()


@scenario(
    "13",
    "1",
    emits={"S": f"iter+ {LEFT}", "D": "2,1 5,5 2,1 4,1"},
    afterwards={"S": GONE, "D": RUNNING},
    truths=(failed("destination_failed"), Truth("completed")),
)
def failed_then_completed(stage: Stage) -> None:
    """An attempt is aborted, the next one succeeds."""
    aborted(stage)
    stage.await_event("D", "5,5")
    migration = stage.migrate()
    migration.succeed()
