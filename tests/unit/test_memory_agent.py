"""The agent in memory: what it stored outlives its process, and its messages are numbered without a hole."""

from __future__ import annotations

from typing import Final

from bridge.agent.inventory.domains import ListedDomain
from bridge.agent.inventory.reports import ConnectionOpened, DomainsListed, DomainsRequested, Occurrence
from bridge.demo.memory_agent import HostMessages, MemoryAgent
from bridge.wire import messages
from bridge.wire.messages import Envelope, Libvirt, Lifecycle
from bridge.wire.topics import Topics

UUID: Final = "c7a5fdbd-edaf-9455-926a-d65c16db1809"
RUNNING: Final = ListedDomain(UUID, "web01", 3, 1, 1, persistent=False)


def _agent() -> MemoryAgent:
    agent = MemoryAgent(HostMessages(Topics(), "h"), "e", "QEMU")
    assert _connected(agent, {UUID: RUNNING}) == []
    return agent


def _connected(agent: MemoryAgent, seen: dict[str, ListedDomain]) -> list[Envelope[Lifecycle]]:
    """What the agent publishes when it has connected and read the list."""
    reports = ConnectionOpened(1, "QEMU"), DomainsRequested(1), DomainsListed(1, "QEMU", seen, True, 0)
    steps = (step for report in reports for step in agent.take(report, 0.0))
    return [messages.parse(each.payload) for _, published in steps for each in published]


def test_a_next_process_knows_what_was_stored_and_numbers_on() -> None:
    agent = _agent()
    paused = Occurrence(0, 0.0, "lifecycle", "QEMU", UUID, "web01", 3, 3, 0)
    assert [len(published) for _, published in agent.take(paused, 1.0)] == [1]
    agent.start()
    (resumed,) = _connected(agent, {UUID: RUNNING})
    assert (resumed.id, resumed.data.event, resumed.data.origin) == ("e-2", "resumed", "resync")
    status = messages.parse(agent.status(Libvirt(connected=True), 0.0).payload).data
    assert (status.epoch, status.last_sequence) == ("e", 2)


def test_a_state_is_cleared_once() -> None:
    agent = _agent()
    state = agent.read(UUID, RUNNING, 0)
    assert state is not None
    assert messages.parse(state.payload).data.as_of == 0
    _connected(agent, {})
    cleared = agent.read(UUID, None, 0)
    assert cleared is not None
    assert (cleared.topic, cleared.payload, cleared.retain) == (state.topic, b"", True)
    assert agent.read(UUID, None, 0) is None
    assert (agent.states, UUID in agent.stored) == ({}, False)
