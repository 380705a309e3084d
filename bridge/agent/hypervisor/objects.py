"""Lists of networks and storage pools."""

from __future__ import annotations

from typing import Any, Final

import libvirt

from bridge.agent.hypervisor.handles import identity
from bridge.agent.inventory.reports import ListedObject
from bridge.wire import events
from bridge.wire.events import Object

_LISTS: Final = {"networks": "listAllNetworks", "pools": "listAllStoragePools"}
_GONE: Final = (libvirt.VIR_ERR_NO_NETWORK, libvirt.VIR_ERR_NO_STORAGE_POOL)


def read_objects(conn: libvirt.virConnect, each: Object) -> dict[str, ListedObject]:
    """As `Connection.list_objects`. Raises libvirt.libvirtError."""
    seen = {}
    for found in getattr(conn, _LISTS[each.plural])(0):
        try:
            one = _read_object(found, each)
        except libvirt.libvirtError as error:
            if error.get_error_code() not in _GONE:
                raise
        else:
            seen[one.key] = one
    return seen


def _read_object(found: Any, each: Object) -> ListedObject:  # noqa: ANN401
    key, name = identity(found, each)
    active, persistent = bool(found.isActive()), bool(found.isPersistent())
    autostart = bool(found.autostart())
    if each is not events.POOL:
        return ListedObject(key, name, active, persistent, autostart)
    state, *figures = found.info()
    return ListedObject(key, name, active, persistent, autostart, state, *(figures if active else ()))
