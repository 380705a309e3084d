"""A group at work while a part of it is lost: how long until verdicts go on, and whether each is told once.

The loss comes in the middle of migrations that go as they went when they were recorded; it is over when all
of them have their verdict.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Final

from bridge.mqtt.session import Publication
from bridge.wire.messages import seconds
from tests.support.broker import Broker
from tests.support.correlators import CorrelatorProcess, Fleet, messages_of, stamped_now
from tests.support.postgres import Postgres
from tests.support.traces import load

DATABASE: Final = "takeover"
STANDBY: Final = "standby"
MIGRATIONS: Final = 5
"""At once, in whose middle the loss comes."""
TIMEOUT_S: Final = 60.0
SETTLE_S: Final = 10


class Group:
    """Two members, a broker and a primary with its standby."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._published = 0
        broker = stack.enter_context(Broker(folder / "broker", "max_queued_messages 0"))
        self.primary = stack.enter_context(Postgres())
        self.primary.create(DATABASE)
        self.standby = stack.enter_context(Postgres(self.primary))
        self.primary.wait_for(STANDBY)
        hosts = ",".join(f"127.0.0.1:{each.port}" for each in (self.primary, self.standby))
        store = f"postgresql://postgres@{hosts}/{DATABASE}?target_session_attrs=read-write"
        self.members = [
            stack.enter_context(
                CorrelatorProcess(
                    broker, folder / f"member{n}", group="crew", store=store, settle=SETTLE_S, patience=120
                )
            )
            for n in range(2)
        ]
        self.fleet = stack.enter_context(Fleet(broker))
        for member in self.members:
            member.until_connected()
        self.after(lambda: None)

    def after(self, lose: Callable[[], object]) -> float:
        """Seconds from the loss until all migrations that were under way are decided."""
        streams = self._migrations()
        timed = sorted((each for stream in streams.values() for each in _timed(stream)), key=itemgetter(0))
        began, lost = time.monotonic(), 0.0
        for number, (at_s, publication) in enumerate(timed):
            if number == len(timed) // 2:
                lost = time.monotonic()
                lose()
                began += time.monotonic() - lost
            self.fleet.listen(max(0.0, began + at_s - time.monotonic()))
            self.fleet.publish(stamped_now([publication]))
        self.fleet.until(lambda: self.is_decided(streams), timeout_s=TIMEOUT_S)
        return time.monotonic() - lost

    def is_decided(self, uuids: Iterable[str]) -> bool:
        """Whether each of these has its verdict."""
        return {
            published.uuid for published in self.fleet.published() if published.word == "completed"
        }.issuperset(uuids)

    def member_killed(self, number: int) -> float:
        """SIGKILL; afterwards it is started again."""
        member = self.members[number % 2]
        connected = len(member.logged("broker.connected"))
        took_s = self.after(member.kill)
        member.start()
        member.until_connected(connected + 1)
        return took_s

    def database_restarted(self, _: int) -> float:
        """PostgreSQL is stopped, and started again at once."""

        def restart() -> None:
            self.primary.stop()
            self.primary.start()

        return self.after(restart)

    def primary_lost(self, _: int) -> float:
        """The primary is gone for good, and its standby promoted; afterwards there is a new standby."""

        def lose() -> None:
            self.primary.kill()
            self.standby.promote()

        took_s = self.after(lose)
        self.primary, lost = self.standby, self.primary
        self.standby = self._stack.enter_context(Postgres(self.primary, port=lost.port))
        self.primary.wait_for(STANDBY)
        return took_s

    def told_wrong(self) -> list[object]:
        """Migrations that weren't published once, as completed, by both sides."""
        wrong: list[object] = []
        for uuid in {published.uuid for published in self.fleet.published()}:
            published = [each for each in self.fleet.published_once(uuid) if each.word != "started"]
            sides = [(each.word, each.data["confirmed_by"]) for each in published]
            if sides != [("completed", ["source", "destination"])]:
                wrong.append((uuid, sides))
        return wrong

    def _migrations(self) -> dict[str, list[Publication]]:
        first = self._published
        self._published += MIGRATIONS
        return dict(
            messages_of(load("live"), f"takeover-{n}", started_s=0.0) for n in range(first, self._published)
        )


def _timed(stream: list[Publication]) -> Iterator[tuple[float, Publication]]:
    """Each with the second of its migration, which its stamp tells; one without follows the one before it."""
    at_s = 0.0
    for each in stream:
        if each.payload:
            at_s = seconds(json.loads(each.payload)["time"])
        yield at_s, each


@contextmanager
def group(folder: Path) -> Iterator[Group]:
    """A group that works, and has decided its first migrations."""
    with ExitStack() as stack:
        yield Group(folder, stack)
