"""A storm of real events: guests that are started, paused, resumed, destroyed and migrated at random."""

import random
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.lab.guest import Guest
from tests.lab.host import Host
from tests.lab.migration import Migration

ACTIONS = {"pause": 4, "destroy": 1, "migrate": 3}
"""What is done to a running guest, and how often."""
MOST_PAUSES = 6
REST_S = 0.3


@dataclass(frozen=True, slots=True)
class Attempt:
    """One `virsh migrate` of the storm; times by the wall clock, `status` what virsh returned."""

    uuid: str
    source: str
    destination: str
    began_s: float
    ended_s: float
    status: int


class Storm:
    """Drives each guest from a thread of its own, one thing after another, until the `with` ends.

    The same seed makes the same choices. The guests are left as the storm left them; whatever virsh refused
    is raised at the end. A persistent guest stays on its host.
    """

    def __init__(self, hosts: Sequence[Host], guests: Sequence[Guest], seed: int) -> None:
        self.hosts = list(hosts)
        self.attempts: list[Attempt] = []
        self.failures: list[Exception] = []
        self._over = threading.Event()
        self._threads = [
            threading.Thread(
                target=self._drive, args=(guest, random.Random(f"{seed}-{number}")), name=guest.name
            )
            for number, guest in enumerate(guests)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        if self.failures and error is None:
            raise self.failures[0]

    def _drive(self, guest: Guest, chance: random.Random) -> None:
        try:
            host: Host | None = None
            while not self._over.wait(chance.uniform(0, REST_S)):
                host = self._act(guest, host, chance)
        except (subprocess.SubprocessError, AssertionError, OSError) as failure:
            self.failures.append(failure)

    def _act(self, guest: Guest, host: Host | None, chance: random.Random) -> Host | None:
        """Does one thing to the guest on `host`, None where it doesn't run; returns where it runs then."""
        if host is None:
            host = self.hosts[0] if guest.persistent else chance.choice(self.hosts)
            guest.start(host)
            return host
        action = chance.choices([*ACTIONS], [*ACTIONS.values()])[0]
        if action == "migrate" and not guest.persistent:
            others = [other for other in self.hosts if other is not host]
            return self._migrate(guest, host, chance.choice(others))
        if action == "destroy":
            host.virsh("destroy", guest.uuid)
            if guest.persistent and chance.random() < 0.5:
                host.virsh("undefine", guest.uuid)
            return None
        for _ in range(chance.randint(1, MOST_PAUSES)):
            host.virsh("suspend", guest.uuid)
            host.virsh("resume", guest.uuid)
        return host

    def _migrate(self, guest: Guest, source: Host, destination: Host) -> Host:
        began_s = time.time()
        with Migration(guest, source, destination) as migration:
            status = migration.wait(60)
        assert status == 0, f"{source.name} to {destination.name}: {migration.said}"
        attempt = Attempt(guest.uuid, source.name, destination.name, began_s, time.time(), status)
        self.attempts.append(attempt)
        return destination
