"""The subscriptions that triggers need, the filters, and a program's environment variables. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from bridge.consumer.reader import Message
from bridge.consumer.subscriber import What
from bridge.wire.triggers import ANY, BY_PREFIX, LOCATION, OUTCOMES


def subscribed(wanted: Collection[str]) -> tuple[set[What], set[str]]:
    """What to subscribe to for these triggers, and which outcomes.

    An event of a host needs the whole event stream: only then a missing message is detected. Each domain's
    newest verdict is always read: when a program for verdicts is added, those from before must be known.
    """
    what: set[What] = {"verdicts"}
    if any(name.startswith(BY_PREFIX) for name in wanted):
        what.add("events")
    if LOCATION in wanted or ANY in wanted:
        what.add("locations")
    outcomes = set(OUTCOMES) if ANY in wanted else set(OUTCOMES) & set(wanted)
    if outcomes:
        what.add("migrations")
    return what, outcomes


@dataclass(frozen=True, slots=True)
class Filters:
    """Patterns as a shell has them (`web*`); a message has to match one of each kind that there are."""

    domains: Sequence[str] = ()
    hosts: Sequence[str] = ()
    reasons: Sequence[str] = ()

    def match(self, message: Message) -> bool:
        """Whether programs are to run for it: by its domain's UUID or name, any host that it names, and its
        reason.
        """
        data = message.data.model_dump()
        domain = data.get("domain") or {}
        return (
            _matches(self.domains, (domain.get("uuid"), domain.get("name")))
            and _matches(self.hosts, _hosts(data))
            and _matches(self.reasons, (data.get("reason"),))
        )


def _matches(patterns: Sequence[str], values: Sequence[str | None]) -> bool:
    return not patterns or any(
        value is not None and fnmatchcase(value, pattern) for value in values for pattern in patterns
    )


def _hosts(data: Mapping[str, Any]) -> list[str | None]:
    return [
        data.get("host"),
        *((data.get(key) or {}).get("host") for key in ("source", "destination", "guest")),
    ]


_VARIABLES: Final[Mapping[str, Sequence[str]]] = {
    "OUTCOME": ("outcome",),
    "DOMAIN_UUID": ("domain", "uuid"),
    "DOMAIN_NAME": ("domain", "name"),
    "SOURCE": ("source", "host"),
    "DESTINATION": ("destination", "host"),
    "REASON": ("reason",),
    "GUEST_HOST": ("guest", "host"),
    "GUEST_STATE": ("guest", "state"),
    "MIGRATION": ("migration",),
    "REVISION": ("revision",),
    "EVENT": ("event",),
    "DETAIL": ("detail",),
}
"""Where in a message's data each variable's value stands; the names behind `LIBVIRT_MQTT_`."""
LONGEST_VALUE: Final = 4096
VARIABLES: Final = ("TRIGGER", "ID", "TIME", *_VARIABLES)


def variables(message: Message, trigger: str) -> dict[str, str]:
    """The most used fields of a message as environment variables. Absent fields are empty.

    A variable can hold no NUL and is limited in length: a NUL becomes U+FFFD, and a long value is cut;
    standard input has both unchanged.
    """
    event = message.event
    assert event is not None
    data = event.data.model_dump()
    found = {"TRIGGER": trigger, "ID": event.id, "TIME": event.time}
    for name, path in _VARIABLES.items():
        value: Any = data
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        found[name] = "" if value is None else str(value)
    if not found["GUEST_HOST"]:
        found["GUEST_HOST"] = str(data.get("host") or "")  # of a location, and of a host's own event
    return {f"LIBVIRT_MQTT_{name}": _harmless(value) for name, value in found.items()}


def _harmless(value: str) -> str:
    return (
        value.encode("utf-8", "replace").decode()[:LONGEST_VALUE].replace("\0", "\N{REPLACEMENT CHARACTER}")
    )
