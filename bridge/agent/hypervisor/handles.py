"""What libvirt's handles hold themselves, without a call."""

from __future__ import annotations

from typing import Any

import libvirt

from bridge.wire import events
from bridge.wire.events import Object


def identity(found: Any, each: Object) -> tuple[str, str]:  # noqa: ANN401
    """Key and name of an object; a secret is named by what it is for. Calls nothing: it is in the handle."""
    if not each.has_uuid:
        return found.name(), found.name()
    return found.UUIDString(), found.usageID() if each is events.SECRET else found.name()


def domain_id(domain: libvirt.virDomain) -> int | None:
    """The id of a domain; None when libvirt says -1."""
    number: int = domain.ID()
    return None if number == -1 else number
