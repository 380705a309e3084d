"""What takes long to make and serves several tests."""

import pytest

from tests.containers import Podman, built


@pytest.fixture(scope="session")
def podman() -> Podman:
    """podman with the image of docker/Dockerfile, built from the working tree."""
    return built()
