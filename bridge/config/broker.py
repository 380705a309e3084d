"""The settings of every program that uses a broker."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, InstanceOf, PrivateAttr, model_validator

from bridge.addresses import BrokerAddress
from bridge.config.log import LogSettings
from bridge.config.values import File, Name, conflict, prefix_levels, read_secret
from bridge.mqtt.settings import BrokerSettings
from bridge.options import Option
from bridge.wire.topics import Topics


def _broker(value: object) -> object:
    return BrokerAddress.parse(value) if isinstance(value, str) else value


class BrokerUserSettings(LogSettings):
    """What every program has that speaks to the broker of the user's choice."""

    broker: Annotated[
        InstanceOf[BrokerAddress],
        BeforeValidator(_broker),
        Option("URL", "mqtt[s]://[user@]host[:port][,host[:port]…] or ws[s]://[user@]host[:port][,…][/path]"),
    ] = Field(
        BrokerAddress("mqtt", "127.0.0.1", 1883),
        description="The MQTT broker, or the nodes of a cluster; after a failure the next node is tried.",
    )
    broker_password_file: File = Field(
        None, description="A file whose first line is the broker user's password."
    )
    broker_ca_file: File = Field(
        None,
        description="The CA of the broker's certificate, PEM; the default are the system's CAs.",
    )
    broker_cert_file: File = Field(None, description="The client certificate, PEM; it may include the key.")
    broker_key_file: File = Field(None, description="The key of the client certificate, PEM.")
    broker_version: Annotated[Literal["5", "3.1.1"], Option("VERSION", "5 or 3.1.1")] = Field(
        "5", description="The version of MQTT."
    )
    prefix: Annotated[
        Name,
        AfterValidator(prefix_levels),
        Option("PREFIX", "levels of A-Z a-z 0-9 . _ ~ -, separated by /"),
    ] = Field("libvirt", description="The prefix of all topics.")
    encode_dots: Annotated[bool, Option("", "true or false")] = Field(
        default=False,
        description="Write `%2E` for a dot in topics, for brokers that treat it specially (NATS before 2.10, "
        "RabbitMQ); set it for all programs at that broker.",
    )

    _broker_password: str | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _check_broker(self) -> Self:
        for option in ("broker_ca_file", "broker_cert_file", "broker_key_file"):
            if getattr(self, option) and self.broker.scheme not in ("mqtts", "wss"):
                raise conflict(
                    option, f"of no use for {self.broker}, which is not encrypted", "a broker of mqtts or wss"
                )
        if self.encode_dots and "." in self.prefix:
            raise conflict("encode_dots", f"the prefix {self.prefix} has one", "a prefix without dots")
        if self.broker_key_file and not self.broker_cert_file:
            raise conflict(
                "broker_key_file", "there is no certificate that it belongs to", "broker_cert_file beside it"
            )
        if self.broker_password_file:
            if not self.broker.user:
                raise conflict(
                    "broker_password_file",
                    f"no user in {self.broker} whose password it could be",
                    "a broker as in mqtt://user@host",
                )
            self._broker_password = read_secret("broker_password_file", self.broker_password_file)
        return self

    def broker_settings(self) -> BrokerSettings:
        """The parameters of a session with the broker. Holds the password."""

        def name(path: Path | None) -> str | None:
            return str(path) if path else None

        return BrokerSettings(
            scheme=self.broker.scheme,
            host=self.broker.host,
            port=self.broker.port,
            path=self.broker.path,
            user=self.broker.user,
            password=self._broker_password,
            ca_file=name(self.broker_ca_file),
            cert_file=name(self.broker_cert_file),
            key_file=name(self.broker_key_file),
            version=self.broker_version,
            others=self.broker.others,
        )

    def topics(self) -> Topics:
        """The topics below the prefix, as this broker needs them."""
        return Topics(self.prefix, self.encode_dots)

    def secrets(self) -> list[str]:
        """The texts that must be masked everywhere."""
        return [*super().secrets(), *filter(None, [self._broker_password])]
