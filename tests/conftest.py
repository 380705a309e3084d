"""What every test shares: who may run, hypothesis without deadlines, and the switch for the long runs."""

import os
import threading
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.support.session_recorder import Recorder

pytest_plugins = ["tests.support.coverage_table", "tests.lab.fixtures"]

# The machine is shared: how long an example takes says nothing. A change is judged by the same examples each
# time; `make soak` draws others.
settings.register_profile("default", deadline=None, derandomize=True)
settings.register_profile("soak", deadline=None)
settings.load_profile("default")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="the long versions of the tests that have one")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--soak"):
        settings.load_profile("soak")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without root there are no real hosts; the summary says so of each test that is left out."""
    if os.geteuid() != 0:
        for item in items:
            if item.get_closest_marker("lab"):
                item.add_marker(pytest.mark.skip(reason="needs root: real hosts in namespaces"))


@pytest.fixture(scope="session")
def soak(pytestconfig: pytest.Config) -> bool:
    """Whether a test with a long version should run that (`make soak`)."""
    return bool(pytestconfig.getoption("--soak"))


@pytest.fixture(autouse=True)
def _nothing_left_open() -> Iterator[None]:
    """Closes the sessions that a test made and, since it failed, didn't close. Those of other threads may be
    a fixture's, which other tests wait for.
    """
    before = len(Recorder.made)
    yield
    for thread, recorder in Recorder.made[before:]:
        if thread == threading.get_ident():
            recorder.session.close(0.0)
    del Recorder.made[before:]
