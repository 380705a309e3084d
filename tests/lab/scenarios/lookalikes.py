"""What emits a migration's events and is none, and what is a conflict without one."""

from tests.lab.guest import Guest
from tests.lab.scenarios.story import BOOTED, Truth, scenario
from tests.lab.stage import Stage


@scenario("save", emits={"S": "3,0 iter* job2 5,4 2,2 4,2", "D": ""}, afterwards={"S": "running (restored)"})
def saved_and_restored(stage: Stage) -> None:
    """The guest is saved to a file, and restored from it."""
    guest = stage.start()
    image = f"/run/{guest.uuid}.saved"
    stage.source.virsh("save", guest.uuid, image)
    stage.source.virsh("restore", image)


@scenario("dump", emits={"S": "3,0 iter* job8 4,0", "D": ""}, afterwards={"S": "running (unpaused)"})
def dumped(stage: Stage) -> None:
    """The guest's memory is dumped to a file."""
    guest = stage.start()
    stage.source.virsh("dump", guest.uuid, f"/run/{guest.uuid}.core")


@scenario("boot", emits={"S": "5,1 4,0 2,0", "D": ""}, afterwards={"S": BOOTED})
def started_again(stage: Stage) -> None:
    """A persistent guest is destroyed and started again."""
    guest = stage.start(persistent=True)
    stage.source.virsh("destroy", guest.uuid)
    stage.source.virsh("start", guest.uuid)


@scenario(
    "conflict",
    emits={"S": "", "D": "4,0 2,0"},
    afterwards={"S": BOOTED, "D": BOOTED},
    truths=Truth("conflict", source=None, destination=None, guest=None),
)
def started_on_both(stage: Stage) -> None:
    """Somebody starts the same guest on two hosts."""
    guest = stage.start()
    Guest(guest.name, guest.uuid).start(stage.destination)
