"""The settings of every program."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from bridge.config.values import lowered
from bridge.options import Option


class LogSettings(BaseModel):
    """What every program has."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    log_format: Annotated[
        Literal["text", "json"] | None,
        BeforeValidator(lowered),
        Option("FORMAT", "text or json", default="text on a terminal, else json"),
    ] = Field(None, description="The format of log lines, on standard error.")
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        BeforeValidator(lowered),
        Option("LEVEL", "debug, info, warning or error"),
    ] = Field("info", description="The lowest level of lines that are written.")

    def secrets(self) -> list[str]:
        """The texts that must be masked everywhere."""
        return []
