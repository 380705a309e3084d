"""Pytest fixtures: one lab of three hosts, brought up once, that serves every scenario.

tests/conftest.py makes them known to every test.
"""

from collections.abc import Iterator

import pytest

from tests.lab import install
from tests.lab.lab import Lab
from tests.lab.stage import Stage
from tests.lab.witness import Witness
from tests.support.roots import Unavailable

HOSTS = 3
NEWER_RELEASE = "trixie"


def needs_lab() -> None:
    """Skip the test, with one line that says what to install, where no lab can be."""
    lacking = install.missing()
    if lacking:
        pytest.skip(lacking)


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Three hosts of this machine's release."""
    needs_lab()
    with Lab(HOSTS) as hosts:
        yield hosts


@pytest.fixture(scope="session")
def witness(lab: Lab) -> Iterator[Witness]:
    """What those hosts' libvirtds emit, heard by another process."""
    with Witness(lab.hosts) as listening:
        yield listening


@pytest.fixture
def stage(lab: Lab, witness: Witness) -> Iterator[Stage]:
    """The hosts in their roles, mended and without guests when the test is over."""
    new = Stage(lab, witness)
    try:
        yield new
    finally:
        new.clean()


@pytest.fixture(scope="session")
def mixed_lab() -> Iterator[Lab]:
    """host1 of this machine's release, host2 and host3 of a newer one, whose root is made on first use."""
    needs_lab()
    try:
        install.release_root(NEWER_RELEASE)
    except Unavailable as failure:
        pytest.skip(f"no root of {NEWER_RELEASE}: {failure}")
    with Lab(HOSTS, releases={"host2": NEWER_RELEASE, "host3": NEWER_RELEASE}) as hosts:
        yield hosts


@pytest.fixture(scope="session")
def mixed_witness(mixed_lab: Lab) -> Iterator[Witness]:
    """What the hosts of `mixed_lab` emit."""
    with Witness(mixed_lab.hosts) as listening:
        yield listening
