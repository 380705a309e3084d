"""The names that select programs for a message: an outcome, `location`, `lifecycle-stopped` …"""

from __future__ import annotations

from typing import Final

from bridge.wire.messages import MIGRATION
from bridge.wire.topics import Address

OUTCOMES: Final = tuple(name for name in MIGRATION if name != "current")
"""The outcomes and stages of a migration; `current` is the one under way."""
LOCATION: Final = "location"
ANY: Final = "any"
"""A trigger of its own: all messages about migrations, and locations."""
OF_DOMAINS: Final = ("lifecycle", "event")
"""The prefixes of triggers that are an agent's events of domains."""
BY_PREFIX: Final = tuple(f"{kind}-" for kind in OF_DOMAINS)
ACCEPTED: Final = f"{', '.join((*OUTCOMES, LOCATION, ANY))}, lifecycle-EVENT or event-NAME"


def trigger_of(address: Address) -> str | None:
    """The trigger of a topic, as `--on` and files' names have it; None for what runs nothing."""
    match address.kind:
        case "migration":
            return address.name
        case "location":
            return LOCATION
        case "lifecycle" | "event":
            return f"{address.kind}-{address.name}"
    return None


def is_trigger(name: str) -> bool:
    """Whether messages with this trigger can exist."""
    return name in (*OUTCOMES, LOCATION, ANY) or (name.startswith(BY_PREFIX) and not name.endswith("-"))


def covers(wanted: str, trigger: str) -> bool:
    """Whether the trigger is the wanted one, or is among `any`."""
    return wanted == trigger or (wanted == ANY and not trigger.startswith(BY_PREFIX))
