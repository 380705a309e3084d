"""Home Assistant's devices, one per host and one per domain: which agent describes a device, and when it is
removed.

Sans-I/O. The description of a domain's device has one topic, whichever host the domain is on, and names the
topics of the host that has it; so exactly one agent should write it. What one agent can know:

- its own domains, and that a list of them was complete;
- the retained `location`, by which a correlator publishes which host has a domain;
- the descriptions that the broker retains, each of which names its host.

Where a location is known, it decides: that host's agent describes the device, no other agent touches it, and
none removes it, as a domain that is missing here is then on another host or about to be published as gone.
Where none is known (the domain is gone, or there is no correlator), the agent that described it last keeps it
while it has the domain and removes it a while after; another takes it over only when the domain starts to run
there. A host's device is described by its own agent alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from bridge.wire.topics import Topics
from bridge.wire.vocabulary import STATES, UNKNOWN

NODE: Final = "libvirt-mqtt"
"""The level of the topic that distinguishes our devices from others."""
LATER_S: Final = 5.0
"""A device is removed, and one of a domain that doesn't run is first described, only after this time: a move
between hosts or a location that is still to come needs less.
"""
PACE_S: Final = 1.0
"""Another agent's description is replaced at most once in this time."""

_STATE_NAMES: Final = [*STATES, UNKNOWN]
_HOST: Final = "host-"
"""The prefix of hosts' devices; a UUID has no such letters."""
_IS_ONLINE: Final = "value_json.data.state == 'online'"
_ATTRIBUTES: Final = "{{ value_json.data | tojson if value_json is defined else '{}' }}"
_SEES: Final = "(value_json.data.libvirt or {}).get('connected')"


class Here(msgspec.Struct, frozen=True):
    """A domain that this host has."""

    name: str
    driver: str
    running: bool


@dataclass(slots=True)
class _Device:
    here: Here | None = None
    location: str | None = None
    held: bytes | None = None
    owner: str | None = None
    arrived: bool = False
    waits_since_s: float | None = None
    replaced_at_s: float = float("-inf")


class Devices:
    """All devices as one agent sees them. `due` returns what to publish; everything else takes in news."""

    def __init__(self, topics: Topics, host: str, version: str, prefix: str) -> None:
        self._topics = topics
        self._host = host
        self._version = version
        self._root = f"{prefix}/device/{NODE}/"
        self._own = _HOST + _object_id(host)
        self._own_held: bytes | None = None
        self._devices: dict[str, _Device] = {}
        self._to_look: set[str] = set()
        self._complete = False

    @property
    def filter(self) -> str:
        """The filter for all descriptions."""
        return f"{self._root}+/config"

    def topic(self, uuid: str) -> str:
        """Where a domain's device is described."""
        return f"{self._root}{uuid}/config"

    def uuid(self, topic: str) -> str | None:
        """The domain, or the host's device, that a description's topic names; None for another topic."""
        if not topic.startswith(self._root):
            return None
        uuid, _, rest = topic[len(self._root) :].partition("/")
        return uuid if rest == "config" else None

    def begin(self) -> None:
        """A new connection: the broker is about to send what it retains."""
        self._own_held = None
        for uuid, device in self._devices.items():
            device.location = device.held = device.owner = device.waits_since_s = None
            self._to_look.add(uuid)

    def there(self, uuid: str, here: Here) -> None:
        """This host has the domain."""
        device = self._device(uuid)
        if here.running and not (device.here and device.here.running):
            device.arrived = True
        elif not here.running:
            device.arrived = False
        device.here = here

    def gone(self, uuid: str) -> None:
        """This host doesn't have the domain."""
        device = self._device(uuid)
        device.here, device.arrived = None, False

    def listed(self, domains: Iterable[tuple[str, Here]]) -> None:
        """Everything that this host has: what isn't in it isn't here."""
        self._complete = True
        for uuid, here in domains:
            self.there(uuid, here)
        self._to_look.update(self._devices)

    def located(self, uuid: str, host: str | None) -> None:
        """A correlator's location of the domain; None: no host has it."""
        self._device(uuid).location = host

    def holds(self, uuid: str, description: bytes | None) -> None:
        """The broker's description of a device; None: it has none."""
        if uuid.startswith(_HOST):
            self._own_held = description if uuid == self._own else self._own_held
            return
        device = self._device(uuid)
        device.held = description
        device.owner = None if description is None else self._owner(description)

    def due(self, now_s: float) -> Iterator[tuple[str, bytes | None]]:
        """Each topic to publish on, with the description or None to remove the device.

        To be called again after everything that came in, and within a second. The result counts as published.
        """
        if self._own_held != (own := self.describe_host()):
            self._own_held = own
            yield self.topic(self._own), own
        listed, self._to_look = self._to_look, set()
        for uuid in listed:
            device = self._devices[uuid]
            wanted = self._wanted(uuid, device)
            if wanted == device.held:
                device.waits_since_s, device.arrived = None, False
                if device.here is None and device.held is None and device.location is None:
                    del self._devices[uuid]
                continue
            if self._has_to_wait(device, wanted, now_s):
                self._to_look.add(uuid)
                continue
            device.waits_since_s, device.arrived = None, False
            device.held, device.owner = wanted, None if wanted is None else self._host
            device.replaced_at_s = now_s
            if wanted is None:
                self._to_look.add(uuid)
            yield self.topic(uuid), wanted

    def _device(self, uuid: str) -> _Device:
        self._to_look.add(uuid)
        return self._devices.setdefault(uuid, _Device())

    def _wanted(self, uuid: str, device: _Device) -> bytes | None:
        """What the broker should retain, as far as this agent decides."""
        here = device.here
        if device.location is not None:
            return self.describe(uuid, here) if here and device.location == self._host else device.held
        if device.owner in (None, self._host):
            if here:
                return self.describe(uuid, here)
            return None if self._complete else device.held
        return self.describe(uuid, here) if here and device.arrived else device.held

    def _has_to_wait(self, device: _Device, wanted: bytes | None, now_s: float) -> bool:
        if device.location is None and (wanted is None or (device.held is None and not _runs(device))):
            if device.waits_since_s is None:
                device.waits_since_s = now_s
            return now_s - device.waits_since_s < LATER_S
        return device.owner not in (None, self._host) and now_s - device.replaced_at_s < PACE_S

    def _owner(self, description: bytes) -> str:
        """The host whose agent wrote this; empty for what no agent of this fleet can have written."""
        try:
            found = msgspec.json.decode(description)["components"]["state"]["state_topic"]
            return self._topics.parse(found).host
        except (msgspec.DecodeError, ValueError, KeyError, TypeError, AttributeError):
            return ""

    def describe(self, uuid: str, here: Here) -> bytes:
        """The device of a domain that this host has, as Home Assistant's MQTT device discovery takes it."""
        topics, host = self._topics, self._host
        state: dict[str, Any] = {
            "platform": "sensor",
            "unique_id": f"{NODE}-{uuid}-state",
            "name": "State",
            "icon": "mdi:server",
            "device_class": "enum",
            "options": _STATE_NAMES,
            "state_topic": topics.state(host, uuid),
            "value_template": "{{ value_json.data.state if value_json is defined else none }}",
            "json_attributes_topic": topics.state(host, uuid),
            "json_attributes_template": _ATTRIBUTES,
            "availability_topic": topics.host_status(host),
            "availability_template": "{{ 'online' if value_json is defined"
            f" and {_IS_ONLINE} and {_SEES} else 'offline' }}}}",
            "payload_available": "online",
            "payload_not_available": "offline",
        }
        location: dict[str, Any] = {
            "platform": "sensor",
            "unique_id": f"{NODE}-{uuid}-location",
            "name": "Location",
            "icon": "mdi:map-marker",
            "state_topic": topics.location(uuid),
            "value_template": "{{ value_json.data.host if value_json is defined else none }}",
        }
        progress: dict[str, Any] = {
            "platform": "sensor",
            "unique_id": f"{NODE}-{uuid}-progress",
            "name": "Progress",
            "icon": "mdi:progress-clock",
            "unit_of_measurement": "%",
            "state_topic": topics.job(host, uuid),
            "value_template": "{{ value_json.data.percent if value_json is defined else none }}",
            "json_attributes_topic": topics.job(host, uuid),
            "json_attributes_template": _ATTRIBUTES,
        }
        current, last = topics.migration(uuid, "current"), topics.migration(uuid, "last")
        migrating: dict[str, Any] = {
            "platform": "binary_sensor",
            "unique_id": f"{NODE}-{uuid}-migrating",
            "name": "Migrating",
            "icon": "mdi:server-network",
            "state_topic": current,
            "value_template": "{{ 'ON' if value_json is defined"
            " and value_json.data.phase not in ['unresolved', 'conflict'] else 'OFF' }}",
            "json_attributes_topic": current,
            "json_attributes_template": _ATTRIBUTES,
        }
        verdict: dict[str, Any] = {
            "platform": "sensor",
            "unique_id": f"{NODE}-{uuid}-migration",
            "name": "Last migration",
            "icon": "mdi:server-network",
            "device_class": "enum",
            "options": ["completed", "failed"],
            "state_topic": last,
            "value_template": "{{ value_json.data.outcome if value_json is defined else none }}",
            "json_attributes_topic": last,
            "json_attributes_template": _ATTRIBUTES,
        }
        device = {
            "identifiers": [f"{NODE}-{uuid}"],
            "name": here.name,
            "manufacturer": "libvirt",
            "model": f"{here.driver} domain",
            "serial_number": uuid,
            "via_device": f"{NODE}-{self._own}",
        }
        return self._description(
            device,
            {
                "state": state,
                "location": location,
                "progress": progress,
                "migrating": migrating,
                "migration": verdict,
            },
        )

    def describe_host(self) -> bytes:
        """The device of this host: whether its agent is online and connected to libvirt."""
        status = self._topics.host_status(self._host)
        state: dict[str, Any] = {
            "platform": "sensor",
            "unique_id": f"{NODE}-{self._own}-state",
            "name": "Agent",
            "icon": "mdi:server-security",
            "device_class": "enum",
            "options": ["online", "blind", "offline"],
            "state_topic": status,
            "value_template": f"{{{{ none if value_json is not defined else 'offline' if not {_IS_ONLINE}"
            f" else 'online' if {_SEES} else 'blind' }}}}",
            "json_attributes_topic": status,
            "json_attributes_template": _ATTRIBUTES,
        }
        device = {
            "identifiers": [f"{NODE}-{self._own}"],
            "name": self._host,
            "manufacturer": "libvirt",
            "model": "host",
            "sw_version": self._version,
        }
        return self._description(device, {"state": state})

    def _description(self, device: dict[str, Any], components: dict[str, Any]) -> bytes:
        origin = {"name": NODE, "sw_version": self._version}
        return msgspec.json.encode({"device": device, "origin": origin, "components": components, "qos": 1})


def _object_id(name: str) -> str:
    """A name as a level of a discovery topic, which may contain `[a-zA-Z0-9_-]+` only; no two become the
    same.
    """
    return re.sub("[^a-zA-Z0-9-]", lambda found: "".join(f"_{byte:02x}" for byte in found[0].encode()), name)


def _runs(device: _Device) -> bool:
    return device.here is not None and device.here.running
