"""Which verdicts a broker has lost. Sans-I/O.

Verdicts have no sequence. But `migration/last` retains the newest of each domain, with the published bytes:
one that is later than all that was received about its domain was lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bridge.consumer.reader import Message
from bridge.wire.topics import Topics

LAST: Final = "last"
VERDICTS: Final = ("completed", "failed")
"""What `last` retains."""


class NewestVerdicts:
    """The stamp of each domain's newest processed verdict.

    times: by the domain's UUID. began: verdicts older than this are from before there was a store.
    """

    def __init__(self, times: Mapping[str, str], began: str) -> None:
        self._times = dict(times)
        self._began = began
        self.changed: dict[str, str] = {}
        """What `note` found since the last `keep` or `discard`."""

    def is_later(self, verdict: Message) -> bool:
        """Whether it is later than all that is known of its domain."""
        uuid = verdict.address.uuid
        known = self.changed.get(uuid) or self._times.get(uuid, self._began)
        return verdict.event is not None and verdict.event.time > known  # stamps sort as text

    def note(self, verdict: Message) -> None:
        """It is dealt with."""
        if self.is_later(verdict):
            assert verdict.event is not None
            self.changed[verdict.address.uuid] = verdict.event.time

    def keep(self) -> None:
        """What changed is stored."""
        self._times |= self.changed
        self.discard()

    def discard(self) -> None:
        """What changed isn't stored, and comes again."""
        self.changed = {}


def as_published(last: Message, topics: Topics) -> Message:
    """A retained verdict as the message of its outcome that it was published as."""
    topic = topics.migration(last.address.uuid, last.data.outcome)
    return Message(topic, last.payload, retain=False, address=topics.parse(topic))
