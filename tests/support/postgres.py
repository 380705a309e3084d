"""A private, real PostgreSQL on a free port of 127.0.0.1, in a folder of its own that goes with it.

Runs as the user `postgres` when the tests are root, since initdb refuses root; so the folder isn't pytest's,
which only root may enter.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.support.broker import free_port
from tests.support.processes import LoggedProcess

START_TIMEOUT_S = 30.0


@cache
def _programs() -> Path:
    """Debian keeps the server's programs out of PATH, in a folder for each major version."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    if initdb is None:
        raise FileNotFoundError("PostgreSQL is not installed: apt-get install postgresql")
    return Path(initdb).resolve().parent


def _as_postgres() -> dict[str, Any]:
    """How to start a process as somebody else than root."""
    if os.geteuid() != 0:
        return {}
    return {"user": "postgres", "group": "postgres", "extra_groups": [], "cwd": "/"}


class Postgres(LoggedProcess):
    """One server with the databases that are asked for. The port stays the same over `kill` and `start`.

    With a `primary` it is that one's standby, which has confirmed what is committed there, until `promote`.
    """

    def __init__(self, primary: Postgres | None = None, *, port: int | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self.port = port or free_port()
        self._data = self.folder / "data"
        super().__init__(self.folder / "postgres.log", self.folder, **_as_postgres())
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
        if primary is None:
            command = ["initdb", "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8"]
        else:
            url = f"postgresql://postgres@127.0.0.1:{primary.port}/?application_name=standby"
            command = ["pg_basebackup", "-d", url, "-R", "-c", "fast"]
        subprocess.run(
            [_programs() / command[0], "-D", self._data, *command[1:]],
            check=True,
            stdout=subprocess.DEVNULL,
            **_as_postgres(),
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def command(self) -> list[str]:
        """What is started."""
        options = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "port": self.port,
            "max_connections": 40,
            "wal_retrieve_retry_interval": "100ms",  # a standby finds its primary again soon
        }
        command = [str(_programs() / "postgres"), "-D", str(self._data)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        return command

    def start(self) -> None:
        """Starts it and waits until it answers."""
        self.start_until(lambda: self._psql("postgres", "SELECT 1") == 0, START_TIMEOUT_S)

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Stops it at once, but cleanly: sessions are cut."""
        return super().stop(number)

    def kill(self) -> None:
        """As a crash: without checkpoint, all its processes gone."""
        self._end(signal.SIGQUIT)

    def wait_for(self, standby: str) -> None:
        """From now on a commit is one when the standby has it, too."""
        for statement in (
            f"ALTER SYSTEM SET synchronous_standby_names = '{standby}'",
            "SELECT pg_reload_conf()",
        ):
            assert self._psql("postgres", statement) == 0

    def promote(self) -> None:
        """Makes a standby the primary."""
        assert self._psql("postgres", "SELECT pg_promote()") == 0

    def create(self, database: str, encoding: str = "UTF8") -> str:
        """Makes an empty database and returns its URL."""
        how = f"TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'"
        assert self._psql("postgres", f'CREATE DATABASE "{database}" {how}') == 0
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{database}"

    def _psql(self, database: str, statement: str) -> int:
        url = f"postgresql://postgres@127.0.0.1:{self.port}/{database}"
        command = [str(_programs() / "psql"), "-q", "-X", "-d", url, "-c", statement]
        return subprocess.run(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
        ).returncode
