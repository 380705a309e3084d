"""The settings of `check-broker`."""

from typing import Annotated

from pydantic import Field

from bridge.config.broker import BrokerUserSettings
from bridge.config.values import Name, default_host
from bridge.options import Option


class CheckSettings(BrokerUserSettings):
    """The check of a broker: who the programs would be there."""

    host: Annotated[
        Name, Option("NAME", "a name of 1 to 200 characters", default="the hostname, lowercased")
    ] = Field(default_factory=default_host, description="The agent's host.")
    id: Annotated[Name, Option("ID", "a name of 1 to 200 characters")] = Field(
        "main", description="The correlator's id."
    )
    group: Annotated[Name | None, Option("NAME", "a name of 1 to 200 characters")] = Field(
        None, description="The correlators' group, if any."
    )
