"""The settings of `watch`."""

from typing import Annotated, Literal

from pydantic import Field

from bridge.config.broker import BrokerUserSettings
from bridge.config.values import Patterns
from bridge.options import Option


class WatchSettings(BrokerUserSettings):
    """The watcher: prints events."""

    as_json: Annotated[bool, Option("", "true or false", name="json")] = Field(
        default=False, description="Print each message as one JSON line."
    )
    host: Patterns = Field(None, description="Show only messages that name one of these hosts.")
    domain: Patterns = Field(None, description="Show only messages about these domains, by UUID or name.")
    only: Annotated[
        Literal["migrations", "events", "states"] | None,
        Option("KIND", "migrations, events or states", default="all"),
    ] = Field(None, description="Show only this kind of message.")
