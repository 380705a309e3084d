"""Programs killed at random in a storm of real events: what a subscriber got is what the hosts emitted."""

import json
import os
import random
import time
from pathlib import Path

import pytest
from paho.mqtt import publish

from tests.lab.comparison import (
    differences,
    end_state,
    missing_sequences,
    stream,
    verdict_differences,
    witnessed,
)
from tests.lab.fixtures import needs_lab
from tests.lab.fleet import Fleet
from tests.lab.guest import Guest
from tests.lab.host import Host
from tests.lab.killer import Killer
from tests.lab.lab import Lab
from tests.lab.storm import Storm
from tests.lab.waiting import TimedOut
from tests.lab.witness import Witness

pytestmark = [pytest.mark.lab, pytest.mark.server, pytest.mark.timeout(1800)]

STORM_S, LONG_STORM_S = 30.0, 600.0
PAUSE_S = 2.5
QUIET_S = 3.0
SETTLING_S = 40.0
WINDOW_S = 0.5
"""What is in a callback's hands when the agent is killed, the pause in which the first list holds up events,
and how much later than the agent the witness may hear."""


def test_what_is_published_in_a_storm_of_kills_is_what_happened(soak: bool, tmp_path: Path) -> None:
    needs_lab()
    seed = int(os.environ.get("SOAK_SEED", random.randrange(1_000_000)))
    print(f"again: SOAK_SEED={seed}")
    guests = [Guest("storm-1"), Guest("storm-2"), Guest("storm-3", persistent=True)]
    with Lab(2) as lab, Witness(lab.hosts) as witness, Fleet(lab, keeps_data=True) as fleet:
        start_s = time.time() - (time.monotonic() - witness.start_s)
        killer = Killer(fleet, seed)
        chance = random.Random(seed)
        with Storm(lab.hosts, guests, seed) as storm:
            end_s = time.monotonic() + (LONG_STORM_S if soak else STORM_S)
            while time.monotonic() < end_s:
                time.sleep(chance.uniform(0, 2 * PAUSE_S))
                killer.strike()
        fleet.wait_connected()
        time.sleep(QUIET_S)
        _ask_for_what_is_missing(fleet)
        killer.note_listening()
        states = {(host.name, guest.uuid): _state(host, guest) for host in lab.hosts for guest in guests}

        def wrong() -> list[str]:
            messages = fleet.collector.since()
            lines = witness.since(0)
            found, ends = [], {}
            for host in lab.hosts:
                published, truth = stream(messages, host.name), witnessed(lines, host.name, start_s)
                found += [
                    f"{host.name}: no message {holes}" for holes in missing_sequences(published).items()
                ]
                epochs = {message.payload["id"].rpartition("-")[0] for message in published}
                found += [] if len(epochs) == 1 else [f"{host.name}: several epochs {epochs}"]
                found += [
                    f"{host.name}: {each}"
                    for each in differences(truth, published, killer.lives[host.name], WINDOW_S)
                ]
                for guest in guests:
                    ends[host.name, guest.uuid] = end_state(published, guest.uuid)
            for guest in guests:
                attempts = [each for each in storm.attempts if each.uuid == guest.uuid]
                verdicts = verdict_differences(attempts, fleet.published(guest.uuid), killer.lives, WINDOW_S)
                found += [f"{guest.name}: {each}" for each in verdicts]
            found += [
                f"{where}: told to be {ends[where]}, is {states[where]}"
                for where in states
                if ends[where] != states[where]
            ]
            return found

        try:
            fleet.collector.wait_for(lambda _: not wrong(), SETTLING_S)
        except TimedOut:
            tellings = [
                f"{each.outcome} {each.raw.decode()}"
                for guest in guests
                for each in fleet.published(guest.uuid)
            ]
            attempts = [repr(attempt) for attempt in storm.attempts]
            listening = [f"{host}: {lives}" for host, lives in killer.lives.items()]
            heard = tmp_path / "messages.jsonl"
            with heard.open("wb") as file:
                file.writelines(message.raw + b"\n" for message in fleet.collector.since() if message.raw)
            what = [f"seed {seed}, killed {killer.deaths}; all messages are in {heard}"]
            what += [*wrong(), *tellings, *attempts, *listening]
            (tmp_path / "wrong.txt").write_text("\n".join(what))
            pytest.fail("\n".join([*what, fleet.logs()]))
        time.sleep(QUIET_S)
        assert wrong() == []
        for host in lab.hosts:
            assert fleet.agent(host).stop() == 0
            _assert_all_came(fleet, host)
        published = sum(len(stream(fleet.collector.since(), host.name)) for host in lab.hosts)
        print(f"{published} messages, {len(storm.attempts)} migrations, {len(killer.deaths)} deaths")
        assert storm.attempts
        assert killer.deaths
        for guest in guests:
            for host in lab.hosts:
                guest.remove(host)


def _state(host: Host, guest: Guest) -> str:
    """Whether a guest is running, paused or off on a host, by virsh."""
    return {"running": "running", "paused": "paused"}.get(host.state(guest.uuid).split()[0], "off")


def _assert_all_came(fleet: Fleet, host: Host) -> None:
    """The last word of an agent that was stopped names the last sequence that came."""
    said = fleet.collector.wait_for(
        lambda _: (
            (status := fleet.collector.retained(f"hosts/{host.name}/status"))
            and status.data["state"] == "offline"
            and status.data
        ),
        what="the agent's last word",
    )
    came = [int(message.payload["sequence"]) for message in stream(fleet.collector.since(), host.name)]
    assert said["last_sequence"] == max(came, default=0)
    assert said["dropped"] == said["lost"] == []


def _ask_for_what_is_missing(fleet: Fleet) -> None:
    """A PUBACK isn't durability: what a killed broker took and lost is asked for, as any subscriber can."""
    for host in fleet.agents:
        published = stream(fleet.collector.since(), host)
        for epoch, missing in missing_sequences(published).items():
            request = {"epoch": epoch, "from": missing[0], "to": missing[-1]}
            print(f"{host} lost by the broker: {request}")
            topic = f"{fleet.collector.prefix}/v1/hosts/{host}/replay"
            publish.single(topic, json.dumps(request), qos=1, hostname="127.0.0.1", port=fleet.broker.port)
