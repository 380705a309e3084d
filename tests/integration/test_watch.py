"""`libvirt-mqtt watch` as a user starts it, against a real mosquitto."""

import fcntl
import json
import math
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bridge.demo.player import Cast, play
from bridge.mqtt.session import Publication, Session
from bridge.view.text import columns
from bridge.watch import json_line
from bridge.wire.topics import Topics
from tests.support import traces
from tests.support.broker import Broker
from tests.support.correlators import Listening
from tests.support.unretained_proxy import UnretainedProxy

pytestmark = pytest.mark.server

UUID = "4106a9ae-aa3b-59c3-9bad-37d3a5270c9c"
TIMEOUT_S = 20.0


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as running:
        yield running


def publish(broker: Broker, publications: list[Publication]) -> None:
    """Publishes all of them, in order, and returns when the broker has them."""
    left = list(publications)
    acknowledged: list[object] = []
    session = Session(
        broker.settings(),
        client_id="test-publisher",
        clean_start=True,
        session_expiry_s=0,
        on_connected=lambda _present: None,
        on_disconnected=lambda _why: None,
        on_message=lambda _received: None,
        on_acknowledged=lambda token, _code: acknowledged.append(token),
    )
    deadline = time.monotonic() + TIMEOUT_S
    while len(acknowledged) < len(publications):
        assert time.monotonic() < deadline
        while left and session.room():
            session.publish(left.pop(0), None)
        session.step(0.1)
    session.close(2.0)


def live(names: dict[str, str] | None = None) -> list[Publication]:
    said: list[Publication] = []
    play(traces.load("live"), said.append, speed=math.inf, cast=Cast(names=names or {}))
    return said


class Watching:
    """A running `watch`, its output read as it comes: through a pipe, or on a terminal of some columns."""

    def __init__(
        self, broker: Listening, *options: str, terminal: int | None = None, **variables: str
    ) -> None:
        command = [sys.executable, "-m", "bridge", "watch", "--broker", f"mqtt://127.0.0.1:{broker.port}"]
        environment = {k: v for k, v in os.environ.items() if k not in {"NO_COLOR", "COLUMNS", "LINES"}}
        environment |= {"TERM": "xterm", "LC_ALL": "C.UTF-8", **variables}
        if terminal is None:
            self.out, there = os.pipe()
        else:
            self.out, there = pty.openpty()
            fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", 24, terminal, 0, 0))
        self.process = subprocess.Popen(
            [*command, *options], stdout=there, stderr=subprocess.PIPE, env=environment
        )
        os.close(there)
        self.text = ""

    def read_until(self, done: Callable[[str], bool]) -> str:
        deadline = time.monotonic() + TIMEOUT_S
        while not done(self.text):
            left = deadline - time.monotonic()
            assert left > 0, f"didn't come, only:\n{self.text}"
            if select.select([self.out], [], [], left)[0]:
                self.text += os.read(self.out, 65536).decode()
        return self.text

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(TIMEOUT_S)

    def close_reader(self) -> None:
        os.close(self.out)
        self.out = -1

    @property
    def notes(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.read().decode()

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.process.stderr is not None:
            self.process.stderr.close()
        if self.out >= 0:
            os.close(self.out)


@contextmanager
def watching(
    broker: Broker, *options: str, terminal: int | None = None, ready: bool = True, **variables: str
) -> Iterator[Watching]:
    """A `watch` that is connected: a retained message is there and was seen."""
    publish(
        broker, [Publication("libvirt/v1/hosts/ready/status", b'{"data":{"state":"online"}}', retain=True)]
    )
    watch = Watching(broker, *options, terminal=terminal, **variables)
    try:
        if ready:
            watch.read_until(lambda text: "ready" in text)
        yield watch
    finally:
        watch.end()


def test_a_broker_that_sends_retained_messages_to_no_wildcard_is_named(broker: Broker) -> None:
    with UnretainedProxy(broker.port) as proxy:
        watch = Watching(proxy, "--json")
        try:
            deadline = time.monotonic() + TIMEOUT_S
            while not select.select([watch.out], [], [], 0.2)[0]:
                assert time.monotonic() < deadline
                publish(broker, [Publication("libvirt/v1/hosts/h/status", b"{}", retain=True)])
            assert watch.process.stderr is not None
            note = watch.process.stderr.readline().decode()
            assert note.startswith(
                "watch: this broker sends retained messages to no subscription with a wild"
            )
        finally:
            watch.end()


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines() if line]


def test_json_has_each_message_as_it_was_published(broker: Broker) -> None:
    said = live()
    with watching(broker, "--json") as watch:
        publish(broker, said)
        text = watch.read_until(lambda text: text.count("\n") == len(said) + 1)
        assert watch.stop() == 0
        assert watch.notes == ""
    assert lines(text)[1:] == [
        {
            "topic": publication.topic,
            "retain": False,
            "payload": json.loads(publication.payload) if publication.payload else None,
        }
        for publication in said
    ]


def test_json_says_what_was_retained(broker: Broker) -> None:
    publish(broker, live())
    with watching(broker, "--json") as watch:
        watch.read_until(lambda text: text.count('"retain": true') == 4)
        kept = {str(line["topic"]) for line in lines(watch.text)}
    topics = Topics()
    assert kept == {
        topics.host_status("ready"),
        topics.host_status("host1"),
        topics.host_status("host2"),
        topics.state("host2", UUID),
    }


def test_payloads_that_are_no_json_are_texts(broker: Broker) -> None:
    odd = [b"plain", b"\xff\x00", b"NaN", b"[1e999]", b"[" * 100_000, b"{}", b"3", b'"\x1b"', b"null"]
    with watching(broker, "--json") as watch:
        publish(broker, [Publication("libvirt/v1/odd", payload) for payload in odd])
        text = watch.read_until(lambda text: text.count("\n") == len(odd) + 1)
    assert text.isascii()
    assert [line["payload"] for line in lines(text)[1:]] == [
        "plain",
        "\\xff\x00",
        "NaN",
        "[1e999]",
        "[" * 100_000,
        {},
        3,
        '"\x1b"',
        None,
    ]


@pytest.mark.parametrize("payload", [b"", b"null", b'{"a": "\\ud800"}', "\u009b31m".encode(), b"1" * 5000])
def test_a_json_line_is_one_line_of_harmless_ascii(payload: bytes) -> None:
    line = json_line("libvirt/v1/\u2028x", payload, retain=False)
    assert line.isascii()
    assert line.isprintable()
    assert set(json.loads(line)) == {"topic", "retain", "payload"}


def test_a_person_gets_plain_lines_through_a_pipe(broker: Broker) -> None:
    with watching(broker) as watch:
        publish(broker, live({"live": "web\x1b[2J01"}))
        text = watch.read_until(lambda text: bool(re.search(r"ms down.*\n", text)))
        assert watch.stop(signal.SIGINT) == 0
    assert "\x1b" not in text
    assert r"web\x1b[2J01" in text
    assert re.search(r"host1 +migrated out in 0\.9 s, 27 ms down\n", text)


def test_a_terminal_gets_a_summary_then_coloured_lines_of_its_width(broker: Broker) -> None:
    publish(broker, live({"live": "web01"}))
    with watching(broker, terminal=80, ready=False) as watch:
        summary = watch.read_until(lambda text: "agent online" in text or text.count("\n") >= 3)
        assert re.search(r"host2 .*online: web01 running", summary)
        assert "\x1b[2m" in summary
        publish(broker, live({"live": "a-rather-long-name-for-a-domain" * 3}))
        text = watch.read_until(lambda text: bool(re.search(r"ms down.*\n", text)))
        assert watch.stop() == 0
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert max(columns(line.rstrip("\r")) for line in plain.split("\n")) <= 80


def current(percent: int | None) -> Publication:
    topic = Topics().migration(UUID, "current")
    if percent is None:
        return Publication(topic, b"", retain=True)
    data = {
        "domain": {"uuid": UUID, "name": "web01"},
        "source": {"host": "host1"},
        "destination": {"host": "host2"},
        "phase": "copying",
        "progress": {"percent": percent, "eta_s": 9},
    }
    return Publication(topic, json.dumps({"data": data}).encode(), retain=True)


def screen(text: str) -> list[str]:
    """What stands on the terminal after all that was written to it; colours apart."""
    rows, row = [""], 0
    for piece in re.findall(r"\x1b\[\d*[A-Za-z]|\r?\n|[^\x1b\r\n]+", re.sub(r"\x1b\[[\d;]*m", "", text)):
        if piece.endswith("\n"):
            row += 1
            rows += [""] if row == len(rows) else []
        elif piece.endswith("F"):
            row -= int(piece[2:-1])
        elif piece.endswith("J"):
            rows[row:] = [""]
        else:
            rows[row] = piece
    return rows


def test_on_a_terminal_a_bar_moves_in_place_below_the_lines(broker: Broker) -> None:
    """Who comes in the middle has it at once; lines come above it, and it is gone with what it tells of."""
    publish(broker, [current(10)])
    with watching(broker, terminal=100, ready=False) as watch:
        watch.read_until(lambda text: "10 %" in text)
        for percent in (40, 80):
            publish(broker, [current(percent)])
            watch.read_until(lambda text, at=percent: f"{at} %" in text)  # type: ignore[misc]
        publish(broker, live()[:6])
        watch.read_until(lambda text: "started" in text and text.endswith("left\r\n"))
        shown = [line for line in screen(watch.text) if line]
        assert sum("%" in line for line in shown) == 1
        assert re.search(r"web01 .*host1 → host2 +█{16}░{4} +copying, 80 %, 9\.0 s left", shown[-1])
        publish(broker, [current(None), *live()[6:]])
        watch.read_until(lambda text: "ms down" in text)
        assert not any("%" in line for line in screen(watch.text))


def test_elsewhere_progress_is_plain_lines(broker: Broker) -> None:
    with watching(broker) as watch:
        publish(broker, [current(40), current(80), current(None), *live()])
        text = watch.read_until(lambda text: "ms down" in text)
    assert re.search(r"copying, 40 %.*\n.*copying, 80 %", text)
    assert "\x1b" not in text


@pytest.mark.parametrize("as_json", [True, False])
def test_only_what_is_wanted_comes(broker: Broker, as_json: bool) -> None:
    def event(name: str) -> Publication:
        payload = json.dumps({"data": {"event": name}}).encode()
        return Publication(f"libvirt/v1/hosts/host9/domains/{UUID}/event/{name}", payload)

    said = live()
    events = [each for each in said if "/lifecycle/" in each.topic or "/event/" in each.topic]
    options = ["--only", "events", "--host", "host1,host2,*9", *(["--json"] if as_json else [])]
    with watching(broker, *options, ready=False) as watch:
        deadline = time.monotonic() + TIMEOUT_S
        while not select.select([watch.out], [], [], 0.2)[0]:
            assert time.monotonic() < deadline
            publish(broker, [event("at_first")])
        publish(broker, [*said, event("at_last")])
        text = watch.read_until(lambda text: bool(re.search(r"at.last.*\n", text)))
    assert len([line for line in text.splitlines() if "host9" not in line]) == len(events) > 5


def test_no_color_is_respected(broker: Broker) -> None:
    with watching(broker, terminal=100, NO_COLOR="1") as watch:
        publish(broker, live())
        text = watch.read_until(lambda text: bool(re.search(r"ms down.*\n", text)))
    assert "\x1b" not in text


def test_each_line_comes_at_once(broker: Broker) -> None:
    """Nothing waits in a buffer for more to come."""
    with watching(broker, "--json") as watch:
        for number, publication in enumerate(live()[:5]):
            publish(broker, [publication])
            watch.read_until(lambda text, n=number: text.count("\n") == n + 2)  # type: ignore[misc]


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_that_nothing_is_there_is_said_after_a_while(broker: Broker, options: tuple[str, ...]) -> None:
    """A wrong prefix would else be silent for ever."""
    watch = Watching(broker, "--prefix=elsewhere", *options)
    try:
        assert watch.process.stderr is not None
        began = time.monotonic()
        line = watch.process.stderr.readline().decode()
        assert 5 < time.monotonic() - began < 20
    finally:
        watch.end()
    assert "no messages below elsewhere/v1 yet" in line


def test_it_connects_again_and_says_so(broker: Broker) -> None:
    with watching(broker, "--json") as watch:
        broker.restart()
        publish(broker, live()[:1])
        watch.read_until(lambda text: "hosts/host1/status" in text)
        assert watch.stop() == 0
        notes = watch.notes
    assert "what happens meanwhile isn't shown" in notes
    assert f"connected to mqtt://127.0.0.1:{broker.port}" in notes


def test_it_waits_for_a_broker_that_is_absent(broker: Broker) -> None:
    broker.stop()
    watch = Watching(broker, "--json")
    try:
        assert watch.process.stderr is not None
        assert b"trying again" in watch.process.stderr.readline()
        broker.start()
        publish(broker, [Publication("libvirt/v1/hosts/a/status", b"{}", retain=True)])
        watch.read_until(lambda text: "hosts/a/status" in text)
        assert watch.stop() == 0
    finally:
        watch.end()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("reachable", [True, False])
def test_it_stops_when_asked_to(broker: Broker, number: int, reachable: bool) -> None:
    with watching(broker, "--json") as watch:
        if not reachable:
            broker.stop()
        began = time.monotonic()
        assert watch.stop(number) == 0
        assert time.monotonic() - began < 5
        assert "Traceback" not in watch.notes


def test_it_ends_when_nobody_reads_any_more(broker: Broker) -> None:
    """Also when no further message comes that it could fail to write."""
    with watching(broker, "--json") as watch:
        watch.close_reader()
        assert watch.process.wait(TIMEOUT_S) == 0
        assert "Traceback" not in watch.notes
        assert "Error" not in watch.notes


def test_it_ends_when_the_reader_leaves_amid_messages(broker: Broker) -> None:
    with watching(broker, "--json") as watch:
        watch.close_reader()
        publish(broker, live())
        assert watch.process.wait(TIMEOUT_S) == 0
        assert watch.notes == ""
