"""What every test shares: hypothesis without deadlines, and the switch for the long runs."""

import pytest
from hypothesis import settings

# The machine is shared: how long an example takes says nothing.
settings.register_profile("default", deadline=None)
settings.load_profile("default")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="the long versions of the tests that have one")
