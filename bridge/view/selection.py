"""Which messages somebody wants to see: of which hosts, of which domains, of what kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from bridge.wire.topics import Address, Kind

KINDS: Final[Mapping[str, frozenset[Kind]]] = {
    "migrations": frozenset({"migration"}),
    "events": frozenset({"lifecycle", "event", "object_lifecycle", "object_event"}),
    "states": frozenset({"state", "job", "location", "object_state", "host_status", "correlator_status"}),
}
"""What each word of `--only` stands for."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Patterns as a shell has them (`web*`); a message has to match one of each kind that is given."""

    hosts: Sequence[str] = ()
    domains: Sequence[str] = ()
    only: str | None = None

    def __bool__(self) -> bool:
        """Whether anything is left out."""
        return bool(self.hosts or self.domains or self.only)

    def takes(self, address: Address, data: Mapping[str, Any], name: str) -> bool:
        """Whether a message is wanted, by any host that it names, and its domain's UUID or name. An empty one
        that ends a migration names none: it is taken.
        """
        if self.only is not None and address.kind not in KINDS[self.only]:
            return False
        is_end = address.kind == "migration" and not data
        about = (address.uuid, name) if address.uuid and not address.object else ()
        return (is_end or _matches(self.hosts, _hosts(address, data))) and _matches(self.domains, about)


ALL: Final = Selection()


def _matches(patterns: Sequence[str], values: Iterable[object]) -> bool:
    return not patterns or any(
        isinstance(value, str) and fnmatchcase(value, pattern) for value in values for pattern in patterns
    )


def _hosts(address: Address, data: Mapping[str, Any]) -> Iterable[object]:
    yield from (address.host, data.get("host"))
    for side in ("source", "destination", "guest"):
        part = data.get(side)
        if isinstance(part, Mapping):
            yield part.get("host")
