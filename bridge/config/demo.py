"""The demo's settings."""

from typing import Annotated

from pydantic import Field

from bridge.config.log import LogSettings
from bridge.options import Option


class DemoSettings(LogSettings):
    """The demo: it has its own broker, so there is little to set."""

    keep: Annotated[bool, Option("", "true or false")] = Field(
        default=False, description="Run until Ctrl-C, with an active fleet, for a look at the dashboard."
    )
