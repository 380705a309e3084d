"""The correlator's settings."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from bridge.config.broker import BrokerUserSettings
from bridge.config.store import StoreSettings
from bridge.config.values import Http, Name, conflict
from bridge.options import Option


class CorrelatorSettings(BrokerUserSettings, StoreSettings):
    """The correlator: publishes the outcome of each migration."""

    store_name = "correlator"

    group: Annotated[Name | None, Option("NAME", "a name of 1 to 200 characters")] = Field(
        None, description="The group of correlators to share the work with; needs MQTT 5 and PostgreSQL."
    )
    settle_s: Annotated[
        float, Field(ge=0, le=86400), Option("SECONDS", "seconds, 0 to 86400", name="settle")
    ] = Field(10, description="Seconds to wait for the other side once one side is conclusive.")
    patience_s: Annotated[
        float,
        Field(gt=0, le=31536000),
        Option("SECONDS", "seconds, more than 0, to 31536000", name="patience"),
    ] = Field(600, description="Seconds of missing evidence before a migration is published as unresolved.")
    http: Http = Field(None, description="The address that serves /livez, /readyz and /metrics.")

    @model_validator(mode="after")
    def _check_group(self) -> Self:
        if self.group and not self.is_on_postgresql:
            raise conflict(
                "group", "a group shares a store on PostgreSQL", "store as in postgresql://user@host/database"
            )
        if self.group and self.broker_version != "5":
            raise conflict("group", "shared subscriptions need MQTT 5", "broker_version 5 beside it")
        return self
