"""Runs the demo: brings everything up, plays the script, says how it went, and leaves nothing behind."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from bridge import __version__
from bridge.demo.broker import private_broker
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


def show() -> int:
    """Runs the demo on standard output; what is missing goes to standard error. Returns the exit status."""
    began_s = time.monotonic()
    try:
        with _checking_for_stop() as check, ExitStack() as stack:
            stage = _play(stack, check, began_s)
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
        f"All {stage.expected} messages came that had to. That took {time.monotonic() - began_s:.0f} s, "
        "and nothing is left running.",
        "good",
    )
    _say("To run it for real: libvirt-mqtt agent --help, libvirt-mqtt correlator --help.")
    return 0


def _play(stack: ExitStack, check: Callable[[], None], began_s: float) -> Stage:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="libvirt-mqtt-demo-")))
    port = stack.enter_context(private_broker(folder))
    _say(f"libvirt-mqtt {__version__}, the demo. Each line with a time is one message from a private broker.")
    view = view_for(sys.stdout, Topics())
    programs: list[Program] = []

    def show_line(topic: str, payload: bytes) -> None:
        view.width = terminal_width(sys.stdout)
        if line := view.line(topic, payload, now_s=time.time()):
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
        return Programs(*programs)

    broker = BrokerSettings(port=port)
    stage = Stage(broker, show_line, check_all, deadline_s=began_s + _BUDGET_S)
    stack.callback(stage.close)
    stage.connect()
    steps = _Steps()
    Script(stage, start, steps.explain, _PAUSE_S if sys.stdout.isatty() else 0.2).play()
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
