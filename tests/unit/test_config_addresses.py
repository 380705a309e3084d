"""The broker's URL and the HTTP address, as options give them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.addresses import BrokerAddress, HttpAddress
from bridge.mqtt.settings import Scheme

HOSTS = st.sampled_from(
    ["localhost", "broker.example.org", "10.0.0.1", "::1", "fe80::1%eth0", "fe80::1%25x", "a-b_c"]
)
PORTS = st.integers(1, 65535)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("mqtt://h", BrokerAddress("mqtt", "h", 1883)),
        ("mqtts://h/", BrokerAddress("mqtts", "h", 8883)),
        ("MQTT://H:99", BrokerAddress("mqtt", "h", 99)),
        ("mqtt://agent%40host1@h", BrokerAddress("mqtt", "h", 1883, user="agent@host1")),
        ("mqtt://[::1]:1884", BrokerAddress("mqtt", "::1", 1884)),
        ("mqtt://[fe80::1%25eth0]:1883", BrokerAddress("mqtt", "fe80::1%eth0", 1883)),
        ("mqtt://[fe80::1%eth0]", BrokerAddress("mqtt", "fe80::1%eth0", 1883)),
        ("mqtt://[fe80::1%25]", BrokerAddress("mqtt", "fe80::1%25", 1883)),
        ("ws://h", BrokerAddress("ws", "h", 80, path="/mqtt")),
        ("mqtts://u@a,b:8884,c", BrokerAddress("mqtts", "a", 8883, "u", others=(("b", 8884), ("c", 8883)))),
        ("mqtt://[::1],[::1]:1884", BrokerAddress("mqtt", "::1", 1883, others=(("::1", 1884),))),
        ("ws://a,b/x", BrokerAddress("ws", "a", 80, path="/x", others=(("b", 80),))),
        ("wss://u@h/x/y", BrokerAddress("wss", "h", 443, user="u", path="/x/y")),
    ],
)
def test_a_broker_url_is_completed(url: str, address: BrokerAddress) -> None:
    assert BrokerAddress.parse(url) == address


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("h", "scheme"),
        ("http://h", "scheme"),
        ("mqtt://", "host"),
        ("mqtt://:1883", "host"),
        ("mqtt://a b", "host"),
        ("mqtt://[::1]x:1883", "host"),
        ("mqtt://u@[::1]x", "host"),
        ("mqtt://u:p@h", "password"),
        ("mqtt://u:@h", "password"),
        ("mqtt://h:", "port"),
        ("mqtt://h:0", "port"),
        ("mqtt://h:65536", "port"),
        ("mqtt://h:x", "port"),
        ("mqtt://h/x", "path"),
        ("ws://h/x?y", "meaning"),
        ("mqtt://h#x", "meaning"),
        ("mqtt://a,", "host"),
        ("mqtt://a,,b", "host"),
        ("mqtt://a,b:x", "port"),
        ("mqtt://a,mqtt://b", "path"),
        ("mqtt://a,u@b", "user"),
        ("mqtt://a:1883,a", "twice"),
    ],
)
def test_a_wrong_broker_url_says_what_is_wrong(url: str, cause: str) -> None:
    with pytest.raises(ValueError, match=cause):
        BrokerAddress.parse(url)


def test_the_error_of_a_port_repeats_nothing_of_it() -> None:
    with pytest.raises(ValueError, match="port") as error:
        BrokerAddress.parse("ws://user:top/secret@h")
    assert "top" not in str(error.value)


@given(
    scheme=st.sampled_from(["mqtt", "mqtts", "ws", "wss"]),
    host=HOSTS,
    port=PORTS,
    others=st.lists(st.tuples(HOSTS, PORTS), max_size=3),
    user=st.none() | st.text(min_size=1).filter(lambda text: text.isprintable() and _encodable(text)),
)
def test_an_address_is_read_back_as_it_is_shown(
    scheme: Scheme, host: str, port: int, others: list[tuple[str, int]], user: str | None
) -> None:
    nodes = tuple(dict.fromkeys([(host, port), *others]))
    path = "/a" if scheme.startswith("ws") else ""
    address = BrokerAddress(scheme, host, port, user, path, nodes[1:])
    assert BrokerAddress.parse(str(address)) == address


def _encodable(text: str) -> bool:
    return text.encode(errors="ignore").decode() == text


@given(st.text())
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    for parse in (BrokerAddress.parse, HttpAddress.parse):
        try:
            parse(text)
        except ValueError as error:
            assert str(error)  # noqa: PT017 - either outcome is right, a silent one isn't


@given(host=HOSTS | st.just(""), port=st.integers(0, 65535))
def test_an_http_address_is_read_back_as_it_is_shown(host: str, port: int) -> None:
    address = HttpAddress(host, port)
    assert HttpAddress.parse(str(address)) == address


@pytest.mark.parametrize(
    "text", ["", "h", "9100", "h:", "h:x", "h:65536", "::1:80", "[::1]", "a b:1", "h:１"]
)
def test_a_wrong_http_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"port|brackets|name"):
        HttpAddress.parse(text)
