"""What a broker's or TLS's refusal means, in plain words, and what to do about it."""

import socket
import ssl

from bridge.mqtt.settings import BrokerSettings

SUCCESS = 0x00
REFUSAL = 0x80
UNSPECIFIED = 0x80
"""Reason codes from here on are refusals (MQTT 5, section 2.4)."""
UNSUPPORTED_PROTOCOL_VERSION = 0x84
SESSION_TAKEN_OVER = 0x8E
PACKET_TOO_LARGE = 0x95
RETAIN_NOT_SUPPORTED = 0x9A
QOS_NOT_SUPPORTED = 0x9B
SHARED_NOT_SUPPORTED = 0x9E
WILDCARDS_NOT_SUPPORTED = 0xA2
PASSING = frozenset({0x88, 0x89, 0x8B, 0x8D, 0x98, 0x9F, 0xA0})
"""Reasons to end a connection that pass without a change."""

REASON_NAMES: dict[int, str] = {
    0x00: "success",
    0x04: "disconnect with will message",
    0x10: "no matching subscribers",
    0x80: "unspecified error",
    0x81: "malformed packet",
    0x82: "protocol error",
    0x83: "implementation specific error",
    0x84: "unsupported protocol version",
    0x85: "client identifier not valid",
    0x86: "bad user name or password",
    0x87: "not authorized",
    0x88: "server unavailable",
    0x89: "server busy",
    0x8A: "banned",
    0x8B: "server shutting down",
    0x8C: "bad authentication method",
    0x8D: "keep alive timeout",
    0x8E: "session taken over",
    0x8F: "topic filter invalid",
    0x90: "topic name invalid",
    0x91: "packet identifier in use",
    0x92: "packet identifier not found",
    0x93: "receive maximum exceeded",
    0x94: "topic alias invalid",
    0x95: "packet too large",
    0x96: "message rate too high",
    0x97: "quota exceeded",
    0x98: "administrative action",
    0x99: "payload format invalid",
    0x9A: "retain not supported",
    0x9B: "qos not supported",
    0x9C: "use another server",
    0x9D: "server moved",
    0x9E: "shared subscription not supported",
    0x9F: "connection rate exceeded",
    0xA0: "maximum connect time",
    0xA1: "subscription identifiers not supported",
    0xA2: "wildcard subscription not supported",
}
"""The reason codes of MQTT 5, section 2.4, by name."""

_WHAT_TO_DO: dict[int, str] = {
    0x84: "the broker doesn't support this version of MQTT: set --broker-version 3.1.1",
    0x85: "the broker doesn't accept this client id: it may be too long, or reserved",
    0x86: "check the user in --broker and --broker-password-file",
    0x87: "check the user, its password, and the broker's access rules for it; "
    "an agent's may allow no other --host than its own",
    0x88: "the broker isn't ready; tried again",
    0x89: "the broker is overloaded; tried again",
    0x8A: "the broker has banned this client; contact its operator",
    0x8B: "the broker is shutting down; tried again",
    0x8C: "the broker wants an authentication method that this program doesn't have",
    0x8D: "the broker received nothing for too long",
    0x8E: "another client connected with the same client id: two programs have the same name",
    0x95: "a message was larger than the broker accepts",
    0x97: "a quota of the broker is used up",
    0x9A: "the broker keeps no retained messages, which this program needs",
    0x9B: "the broker doesn't support QoS 1, which this program needs",
    0x9C: "the broker asks to use another server; set --broker",
    0x9D: "the broker has moved; set --broker",
    0x9E: "the broker has no shared subscriptions, which --group needs: "
    "run one correlator without it, or take another broker",
    0x9F: "too many connections in a short time; tried again",
    0xA2: "the broker doesn't accept filters with + or #, which this program needs",
}


def reason_name(code: int) -> str:
    """A reason code's name in MQTT 5, lowercase; `reason 0x…` for one that MQTT 5 doesn't have."""
    return REASON_NAMES.get(code, f"reason 0x{code:02X}")


def describe_reason(code: int) -> str:
    """A reason code by name and number, with what to do where there is something."""
    named = f"{reason_name(code)} (0x{code:02X})"
    return f"{named}: {_WHAT_TO_DO[code]}" if code in _WHAT_TO_DO else named


_UNKNOWN_AUTHORITY = (
    "the broker's certificate comes from an authority not known here: "
    "set --broker-ca-file to that authority's certificate"
)

_CERTIFICATE: dict[int, str] = {
    9: "the broker's certificate is not valid yet: check the clock here, or its dates there",
    10: "the broker's certificate has expired: it has to be renewed there (or the clock here is wrong)",
    18: "the broker's certificate is self-signed: give it, or who should have signed it, as --broker-ca-file",
    19: _UNKNOWN_AUTHORITY,
    20: _UNKNOWN_AUTHORITY,
    21: _UNKNOWN_AUTHORITY,
    23: "the broker's certificate was revoked",
    62: "the broker's certificate isn't for the name {host}: in --broker use a name that it was made for",
    64: "the broker's certificate isn't for the address {host}: in --broker use a name that it was made for",
}
"""By OpenSSL's X509_V_ERR_… numbers."""

_NO_TLS = "that port doesn't use TLS: mqtt:// instead of mqtts://, or another port"
_NO_TLS_VERSION = "the broker supports no TLS version that is accepted here (1.2 or newer)"
_CLIENT_CERTIFICATE = "the broker refused our client certificate (--broker-cert-file)"
_RENEW = "put a new one in its place"
_ASK_THE_BROKER = "the broker's log says why"

_ALERTS: dict[str, str] = {
    "CERTIFICATE_REQUIRED": "the broker wants a client certificate: set --broker-cert-file and its key",
    "HANDSHAKE_FAILURE": "the broker refused TLS: it may want a client certificate (--broker-cert-file)",
    "UNKNOWN_CA": f"{_CLIENT_CERTIFICATE}: it doesn't know the authority that signed it: "
    "use one that the broker's own authority signed",
    "CERTIFICATE_EXPIRED": f"{_CLIENT_CERTIFICATE}: it has expired: {_RENEW} (or the clock there is wrong)",
    "CERTIFICATE_REVOKED": f"{_CLIENT_CERTIFICATE}: it was revoked: {_RENEW}",
    "BAD_CERTIFICATE": f"{_CLIENT_CERTIFICATE}: {_ASK_THE_BROKER}",
    "CERTIFICATE_UNKNOWN": f"{_CLIENT_CERTIFICATE}: {_ASK_THE_BROKER}",
    "DECRYPT_ERROR": f"{_CLIENT_CERTIFICATE}: it and --broker-key-file may not belong together",
    "WRONG_VERSION_NUMBER": _NO_TLS,
    "RECORD_LAYER_FAILURE": _NO_TLS,
    "PROTOCOL_VERSION": _NO_TLS_VERSION,
    "UNSUPPORTED_PROTOCOL": _NO_TLS_VERSION,
}
"""By the ends of OpenSSL's reason names; most are alerts from the other side."""


def describe_tls_error(error: ssl.SSLError, settings: BrokerSettings) -> str | None:
    """What a TLS error means and what to do; None when it isn't a refusal but a network error."""
    if isinstance(error, ssl.SSLCertVerificationError):
        known = _CERTIFICATE.get(error.verify_code)
        return (
            known.format(host=settings.host) if known else f"the broker's certificate: {error.verify_message}"
        )
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return None
    reason = getattr(error, "reason", None) or ""  # one that Python itself raised has none
    for end, words in _ALERTS.items():
        if reason.endswith(end):
            return words
    return f"TLS: {reason.replace('_', ' ').lower() or error}"


def describe_network_error(error: Exception) -> str:
    """Why there is no connection, briefly."""
    if isinstance(error, socket.gaierror):
        return f"the name can't be resolved: {error.strerror}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLError):
        return "the broker ended it"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    return str(error) or type(error).__name__
