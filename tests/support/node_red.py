"""Node-RED, installed by npm once a machine, and started without its editor."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.support.npm import installed

VERSION: Final = "4.1.8"
_SETTINGS: Final = """module.exports = {
    httpAdminRoot: false,
    httpNodeRoot: false,
    flowFile: "flows.json",
    externalModules: {autoInstall: false, palette: {allowInstall: false}},
    logging: {console: {level: "info", metrics: false, audit: false}},
};
"""


def missing() -> str | None:
    """What isn't there to run it with; None if nothing."""
    absent = [name for name in ("node", "npm") if shutil.which(name) is None]
    return f"needs {' and '.join(absent)}: make install" if absent else None


def install() -> Path:
    """Sees to it that it is there; returns its program."""
    return installed("node-red", VERSION) / "node_modules" / "node-red" / "red.js"


class NodeRed:
    """One Node-RED with one flow, in a folder of its own; the flow reads `environment` as `${NAME}`."""

    def __init__(self, folder: Path, flow: Path, **environment: str) -> None:
        folder.mkdir(parents=True)
        (folder / "flows.json").write_text(flow.read_text())
        (folder / "settings.js").write_text(_SETTINGS)
        (folder / "package.json").write_text(json.dumps({"name": "test", "version": "0.0.1"}))
        self._folder = folder
        self._environment = os.environ | environment
        self._log = folder / "node-red.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["node", str(install()), "--userDir", str(self._folder)],
                stdout=log,
                stderr=log,
                env=self._environment,
                cwd=self._folder,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def log(self) -> str:
        """All that it has written."""
        return self._log.read_text(errors="replace")
