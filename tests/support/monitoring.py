"""A real Prometheus with `docker/prometheus`, in a folder of its own and on a free port of 127.0.0.1."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode
from urllib.request import urlopen

import yaml

from tests.support.broker import free_port, program
from tests.support.processes import LoggedProcess

ROOT: Final = Path(__file__).parents[2]
ALERTS: Final = ROOT / "docker" / "prometheus" / "alerts.yaml"
SETTINGS: Final = ROOT / "docker" / "prometheus" / "prometheus.yaml"
DASHBOARD: Final = ROOT / "docker" / "grafana" / "libvirt-mqtt.json"
START_TIMEOUT_S: Final = 20.0


def metrics_of(expression: str) -> set[str]:
    """The names of the series in an expression that can only be ours or a process's."""
    return set(re.findall(r"\b(?:libvirt_mqtt|process)_\w+", expression))


def alert_expressions() -> dict[str, str]:
    """The alerts with what they look at."""
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


def dashboard_expressions() -> dict[str, list[str]]:
    """The dashboard's panels with what they show, the variables filled in."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return {
        panel["title"]: [
            target["expr"].replace("$__rate_interval", "1m").replace("$instance", ".*")
            for target in panel["targets"]
        ]
        for panel in panels
        if panel["type"] != "row"
    }


class Prometheus(LoggedProcess):
    """Scrapes these targets, by job, with the shipped settings and alerts, but four times a second."""

    def __init__(self, folder: Path, targets: Mapping[str, list[str]]) -> None:
        super().__init__(folder / "log", folder)
        settings = yaml.safe_load(SETTINGS.read_text())
        settings["global"] = {"scrape_interval": "250ms", "evaluation_interval": "250ms"}
        assert {job["job_name"] for job in settings["scrape_configs"]} == set(targets)
        for job in settings["scrape_configs"]:
            job["static_configs"] = [{"targets": targets[job["job_name"]]}]
            job["scrape_timeout"] = "250ms"
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(settings))
        (folder / "alerts.yaml").write_text(ALERTS.read_text())
        self.port = free_port()
        self.targets = [target for each in targets.values() for target in each]
        self._folder = folder

    @property
    def command(self) -> list[str]:
        """What is started."""
        return [
            program("prometheus"),
            f"--config.file={self._folder / 'prometheus.yaml'}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]

    def start(self) -> None:
        """Starts it and waits until it is ready."""
        self.start_until(self._is_ready, START_TIMEOUT_S)

    def _is_ready(self) -> bool:
        try:
            with urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=2):
                return True
        except OSError:
            return False

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that an expression has now; one that can't be evaluated raises."""
        found: list[dict[str, Any]] = self._ask("query", query=expression)["result"]
        return found

    def names(self) -> set[str]:
        """Of all series that were ever scraped."""
        return set(self._ask("label/__name__/values"))

    def rules(self) -> Iterator[dict[str, Any]]:
        """The alerts, each with its health and state."""
        for group in self._ask("rules")["groups"]:
            yield from group["rules"]

    def _ask(self, path: str, **parameters: str) -> Any:
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urlencode(parameters)}"
        with urlopen(url, timeout=10) as response:
            return json.load(response)["data"]
