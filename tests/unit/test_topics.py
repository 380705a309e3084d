"""Topics: any outside text makes one level, and is read back as it was."""

from __future__ import annotations

import string
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.wire.topics import Address, Topics, decode_level, encode_level

ANY_TEXT = st.text(min_size=1).filter(lambda text: not any("\ud800" <= c <= "\udfff" for c in text))
UNRESERVED = set(string.ascii_letters + string.digits + "._~-%")
UUID = "c7a5fdbd-edaf-9455-926a-d65c16db1809"


@given(ANY_TEXT)
def test_any_text_survives_the_round_trip(text: str) -> None:
    """Encoding loses nothing."""
    assert decode_level(encode_level(text)) == text


@given(ANY_TEXT)
def test_a_level_holds_only_unreserved_characters(text: str) -> None:
    """Nothing that a broker reads as a separator, a wildcard or a control character gets through."""
    assert set(encode_level(text)) <= UNRESERVED


@given(ANY_TEXT, ANY_TEXT, ANY_TEXT)
def test_every_topic_is_parsed_as_it_was_built(host: str, uuid: str, name: str) -> None:
    """`parse` is the inverse of each builder, for any host, UUID and event name."""
    topics = Topics("site/libvirt")
    built = {
        topics.host_status(host): Address("host_status", host=host),
        topics.replay(host): Address("replay", host=host),
        topics.state(host, uuid): Address("state", host=host, uuid=uuid),
        topics.job(host, uuid): Address("job", host=host, uuid=uuid),
        topics.lifecycle(host, uuid, name): Address("lifecycle", host=host, uuid=uuid, name=name),
        topics.event(host, uuid, name): Address("event", host=host, uuid=uuid, name=name),
        topics.migration(uuid, name): Address("migration", uuid=uuid, name=name),
        topics.location(uuid): Address("location", uuid=uuid),
        topics.correlator_status(name): Address("correlator_status", correlator=name),
    }
    for topic, address in built.items():
        assert topics.parse(topic) == address


@given(ANY_TEXT, ANY_TEXT, ANY_TEXT)
def test_dots_can_be_encoded_and_are_read_either_way(host: str, uuid: str, name: str) -> None:
    plain, encoding = Topics(), Topics(encode_dots=True)
    builders: tuple[Callable[[Topics], str], ...] = (
        lambda topics: topics.host_status(host),
        lambda topics: topics.state(host, uuid),
        lambda topics: topics.lifecycle(host, uuid, name),
        lambda topics: topics.object_state(host, "networks", uuid),
        lambda topics: topics.object_event(host, "pools", uuid, name),
        lambda topics: topics.migration(uuid, name),
        lambda topics: topics.correlator_status(name),
    )
    for build in builders:
        encoded = build(encoding)
        assert "." not in encoded
        assert encoded.replace("%2E", ".") == build(plain)
        assert plain.parse(encoded) == encoding.parse(build(plain)) == plain.parse(build(plain))


def test_an_agent_is_asked_in_either_spelling_where_it_may_use_both() -> None:
    plain, encoded = "libvirt/v1/hosts/a.b/replay", "libvirt/v1/hosts/a%2Eb/replay"
    assert Topics().replays_of("a.b") == (plain, encoded)
    assert Topics(encode_dots=True).replays_of("a.b") == (encoded,)
    assert Topics().replays_of("a") == ("libvirt/v1/hosts/a/replay",)


def test_topics_are_those_of_the_contract() -> None:
    """The literal spelling that subscribers rely on."""
    topics = Topics()
    assert topics.host_status("host1") == "libvirt/v1/hosts/host1/status"
    assert topics.state("host1", UUID) == f"libvirt/v1/hosts/host1/domains/{UUID}/state"
    assert topics.lifecycle("host 1/a", UUID, "stopped") == (
        f"libvirt/v1/hosts/host%201%2Fa/domains/{UUID}/lifecycle/stopped"
    )
    assert topics.event("host1", UUID, "job_failed").endswith("/event/job_failed")
    assert topics.migration(UUID, "completed") == f"libvirt/v1/domains/{UUID}/migration/completed"
    assert topics.location(UUID) == f"libvirt/v1/domains/{UUID}/location"
    assert topics.correlator_status("main") == "libvirt/v1/correlators/main/status"


@pytest.mark.parametrize(
    "topic",
    [
        "libvirt/v2/hosts/host1/status",
        "other/v1/hosts/host1/status",
        "libvirt/v1/hosts/host1",
        "libvirt/v1/hosts/host1/status/more",
        "libvirt/v1/hosts/ho st/status",
        "libvirt/v1/hosts/%68ost1/status",
        "libvirt/v1/hosts/%ff/status",
        "libvirt/v1/hosts/a.b%2Ec/status",
        "libvirt/v1/hosts/a%2e/status",
        "libvirt/v1/hosts//status",
    ],
)
def test_a_foreign_topic_is_refused_by_name(topic: str) -> None:
    """Another version, another shape, and a second spelling of the same host are all refused."""
    with pytest.raises(ValueError, match=r".+"):
        Topics().parse(topic)


def test_an_empty_level_is_refused() -> None:
    """Empty text would vanish between two slashes."""
    with pytest.raises(ValueError, match="empty"):
        encode_level("")
