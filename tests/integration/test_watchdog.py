"""systemd's watchdog is fed while every loop of the agent turns, and no longer."""

import queue
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.addresses import BrokerAddress
from bridge.agent import program, service
from bridge.agent.program import Request
from bridge.agent.service import Agent
from bridge.config import AgentSettings
from bridge.systemd import Notifier

pytestmark = pytest.mark.server


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    """Without a broker, since that is no reason not to turn."""
    broker = BrokerAddress("mqtt", "127.0.0.1", 1)
    agent = Agent(AgentSettings(broker=broker, host="h1", connect="test:///default", state_dir=tmp_path))
    agent.start()
    yield agent
    agent.stop()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(0.8)
        yield listening


def is_fed(agent: Agent, systemd: socket.socket) -> bool:
    """Supervises for long enough to hear of it."""
    asked: queue.SimpleQueue[Request] = queue.SimpleQueue()
    notifier = Notifier({"NOTIFY_SOCKET": systemd.getsockname()})
    supervising = threading.Thread(target=program._supervise, args=(agent, asked, bool, notifier))
    supervising.start()
    try:
        return systemd.recv(100) == b"WATCHDOG=1"
    except TimeoutError:
        return False
    finally:
        asked.put("stop")
        supervising.join()


def test_it_is_fed_while_all_turns_though_there_is_no_broker(agent: Agent, systemd: socket.socket) -> None:
    assert is_fed(agent, systemd)
    assert set(agent.live().values()) == {None}


@pytest.mark.parametrize("name", ["outbox", "hypervisor", "mqtt"])
def test_it_starves_when_a_loop_stands_still(
    agent: Agent, systemd: socket.socket, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (worker,) = (worker for worker in agent._workers if worker.name == name)
    monkeypatch.setattr(worker, "beat", lambda: None)
    worker._beat_at_s -= service.STALLED_S + 1
    assert not is_fed(agent, systemd)
    assert (agent.live()[name] or "").startswith("blocked for 3")


def test_it_starves_when_libvirts_event_loop_stands_still(
    agent: Agent, systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(agent.hypervisor), "loop_silent_s", service.STALLED_S + 1)
    assert not is_fed(agent, systemd)
    assert agent.live()["libvirt-events"] == "blocked for 31 s"


def test_every_loop_says_so_when_it_turns(agent: Agent) -> None:
    """Each beats within a few seconds also while nothing happens, so that standing still is a sign."""
    for worker in agent._loops:
        worker._beat_at_s -= 20
    waited = threading.Event()
    for _ in range(70):
        if all(worker.silent_s < 10 for worker in agent._loops) and agent.hypervisor.loop_silent_s < 3:
            return
        waited.wait(0.1)
    pytest.fail(f"{[(worker.name, worker.silent_s) for worker in agent._loops]}")
