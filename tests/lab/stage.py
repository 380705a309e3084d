"""What a scenario is played on: hosts in their roles, the guest, and what was heard of it."""

import contextlib
import itertools
from collections.abc import Sequence

from tests.lab.guest import Guest
from tests.lab.host import Host
from tests.lab.lab import Lab
from tests.lab.migration import Migration
from tests.lab.witness import Witness

_numbers = itertools.count(1)


class Stage:
    """The hosts S (source), D (destination) and, where there are three, T, with guests of unique names.

    What a scenario emits counts from `begin`, so that a guest's start is no part of it. `clean` leaves the
    hosts as they were.
    """

    def __init__(
        self, lab: Lab, witness: Witness, name: str = "guest", hosts: Sequence[Host] | None = None
    ) -> None:
        self.lab, self.witness = lab, witness
        chosen = lab.hosts if hosts is None else hosts
        self.roles = dict(zip("SDT", chosen, strict=False))
        self.source, self.destination = chosen[0], chosen[1]
        self.name = f"{name.replace('_', '-')}-{next(_numbers)}"
        self.guests: list[Guest] = []
        self.migrations: list[Migration] = []
        self.mark = witness.mark()

    @property
    def third(self) -> Host:
        """The third host of a chain."""
        return self.roles["T"]

    @property
    def guest(self) -> Guest:
        """The guest that the scenario is about, the first that was made."""
        return self.guests[0]

    def make(self, *, busy: bool = False, disk: str = "none", persistent: bool = False) -> Guest:
        """A guest with a name of its own, not started; it will be removed with the others."""
        name = self.name if not self.guests else f"{self.name}-{len(self.guests) + 1}"
        guest = Guest(name, busy=busy, disk=disk, persistent=persistent)
        self.guests.append(guest)
        return guest

    def start(self, *, busy: bool = False, disk: str = "none", persistent: bool = False) -> Guest:
        """A guest that runs on the source; the story begins after it."""
        guest = self.make(busy=busy, disk=disk, persistent=persistent)
        guest.start(self.source)
        self.witness.wait_for(self.source, guest.uuid, "2,0", since=self.mark)
        self.begin()
        return guest

    def begin(self) -> None:
        """What was heard so far is no part of the story."""
        self.mark = self.witness.mark()

    def migrate(
        self, *options: str, live: bool = True, direct: bool = False, port: int | None = None
    ) -> Migration:
        """Migrate the guest from the source to the destination; see `Migration`."""
        migration = Migration(
            self.guest, self.source, self.destination, *options, live=live, direct=direct, port=port
        )
        self.migrations.append(migration)
        return migration

    def copy_slowly(
        self, *options: str, live: bool = True, direct: bool = False, port: int | None = None
    ) -> Migration:
        """A migration that copies for as long as it is let; it is in the midst of that when this returns."""
        mark = self.witness.mark()
        migration = Migration(
            self.guest,
            self.source,
            self.destination,
            *options,
            live=live,
            direct=direct,
            port=port,
            slow=True,
        )
        self.migrations.append(migration)
        self.witness.wait_for(self.source, self.guest.uuid, "iter", since=mark)
        self.witness.wait_for(self.destination, self.guest.uuid, "2,1", since=mark)
        return migration

    def await_event(self, role: str, token: str, *, times: int = 1, timeout_s: float = 30.0) -> None:
        """Return when the host in this role has emitted the token (see `witness.token`) so many times."""
        host, uuid = self.roles[role], self.guest.uuid
        self.witness.wait_for(host, uuid, token, since=self.mark, times=times, timeout_s=timeout_s)

    def heard(self, role: str) -> list[str]:
        """What the host in this role emitted of the guest since the story began, as tokens."""
        return self.witness.tokens(self.roles[role], self.guest.uuid, self.mark)

    def state(self, role: str) -> str:
        """The guest's state and reason on the host in this role, in virsh's words; or "gone"."""
        return self.roles[role].state(self.guest.uuid)

    def clean(self) -> None:
        """End what goes on, mend the hosts, and remove the guests from all of them."""
        for migration in self.migrations:
            migration.kill()
        self.migrations.clear()
        for host in self.roles.values():
            host.ensure_up()
        for one, other in itertools.combinations(self.roles.values(), 2):
            one.join(other)
        for guest, host in itertools.product(self.guests, self.roles.values()):
            with contextlib.suppress(AssertionError):
                guest.remove(host)
        for guest, host in itertools.product(self.guests, self.roles.values()):
            guest.remove(host)
        self.guests.clear()
