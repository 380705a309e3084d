"""The demo's settings."""

from typing import Annotated

from pydantic import Field

from bridge.config.log import LogSettings
from bridge.options import Option


class DemoSettings(LogSettings):
    """The demo: it brings its own broker, so that there is little to set."""

    keep: Annotated[bool, Option("", "true or false")] = Field(
        default=False, description="Go on until Ctrl-C, with a fleet that lives, to look at in a browser."
    )
