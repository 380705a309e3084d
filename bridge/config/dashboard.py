"""The settings of the dashboard, and of `history`, which reads its store."""

import ssl
from typing import Annotated, Self

from pydantic import BeforeValidator, ByteSize, Field, InstanceOf, PrivateAttr, model_validator

from bridge.addresses import HttpAddress
from bridge.config.broker import BrokerUserSettings
from bridge.config.store import StoreSettings
from bridge.config.values import BYTES, File, conflict, http_address, read_secret
from bridge.options import Option


class DashboardSettings(BrokerUserSettings, StoreSettings):
    """The dashboard: stores the history, and shows it and the fleet in a browser."""

    store_name = "dashboard"

    keep_days: Annotated[float, Field(gt=0, le=36500), Option("DAYS", "days, more than 0, to 36500")] = Field(
        30, description="How long the history is kept."
    )
    keep_bytes: Annotated[ByteSize, Field(ge=1_000_000), Option("BYTES", f"{BYTES}; 1MB or more")] = Field(
        ByteSize(10 << 30), description="The largest size of the store; the oldest rows are deleted first."
    )
    http: Annotated[
        InstanceOf[HttpAddress],
        BeforeValidator(http_address),
        Option("ADDRESS:PORT", "address:port, [IPv6]:port or :port"),
    ] = Field(HttpAddress("127.0.0.1", 9473), description="The address that serves the page and its API.")
    http_password_file: File = Field(
        None, description="A file whose first line is the password for the page and its API."
    )
    http_open: Annotated[bool, Option("", "true or false")] = Field(
        default=False, description="Serve without a password: a proxy asks for one."
    )
    http_cert_file: File = Field(None, description="A certificate for HTTPS, PEM; it may include the key.")
    http_key_file: File = Field(None, description="The key of the certificate, PEM.")

    _http_password: str | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _check_http(self) -> Self:
        if self.http_password_file:
            self._http_password = read_secret("http_password_file", self.http_password_file)
        elif not self.http.is_loopback and not self.http_open:
            raise conflict(
                "http",
                "other machines would have access without a password",
                "http_password_file beside it, or http_open, or a loopback address",
            )
        if self.http_key_file and not self.http_cert_file:
            raise conflict(
                "http_key_file", "there is no certificate that it belongs to", "http_cert_file beside it"
            )
        if self.http_cert_file:
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
                    self.http_cert_file, self.http_key_file
                )
            except (ssl.SSLError, OSError) as error:
                accepted = "a certificate with its key, PEM, the key without a passphrase"
                raise conflict("http_cert_file", f"can't be used: {error}", accepted) from None
        return self

    @property
    def http_password(self) -> str | None:
        """The password that the page requires; None: none."""
        return self._http_password

    def secrets(self) -> list[str]:
        """The texts that must be masked everywhere."""
        return [*super().secrets(), *filter(None, [self._http_password])]


class HistorySettings(StoreSettings):
    """What `history` reads: a dashboard's store."""

    store_name = "dashboard"
