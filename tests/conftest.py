"""What every test shares: who may run, the order, hypothesis without deadlines, the long runs' switch."""

import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

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
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without root there are no real hosts; the summary says so of each test that is left out."""
    if os.geteuid() != 0:
        for item in items:
            if item.get_closest_marker("lab"):
                item.add_marker(pytest.mark.skip(reason="needs root: real hosts in namespaces"))
    if hasattr(config, "workerinput"):
        items[:] = in_turn(items)


def in_turn(items: Iterable[pytest.Item]) -> list[pytest.Item]:
    """Files that compute and files that wait for servers and hosts in turn, so that processes which run files
    side by side do some of both at any time. Of those that compute the slow ones come first: the run can't
    end before the longest file.
    """
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)

    def has(path: Path, *names: str) -> bool:
        return any(item.get_closest_marker(name) for item in files[path] for name in names)

    waiting = [path for path in files if has(path, "server", "lab")]
    computing = sorted(files.keys() - waiting, key=lambda path: (not has(path, "slow"), path))
    places = {path: n / len(side) for side in (computing, waiting) for n, path in enumerate(side)}
    return [item for path in sorted(places, key=places.__getitem__) for item in files[path]]


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
