"""What a broker's CONNACK says it can do, compared with what a session needs. Pure.

Source: MQTT 5, section 3.2.2.3. MQTT 3.1.1 has none of it: there every feature is assumed, and a missing one
shows when it is used.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bridge.mqtt import packets, reasons
from bridge.mqtt.messages import Publication, Subscription

MEASURED_AHEAD = 20
"""mosquitto's Receive Maximum, with which the rates of docs/scaling.md were measured."""


@dataclass(frozen=True, slots=True)
class Features:
    """What the broker can do. `session_expiry_s` None means as long as requested."""

    qos1: bool = True
    retain: bool = True
    wildcards: bool = True
    shared: bool = True
    receive_maximum: int = 65_535
    largest_packet_bytes: int = packets.LARGEST_PACKET_BYTES
    session_expiry_s: int | None = None


class Needs:
    """What a session needs, from its parameters. `will` is the least that it has to publish."""

    def __init__(
        self, subscriptions: Sequence[Subscription], will: Publication | None, session_expiry_s: int
    ) -> None:
        filters = [each.filter for each in subscriptions if each.needed]
        self._features = {
            "qos1": True,
            "retain": will is not None and will.retain,
            "wildcards": any(level in ("+", "#") for each in filters for level in each.split("/")),
            "shared": any(each.startswith("$share/") for each in filters),
        }
        self._packet_bytes = (
            0
            if will is None
            else packets.publish_bytes(
                packets.pack_topic(will.topic), packets.pack_content_type(will.content_type), will.payload
            )
        )
        self._session_expiry_s = session_expiry_s

    def missing(self, has: Features) -> str | None:
        """What makes the broker useless, and what to do; None if nothing does."""
        for feature, needed in self._features.items():
            if needed and not getattr(has, feature):
                return reasons.describe_reason(_REFUSALS[feature])
        if has.largest_packet_bytes < self._packet_bytes:
            return (
                f"it accepts packets of at most {has.largest_packet_bytes} bytes, "
                f"and a status alone has {self._packet_bytes}: raise that limit"
            )
        return None

    def shortfalls(self, has: Features) -> Iterator[str]:
        """Features of which the broker has less than requested, each with its consequence."""
        if has.session_expiry_s is not None and has.session_expiry_s < self._session_expiry_s:
            yield (
                f"the broker keeps our session for {_duration(has.session_expiry_s)}, "
                f"not {_duration(self._session_expiry_s)}"
            )
        if self._packet_bytes and has.receive_maximum < MEASURED_AHEAD:
            yield (
                f"the broker accepts {has.receive_maximum} unacknowledged messages, "
                f"not {MEASURED_AHEAD}: over a slow link only that many each round trip"
            )


_REFUSALS = {
    "qos1": reasons.QOS_NOT_SUPPORTED,
    "retain": reasons.RETAIN_NOT_SUPPORTED,
    "wildcards": reasons.WILDCARDS_NOT_SUPPORTED,
    "shared": reasons.SHARED_NOT_SUPPORTED,
}

_UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


def _duration(seconds: int) -> str:
    size, unit = next((each for each in _UNITS if seconds >= each[0] and seconds % each[0] == 0), _UNITS[-1])
    count = seconds // size
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"
