"""Whether the broker sends retained messages: without them only hosts that publish are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bridge.log import get_logger
from bridge.mqtt.retained import WildcardProbe

BY_NAME_ONLY: Final = (
    "the broker doesn't send retained messages to subscriptions with wildcards: hosts and guests are unknown "
    "until they publish, and verdicts about them may be wrong; use another broker (docs/brokers.md)"
)
_log = get_logger()


class WildcardCheck:
    """Probes once per connection, with the correlator's own status. For one thread.

    new_probe: makes a probe, which starts at once, from the status's topic.
    """

    def __init__(self, new_probe: Callable[[str], WildcardProbe]) -> None:
        self._new_probe = new_probe
        self._probe: WildcardProbe | None = None
        self._due = False
        self.trouble: str | None = None
        """What is wrong, for a person to read."""

    def begin(self) -> None:
        """A new connection."""
        self.close()
        self._due = True

    def published(self, topic: str) -> None:
        """The broker has accepted this status."""
        if self._due:
            self._due = False
            self._probe = self._new_probe(topic)

    def look(self) -> None:
        """Logs what the probe found. Raises what ended the probe."""
        if self._probe is None or (answer := self._probe.answer) is None:
            return
        self._probe = None
        before, self.trouble = self.trouble, BY_NAME_ONLY if answer == "by_name_only" else None
        if self.trouble and not before:
            _log.error("broker.sends_no_retained", why=self.trouble)
        elif answer == "not_readable":
            _log.warning("broker.hides_status", why="the access rules don't let it read its own status")

    def close(self) -> None:
        """Ends what is under way."""
        if self._probe is not None:
            self._probe.stop()
        self._probe = None
