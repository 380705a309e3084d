"""Topic names: built from outside data so that none leaves its level, and parsed.

Every level that is made from outside data (a host's name, a UUID, an event's name, a correlator's id) is
percent-encoded as UTF-8 except for `A-Z a-z 0-9 . _ ~ -` (the unreserved characters of RFC 3986), so that no
`/`, `+`, `#`, space or control character reaches the broker.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final, Literal
from urllib.parse import quote, unquote_to_bytes

from bridge.wire.events import OBJECTS

VERSION = "v1"

Kind = Literal[
    "host_status",
    "state",
    "job",
    "lifecycle",
    "event",
    "object_state",
    "object_lifecycle",
    "object_event",
    "replay",
    "migration",
    "location",
    "correlator_status",
]


_DOT: Final = "%2E"
_is_plain: Final = re.compile(r"[A-Za-z0-9._~-]+").fullmatch


def encode_level(text: str) -> str:
    """One topic level for any non-empty text. Raises ValueError for empty text or a lone surrogate."""
    if _is_plain(text):
        return text
    if not text:
        raise ValueError("a topic level can't be made from empty text")
    return quote(text, safe="~")


def decode_level(level: str) -> str:
    """The text that `encode_level` made this level from.

    Raises ValueError for a level that it can't have made: each text has one encoding, so that two topics
    never mean the same host; except that its dots may all be encoded (`Topics.encode_dots`).
    """
    if _is_plain(level):
        return level
    text = unquote_to_bytes(level).decode()
    encoded = encode_level(text)
    if level not in (encoded, encoded.replace(".", _DOT)):
        raise ValueError(f"topic level {level!r} is not percent-encoded as {encode_level(text)!r}")
    return text


@dataclass(frozen=True, slots=True)
class Address:
    """What a topic names. A field that its kind doesn't have is the empty string.

    `host` for what belongs to a host, `uuid` for what belongs to a domain, `name` the event's or the
    outcome's name, `correlator` the id of a correlator. Of another object than a domain, `object` is its
    class (`networks`) and `uuid` its UUID, or a node device's name.
    """

    kind: Kind
    host: str = ""
    uuid: str = ""
    name: str = ""
    correlator: str = ""
    object: str = ""


@dataclass(frozen=True, slots=True)
class Topics:
    """All topics below one prefix. `prefix` itself may have several levels (`site1/libvirt`).

    With `encode_dots` levels have `%2E` for a dot, for brokers that give dots a meaning of their own.
    """

    prefix: str = "libvirt"
    encode_dots: bool = False

    @property
    def root(self) -> str:
        """What all topics of this version begin with."""
        return f"{self.prefix}/{VERSION}"

    def level(self, text: str) -> str:
        """One level for any non-empty text. Raises ValueError as `encode_level`."""
        level = encode_level(text)
        return level.replace(".", _DOT) if self.encode_dots else level

    def _domain(self, host: str, uuid: str) -> str:
        return f"{self.root}/hosts/{self.level(host)}/domains/{self.level(uuid)}"

    def host_status(self, host: str) -> str:
        """An agent's status; retained."""
        return f"{self.root}/hosts/{self.level(host)}/status"

    def replay(self, host: str) -> str:
        """The topic of an agent's replay requests."""
        return f"{self.root}/hosts/{self.level(host)}/replay"

    def state(self, host: str, uuid: str) -> str:
        """A domain's current state on a host; retained."""
        return f"{self._domain(host, uuid)}/state"

    def job(self, host: str, uuid: str) -> str:
        """The job of a domain that is under way, and how far it is; retained."""
        return f"{self._domain(host, uuid)}/job"

    def object_state(self, host: str, plural: str, key: str) -> str:
        """A network's or pool's current state on a host; retained."""
        return f"{self.root}/hosts/{self.level(host)}/{plural}/{self.level(key)}/state"

    def object_lifecycle(self, host: str, plural: str, key: str, event: str) -> str:
        """One lifecycle event of an object of this class on a host."""
        head = f"{self.root}/hosts/{self.level(host)}/{plural}/{self.level(key)}"
        return f"{head}/lifecycle/{self.level(event)}"

    def object_event(self, host: str, plural: str, key: str, name: str) -> str:
        """Another event of an object of this class, by libvirt's name."""
        return f"{self.root}/hosts/{self.level(host)}/{plural}/{self.level(key)}/event/{self.level(name)}"

    def replays_of(self, host: str) -> tuple[str, ...]:
        """The filters for such requests: a requester may encode dots where this host doesn't."""
        return tuple(dict.fromkeys((self.replay(host), replace(self, encode_dots=True).replay(host))))

    def retained_of(self, host: str) -> tuple[str, ...]:
        """The filters for what an agent retains: states of domains, networks and pools, and domains' jobs."""
        classes = ("domains", *(plural for plural, each in OBJECTS.items() if each.keeps_state))
        head = f"{self.root}/hosts/{self.level(host)}"
        return (*(f"{head}/{plural}/+/state" for plural in classes), f"{head}/domains/+/job")

    def lifecycle(self, host: str, uuid: str, event: str) -> str:
        """One lifecycle event of a domain on a host."""
        return f"{self._domain(host, uuid)}/lifecycle/{self.level(event)}"

    def event(self, host: str, uuid: str, name: str) -> str:
        """Another event of a domain, by libvirt's name."""
        return f"{self.root}/hosts/{self.level(host)}/domains/{self.level(uuid)}/event/{self.level(name)}"

    def migration(self, uuid: str, outcome: str) -> str:
        """The outcome of a migration; retained: the one under way (`current`) and the newest verdict
        (`last`).
        """
        return f"{self.root}/domains/{self.level(uuid)}/migration/{self.level(outcome)}"

    def migrations(self, outcome: str) -> str:
        """The filter for the outcomes of all domains' migrations."""
        return f"{self.root}/domains/+/migration/{encode_level(outcome)}"

    def location(self, uuid: str) -> str:
        """Which host has a domain; retained."""
        return f"{self.root}/domains/{self.level(uuid)}/location"

    def correlator_status(self, correlator: str) -> str:
        """A correlator's status; retained."""
        return f"{self.root}/correlators/{self.level(correlator)}/status"

    def correlator_statuses(self) -> str:
        """The filter for all correlators' statuses."""
        return f"{self.root}/correlators/+/status"

    def from_hosts(self) -> tuple[str, ...]:
        """The filters for agents' statuses, domains' states and jobs, and the two of the event stream."""
        return (
            f"{self.root}/hosts/+/status",
            f"{self.root}/hosts/+/domains/+/state",
            f"{self.root}/hosts/+/domains/+/job",
            f"{self.root}/hosts/+/+/+/lifecycle/+",
            f"{self.root}/hosts/+/+/+/event/+",
        )

    def locations(self) -> str:
        """The filter for the locations of all domains."""
        return f"{self.root}/domains/+/location"

    def retained_by_correlators(self) -> tuple[str, ...]:
        """The filters for what correlators retain about domains."""
        levels = ("location", "migration/current", "migration/last")
        return tuple(f"{self.root}/domains/+/{each}" for each in levels)

    def everything(self) -> str:
        """The filter for all topics of this version."""
        return f"{self.root}/#"

    def parse(self, topic: str) -> Address:
        """Parses a topic. Raises ValueError, naming the topic, for one that isn't of this contract."""
        head = self.root + "/"
        if not topic.startswith(head):
            raise ValueError(f"topic {topic!r} is not below {self.root!r}")
        match topic[len(head) :].split("/"):
            case ["hosts", host, "status"]:
                return Address("host_status", host=decode_level(host))
            case ["hosts", host, "replay"]:
                return Address("replay", host=decode_level(host))
            case ["hosts", host, "domains", uuid, "state" | "job" as kind]:
                return Address(
                    "state" if kind == "state" else "job", host=decode_level(host), uuid=decode_level(uuid)
                )
            case ["hosts", host, "domains", uuid, "lifecycle", name]:
                return Address(
                    "lifecycle", host=decode_level(host), uuid=decode_level(uuid), name=decode_level(name)
                )
            case ["hosts", host, "domains", uuid, "event", name]:
                return Address(
                    "event", host=decode_level(host), uuid=decode_level(uuid), name=decode_level(name)
                )
            case ["hosts", host, plural, key, "state"] if plural in OBJECTS:
                return Address("object_state", decode_level(host), decode_level(key), object=plural)
            case ["hosts", host, plural, key, "lifecycle" | "event" as kind, name] if plural in OBJECTS:
                return Address(
                    "object_lifecycle" if kind == "lifecycle" else "object_event",
                    decode_level(host),
                    decode_level(key),
                    decode_level(name),
                    object=plural,
                )
            case ["domains", uuid, "migration", name]:
                return Address("migration", uuid=decode_level(uuid), name=decode_level(name))
            case ["domains", uuid, "location"]:
                return Address("location", uuid=decode_level(uuid))
            case ["correlators", correlator, "status"]:
                return Address("correlator_status", correlator=decode_level(correlator))
        raise ValueError(f"topic {topic!r} is not of this contract")
