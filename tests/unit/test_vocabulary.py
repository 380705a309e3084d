"""libvirt's vocabulary as our tables have it, against the constants of the real library.

Both ways: what the library has is in the tables under its number and name, and what only the tables have is
in `NEWER`, an explicit list. A mocked library would prove nothing here.
"""

import libvirt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.wire import vocabulary

EVENT = "VIR_DOMAIN_EVENT_"
NOT_LIFECYCLE = (
    "ID_",
    "WATCHDOG_",
    "IO_ERROR_",
    "GRAPHICS_",
    "DISK_",
    "TRAY_",
    "MEMORY_FAILURE_",
)
"""What else libvirt names after the same prefix: arguments of other events."""

NEWER = {
    ("started", "recreated"),
    ("stopped", "recreated"),
    ("suspended", "guest_shutdown"),
    ("paused", "api_error"),
}
"""Entries of the tables that a library may be too old for: libvirt 10.0 to 11.10."""

NO_REASON = {
    "VIR_DOMAIN_PMSUSPENDED_DISK_UNKNOWN": "the reason of a state that no libvirt reports any more",
    "VIR_DOMAIN_SHUTDOWN_DEFAULT": "a flag of virDomainShutdownFlags",
    "VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN": "a flag of virDomainShutdownFlags",
    "VIR_DOMAIN_SHUTDOWN_GUEST_AGENT": "a flag of virDomainShutdownFlags",
    "VIR_DOMAIN_SHUTDOWN_INITCTL": "a flag of virDomainShutdownFlags",
    "VIR_DOMAIN_SHUTDOWN_SIGNAL": "a flag of virDomainShutdownFlags",
    "VIR_DOMAIN_SHUTDOWN_PARAVIRT": "a flag of virDomainShutdownFlags",
}
"""Constants that begin like a reason and are none."""


def constants(prefix: str) -> dict[str, int]:
    """The library's constants with this prefix, by the rest of their names."""
    return {name[len(prefix) :]: getattr(libvirt, name) for name in dir(libvirt) if name.startswith(prefix)}


def lifecycle_constants() -> dict[str, int]:
    """The library's lifecycle events and details, by name without prefix."""
    return {name: number for name, number in constants(EVENT).items() if not name.startswith(NOT_LIFECYCLE)}


@pytest.mark.parametrize(("name", "number"), lifecycle_constants().items())
def test_each_event_and_detail_of_the_library_has_its_number_and_name(name: str, number: int) -> None:
    lowered = name.lower()
    if lowered in vocabulary.LIFECYCLE:
        assert vocabulary.lifecycle_name(number) == lowered
        return
    event, detail = next(
        (event, lowered[len(event) + 1 :])
        for event in vocabulary.LIFECYCLE
        if lowered.startswith(f"{event}_")
    )
    code = getattr(libvirt, f"{EVENT}{event.upper()}")
    assert vocabulary.detail_name(code, number) == detail
    assert vocabulary.lifecycle_codes(event, detail) == (code, number)


def state_constants() -> dict[str, int]:
    """The library's states, by name."""
    return {
        state: getattr(libvirt, f"VIR_DOMAIN_{state.upper()}")
        for state in vocabulary.STATES
        if hasattr(libvirt, f"VIR_DOMAIN_{state.upper()}")
    }


def test_each_state_has_its_number() -> None:
    found = state_constants()
    assert set(found) == set(vocabulary.STATES)
    for state, number in found.items():
        assert vocabulary.state_name(number) == state


@pytest.mark.parametrize("state", vocabulary.STATES)
def test_each_reason_of_the_library_has_its_number_and_name(state: str) -> None:
    prefix = f"VIR_DOMAIN_{state.upper()}_"
    reasons = {name: n for name, n in constants(prefix).items() if f"{prefix}{name}" not in NO_REASON}
    assert reasons
    for name, number in reasons.items():
        assert vocabulary.reason_name(state_constants()[state], number) == name.lower()
        assert vocabulary.state_codes(state, name.lower()) == (state_constants()[state], number)


def test_each_job_operation_of_the_library_has_its_number_and_name() -> None:
    operations = constants("VIR_DOMAIN_JOB_OPERATION_")
    assert len(operations) > 5
    for name, number in operations.items():
        assert vocabulary.operation_name(number) == name.lower()


def test_what_the_library_lacks_is_listed_as_newer() -> None:
    entries = {
        (event, detail): f"{EVENT}{event}_{detail}"
        for event, details in vocabulary.LIFECYCLE.items()
        for detail in details
    } | {
        (state, reason): f"VIR_DOMAIN_{state}_{reason}"
        for state, reasons in vocabulary.STATES.items()
        for reason in reasons
    }
    lacking = {entry for entry, name in entries.items() if not hasattr(libvirt, name.upper())}
    assert lacking <= NEWER
    assert set(entries) >= NEWER
    operations = [
        name
        for name in vocabulary.JOB_OPERATIONS
        if name.upper() not in constants("VIR_DOMAIN_JOB_OPERATION_")
    ]
    assert operations == []


def test_every_constant_that_is_no_reason_exists() -> None:
    assert all(hasattr(libvirt, name) for name in NO_REASON)


@given(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**31), 2**31 - 1))
def test_any_two_numbers_have_names(first: int, second: int) -> None:
    assert vocabulary.lifecycle_name(first) in {*vocabulary.LIFECYCLE, vocabulary.UNKNOWN}
    assert vocabulary.detail_name(first, second)
    assert vocabulary.state_name(first) in {*vocabulary.STATES, vocabulary.UNKNOWN}
    assert vocabulary.reason_name(first, second)
    assert vocabulary.operation_name(first) in vocabulary.JOB_OPERATIONS


@pytest.mark.parametrize("code", [-1, len(vocabulary.LIFECYCLE), 99])
def test_an_unknown_event_is_called_unknown(code: int) -> None:
    assert vocabulary.lifecycle_name(code) == vocabulary.UNKNOWN
    assert vocabulary.detail_name(code, 0) == vocabulary.UNKNOWN
