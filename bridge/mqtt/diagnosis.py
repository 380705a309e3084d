"""Why a connection ended, in words a user can act on, where the broker gave no reason code."""

import ssl

from bridge.mqtt import reasons
from bridge.mqtt.link import FileUnusableError
from bridge.mqtt.messages import Publication
from bridge.mqtt.settings import BrokerSettings

SOON_S = 60.0
"""Up to this age a connection that the broker closes without a reason looks like one that was taken over."""


def explain(error: OSError | UnicodeError, node: BrokerSettings) -> tuple[str, bool]:
    """Why, and whether the user has to change something."""
    if isinstance(error, FileUnusableError):
        return str(error), True
    refusal = reasons.describe_tls_error(error, node) if isinstance(error, ssl.SSLError) else None
    return refusal or reasons.describe_network_error(error), refusal is not None


def explain_early_end(node: BrokerSettings, will: Publication | None) -> str:
    """The connection ended before the CONNACK."""
    if not node.tls:
        hint = "is that port for TLS (mqtts://), or not for MQTT at all?"
    elif node.cert_file:
        hint = "it may not accept our client certificate (--broker-cert-file)"
    else:
        hint = "it may want a client certificate (--broker-cert-file)"
    if will is not None and "." in will.topic:
        hint += (
            f" Or it doesn't take the Will's topic, {will.topic}, for its dot, as NATS before 2.10: "
            "set --encode-dots"
        )
    return f"the broker ended the connection before it answered: {hint}"


class SilentCloses:
    """Connections that the broker closed without DISCONNECT, in a row and each soon after it was made.

    mosquitto 2.0 does that when another client takes over the session: it accepts us again, and closes again
    as soon as the other one is back.
    """

    def __init__(self, client_id: str) -> None:
        self._client_id = client_id
        self._times = 0

    def add(self, age_s: float) -> tuple[str, bool]:
        """One more, of this age. Why, and whether another client has most likely taken over."""
        self._times = self._times + 1 if age_s < SOON_S else 0
        if self._times < 2:
            return "the broker closed the connection and gave no reason", False
        why = (
            f"the broker closed the connection {self._times} times in a row, each time soon after it was "
            f"made: most likely another client uses the same client id, {self._client_id}"
        )
        return why, True

    def clear(self) -> None:
        """A connection ended in another way."""
        self._times = 0
