"""Everything beside the lab's hosts: a private broker, an agent a host, a correlator, and a collector."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.lab import process
from tests.lab.collector import Collector, Message
from tests.lab.delay import Delay
from tests.lab.host import Host
from tests.lab.lab import Lab
from tests.support.broker import Broker

SAVING = ("autosave_on_changes true", "autosave_interval 1")
DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL")


class Program:
    """One `libvirt-mqtt` process, to be stopped, killed and started again; it dies with the harness."""

    def __init__(self, name: str, arguments: list[str], folder: Path) -> None:
        self.name = name
        self.arguments = arguments
        self.log_file = folder / f"{name}.log"
        self._process: process.Process | None = None

    @property
    def pid(self) -> int:
        """The process, which has to run."""
        assert self._process is not None, f"{self.name} doesn't run"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """All that it has written to standard error."""
        return self.log_file.read_text() if self.log_file.exists() else ""

    def start(self) -> None:
        """Start it; doesn't wait."""
        assert not self.running, f"{self.name} runs already"
        with self.log_file.open("a") as log:
            command = [sys.executable, "-m", "bridge", *self.arguments]
            self._process = process.start(command, output=log, errors=log)

    def stop(self, timeout_s: float = 15.0) -> int:
        """End it with SIGTERM; returns the exit status. One that doesn't end is killed, and told."""
        return self._end(signal.SIGTERM, timeout_s)

    def kill(self) -> None:
        """End it with SIGKILL, also when it doesn't run."""
        if self._process is not None:
            self._end(signal.SIGKILL, 15.0)

    def restart(self, signal_number: signal.Signals = signal.SIGTERM) -> None:
        """End it by the signal and start it again."""
        self._end(signal_number, 15.0)
        self.start()

    def hang(self) -> None:
        """SIGSTOP."""
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def _end(self, signal_number: signal.Signals, timeout_s: float) -> int:
        assert self._process is not None, f"{self.name} doesn't run"
        ending, self._process = self._process, None
        ending.send_signal(signal_number)
        try:
            return ending.wait(timeout_s)
        except subprocess.TimeoutExpired:
            ending.kill()
            ending.wait()
            raise


class Fleet:
    """Our programs beside every host of a lab, up and connected from `with` to its end.

    `settle_s`, `patience_s` and `reconcile_s` are options; `agent_options` are all agents'.
    `delays_s` names hosts whose agents' bytes reach the broker so many seconds late. A broker that
    `keeps_data` writes down each change at once, so that it comes back from a SIGKILL with nearly all that it
    has acknowledged. Logs are in `folder`, by default one of the lab's.
    """

    def __init__(
        self,
        lab: Lab,
        folder: Path | None = None,
        *,
        settle_s: float = 2,
        patience_s: float = 60,
        reconcile_s: float = 2,
        delays_s: Mapping[str, float] | None = None,
        keeps_data: bool = False,
        agent_options: Sequence[str] = (),
    ) -> None:
        self.lab = lab
        self._own_folder = folder is None
        self.folder = Path(tempfile.mkdtemp(prefix="fleet-", dir=lab.folder)) if folder is None else folder
        self.broker = Broker(
            self.folder / "broker",
            *("max_queued_messages 0", *(SAVING if keeps_data else ())),
            keeps_data=keeps_data,
            command=DIES_WITH_US,
        )
        self.collector = Collector(self.broker.port)
        self.agent_options = list(agent_options)
        self.delays = {host: Delay(self.broker.port, delay_s) for host, delay_s in (delays_s or {}).items()}
        self.agents = {host.name: self._agent(host, reconcile_s) for host in lab.hosts}
        self.correlator = self._correlator(settle_s, patience_s)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._stack.callback(self._remove_folder)
            self._stack.enter_context(self.broker)
            self._stack.enter_context(self.collector)
            for delay in self.delays.values():
                self._stack.enter_context(delay)
            for program in (self.correlator, *self.agents.values()):
                program.start()
                self._stack.callback(program.kill)
            self.wait_connected()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def agent(self, host: Host | str) -> Program:
        """The agent beside a host."""
        return self.agents[host if isinstance(host, str) else host.name]

    def wait_connected(self, timeout_s: float = 30.0) -> None:
        """Return when the correlator is online, and every agent with its libvirtd."""
        lacking = self.missing
        self.collector.wait_for(
            lambda _: not lacking(), timeout_s, what=lambda: f"{', '.join(lacking())}\n{self.logs()}"
        )

    def missing(self) -> list[str]:
        """Who isn't there, by the retained statuses."""
        found = []
        for host in self.agents:
            status = self.collector.retained(f"hosts/{host}/status")
            if status is None or status.data["state"] != "online":
                found.append(f"{host}'s agent online")
            elif not status.data["libvirt"]["connected"]:
                found.append(f"{host}'s libvirtd connected")
        status = self.collector.retained("correlators/main/status")
        if status is None or status.data["state"] != "online":
            found.append("the correlator online")
        return found

    def published(self, uuid: str, since: int = 0) -> list[Message]:
        """The correlator's messages about a domain's migrations."""
        return [message for message in self.collector.about(uuid, since) if message.outcome]

    def logs(self) -> str:
        """The last lines that each program wrote, for a failure's message."""
        return "\n".join(
            f"--- {program.name}\n" + "\n".join(line[-600:] for line in program.log.splitlines()[-8:])
            for program in (self.correlator, *self.agents.values())
        )

    def _agent(self, host: Host, reconcile_s: float) -> Program:
        port = self.delays[host.name].port if host.name in self.delays else self.broker.port
        arguments = ["agent", "--host", host.name, "--connect", host.uri]
        arguments += ["--broker", f"mqtt://127.0.0.1:{port}", "--reconcile", str(reconcile_s)]
        arguments += ["--state-dir", str(self.folder / f"agent-{host.name}"), "--log-format", "json"]
        return Program(f"agent-{host.name}", arguments + self.agent_options, self.folder)

    def _correlator(self, settle_s: float, patience_s: float) -> Program:
        arguments = ["correlator", "--broker", f"mqtt://127.0.0.1:{self.broker.port}"]
        arguments += ["--settle", str(settle_s), "--patience", str(patience_s)]
        arguments += ["--state-dir", str(self.folder / "correlator"), "--log-format", "json"]
        return Program("correlator", arguments, self.folder)

    def _remove_folder(self) -> None:
        if self._own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)
