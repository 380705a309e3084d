"""Runs the demo: brings everything up, plays the script, says how it went, and leaves nothing behind."""

from __future__ import annotations

import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from bridge import __version__
from bridge.demo.broker import free_port, private_broker
from bridge.demo.fleet import live
from bridge.demo.programs import Program, running
from bridge.demo.script import CORRELATOR, DOMAIN, HOST, UUID, Programs, Script
from bridge.demo.stage import Stage, StopAskedError
from bridge.mqtt.session import BrokerSettings
from bridge.signals import signals
from bridge.view.text import Tone, paint, wrap
from bridge.watch import has_colour, leave_broken_pipe, terminal_width, view_for
from bridge.wire.topics import Topics

_BUDGET_S: Final = 50.0
"""After this nothing is waited for any more: the demo ends within a minute whatever happens."""
_SETTLE_S: Final = 2
"""The correlator's `--settle`: the demo's hosts answer at once."""
_PAUSE_S: Final = 1.2


def show(*, keep: bool) -> int:
    """Runs the demo on standard output; what is missing goes to standard error. Returns the exit status.

    keep: once all is shown, a fleet goes on living until a signal comes.
    """
    began_s = time.monotonic()
    try:
        with _checking_for_stop() as check, ExitStack() as stack:
            stage = _play(stack, check, began_s, keep=keep)
    except StopAskedError:
        return 0
    except BrokenPipeError:
        leave_broken_pipe()
        return 0
    for words in stage.missing:
        print(f"demo: missing: {words}", file=sys.stderr)
    if stage.missing:
        return 1
    _say(
        f"All {stage.expected} expected messages arrived. That took {time.monotonic() - began_s:.0f} s, "
        "and nothing is left running.",
        "good",
    )
    _say("To run it for real: libvirt-mqtt agent --help, libvirt-mqtt correlator --help.")
    return 0


def _play(stack: ExitStack, check: Callable[[], None], began_s: float, *, keep: bool) -> Stage:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="libvirt-mqtt-demo-")))
    port = stack.enter_context(private_broker(folder))
    _say(f"libvirt-mqtt {__version__}, the demo. Each line with a time is one message from a private broker.")
    view = view_for(sys.stdout, Topics())
    programs: list[Program] = []

    def show_line(topic: str, payload: bytes) -> None:
        view.width = terminal_width(sys.stdout)
        is_new = view.progress(topic, payload) is None and view.adds(topic, payload)
        if is_new and (line := view.line(topic, payload, now_s=time.time())):
            print(line, flush=True)

    def check_all() -> None:
        check()
        for program in programs:
            program.check()

    def start() -> Programs:
        broker = f"mqtt://127.0.0.1:{port}"
        agent = ["bridge.demo.testhost", broker, str(folder / "agent"), HOST, DOMAIN, UUID]
        correlator = ["bridge", "correlator", "--broker", broker, "--state-dir", str(folder / "correlator")]
        correlator += ["--id", CORRELATOR, "--settle", str(_SETTLE_S), "--log-format", "text"]
        for name, arguments in (("agent", agent), ("correlator", correlator)):
            programs.append(stack.enter_context(running(name, arguments, folder)))
        found = Programs(*programs)
        if find_spec("uvicorn") is not None:
            http = f"127.0.0.1:{free_port()}"
            dashboard = ["bridge", "dashboard", "--broker", broker, "--state-dir", str(folder / "dashboard")]
            dashboard += ["--http", http, "--log-format", "text"]
            programs.append(stack.enter_context(running("dashboard", dashboard, folder)))
            _say(f"While this runs, it is also in a browser: http://{http}/", "bold")
        return found

    broker = BrokerSettings(port=port)
    stage = Stage(broker, show_line, check_all, deadline_s=math.inf if keep else began_s + _BUDGET_S)
    stack.callback(stage.close)
    stage.connect()
    steps = _Steps()
    script = Script(stage, start, steps.explain, _PAUSE_S if sys.stdout.isatty() else 0.2)
    script.play()
    if keep:
        _say("From here on a fleet of four hosts is active, until Ctrl-C.", "bold")
        live(stage, script.cast)
    script.end()
    return stage


class _Steps:
    """Numbers the steps."""

    def __init__(self) -> None:
        self._number = 0

    def explain(self, words: str) -> None:
        self._number += 1
        _say(f"{self._number}. {words}", "bold")


def _say(words: str, tone: Tone = "plain") -> None:
    width = terminal_width(sys.stdout)
    lines = wrap(words, width) if width else [words]
    colour = has_colour(sys.stdout)
    print()
    for line in lines:
        print(paint(line, tone) if colour else line, flush=True)


@contextmanager
def _checking_for_stop() -> Iterator[Callable[[], None]]:
    """Yields what raises StopAskedError once a signal asked for it; none of them interrupts cleaning up."""
    asked: list[bool] = []

    def check() -> None:
        if asked:
            raise StopAskedError

    stop = partial(asked.append, True)
    with signals(stop, stop):
        yield check
