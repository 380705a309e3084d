"""What the explorer sets for its processes doesn't outlive its tests."""

import gc
from collections.abc import Iterator

import pytest
import structlog

from tests.explorer.explore import quiet


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> Iterator[None]:
    config, threshold = structlog.get_config(), gc.get_threshold()
    quiet()
    yield
    structlog.configure(**config)
    gc.set_threshold(*threshold)
