"""What takes long to make and serves several tests."""

from collections.abc import Iterator

import pytest

from tests.support.containers import Podman, alone, built


@pytest.fixture(scope="module")
def podman() -> Iterator[Podman]:
    """podman with the image of docker/Dockerfile, built from the working tree, for us alone."""
    with alone():
        yield built()
