"""A dashboard with what it needs around it, and a browser's window on it."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.request import urlopen
from uuid import NAMESPACE_URL, uuid5

import msgspec
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, Request

from bridge.mqtt.messages import Publication
from bridge.wire.examples import examples
from bridge.wire.messages import JOB, MIGRATION, host_source, seconds, stamp
from bridge.wire.topics import Topics
from tests.simulator.fleet import Fleet
from tests.support.agent_messages import publication
from tests.support.broker import Broker, free_port
from tests.support.correlators import CorrelatorProcess, Listening, messages_of, stamped_now
from tests.support.correlators import Fleet as Agents
from tests.support.npm import installed
from tests.support.processes import ProgramProcess, wait_until
from tests.support.traces import load

AXE: Final = "4.14.1"
RESULTS: Final = Path(__file__).parent / "results"
WIDE: Final = (1280, 800)
NARROW: Final = (390, 844)
WAIT_S: Final = 20.0
_PREPARED: Final = b'"event": "started", "event_code": 2, "detail": "migrated"'
ROOMY: Final = ("max_queued_messages 0", "max_inflight_messages 1000", "set_tcp_nodelay true")


class DashboardProcess(ProgramProcess):
    """`libvirt-mqtt dashboard`."""

    def __init__(self, broker: Listening, folder: Path, **options: object) -> None:
        self.port = free_port()
        options = {"http": f"127.0.0.1:{self.port}", "state_dir": folder / "dashboard"} | options
        options |= {"broker": f"mqtt://127.0.0.1:{broker.port}", "log_format": "json"}
        super().__init__("dashboard", folder / "dashboard.log", **options)

    @property
    def url(self) -> str:
        """The page."""
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Starts it and returns once it accepts connections."""
        super().start()
        wait_until(self._accepts, lambda: self.log)

    def read(self, path: str) -> Any:
        """The JSON that the API answers with."""
        with urlopen(f"{self.url}api/v1/{path}", timeout=10) as answer:
            return json.load(answer)

    def streams(self) -> int:
        """How many streams are open."""
        with urlopen(f"{self.url}metrics", timeout=10) as answer:
            found = re.search(r"_streams (\d+)", answer.read().decode())
        assert found
        return int(found[1])

    def _accepts(self) -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.port)) == 0


class World:
    """A broker, a correlator if wanted, a dashboard, and a client that speaks for the agents."""

    def __init__(self, folder: Path, *, correlates: bool = True, **options: object) -> None:
        self._correlates = correlates
        self._stack = ExitStack()
        self._folder = folder
        self._options = options

    def __enter__(self) -> Self:
        enter, folder = self._stack.enter_context, self._folder
        self.broker = enter(Broker(folder / "broker", *ROOMY, keeps_data=True))
        self.dashboard = enter(DashboardProcess(self.broker, folder, **self._options))
        programs: list[ProgramProcess] = [self.dashboard]
        if self._correlates:
            programs.append(enter(CorrelatorProcess(self.broker, folder, settle=1)))
        self.agents = enter(Agents(self.broker))
        for program in programs:
            program.until_logged("broker.connected")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def play(self, fleet: Fleet, called: Callable[[str], str]) -> None:
        """Publishes what a fleet's agents say, each thing at its time; `called` names hosts and UUIDs."""
        began_s = time.time()
        for arrival in fleet.arrivals:
            self.agents.listen(max(0.0, began_s + arrival.t - time.time()))
            sent = replace(arrival.sent, host=called(arrival.sent.host))
            if sent.observation is not None:
                observation = msgspec.structs.replace(
                    sent.observation, host=sent.host, name=called(sent.uuid)
                )
                sent = replace(sent, observation=observation)
            self.agents.publish([publication(sent, began_s=began_s)])

    def migrate(self, scenario: str, tag: str, name: str = "web01") -> str:
        """Plays a recording as it was, its hosts named with the tag; returns the domain's UUID."""
        uuid, publications = recorded(scenario, tag, name)
        self.agents.publish(stamped_now(publications))
        return uuid

    def begin(self, scenario: str, tag: str, name: str) -> Callable[[], None]:
        """Plays a recording until its destination is prepared, and what it returns plays the rest."""
        _, publications = recorded(scenario, tag, name)
        begun = 1 + next(n for n, each in enumerate(publications) if _PREPARED in each.payload)
        self.agents.publish(stamped_now(publications[:begun]))
        return lambda: self.agents.publish(stamped_now(publications[begun:]))

    def publish_job(self, host: str, uuid: str, name: str, **figures: Any) -> None:
        """Retains, as the source's agent does, how far the copy of a domain is."""
        message = json.loads(examples()[JOB.type])
        message |= {"source": host_source(host), "subject": uuid, "partitionkey": uuid}
        message["data"] |= {"host": host, "domain": {"uuid": uuid, "name": name, "id": 3}, **figures}
        payload = json.dumps(message).encode()
        self.agents.publish([Publication(self.agents.topics.job(host, uuid), payload, retain=True)])

    def published(self, uuid: str, outcome: str) -> dict[str, Any]:
        """Waits until a correlator has said so of a domain; returns the data of that message."""
        found: list[dict[str, Any]] = []

        def is_told() -> bool:
            found[:] = [each.data for each in self.agents.published(uuid) if each.word == outcome]
            return bool(found)

        self.agents.until(is_told)
        return found[-1]

    def since_told(self) -> float:
        """How long ago the newest message about a migration was made, in seconds."""
        now = time.time()
        self.agents.listen(0.2)
        return now - seconds(json.loads(self.agents.published()[-1].payload)["time"])


def recorded(scenario: str, tag: str, name: str) -> tuple[str, list[Publication]]:
    """A recording's domain and its agents' messages, with this name for the domain."""
    uuid, publications = messages_of(load(scenario), tag)
    return uuid, [_named(each, name) if each.payload else each for each in publications]


def _named(publication: Publication, name: str) -> Publication:
    message = json.loads(publication.payload)
    if "domain" in message["data"]:
        message["data"]["domain"]["name"] = name
    return replace(publication, payload=json.dumps(message).encode())


def verdict(name: str, at_s: float, outcome: str = "completed", **data: Any) -> Publication:
    """A correlator's message about a migration of its own, of the domain of this name."""
    kind = MIGRATION[outcome]
    message = json.loads(examples()[kind.type])
    uuid, migration = str(uuid5(NAMESPACE_URL, name)), uuid5(NAMESPACE_URL, f"{name} {at_s}").hex
    message |= {"id": f"{migration}-{outcome}-0", "time": stamp(at_s), "subject": uuid, "partitionkey": uuid}
    message["data"] |= {
        "migration": migration,
        "domain": {"uuid": uuid, "name": name},
        "ended_at": stamp(at_s),
    }
    message["data"] |= {"revision": 0, "supersedes": None, "started_at": stamp(at_s - 2.0), **data}
    return Publication(Topics().migration(uuid, outcome), json.dumps(message).encode())


class Window:
    """A browser's window on the page. `faults`: what it must never do, err or load from elsewhere."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.url = url
        self.page: Page = context.new_page()
        self.page.set_default_timeout(WAIT_S * 1000)
        self.faults: list[str] = []
        self._network_changed = False
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        self.page.on("console", self._said)
        self.page.on("request", self._asked)

    def _said(self, message: ConsoleMessage) -> None:
        if "ERR_NETWORK_CHANGED" in message.text:
            self._network_changed = True  # hosts in namespaces come and go beside: nothing of ours
        elif message.type == "error":
            self.faults.append(message.text)

    def _asked(self, request: Request) -> None:
        if not request.url.startswith(self.url):
            self.faults.append(request.url)

    def open(self, search: str = "") -> Self:
        """Loads the page, and returns when the first view is there."""
        view = self.page.locator("#as-of time, #trouble").filter(visible=True)
        while True:
            self._network_changed = False
            self.page.goto(self.url + search)
            self.until(lambda: view.count() > 0 or self._network_changed, "the first view")
            if view.count() > 0:
                return self

    def rows(self, section: str) -> list[str]:
        """The rows in view of a section of the overview: who, and what is said of it."""
        found = self.page.locator(f"#{section} li:has(.who)").all()
        return [" ".join(each.locator(".who, .text").all_inner_texts()) for each in found]

    def row(self, section: str, text: str) -> Locator:
        """The row of a section that has this text."""
        return self.page.locator(f"#{section} li", has_text=text)

    def until(self, condition: Callable[[], bool], what: str = "", timeout_s: float = WAIT_S) -> None:
        """Returns as soon as `condition` holds; the browser goes on meanwhile."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
            self.page.wait_for_timeout(20)

    def violations(self) -> list[str]:
        """What axe-core finds wrong with what is shown."""
        self.page.evaluate((installed("axe-core", AXE) / "node_modules/axe-core/axe.min.js").read_text())
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{each['id']}: {each['help']}: {node['target']}"
            for each in found["violations"]
            for node in each["nodes"]
        ]

    def overflow_px(self) -> int:
        """By how much the document is wider than the window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - innerWidth"))

    def private_mb(self, browser: Browser) -> float:
        """The memory that the page's own process has for itself."""
        session = browser.new_browser_cdp_session()
        processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
        sizes = [_private_mb(each["id"]) for each in processes if each["type"] == "renderer"]
        return max(sizes)


def _private_mb(pid: int) -> float:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(size) for size in re.findall(r"^Private_\w+: +(\d+) kB", rollup, re.MULTILINE)) / 1024
