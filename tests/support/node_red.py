"""Node-RED, installed by npm once a machine, and started without its editor."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Final

from tests.support.npm import installed
from tests.support.processes import LoggedProcess

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


class NodeRed(LoggedProcess):
    """One Node-RED with one flow, in a folder of its own; the flow reads `environment` as `${NAME}`."""

    def __init__(self, folder: Path, flow: Path, **environment: str) -> None:
        super().__init__(folder / "node-red.log", folder, env=os.environ | environment)
        (folder / "flows.json").write_text(flow.read_text())
        (folder / "settings.js").write_text(_SETTINGS)
        (folder / "package.json").write_text(json.dumps({"name": "test", "version": "0.0.1"}))
        self._folder = folder
        self._folder = folder

    @property
    def command(self) -> list[str]:
        """What is started."""
        return ["node", str(install()), "--userDir", str(self._folder)]
