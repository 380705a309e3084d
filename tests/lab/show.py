"""`make lab`: two real hosts, a real guest migrated there and back, and what `libvirt-mqtt watch` prints."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.lab import process, waiting
from tests.lab.collector import Message
from tests.lab.fleet import Fleet
from tests.lab.guest import Guest, hypervisor
from tests.lab.host import Host
from tests.lab.lab import Lab
from tests.lab.migration import Migration
from tests.lab.waiting import TimedOut
from tests.support.roots import Unavailable

PATIENCE_S = 20.0
READING_S = 1.0
NAME = "web01"


def main() -> int:
    """Show it; returns 0 when both migrations were told as they happened, else 1."""
    try:
        return 0 if _show() else 1
    except Unavailable as lacking:
        print(f"lab: {lacking}", file=sys.stderr)
        return 1
    except (TimedOut, AssertionError) as failure:
        print(f"lab: {failure}", file=sys.stderr)
        return 1


def _show() -> bool:
    began_s = time.monotonic()
    steps = _Steps()
    steps.say("Two libvirt hosts come up, each with a network, a hostname and a libvirtd of its own.")
    with Lab(2) as lab:
        first, second = lab.hosts
        version = first.virsh("version").splitlines()
        print(
            f"   {first.name} and {second.name}: {version[1].split(': ')[-1]}, {version[-1].split(': ')[-1]}"
        )
        steps.say(
            "A private broker, an agent beside each host and a correlator start, and `libvirt-mqtt watch`."
        )
        with Fleet(lab) as fleet, _watching(fleet):
            guest = Guest(NAME)
            steps.say(f"A real guest, {NAME}, starts on {first.name}, by {hypervisor().upper()}.")
            guest.start(first)
            fleet.collector.wait_for(
                lambda _: fleet.collector.retained(f"domains/{guest.uuid}/location"),
                PATIENCE_S,
                what=f"{NAME}'s location",
            )
            time.sleep(READING_S)
            there = _migrate(steps, fleet, guest, first, second)
            back = _migrate(steps, fleet, guest, second, first)
            steps.say("The guest is destroyed, and its state and location are cleared.")
            guest.remove(first)
            time.sleep(READING_S)
    right = there and back
    seconds = time.monotonic() - began_s
    if right:
        print(f"\nBoth migrations were told as they happened. That took {seconds:.0f} s; nothing is left.")
    return right


def _migrate(steps: "_Steps", fleet: Fleet, guest: Guest, source: Host, destination: Host) -> bool:
    command = f"virsh migrate --live --p2p {guest.name} qemu+tcp://{destination.name}/system"
    steps.say(f"{source.name} is told: {command}")
    mark = fleet.collector.mark()
    Migration(guest, source, destination).succeed()

    def verdict(_: list[Message]) -> Message | None:
        published = [
            message
            for message in fleet.published(guest.uuid, mark)
            if message.outcome in {"completed", "failed"}
        ]
        return published[-1] if published else None

    try:
        message = fleet.collector.wait_for(verdict, PATIENCE_S, what="the verdict")
    except TimedOut:
        print(
            f"lab: missing: the verdict of {source.name} → {destination.name}\n{fleet.logs()}",
            file=sys.stderr,
        )
        return False
    time.sleep(READING_S)
    data = message.data
    heard = (
        data["outcome"],
        data["source"]["host"],
        data["destination"]["host"],
        sorted(data["confirmed_by"]),
    )
    expected = ("completed", source.name, destination.name, ["destination", "source"])
    if heard != expected:
        print(f"lab: the verdict says {heard}, and what happened is {expected}", file=sys.stderr)
    return heard == expected


@contextmanager
def _watching(fleet: Fleet) -> Iterator[None]:
    """Have `libvirt-mqtt watch` print to our own output meanwhile."""
    subscribed = fleet.broker.log.count("SUBACK")
    broker = f"mqtt://127.0.0.1:{fleet.broker.port}"
    sys.stdout.flush()
    watch = process.start([sys.executable, "-m", "bridge", "watch", "--broker", broker])
    try:
        waiting.until(lambda: fleet.broker.log.count("SUBACK") > subscribed, what="watch to subscribe")
        time.sleep(READING_S)
        yield
    finally:
        watch.send_signal(signal.SIGTERM)
        try:
            watch.wait(10)
        except subprocess.TimeoutExpired:
            watch.kill()
            watch.wait()


class _Steps:
    """Numbers the steps and says them."""

    def __init__(self) -> None:
        self._number = 0

    def say(self, words: str) -> None:
        """One line of explanation."""
        self._number += 1
        bold, plain = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")
        print(f"\n{bold}{self._number}. {words}{plain}", flush=True)
