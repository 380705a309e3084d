"""`libvirt-mqtt hook`: each message once, in its domain's order, until its programs have ended well."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from bridge.mqtt.session import Publication
from tests.support.agents import DrivenAgent
from tests.support.broker import Broker
from tests.support.hooks import TOPICS, HookProcess, Publisher, Records, last, location, uuid, verdict
from tests.support.processes import ROOT, environment, wait_until

pytestmark = pytest.mark.server


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker", keeps_data=True) as broker:
        yield broker


@pytest.fixture
def publisher(broker: Broker) -> Iterator[Publisher]:
    publisher = Publisher(broker)
    yield publisher
    publisher.close()


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path / "records")


def _ids(*numbers: int, outcome: str = "failed") -> list[str]:
    return [f"m{number}-{outcome}-0" for number in numbers]


def _ask(hook: HookProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What a person does beside the runner, with its settings."""
    return subprocess.run(
        [*hook.command, *arguments], cwd=ROOT, env=environment(), capture_output=True, text=True, check=False
    )


def test_a_command_is_run_once_for_what_it_was_given_for(
    broker: Broker, publisher: Publisher, records: Records, tmp_path: Path
) -> None:
    program = records.program(tmp_path / "after migration")
    with HookProcess(broker, tmp_path, run=f"'{program}' one 'two words'", on="completed,failed") as hook:
        hook.until_subscribed()
        publisher.publish(verdict(1), verdict(2, outcome="completed"), verdict(3, outcome="started"))
        publisher.publish(verdict(1))
        publisher.publish(verdict(4))
        records.until(lambda: len(records.ended) == 3)
        assert records.ended == [*_ids(1), *_ids(2, outcome="completed"), *_ids(4)]
        assert hook.stop() == 0
    assert not [line for line in hook.log.splitlines() if '"level": "error"' in line]


NAME = "a b\n$(reboot) `id` 'q\" \\ ; & | * ~ é 名 \x01\x7f\u202e <script> \0 ü"


def test_any_name_reaches_a_program_unharmed(
    broker: Broker, publisher: Publisher, records: Records, tmp_path: Path
) -> None:
    """All of it on standard input; in the environment all that a variable can hold."""
    program = records.program(tmp_path / "program")
    with HookProcess(broker, tmp_path, run=program) as hook:
        hook.until_subscribed()
        publication = verdict(1, name=NAME)
        publisher.publish(publication)
        records.until(lambda: records.ended == _ids(1))
    ((message, variables),) = records.inputs()
    assert message == json.loads(publication.payload)
    assert message["data"]["domain"]["name"] == NAME
    assert variables.pop("LIBVIRT_MQTT_TIME") == message["time"]
    assert variables == {
        "LIBVIRT_MQTT_TRIGGER": "failed",
        "LIBVIRT_MQTT_ID": "m1-failed-0",
        "LIBVIRT_MQTT_OUTCOME": "failed",
        "LIBVIRT_MQTT_DOMAIN_UUID": uuid(1),
        "LIBVIRT_MQTT_DOMAIN_NAME": NAME.replace("\0", "\N{REPLACEMENT CHARACTER}"),
        "LIBVIRT_MQTT_SOURCE": "host1",
        "LIBVIRT_MQTT_DESTINATION": "host2",
        "LIBVIRT_MQTT_REASON": message["data"]["reason"],
        "LIBVIRT_MQTT_GUEST_HOST": message["data"]["guest"]["host"],
        "LIBVIRT_MQTT_GUEST_STATE": message["data"]["guest"]["state"],
        "LIBVIRT_MQTT_MIGRATION": "m1",
        "LIBVIRT_MQTT_REVISION": "0",
        "LIBVIRT_MQTT_EVENT": "",
        "LIBVIRT_MQTT_DETAIL": "",
    }


def test_a_folder_s_executables_are_run_in_order_for_what_their_names_begin_with(
    broker: Broker, publisher: Publisher, records: Records, tmp_path: Path
) -> None:
    folder = tmp_path / "hooks.d"
    for name in (
        "failed-20-b",
        "failed-10-a",
        "any-log",
        "completed-x",
        "failed-3.dpkg-old",
        ".failed-x",
    ):
        records.program(folder / name)
    (folder / "failed-README").write_text("not executable")
    (folder / "failed-folder").mkdir()
    with HookProcess(broker, tmp_path, hooks_dir=folder) as hook:
        hook.until_subscribed()
        publisher.publish(verdict(1), verdict(2, outcome="conflict"))
        records.until(lambda: len(records.ended) == 4)
        time.sleep(0.5)
    assert [(run.program, run.id) for run in records.runs] == [
        ("any-log", "m1-failed-0"),
        ("failed-10-a", "m1-failed-0"),
        ("failed-20-b", "m1-failed-0"),
        ("any-log", "m2-conflict-0"),
    ]


def test_a_folder_may_change_while_it_runs(
    broker: Broker, publisher: Publisher, records: Records, tmp_path: Path
) -> None:
    """A program that is new, also for what nothing ran for before; one that is gone, also while it waits."""
    folder = tmp_path / "hooks.d"
    folder.mkdir()
    with HookProcess(broker, tmp_path, hooks_dir=folder, retry=1.5) as hook:
        hook.until_logged("hook.started")
        records.program(folder / "failed-a", "exit 1")
        hook.until_logged("hook.started", 2)
        hook.until_logged("broker.connected", 2)
        publisher.publish(verdict(1))
        hook.until_logged("hook.failed")
        (folder / "failed-a").unlink()
        records.program(folder / "failed-b")
        records.program(folder / "completed-c")
        hook.until_logged("hook.started", 3)
        records.until(lambda: records.ended == _ids(1))
        before = broker.log.count("Sending SUBACK to libvirt-mqtt-hook-main")
        assert before == 3
        publisher.publish(verdict(2, outcome="completed"))
        records.until(lambda: records.ended == [*_ids(1), *_ids(2, outcome="completed")])
        assert _ask(hook, "--parked").stdout == ""


def test_what_fails_is_tried_again_ever_later_and_then_put_aside(
    broker: Broker, publisher: Publisher, records: Records, tmp_path: Path
) -> None:
    """What a program ended well for isn't run again with the one that fails."""
    folder = tmp_path / "hooks.d"
    records.program(folder / "failed-1-well")
    records.program(folder / "failed-2-badly", "echo to one; echo to other >&2; test -e ../mended; exit 7")
    records.program(folder / "failed-3-after")
    mended = tmp_path / "mended"
    records.program(folder / "failed-2-badly", f"echo to one; echo to other >&2; test -e {mended} || exit 7")
    with HookProcess(broker, tmp_path, hooks_dir=folder, tries=4, retry=0.4) as hook:
        hook.until_subscribed()
        publisher.publish(verdict(1), verdict(2))
        hook.until_logged("hook.parked")
        runs = [run for run in records.runs if run.id == "m1-failed-0"]
        assert [run.program for run in runs] == ["failed-1-well", *["failed-2-badly"] * 4]
        waits = [later.began - run.began for run, later in pairwise(runs[1:])]
        assert all(wait >= wanted for wait, wanted in zip(waits, (0.4, 0.8, 1.6), strict=True))
        (line,) = hook.logged("hook.parked")
        assert line["output"] == "to one\nto other"
        assert line["why"] == "ended with status 7"
        shown = _ask(hook, "--parked").stdout
        assert shown.splitlines()[0].startswith("m1-failed-0  libvirt/v1/domains/")
        assert "after 4 tries: failed-2-badly: ended with status 7\n    to one\n    to other\n" in shown
        hook.until_logged("hook.parked", 2)  # the domain's next one had its turn
        mended.touch()
        assert _ask(hook, "--again", "m1-failed-0").stdout == "m1-failed-0 is retried\n"
        records.until(lambda: records.ended.count("m1-failed-0") == 3)
        programs = [run.program for run in records.runs if run.id == "m1-failed-0" and run.ended]
        assert programs == ["failed-1-well", "failed-2-badly", "failed-3-after"]
        assert "m1-failed-0" not in _ask(hook, "--parked").stdout
        nothing = _ask(hook, "--again", "m1-failed-0")
        assert (nothing.returncode, nothing.stderr) == (
            1,
            "libvirt-mqtt: no parked message has the id m1-failed-0\n",
        )


def test_one_that_hangs_is_ended_with_all_it_started_and_holds_up_its_own_domain_only(
    broker: Broker, publisher: Publisher, records: Records, tmp_path: Path
) -> None:
    """Neither it nor what it forked heeds TERM."""
    forked = tmp_path / "forked"
    deaf = 'trap "" TERM; while :; do sleep 1; done'
    body = f"if [ $LIBVIRT_MQTT_ID = m1-failed-0 ]; then sh -c 'echo $$ > {forked}; {deaf}' & {deaf}; fi"
    program = records.program(tmp_path / "program", body)
    with HookProcess(broker, tmp_path, run=program, timeout=2, tries=1, parallel=2) as hook:
        hook.until_subscribed()
        published = time.time()
        publisher.publish(verdict(1, 1), verdict(2, 1), *(verdict(number, number) for number in range(3, 9)))
        records.until(lambda: records.ended == _ids(*range(3, 9)))
        began = records.runs[0].began
        assert time.time() < began + 5
        hook.until_logged("hook.parked")
        parked = time.time()
        assert published + 2 + 5 <= parked < began + 2 + 5 + 2.5  # TERM, and KILL 5 s later
        assert "not done within 2 s" in hook.logged("hook.parked")[0]["why"]
        wait_until(lambda: not Path(f"/proc/{forked.read_text().strip()}").exists())
        records.until(lambda: records.ended == [*_ids(*range(3, 9)), *_ids(2)])


def test_one_that_floods_its_output_is_no_trouble(
    broker: Broker, publisher: Publisher, records: Records, tmp_path: Path
) -> None:
    program = records.program(tmp_path / "program", "yes flood | head -c 300000000; echo last; exit 3")
    with HookProcess(broker, tmp_path, run=program, tries=1) as hook:
        hook.until_subscribed()
        publisher.publish(verdict(1))
        hook.until_logged("hook.parked")
        output = hook.logged("hook.parked")[0]["output"]
        assert output.splitlines() == [*["flood"] * 9, "last"]
        status = Path(f"/proc/{hook.pid}/status").read_text()
        assert int(status.split("VmHWM:")[1].split()[0]) < 150_000  # kB


def test_one_that_leaves_a_process_behind_has_ended_all_the_same(
    broker: Broker, publisher: Publisher, records: Records, tmp_path: Path
) -> None:
    """That process still holds its output."""
    program = records.program(tmp_path / "program", "sleep 30 & echo $! >> $0.pids")
    with HookProcess(broker, tmp_path, run=program) as hook:
        hook.until_subscribed()
        publisher.publish(verdict(1), verdict(2))
        records.until(lambda: records.ended == _ids(1, 2), 10)
    for pid in (tmp_path / "program.pids").read_text().split():
        os.kill(int(pid), signal.SIGKILL)


def test_a_command_that_is_not_there_is_tried_again(
    broker: Broker, publisher: Publisher, records: Records, tmp_path: Path
) -> None:
    program = tmp_path / "program"
    with HookProcess(broker, tmp_path, run=program) as hook:
        hook.until_subscribed()
        publisher.publish(verdict(1))
        hook.until_logged("hook.failed")
        assert "can't be started" in hook.logged("hook.failed")[0]["why"]
        records.program(program)
        records.until(lambda: records.ended == _ids(1))


def test_old_news_and_what_the_filters_leave_out_run_nothing(
    broker: Broker, publisher: Publisher, records: Records, tmp_path: Path
) -> None:
    program = records.program(tmp_path / "program")
    options = {"max_age": 60, "domain": f"{uuid(2)},web[13]", "host": "host9,host2", "reason": "source_*"}
    with HookProcess(broker, tmp_path, run=program, **options) as hook:
        hook.until_subscribed()
        publisher.publish(
            verdict(1, 1, reason="source_crashed", at=time.time() - 61),
            verdict(2, 4, reason="source_crashed"),
            verdict(3, 1, reason="destination_failed"),
            verdict(
                4,
                1,
                reason="source_crashed",
                destination={"host": "host3"},
                guest={"host": None, "state": "lost"},
            ),
            verdict(5, 2, reason="source_crashed"),
            verdict(6, 3, reason="source_stopped", at=time.time() - 55),
        )
        records.until(lambda: sorted(records.ended) == _ids(5, 6))
        time.sleep(0.5)
        assert sorted(records.ended) == _ids(5, 6)
        assert [line["id"] for line in hook.logged("hook.too_old")] == _ids(1)


def test_a_location_is_run_for_once_however_often_the_broker_sends_it(
    broker: Broker, publisher: Publisher, records: Records, tmp_path: Path
) -> None:
    program = records.program(tmp_path / "program")
    publisher.publish(location(1, "host1"))
    with HookProcess(broker, tmp_path, run=program, on="location", log_level="debug") as hook:
        records.until(lambda: records.ended == ["l1"])
        broker.restart()
        hook.until_logged("broker.connected", 2)
        publisher.publish(Publication(TOPICS.location(uuid(1)), b"", retain=True), location(2, "host2"))
        hook.until_logged("hook.ended", 2)  # what was running when it was killed would run again
        hook.kill()
        hook.start()
        hook.until_logged("broker.connected", 3)
        publisher.publish(location(3, "host3"))
        records.until(lambda: records.ended == ["l1", "l2", "l3"])
    hosts = [variables["LIBVIRT_MQTT_GUEST_HOST"] for _, variables in records.inputs()]
    assert hosts == ["host1", "host2", "host3"]


def test_a_host_s_own_events_are_run_for_and_none_is_lost(
    broker: Broker, records: Records, tmp_path: Path
) -> None:
    """The broker forgets all that it had for the runner: the agent is asked again."""
    program = records.program(tmp_path / "program")
    options = {"on": "lifecycle-suspended", "max_age": 3600}
    with (
        DrivenAgent(broker, tmp_path / "agent") as agent,
        HookProcess(broker, tmp_path, run=program, **options) as hook,
    ):
        hook.until_subscribed()
        agent.drive(2)
        records.until(lambda: len(records.ended) == 2)
        hook.stop()
        agent.drive(3)
        wait_until(lambda: agent.logged("broker.connected") != [])
        broker.stop()
        broker.forget()
        broker.start()
        hook.start()
        hook.until_logged("broker.connected", 2)
        agent.drive(1)
        records.until(lambda: len(records.ended) == 6, 60)
    variables = [each for _, each in records.inputs()]
    assert {each["LIBVIRT_MQTT_EVENT"] for each in variables} == {"suspended"}
    assert {each["LIBVIRT_MQTT_DETAIL"] for each in variables} == {"paused"}
    assert {each["LIBVIRT_MQTT_GUEST_HOST"] for each in variables} == {"h1"}
    assert len({each["LIBVIRT_MQTT_ID"] for each in variables}) == 6


def _forget(broker: Broker) -> None:
    """All that it had retained or queued is gone."""
    broker.stop()
    broker.forget()
    broker.start()


def test_a_verdict_that_the_broker_lost_is_run_for(
    broker: Broker, publisher: Publisher, records: Records, tmp_path: Path
) -> None:
    """Each domain's newest, once: found as it is retained, or when that is published again."""
    program = records.program(tmp_path / "program")
    with HookProcess(broker, tmp_path, run=program, on="failed", max_age=60) as hook:
        hook.until_subscribed()
        known = verdict(1, 1)
        publisher.publish(known, last(known))
        records.until(lambda: records.ended == _ids(1))
        hook.stop()
        _forget(broker)
        lost, second = verdict(2, 1), verdict(3, 2)
        old, other = verdict(4, 3, at=time.time() - 61), verdict(5, 4, outcome="completed")
        publisher.publish(*(each for one in (lost, old, other) for each in (one, last(one))))
        hook.start()
        records.until(lambda: records.ended == _ids(1, 2))
        _forget(broker)
        hook.until_logged("broker.connected", 3)
        publisher.publish(last(lost), last(second))
        records.until(lambda: records.ended == _ids(1, 2, 3))
        publisher.publish(second, verdict(6, 1))
        records.until(lambda: records.ended == _ids(1, 2, 3, 6))


def test_what_is_retained_at_the_first_start_runs_nothing(
    broker: Broker, publisher: Publisher, records: Records, tmp_path: Path
) -> None:
    program = records.program(tmp_path / "program")
    publisher.publish(last(verdict(1)))
    with HookProcess(broker, tmp_path, run=program) as hook:
        hook.until_subscribed()
        publisher.publish(verdict(2))
        records.until(lambda: records.ended == _ids(2))


def test_the_newest_verdict_does_not_overtake_those_that_the_broker_kept(
    broker: Broker, publisher: Publisher, records: Records, tmp_path: Path
) -> None:
    """As it is retained it is delivered behind the first twenty of them."""
    program = records.program(tmp_path / "program")
    with HookProcess(broker, tmp_path, run=program, broker_version="3.1.1") as hook:
        hook.until_subscribed()
        hook.stop()
        verdicts = [verdict(number) for number in range(60)]
        publisher.publish(*verdicts)
        publisher.publish(last(verdicts[-1]))
        hook.start()
        records.until(lambda: len(records.ended) == 60)
        assert records.ended == _ids(*range(60))


def test_what_no_program_was_there_for_when_it_came_is_not_run_for_later(
    broker: Broker, publisher: Publisher, records: Records, tmp_path: Path
) -> None:
    """Also where the broker has forgotten the session, and the verdict is retained."""
    folder = tmp_path / "hooks.d"
    folder.mkdir()
    with HookProcess(broker, tmp_path, hooks_dir=folder) as hook:
        hook.until_subscribed()
        early = verdict(1)
        publisher.publish(early, last(early))
        time.sleep(0.5)
        hook.stop()
        _forget(broker)
        records.program(folder / "failed-a")
        publisher.publish(last(early))
        hook.start()
        hook.until_logged("broker.connected", 2)
        publisher.publish(verdict(2, 2))
        records.until(lambda: records.ended == _ids(2))


def test_a_runner_that_is_stopped_ends_its_programs_and_runs_them_again(
    broker: Broker, publisher: Publisher, records: Records, tmp_path: Path
) -> None:
    program = records.program(tmp_path / "program", f"test -e {tmp_path}/second || exec sleep 100")
    with HookProcess(broker, tmp_path, run=program, tries=1) as hook:
        hook.until_subscribed()
        publisher.publish(verdict(1))
        records.until(lambda: len(records.runs) == 1)
        began = time.monotonic()
        assert hook.stop() == 0
        assert time.monotonic() - began < 4
        (tmp_path / "second").touch()
        hook.start()
        records.until(lambda: records.ended == _ids(1))
        assert not hook.logged("hook.parked")


def test_a_program_gets_nothing_of_the_runner_s_own_settings(
    broker: Broker, publisher: Publisher, records: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere")
    program = records.program(tmp_path / "program")
    password = tmp_path / "password"
    password.write_text("secret\n")
    with HookProcess(broker, tmp_path, run=program) as hook:
        hook.until_subscribed()
        publisher.publish(verdict(1))
        records.until(lambda: records.ended == _ids(1))
    ((_, variables),) = records.inputs()
    assert "LIBVIRT_MQTT_RUN" not in variables
    environment_of_it = next((records.folder / "inputs").glob("*.env")).read_text()
    assert "NOTIFY_SOCKET" not in environment_of_it


def test_a_second_runner_of_one_id_is_refused(broker: Broker, tmp_path: Path) -> None:
    with HookProcess(broker, tmp_path, run="/bin/true") as hook:
        hook.until_logged("hook.started")
        second = _ask(hook)
        assert second.returncode == 78
        assert "is in use by another hook" in second.stderr
