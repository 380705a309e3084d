"""The settings of every program that keeps a store."""

import re
from typing import Annotated, ClassVar, Final, Self
from urllib.parse import quote, urlsplit

from pydantic import AfterValidator, Field, PrivateAttr, model_validator

from bridge.config.log import LogSettings
from bridge.config.values import File, Name, StateDir, conflict, default_state_dir, read_secret
from bridge.options import Option
from bridge.wire.topics import encode_level

_STORES: Final = {
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}
"""The accepted stores, and SQLAlchemy's full name of each."""


def _store(value: str) -> str:
    scheme, separator, rest = value.partition("://")
    if not separator or scheme not in _STORES:
        raise ValueError("not a URL of SQLite or PostgreSQL")
    return f"{_STORES[scheme]}://{_with_hosts_apart(rest)}"


def _with_hosts_apart(rest: str) -> str:
    """Several hosts with ports, as libpq takes them, in the place where SQLAlchemy does."""
    place, slash, path = rest.partition("/")
    user, at, hosts = place.rpartition("@")
    if "," not in hosts or ":" not in hosts:
        return rest
    query = "&".join(f"host={host if ':' in host else f'{host}:5432'}" for host in hosts.split(","))
    return f"{user}{at}{slash}{path}{'&' if '?' in path else '?'}{query}"


class StoreSettings(LogSettings):
    """What every program has that keeps a store: a file of its own, or a database."""

    store_name: ClassVar[str]
    """The prefix of its files' names."""

    id: Annotated[Name, Option("ID", "a name of 1 to 200 characters")] = Field(
        "main", description="The name of this instance, in its client id, its store's file and its messages."
    )
    state_dir: StateDir = Field(
        default_factory=default_state_dir, description="The directory of the SQLite store."
    )
    store: Annotated[
        str | None,
        AfterValidator(lambda value: value and _store(value)),
        Option(
            "URL",
            "sqlite:///file or postgresql://[user@]host[,host]/database",
            default="SQLite in the state dir",
        ),
    ] = Field(None, description="The store, as an SQLAlchemy URL.")
    store_password_file: File = Field(
        None, description="A file whose first line is the PostgreSQL user's password."
    )

    _store_password: str | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _check_store(self) -> Self:
        if self.store_password_file:
            if not self.is_on_postgresql or not urlsplit(self.store or "").username:
                raise conflict(
                    "store_password_file",
                    "no user in store whose password it could be",
                    "store as in postgresql://user@host/database",
                )
            self._store_password = read_secret("store_password_file", self.store_password_file)
        return self

    @property
    def is_on_postgresql(self) -> bool:
        """Whether the store is PostgreSQL; else it is SQLite."""
        return self.store is not None and self.store.startswith("postgresql")

    def store_url(self) -> str:
        """The store's SQLAlchemy URL, the default filled in. May hold a password."""
        if self.store is None:
            name = f"{self.store_name}-{self.id.replace('/', encode_level('/'))}.db"
            return f"sqlite:///{quote(f'{self.state_dir}/{name}')}"
        if self._store_password is None:
            return self.store
        password = quote(self._store_password, safe="")
        return re.sub(
            r"(://[^/@:]*)(?::[^@]*)?@", lambda found: f"{found[1]}:{password}@", self.store, count=1
        )

    def secrets(self) -> list[str]:
        """The texts that must be masked everywhere."""
        inline = urlsplit(self.store or "").password
        return [*super().secrets(), *filter(None, (self._store_password, inline))]
