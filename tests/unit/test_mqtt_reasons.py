"""Every reason has its name and number; what can be mended says how."""

import socket
import ssl

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from bridge.mqtt.reasons import (
    REASON_NAMES,
    describe_network_error,
    describe_reason,
    describe_tls_error,
    reason_name,
)
from bridge.mqtt.settings import BrokerSettings


def test_the_names_are_those_of_mqtt_5() -> None:
    """Compared with paho's table, for the packets in which a broker sends them."""
    kinds = (PacketTypes.CONNACK, PacketTypes.PUBACK, PacketTypes.SUBACK, PacketTypes.DISCONNECT)
    theirs: dict[int, set[str]] = {}
    for kind in kinds:
        for code in range(0x04, 0x100):
            try:
                name = str(ReasonCode(kind, identifier=code)).lower()
            except (KeyError, ValueError):
                continue
            theirs.setdefault(code, set()).add(name)
    assert len(theirs) > 35
    for code, names in theirs.items():
        assert REASON_NAMES[code] in names, hex(code)


def test_an_unknown_code_keeps_its_number() -> None:
    assert reason_name(0xFE) == "reason 0xFE"
    assert describe_reason(0xFE) == "reason 0xFE (0xFE)"
    assert describe_reason(0x87).startswith("not authorized (0x87): check the user")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (socket.gaierror(-2, "Name or service not known"), "the name can't be resolved: Name or service"),
        (TimeoutError("timed out"), "no answer in time"),
        (ConnectionRefusedError(111, "Connection refused"), "connection refused"),
        (OSError(113, "No route to host"), "no route to host"),
        (OSError(), "OSError"),
        (UnicodeError("label empty or too long"), "label empty or too long"),
    ],
)
def test_trouble_of_the_network_in_a_few_words(error: OSError | UnicodeError, words: str) -> None:
    assert describe_network_error(error).startswith(words)


def test_a_connection_that_ended_is_no_refusal_by_tls() -> None:
    assert describe_tls_error(ssl.SSLEOFError(8, "EOF occurred"), BrokerSettings()) is None
    assert describe_tls_error(ssl.SSLError(1, "odd"), BrokerSettings()) is not None


@pytest.mark.parametrize(
    ("alert", "words"),
    [
        ("CERTIFICATE_EXPIRED", "it has expired: put a new one in its place"),
        ("CERTIFICATE_REVOKED", "it was revoked: put a new one in its place"),
        ("UNKNOWN_CA", "use one that the broker's own authority signed"),
        ("BAD_CERTIFICATE", "the broker's log says why"),
        ("CERTIFICATE_UNKNOWN", "the broker's log says why"),
    ],
)
def test_a_certificate_that_the_broker_refuses_comes_with_what_to_do(alert: str, words: str) -> None:
    error = ssl.SSLError(1, "refused")
    error.reason = f"SSLV3_ALERT_{alert}"
    said = describe_tls_error(error, BrokerSettings())
    assert said is not None
    assert said.startswith("the broker refused our client certificate (--broker-cert-file)")
    assert words in said


def test_settings_never_show_the_password() -> None:
    settings = BrokerSettings(user="me", password="secret")
    assert "secret" not in repr(settings)
    assert "secret" not in settings.address


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        (BrokerSettings(), "mqtt://127.0.0.1:1883"),
        (BrokerSettings(scheme="mqtts", host="::1"), "mqtts://[::1]:8883"),
        (BrokerSettings(scheme="ws", host="h", port=9001, path="/x"), "ws://h:9001/x"),
        (BrokerSettings(scheme="wss", host="h"), "wss://h:443/mqtt"),
    ],
)
def test_a_broker_has_an_address(settings: BrokerSettings, address: str) -> None:
    assert settings.address == address
