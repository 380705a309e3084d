"""How far a real copy is, on real hosts with agents and a correlator; nothing of it is left standing."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bridge.agent.jobs.topics import EVERY_S
from bridge.agent.jobs.watcher import ASK_EVERY_S
from bridge.mqtt.session import Subscription
from bridge.wire.topics import Topics
from tests.lab.collector import Message
from tests.lab.fleet import Fleet
from tests.lab.lab import Lab
from tests.lab.stage import Stage
from tests.support.session_recorder import Client

pytestmark = [pytest.mark.lab, pytest.mark.server]

TOPICS = Topics()
STALLS_MIB_S = 4
"""The guest writes to the same 4 MiB at 6 MiB/s: each pass of a second finds all of it written to again."""
CONVERGES_MIB_S = 7
"""So each pass is a little shorter than the one before."""
DOWNTIME_MS = 20
POSTCOPY_MIB_S = 4
"""So what is left of 64 MiB takes some seconds."""
BACKUP = """<domainbackup mode='pull'><server transport='unix' socket='/run/{uuid}.nbd'/></domainbackup>"""


@pytest.fixture(scope="module")
def fleet(lab: Lab) -> Iterator[Fleet]:
    with Fleet(lab) as running:
        yield running


class Watched:
    """A busy guest on host1; what is published of its job and its migration, and what the broker holds."""

    def __init__(self, stage: Stage, fleet: Fleet, disk: str = "none") -> None:
        self.stage, self.fleet = stage, fleet
        stage.start(busy=True, disk=disk)
        self.uuid = stage.guest.uuid
        self.mark = fleet.collector.mark()
        self.job_topic = TOPICS.job(stage.source.name, self.uuid)
        self.current_topic = TOPICS.migration(self.uuid, "current")
        self.last_topic = TOPICS.migration(self.uuid, "last")

    def messages(self, topic: str) -> list[Message]:
        return [each for each in self.fleet.collector.about(self.uuid, self.mark) if each.topic == topic]

    @property
    def jobs(self) -> list[Message]:
        return self.messages(self.job_topic)

    def job(self, of: Callable[[dict[str, Any]], object], timeout_s: float, what: str) -> Message:
        """The first message of the job that is so."""
        found = self.fleet.collector.wait_for(
            lambda _: [each for each in self.jobs if each.raw and of(each.data)],
            timeout_s,
            what=lambda: f"{what}; {[said(each) for each in self.jobs]}\n{self.fleet.logs()}",
        )
        return found[0]

    def held(self) -> dict[str, dict[str, Any]]:
        """What somebody gets who comes now, by the last level of each topic."""
        complete: list[bool] = []
        reader = Client(
            self.fleet.broker.settings(),
            "late",
            subscriptions=[
                Subscription(each, qos=0) for each in (self.job_topic, self.current_topic, self.last_topic)
            ],
            on_retained_complete=lambda: complete.append(True),
        )
        reader.until(lambda: bool(complete), 20)
        reader.close()
        return {
            each.topic.rpartition("/")[2]: json.loads(each.payload)["data"]
            for each in reader.received
            if each.payload
        }

    def until_nothing_stands(self) -> dict[str, dict[str, Any]]:
        end_s = time.monotonic() + 30
        while (found := self.held()).keys() & {"job", "current"}:
            assert time.monotonic() < end_s, f"{found}\n{self.fleet.logs()}"
            time.sleep(0.2)
        return found


def said(message: Message) -> tuple[object, ...]:
    data = message.data
    return tuple(data.get(key) for key in ("percent", "iteration", "trend", "eta_s"))


@pytest.fixture
def watched(stage: Stage, fleet: Fleet) -> Watched:
    return Watched(stage, fleet)


def test_a_copy_that_stalls_and_then_converges(watched: Watched, capsys: pytest.CaptureFixture[str]) -> None:
    stage = watched.stage
    migration = stage.migrate("--bandwidth", str(STALLS_MIB_S))
    first = watched.job(lambda data: data["percent"] and data["eta_s"], 15, "a first percentage and estimate")
    assert (first.data["operation"], first.data["iteration"], first.data["trend"]) == (
        "migration_out",
        1,
        None,
    )
    stalled = watched.job(lambda data: data["trend"] == "stalled", 90, "a stall")
    assert stalled.data["eta_s"] is None
    assert 80 < stalled.data["percent"] <= 99
    late = watched.held()
    assert late["current"]["phase"] == "copying"
    assert any(late["current"]["progress"].items() <= each.data.items() for each in watched.jobs[-3:])
    assert late["current"]["source"] == {"host": stage.source.name}
    assert late["current"]["destination"] == {"host": stage.destination.name}
    stage.source.virsh("migrate-setmaxdowntime", watched.uuid, str(DOWNTIME_MS))
    stage.source.virsh("migrate-setspeed", watched.uuid, str(CONVERGES_MIB_S))
    converging = watched.job(
        lambda data: data["trend"] == "converging" and data["iteration"] > stalled.data["iteration"],
        30,
        "convergence",
    )
    assert converging.data["eta_s"] is not None
    migration.succeed(60)
    after = watched.until_nothing_stands()
    assert after["last"]["outcome"] == "completed"
    published = [each for each in watched.jobs if each.raw]
    elapsed_s = published[-1].at_s - published[0].at_s
    assert (len(published) - 1) * EVERY_S <= elapsed_s + ASK_EVERY_S, "an answer may be late by one asking"
    with capsys.disabled():
        print(f" {[said(each) for each in watched.jobs]}", end="")


def test_the_time_that_is_left_at_half_way(watched: Watched, capsys: pytest.CaptureFixture[str]) -> None:
    stage = watched.stage
    migration = stage.migrate("--bandwidth", str(CONVERGES_MIB_S))
    watched.job(lambda data: data["percent"], 15, "a first percentage")
    stage.source.virsh("migrate-setmaxdowntime", watched.uuid, str(DOWNTIME_MS))
    migration.succeed(60)
    watched.until_nothing_stands()
    published = [each for each in watched.jobs if each.raw and each.data["eta_s"] is not None]
    suspended = next(
        each
        for each in watched.fleet.collector.about(watched.uuid, watched.mark)
        if each.topic.endswith("/lifecycle/suspended")
    )
    began_s = published[0].at_s - published[0].data["time_elapsed_ms"] / 1000
    whole_s = suspended.at_s - began_s
    half = min(published, key=lambda each: abs((each.at_s - began_s) - whole_s / 2))
    error = (half.data["eta_s"] - (suspended.at_s - half.at_s)) / whole_s
    with capsys.disabled():
        print(
            f" {whole_s:.1f} s, at half-way off by {error:+.0%} of it; {[said(each) for each in published]}",
            end="",
        )
    assert abs(error) < 0.5


def test_how_far_a_post_copy_is(watched: Watched) -> None:
    """The guest runs on the destination; the job is still the source's."""
    stage = watched.stage
    migration = stage.copy_slowly("--postcopy", "--postcopy-bandwidth", str(POSTCOPY_MIB_S))
    watched.job(lambda data: data["percent"] is not None, 15, "a first percentage")
    stage.source.virsh("migrate-postcopy", watched.uuid)
    stage.await_event("D", "4,3")
    mark = len(watched.jobs)
    watched.job(lambda _: watched.jobs[mark + 1 :], 15, "the job to go on")
    late = watched.held()
    assert late["current"]["phase"] == "postcopy"
    assert any(late["current"]["progress"].items() <= each.data.items() for each in watched.jobs[-3:])
    migration.succeed(60)
    last = watched.until_nothing_stands()["last"]
    assert (last["outcome"], last["mode"]) == ("completed", "postcopy")
    left = [each.data["remaining_bytes"] for each in watched.jobs[mark:] if each.raw]
    assert left == sorted(left, reverse=True)
    assert left[0] > left[-1]
    percents = [each.data["percent"] for each in watched.jobs[mark:] if each.raw]
    assert percents == sorted(percents)
    assert percents[-1] <= 99


def test_a_backup_is_a_job_like_another(stage: Stage, fleet: Fleet) -> None:
    """One that is pulled goes on for as long as it is let."""
    watched = Watched(stage, fleet, disk="private")
    stage.source.virsh("backup-begin", watched.uuid, "/dev/stdin", stdin=BACKUP.format(uuid=watched.uuid))
    published = watched.job(lambda data: data["operation"] == "backup", 15, "the backup")
    assert published.data["percent"] is None or 0 <= published.data["percent"] <= 99
    assert watched.held()["job"]["operation"] == "backup"
    stage.source.virsh("domjobabort", watched.uuid)
    assert "last" not in watched.until_nothing_stands()


@pytest.mark.parametrize("victim", ["agent", "libvirtd", "correlator"])
def test_nothing_stands_after_a_kill_in_mid_copy(watched: Watched, victim: str) -> None:
    """The job ends, or has ended, while the one that was killed is away."""
    stage, fleet = watched.stage, watched.fleet
    migration = stage.copy_slowly()
    fleet.collector.wait_for(
        lambda _: watched.messages(watched.current_topic) and watched.jobs and watched.held().get("current"),
        20,
        what=lambda: f"the copy to be told\n{fleet.logs()}",
    )
    agent = fleet.agent(stage.source)
    if victim == "agent":
        agent.kill()
        migration.abort()
        assert watched.held().keys() >= {"job", "current"}
        agent.start()
    elif victim == "libvirtd":
        stage.source.stop_libvirtd(signal.SIGKILL)
        time.sleep(1)
        stage.source.start_libvirtd()
    else:
        fleet.correlator.kill()
        migration.abort()
        fleet.correlator.start()
    last = watched.until_nothing_stands()["last"]
    assert (last["outcome"], last["guest"]["host"]) == ("failed", stage.source.name)
    fleet.wait_connected()
