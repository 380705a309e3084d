"""The result of one report: what is stored in one transaction, and what is done after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bridge.agent.inventory.domains import ListedDomain
from bridge.agent.inventory.drafts import Draft
from bridge.agent.inventory.reports import DomainsListed, ObjectsListed


@dataclass(slots=True)
class Step:
    """What to store together, and what to do once it is durable."""

    drafts: list[Draft] = field(default_factory=list)
    snapshots: dict[str, bytes | None] = field(default_factory=dict)
    """Snapshots that changed without a message; None forgets one."""
    changed: set[str] = field(default_factory=set)
    """Domains whose state is to be read."""
    listed: DomainsListed | None = None
    """A list whose states are to be published as they are."""
    compared: Mapping[str, ListedDomain] | None = None
    """A list to be compared with the states that were published."""
    running: set[str] | None = None
    """Of a list, the domains that run."""
    gone: set[str] = field(default_factory=set)
    """Domains whose state is to be cleared."""
    working: set[str] = field(default_factory=set)
    """Domains that may have a job."""
    renewed: set[str] = field(default_factory=set)
    """Domains whose former job is over and another began."""
    leaving: set[str] = field(default_factory=set)
    """Domains that have or had an outgoing migration's job."""
    stopped: set[str] = field(default_factory=set)
    """Domains that no longer have a job."""
    arrived: set[str] = field(default_factory=set)
    """Domains whose incoming migration ended."""
    list_after_s: float | None = None
    """The time after which to list again."""
    objects: list[ObjectsListed] = field(default_factory=list)
    """Lists of networks or pools whose states are to be published."""
    relist: set[str] = field(default_factory=set)
    """The classes to be listed again, because an event came."""
    unconfirmed: set[str] = field(default_factory=set)
    """The classes of which a second list has to confirm what the first one showed."""
