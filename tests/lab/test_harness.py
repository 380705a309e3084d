"""The harness itself: hosts come up, and go without a trace.

That they emit what the scenarios say is checked as each is played: `tests/acceptance/test_lab_migrations.py`.
"""

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab import firmware, process, waiting
from tests.lab.fixtures import needs_lab
from tests.lab.lab import PREFIX, Lab, clean_up
from tests.lab.migration import Migration
from tests.lab.namespaces import BRIDGE
from tests.lab.scenarios import SCENARIOS, matches
from tests.lab.stage import Stage
from tests.lab.witness import Witness

ROWS = {
    *(
        "1",
        "2",
        "3",
        "4",
        "5",
        "6",
        "8",
        "9",
        "10",
        "10b",
        "11",
        "12",
        "13",
        "14",
        "15",
        "16",
        "17",
        "18",
        "19",
    ),
    *(
        "20",
        "21",
        "22",
        "22b",
        "23",
        "24",
        "25",
        "26",
        "27",
        "28",
        "29",
        "30",
        "31",
        "32",
        "33",
        "34",
        "35",
        "36",
    ),
    *("37", "38", "39"),
}

HARNESS = """
import sys, time
from tests.lab.guest import Guest
from tests.lab.fleet import Fleet
from tests.lab.lab import Lab
from tests.lab.witness import Witness
with Lab(2) as lab, Witness(lab.hosts) as ears, Fleet(lab) as fleet:
    guest = Guest("left")
    guest.start(lab.hosts[0])
    ours = [program.pid for program in (*fleet.agents.values(), fleet.correlator, fleet.broker)]
    host = lab.hosts[0]
    theirs = [host.pid, host.qemu_pid(guest.uuid), host.space.holder, ears._process.pid]
    print(lab.folder, *ours, *theirs, flush=True)
    time.sleep(600)
"""


def test_patterns_match_whole_sequences() -> None:
    assert matches("iter* 3,1 5,3 job5", ["iter", "iter", "3,1", "5,3", "job5"])
    assert matches("3,1 (4,1 3,1|3,6)?", ["3,1", "4,1", "3,1"])
    assert matches("", [])
    assert matches("2,1 5,5", ["2,1", "6,2", "5,5"])
    assert not matches("2,1 5,5", ["2,1", "5,5", "5,5"])
    assert not matches("iter+ 3,1", ["3,1"])
    assert not matches("2,1 4,1", ["2,1", "6,2", "4,1"])
    assert not matches("", ["2,1"])


def test_every_row_has_a_scenario() -> None:
    played = {row for scenario in SCENARIOS.values() for row in scenario.rows}
    assert played >= ROWS


def test_firmware_is_what_its_source_says(tmp_path: Path) -> None:
    if shutil.which("as") is None or shutil.which("ld") is None:
        pytest.skip("needs binutils: apt-get install binutils")
    source = Path(firmware.__file__).with_name("guest.S")
    object_file, image = tmp_path / "guest.o", tmp_path / "guest.rom"
    subprocess.run(["as", "--32", "-o", object_file, source], check=True)
    options = ["-m", "elf_i386", "-e", "0", "-Ttext", "0", "--oformat", "binary"]
    subprocess.run(["ld", *options, "-o", image, object_file], check=True)
    assert image.read_bytes() == firmware.image(busy=True)


@pytest.mark.lab
def test_hosts_have_names_addresses_and_daemons_of_their_own(lab: Lab) -> None:
    names = [host.space.run("hostname").stdout.strip() for host in lab.hosts]
    assert names == ["host1", "host2", "host3"]
    assert len({host.space.address for host in lab.hosts}) == 3
    assert len({host.pid for host in lab.hosts}) == 3
    assert [host.domains() for host in lab.hosts] == [[], [], []]


@pytest.mark.lab
def test_guest_moves_there_and_back(stage: Stage) -> None:
    guest = stage.start(busy=True)
    Migration(guest, stage.source, stage.destination).succeed()
    assert stage.state("D") == "running (migrated)"
    assert stage.state("S") == "gone"
    Migration(guest, stage.destination, stage.source, direct=True).succeed()
    assert stage.state("S") == "running (migrated)"
    assert stage.state("D") == "gone"


@pytest.mark.lab
def test_network_goes_and_comes(lab: Lab) -> None:
    first, second, third = lab.hosts
    assert _reaches(first, second)
    second.net_down()
    assert not _reaches(first, second)
    second.net_up()
    first.cut(second)
    assert not _reaches(first, second)
    assert _reaches(third, second)
    first.join(second)
    assert _reaches(first, second)


@pytest.mark.lab
def test_two_labs_stand_side_by_side(lab: Lab) -> None:
    with Lab(1) as other:
        assert other.hosts[0].uri != lab.hosts[0].uri
        assert other.hosts[0].domains() == []
    assert lab.hosts[0].domains() == []


@pytest.mark.lab
def test_end_leaves_nothing() -> None:
    needs_lab()
    with Lab(2) as lab, Witness(lab.hosts) as witness:
        stage = Stage(lab, witness)
        stage.start()
        folder, holders = lab.folder, [host.space.holder for host in lab.hosts]
    assert not folder.exists()
    assert [process.started_at(holder) for holder in holders] == [None, None]
    assert _traces() == []


@pytest.mark.lab
@pytest.mark.server
def test_killed_harness_leaves_no_process_network_or_mount() -> None:
    needs_lab()
    harness = subprocess.Popen([sys.executable, "-c", HARNESS], stdout=subprocess.PIPE, text=True)
    assert harness.stdout is not None
    with harness.stdout:
        folder, *pids = harness.stdout.readline().split()
        started = {int(pid): process.started_at(int(pid)) for pid in pids}
        assert None not in started.values()
        harness.send_signal(signal.SIGKILL)
        harness.wait()
    waiting.until(
        lambda: all(process.started_at(pid) != start for pid, start in started.items()),
        what="the killed lab's processes to end",
    )
    waiting.until(lambda: not _traces(), what="the killed lab's network and mounts to vanish")
    assert Path(folder) in clean_up()
    assert not Path(folder).exists()


def _reaches(one: object, other: object) -> bool:
    from tests.lab.host import Host

    assert isinstance(one, Host)
    assert isinstance(other, Host)
    attempt = f"import socket; socket.create_connection(({other.space.address!r}, 16509), 1)"
    command = one.space.entering([sys.executable, "-c", attempt], kinds=("net",))
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def _traces() -> list[str]:
    """What a lab could leave on the machine's own network and mounts; others' come and go meanwhile."""
    links = [entry.name for entry in Path("/sys/class/net").iterdir()]
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return [link for link in links if re.fullmatch(rf"{BRIDGE}|port\d+", link)] + [
        mount for mount in mounts if f"/{PREFIX}" in mount
    ]
