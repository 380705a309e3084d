"""Messages and subscriptions, as a session takes and returns them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Publication:
    """One message to publish, always at QoS 1. `content_type` is an MQTT 5 property; 3.1.1 leaves it out."""

    topic: str
    payload: bytes
    retain: bool = False
    content_type: str | None = None


@dataclass(frozen=True, slots=True)
class Subscription:
    """One topic filter (`$share/…` too), at QoS 1 unless 0 is requested.

    `no_local` and `retain_handling` (0: send the retained messages at each subscribe, 1: only when the
    subscription is new, 2: never) are MQTT 5 options; 3.1.1 has none of them and behaves like the defaults.
    Where the broker refuses one that is `needed`, the session is of no use and ends.
    """

    filter: str
    qos: int = 1
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0
    needed: bool = True


@dataclass(frozen=True, slots=True)
class Received:
    """One message from the broker.

    `generation` is the number of the connection it came on; an acknowledgement on a later one means nothing
    to the broker, which delivers the message again. `qos` is 0 or 1; at 0 there is nothing to acknowledge
    and `mid` is 0.
    """

    topic: str
    payload: bytes
    retain: bool
    duplicate: bool
    mid: int
    qos: int
    content_type: str | None
    generation: int
