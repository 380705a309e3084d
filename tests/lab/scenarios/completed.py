"""Migrations that succeed."""

from tests.lab.migration import Migration
from tests.lab.scenarios.story import GONE, RUNNING, Truth, scenario
from tests.lab.stage import Stage

LEFT = "iter* 3,1 iter* 5,3 job5"
ARRIVED = {"S": GONE, "D": RUNNING}


@scenario("1", emits={"S": LEFT, "D": "2,1 4,1"}, afterwards=ARRIVED, truths=Truth("completed"))
def live(stage: Stage) -> None:
    """A live migration, steered by the two libvirtds."""
    stage.start()
    stage.migrate().succeed()


@scenario("1", emits={"S": LEFT, "D": "2,1 4,1"}, afterwards=ARRIVED, truths=Truth("completed"))
def live_direct(stage: Stage) -> None:
    """A live migration, steered by the client."""
    stage.start()
    stage.migrate(direct=True).succeed()


@scenario("1", emits={"S": LEFT, "D": "2,1 4,1"}, afterwards=ARRIVED, truths=Truth("completed"))
def tunnelled(stage: Stage) -> None:
    """A live migration whose memory goes through the libvirtds' own connection."""
    stage.start()
    stage.migrate("--tunnelled").succeed()


@scenario(
    "2", emits={"S": "3,1 iter+ 5,3 job5", "D": "2,1 4,1"}, afterwards=ARRIVED, truths=Truth("completed")
)
def non_live(stage: Stage) -> None:
    """The guest is paused while it is copied."""
    stage.start()
    stage.migrate(live=False).succeed()


@scenario(
    "3",
    emits={"S": LEFT, "D": "2,1 3,0"},
    afterwards={"S": GONE, "D": "paused (user)"},
    truths=Truth("completed", guest=("D", "paused")),
)
def suspended_on_arrival(stage: Stage) -> None:
    """The guest is asked to be left paused on the destination."""
    stage.start()
    stage.migrate("--suspend").succeed()


@scenario(
    "4",
    emits={"S": "iter* 5,3 job5", "D": "2,1 3,0"},
    afterwards={"S": GONE, "D": "paused (user)"},
    truths=Truth("completed", guest=("D", "paused")),
)
def paused_before(stage: Stage) -> None:
    """The guest was paused already, and arrives so."""
    guest = stage.start()
    stage.source.virsh("suspend", guest.uuid)
    stage.await_event("S", "3,0")
    stage.begin()
    stage.migrate().succeed()


@scenario("5", emits={"S": LEFT, "D": "2,1 0,0 4,1"}, afterwards=ARRIVED, truths=Truth("completed"))
def made_persistent(stage: Stage) -> None:
    """A transient guest is made persistent on the destination."""
    stage.start()
    stage.migrate("--persistent").succeed()


@scenario(
    "5",
    emits={"S": LEFT, "D": "2,1 0,0 4,1"},
    afterwards={"S": "shut off (migrated)", "D": RUNNING},
    truths=Truth("completed"),
)
def persistent_kept(stage: Stage) -> None:
    """A persistent guest, whose definition stays on the source, too."""
    stage.start(persistent=True)
    stage.migrate("--persistent").succeed()


@scenario(
    "5",
    emits={"S": LEFT, "D": "2,1 0,1 4,1"},
    afterwards={"S": "shut off (migrated)", "D": RUNNING},
    truths=Truth("completed"),
)
def persistent_on_both(stage: Stage) -> None:
    """A persistent guest that the destination has a definition of already."""
    guest = stage.start(persistent=True)
    guest.define(stage.destination)
    stage.await_event("D", "0,0")
    stage.begin()
    stage.migrate("--persistent").succeed()


@scenario("6", emits={"S": LEFT, "D": "2,1 0,0 4,1"}, afterwards=ARRIVED, truths=Truth("completed"))
def persistent_undefined(stage: Stage) -> None:
    """A persistent guest moves with its definition: the source says nothing of losing it."""
    stage.start(persistent=True)
    stage.migrate("--persistent", "--undefinesource").succeed()


@scenario("8", emits={"S": LEFT, "D": "2,1 4,1"}, afterwards=ARRIVED, truths=Truth("completed"))
def renamed(stage: Stage) -> None:
    """The guest gets another name on the destination."""
    guest = stage.start()
    stage.migrate("--dname", f"{guest.name}-renamed").succeed()


@scenario("9", emits={"S": LEFT, "D": "2,1 4,1"}, afterwards=ARRIVED, truths=Truth("completed"))
def storage_copied(stage: Stage) -> None:
    """The guest's disk is copied with it."""
    guest = stage.start(disk="private")
    guest.make_disk(stage.destination)
    stage.migrate("--copy-storage-all").succeed()


@scenario(
    "10",
    emits={"S": "", "D": "0,0"},
    afterwards={"S": GONE, "D": "shut off (unknown)"},
    truths=Truth("completed", mode="offline", guest=("D", "shutoff")),
)
def offline(stage: Stage) -> None:
    """A guest that is down moves with its definition: only the destination says a word."""
    _define(stage)
    stage.migrate("--offline", "--persistent", "--undefinesource", live=False).succeed()


@scenario(
    "10b", emits={"S": "", "D": "0,0"}, afterwards={"S": "shut off (unknown)", "D": "shut off (unknown)"}
)
def offline_copied(stage: Stage) -> None:
    """A guest that is down is migrated and keeps its definition: nothing but a copied definition."""
    _define(stage)
    stage.migrate("--offline", "--persistent", live=False).succeed()


@scenario(
    "11",
    emits={"S": "iter+ 3,1 iter* 5,3 job5", "D": "2,1 4,1"},
    afterwards=ARRIVED,
    truths=Truth("completed"),
)
def suspended_while_copied(stage: Stage) -> None:
    """Somebody suspends the guest during the copy; the destination resumes it."""
    guest = stage.start(busy=True)
    migration = stage.copy_slowly()
    stage.source.virsh("suspend", guest.uuid)
    stage.await_event("S", "3,1")
    migration.hurry()
    migration.succeed()


@scenario(
    "11",
    emits={"S": "iter* 3,1 iter* 5,3 job5", "D": "2,1 4,1"},
    afterwards=ARRIVED,
    truths=Truth("completed"),
)
def suspended_by_timeout(stage: Stage) -> None:
    """The copy takes longer than --timeout allows, and the client suspends the guest."""
    stage.start(busy=True)
    migration = stage.copy_slowly("--timeout", "1", "--timeout-suspend")
    stage.await_event("S", "3,1")
    migration.hurry()
    migration.succeed()


@scenario("20", emits={"S": LEFT, "D": "2,1 4,1"}, afterwards=ARRIVED, truths=Truth("completed"))
def client_killed(stage: Stage) -> None:
    """The client dies, but the two libvirtds steer: the migration completes."""
    stage.start(busy=True)
    migration = stage.copy_slowly()
    migration.kill()
    migration.hurry()
    stage.await_event("S", "job5")


@scenario(
    "1",
    emits={"S": f"{LEFT} 2,1 4,1", "D": f"2,1 4,1 {LEFT}"},
    afterwards={"S": RUNNING, "D": GONE},
    truths=(Truth("completed"), Truth("completed", source="D", destination="S", guest=("S", "running"))),
)
def there_and_back(stage: Stage) -> None:
    """To the other host and back."""
    guest = stage.start()
    stage.migrate().succeed()
    Migration(guest, stage.destination, stage.source).succeed()


@scenario(
    "1",
    emits={"S": LEFT, "D": f"2,1 4,1 {LEFT}", "T": "2,1 4,1"},
    afterwards={"S": GONE, "D": GONE, "T": RUNNING},
    truths=(Truth("completed"), Truth("completed", source="D", destination="T", guest=("T", "running"))),
    hosts=3,
)
def chain(stage: Stage) -> None:
    """Over three hosts, one after the other."""
    guest = stage.start()
    stage.migrate().succeed()
    Migration(guest, stage.destination, stage.third).succeed()


def _define(stage: Stage) -> None:
    stage.make(persistent=True).define(stage.source)
    stage.await_event("S", "0,0")
    stage.begin()
