"""The table of events against the real library, and what is made from it."""

import json
from typing import Any

import jsonschema
import libvirt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import schemas
from bridge.view import words
from bridge.wire import events, messages
from bridge.wire.events import CHOICES, EVENTS, LIFECYCLES, OBJECTS, SUPERSEDED, TABLE, Choice, Flags, chosen
from bridge.wire.examples import of_events
from bridge.wire.vocabulary import UNKNOWN

IDS = (
    "VIR_DOMAIN_EVENT_ID_",
    "VIR_NETWORK_EVENT_ID_",
    "VIR_STORAGE_POOL_EVENT_ID_",
    "VIR_NODE_DEVICE_EVENT_ID_",
    "VIR_SECRET_EVENT_ID_",
)
NEWER = {
    "VIR_DOMAIN_EVENT_ID_NIC_MAC_CHANGE",
    "VIR_DOMAIN_EVENT_ID_VCPU_REMOVED",
    "VIR_DOMAIN_EVENT_ID_CHANNEL_LIFECYCLE",
    "VIR_NETWORK_EVENT_ID_METADATA_CHANGE",
}
"""Constants of the table that a library may be too old for: libvirt 9.8 to 12.4."""
OTHER_NAMES = {"drop_missing_on_start": "VIR_DOMAIN_EVENT_DISK_DROP_MISSING_ON_START"}
"""Values whose constants don't begin as the others of their enumeration."""
NOT_VALUES = {
    "VIR_DOMAIN_BLOCK_JOB_": ("ABORT_", "INFO_", "SPEED_", "TYPE_"),
    "VIR_DOMAIN_EVENT_GRAPHICS_": ("ADDRESS_",),
    "VIR_DOMAIN_EVENT_IO_ERROR_": ("REASON",),
    "VIR_DOMAIN_MEMORY_FAILURE_": (),
}
"""What else libvirt names after the prefix of an enumeration."""
ENUMERATIONS = [
    events.FAMILIES,
    *(argument for event in TABLE for argument in event.arguments if isinstance(argument, Choice | Flags)),
]


def constants(prefix: str) -> dict[str, int]:
    """The library's constants with this prefix, by the rest of their names."""
    return {name[len(prefix) :]: getattr(libvirt, name) for name in dir(libvirt) if name.startswith(prefix)}


@pytest.mark.parametrize("prefix", IDS)
def test_the_table_names_every_event_of_the_library(prefix: str) -> None:
    named = {event.constant for event in TABLE} | {entry[0] for entry in LIFECYCLES.values()}
    found = {prefix + name for name in constants(prefix)} - {prefix + "LAST"}
    assert found
    assert found <= named | SUPERSEDED.keys()


def test_what_the_library_lacks_is_listed_as_newer() -> None:
    named = {event.constant for event in TABLE} | SUPERSEDED.keys()
    named |= {entry[0] for entry in LIFECYCLES.values()}
    assert {name for name in named if not hasattr(libvirt, name)} <= NEWER <= named
    assert set(SUPERSEDED.values()) <= EVENTS.keys()


@pytest.mark.parametrize("each", ENUMERATIONS, ids=lambda each: f"{each.prefix}{each.name}")
def test_each_value_of_the_library_has_its_number_and_name(each: Choice | Flags) -> None:
    others = NOT_VALUES.get(each.prefix, ())
    found = {name: code for name, code in constants(each.prefix).items() if not name.startswith(others)}
    numbers = [1 << bit if isinstance(each, Flags) else bit for bit in range(len(each.names))]
    known = dict(zip(each.names, numbers, strict=True))
    for name, code in found.items():
        assert known[name.lower()] == code
    for name, constant in OTHER_NAMES.items():
        if name in known:
            assert getattr(libvirt, constant) == known[name]


@pytest.mark.parametrize("plural", OBJECTS)
def test_each_lifecycle_event_of_other_objects_has_its_number_and_name(plural: str) -> None:
    each = OBJECTS[plural]
    found = {
        name.lower(): code for name, code in constants(each.prefix).items() if not name.startswith("ID_")
    }
    assert found == {name: code for code, name in enumerate(each.lifecycle)}


@given(st.sampled_from(ENUMERATIONS[1:]), st.integers(0, 2**31 - 1))
def test_any_number_is_published(each: Choice | Flags, number: int) -> None:
    said = each.read(number)
    assert said[f"{each.name}_code"] == number
    if isinstance(each, Choice):
        assert said[each.name] == (each.names[number] if number < len(each.names) else UNKNOWN)
    else:
        assert (UNKNOWN in said[each.name]) == (number >= 1 << len(each.names))


def test_an_argument_that_nobody_knows_is_published() -> None:
    assert EVENTS["device_added"].params(("net1", 7)) == {"alias": "net1", "argument_2": 7}
    assert EVENTS["memory_failure"].params((None, "x")) == {"recipient": None, "action": "x"}


@pytest.mark.parametrize("event", TABLE, ids=lambda event: event.option)
def test_an_example_is_what_the_callback_brings_and_the_schema_takes(event: events.Event) -> None:
    assert len(event.example) == len(event.arguments)
    plural = event.object.plural if event.object else None
    message = json.loads(of_events(plural)[event.name])
    kind = messages.OBJECT_EVENT[plural] if plural else messages.EVENT
    schema = schemas.schemas()[kind.schema_name]
    jsonschema.validate(message, schema, jsonschema.Draft202012Validator)
    if plural is None and event.schema()["properties"]:
        del message["data"]["params"][next(iter(event.schema()["properties"]))]
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(message, schema, jsonschema.Draft202012Validator)


@pytest.mark.parametrize("event", TABLE, ids=lambda event: event.option)
def test_watch_has_a_sentence_for_each(event: events.Event) -> None:
    said = words.event({"event": event.name, "origin": "event", "params": event.params(event.example)})
    assert said
    assert "?" not in said
    assert "{" not in said


@pytest.mark.parametrize(
    ("text", "added", "left_out"),
    [
        ("", set(), set()),
        ("graphics", {"graphics"}, set()),
        ("graphics, -reboot", {"graphics"}, {"reboot"}),
        ("all,-rtc_change", CHOICES.keys() - {"rtc_change"}, set()),
        ("-graphics,all", CHOICES.keys(), set()),
        ("-network_lifecycle", set(), {"network_lifecycle"}),
    ],
)
def test_events_are_chosen_by_name(text: str, added: set[str], left_out: set[str]) -> None:
    default = {name for name, published in CHOICES.items() if published != "on request"}
    assert chosen(text) == (default | added) - left_out


def test_on_by_default_is_what_somebody_has_to_know() -> None:
    assert {name for name, published in CHOICES.items() if published == "default"} == {
        "network_lifecycle", "pool_lifecycle", "pool_refresh",
        "io_error", "watchdog", "control_error", "block_job", "block_threshold", "agent_lifecycle",
        "device_removed", "device_added", "device_removal_failed", "memory_failure", "reboot", "disk_change",
        "pmsuspend", "pmsuspend_disk", "pmwakeup",
    }  # fmt: skip
    assert {name for name, published in CHOICES.items() if published == "always"} == {
        "lifecycle",
        "migration_iteration",
        "job_completed",
    }


@pytest.mark.parametrize(
    ("text", "told"), [("reboot,lifecycles", "lifecycles"), ("-job_completed", "correlator")]
)
def test_what_cannot_be_chosen_is_named(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        chosen(text)


ANY: Any = st.none() | st.integers() | st.text() | st.dictionaries(st.text(), st.integers())


@given(st.sampled_from([event.name for event in TABLE]), ANY, st.dictionaries(st.text(), ANY))
def test_watch_shows_whatever_comes(name: str, params: Any, more: dict[str, Any]) -> None:
    """A later version, or somebody else, may say anything under a name that is known."""
    assert words.event({"event": name, "params": params})
    assert words.event({"event": name, "params": {"alias": params} | more})
