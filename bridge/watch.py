"""`libvirt-mqtt watch`: prints messages live; a line each for a person, a JSON line for a program.

It keeps no session with the broker: what is published while it is away or not connected isn't shown later,
except what the broker retains.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import sys
import time
from collections.abc import Mapping
from typing import Final, NoReturn, TextIO
from uuid import uuid4

from bridge.config import WatchSettings
from bridge.mqtt.retained import WildcardProbe
from bridge.mqtt.session import Received, Session, Subscription
from bridge.signals import signals
from bridge.view import ALL, Selection, View
from bridge.view.text import paint
from bridge.wire.topics import Topics

_STEP_S: Final = 0.25
_QUIET_S: Final = 0.4
"""When the broker has sent nothing for this long after connecting, everything that it retains has come."""
_SILENCE_S: Final = 10.0
"""A running program shows at once, by its retained status; after this long none is running."""
_CLOSE_S: Final = 2.0


def run(settings: WatchSettings) -> int:
    """Prints until SIGINT, SIGTERM or SIGHUP, or until the output's reader has closed; returns 0."""
    watch = Watch(settings, sys.stdout, sys.stderr)
    try:
        with signals(watch.stop, watch.stop):
            watch.run()
    except BrokenPipeError:
        leave_broken_pipe()
    return 0


class Watch:
    """One watcher: a session, and the view that turns each of its messages into lines of `out`.

    What is about the connection, not the messages, goes to `notes`.
    """

    def __init__(self, settings: WatchSettings, out: TextIO, notes: TextIO) -> None:
        topics = self._topics = settings.topics()
        self._as_json = settings.as_json
        self._out = out
        self._notes = notes
        self._view = view_for(
            out,
            topics,
            Selection(_patterns(settings.host), _patterns(settings.domain), settings.only),
        )
        self._has_bars = out.isatty() and os.environ.get("TERM") != "dumb" and not settings.as_json
        self._drawn = 0
        self._stopping = False
        self._gathering_until: float | None = None
        self._silent_since: float | None = None
        self._failures: set[str] = set()
        self._summarises = out.isatty() and not settings.as_json
        self._broker = settings.broker_settings()
        self._has_retained = False
        self._probe: WildcardProbe | None = None
        self._session = Session(
            self._broker,
            client_id=f"libvirt-mqtt-watch-{uuid4().hex[:12]}",
            clean_start=True,
            session_expiry_s=0,
            subscriptions=(Subscription(topics.everything()),),
            on_connected=self._connected,
            on_disconnected=self._disconnected,
            on_message=self._message,
            on_acknowledged=lambda _token, _code: None,
            on_failed=self._failed,
        )

    def run(self) -> None:
        """Watches until `stop`. Raises BrokenPipeError when the output's reader has closed."""
        reader = ReaderGone(self._out)
        try:
            while not self._stopping:
                self._session.step(_STEP_S)
                if self._gathering_until is not None and time.monotonic() >= self._gathering_until:
                    self._summarise()
                if self._silent_since is not None and time.monotonic() >= self._silent_since + _SILENCE_S:
                    self._note_silence()
                self._look_at_probe()
                if reader.gone():
                    raise BrokenPipeError
        finally:
            if self._probe is not None:
                self._probe.stop()
            self._session.close(_CLOSE_S)

    def stop(self) -> None:
        """Makes `run` return soon. From a signal handler or any thread."""
        self._stopping = True
        self._session.wake()

    def _message(self, received: Received) -> None:
        self._session.acknowledge(received)
        self._silent_since = None
        self._has_retained = self._has_retained or received.retain
        if not self._has_retained and self._probe is None and received.topic.endswith("/status"):
            self._probe = WildcardProbe(
                self._broker,
                client_id=f"libvirt-mqtt-watch-{uuid4().hex[:12]}",
                topic=received.topic,
                wildcard=self._topics.everything(),
            )
        if not self._view.wants(received.topic, received.payload):
            return
        if self._as_json:
            self._print(json_line(received.topic, received.payload, retain=received.retain))
            return
        if self._gathering_until is not None and received.retain:
            self._view.learn(received.topic, received.payload)
            self._view.progress(received.topic, received.payload)
            self._gathering_until = time.monotonic() + _QUIET_S
            return
        self._summarise()
        self._view.width = terminal_width(self._out)
        is_progress = self._view.progress(received.topic, received.payload)
        if is_progress is not None and self._has_bars:
            self._print()
        elif is_progress is not False and self._view.adds(
            received.topic, received.payload, retain=received.retain
        ):
            line = self._view.line(
                received.topic, received.payload, now_s=time.time(), retain=received.retain
            )
            if line:
                self._print(line)

    def _look_at_probe(self) -> None:
        """A status came live, and nothing retained: checks whether the broker does that."""
        if self._probe is not None and self._probe.answer == "by_name_only" and not self._has_retained:
            self._has_retained = True  # said once
            self._note(
                "this broker sends retained messages to no subscription with a wildcard: "
                "what hosts and guests are is shown only when it changes (docs/brokers.md)"
            )

    def _summarise(self) -> None:
        if self._gathering_until is None:
            return
        self._gathering_until = None
        self._view.width = terminal_width(self._out)
        lines = self._view.summary()
        self._print(*lines)
        if not lines:
            self._note_silence()

    def _note_silence(self) -> None:
        self._silent_since = None
        self._note(f"no messages below {self._topics.root} yet: is an agent running, with this --prefix?")

    def _connected(self, _session_present: bool) -> None:
        if self._failures or self._notes.isatty():
            self._note(f"connected to {self._session.address}")
        self._failures.clear()
        self._view.forget()
        self._silent_since = time.monotonic()
        if self._summarises:
            self._gathering_until = time.monotonic() + _QUIET_S

    def _disconnected(self, why: str) -> None:
        self._silent_since = None
        self._failures.add(why)
        self._note(f"{why}; connecting again, what happens meanwhile isn't shown")

    def _failed(self, why: str) -> None:
        if why not in self._failures:
            self._failures.add(why)
            self._note(f"{why}; trying again")

    def _print(self, *lines: str) -> None:
        """Prints lines above the bars, which move down, and redraws these."""
        bars = self._view.bars()[: shutil.get_terminal_size().lines - 1] if self._has_bars else []
        erase = f"\x1b[{self._drawn}F\x1b[J" if self._drawn else ""
        print(erase, *(f"{line}\n" for line in (*lines, *bars)), sep="", end="", file=self._out, flush=True)
        self._drawn = len(bars)

    def _note(self, text: str) -> None:
        line = f"watch: {text}"
        if self._drawn and self._notes.isatty():
            print(f"\x1b[{self._drawn}F\x1b[J", end="", file=self._out, flush=True)
            self._drawn = 0
        print(paint(line, "dim") if has_colour(self._notes) else line, file=self._notes, flush=True)


def json_line(topic: str, payload: bytes, *, retain: bool) -> str:
    """One message as one line of ASCII JSON. An empty payload is null, an invalid one a text."""
    head = {"topic": topic, "retain": retain}
    try:
        held = json.loads(payload, parse_constant=_refuse_constant) if payload else None
        return json.dumps({**head, "payload": held}, allow_nan=False)
    except (ValueError, RecursionError):
        return json.dumps({**head, "payload": payload.decode("utf-8", "backslashreplace")})


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _patterns(value: str | None) -> list[str]:
    return value.split(",") if value else []


def view_for(out: TextIO, topics: Topics, selection: Selection = ALL) -> View:
    """A view with the width, colours and characters of this output."""
    encoding = (out.encoding or "ascii").lower()
    return View(
        width=terminal_width(out),
        colour=has_colour(out),
        plain_ascii=not encoding.startswith("utf"),
        topics=topics,
        selection=selection,
    )


def terminal_width(out: TextIO) -> int | None:
    """The columns of the terminal, None for a file or a pipe."""
    return shutil.get_terminal_size((100, 24)).columns if out.isatty() else None


def has_colour(out: TextIO, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether to use colours: on a terminal that can, unless NO_COLOR is set and not empty (no-color.org)."""
    return out.isatty() and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


class ReaderGone:
    """Detects that the other end of a pipe was closed, without writing to it."""

    def __init__(self, out: TextIO) -> None:
        self._poll = select.poll()
        try:
            self._poll.register(out.fileno(), 0)
        except (OSError, ValueError):  # no file behind it
            return

    def gone(self) -> bool:
        """Whether the reader has closed."""
        return any(events & select.POLLERR for _, events in self._poll.poll(0))


def leave_broken_pipe() -> None:
    """Lets the interpreter flush at its end without an error, though the reader has closed."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
