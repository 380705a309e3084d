"""Kills the programs of a fleet at random and starts them again, and keeps note of who lived when."""

import random
import signal
import time
from dataclasses import dataclass
from datetime import datetime
from json import loads

from tests.lab.fleet import Fleet, Program

LONGEST_DEATH_S = 1.5


@dataclass
class Life:
    """One process of an agent, by the wall clock; `listening_s` is inf until it has registered for events."""

    began_s: float
    listening_s: float = float("inf")
    ended_s: float = float("inf")


class Killer:
    """Ends one program at a time and starts it again; the agents ran before it was made.

    `lives` are those of each host's agent. Agents, correlator and broker are killed with SIGKILL; the broker
    is also stopped now and then, as by a service manager.
    """

    def __init__(self, fleet: Fleet, seed: int) -> None:
        self.fleet = fleet
        self.deaths: list[str] = []
        self.lives = {host: [Life(0.0)] for host in fleet.agents}
        self._chance = random.Random(f"{seed}-killer")

    def strike(self) -> None:
        """Kills somebody, waits a while, and starts it again."""
        victims = [*self.fleet.agents, *self.fleet.agents, "correlator", "broker"]
        victim = self._chance.choice(victims)
        self.deaths.append(victim)
        death_s = self._chance.uniform(0, LONGEST_DEATH_S)
        if victim == "broker":
            broker = self.fleet.broker
            broker.stop(self._chance.choice([signal.SIGKILL, signal.SIGTERM]))
            time.sleep(death_s)
            broker.start()
            return
        program = self.fleet.correlator if victim == "correlator" else self.fleet.agents[victim]
        program.kill()
        if victim in self.lives:
            self.lives[victim][-1].ended_s = time.time()
        time.sleep(death_s)
        if victim in self.lives:
            self.lives[victim].append(Life(time.time()))
        program.start()

    def note_listening(self) -> None:
        """Reads in the agents' logs since when each life has been registered for events."""
        for host, lives in self.lives.items():
            for listening_s in _connected(self.fleet.agents[host]):
                life = next(life for life in reversed(lives) if life.began_s <= listening_s)
                life.listening_s = min(life.listening_s, listening_s)


def _connected(agent: Program) -> list[float]:
    lines = [loads(line) for line in agent.log.splitlines() if line.startswith("{")]
    return [
        datetime.fromisoformat(line["time"]).timestamp()
        for line in lines
        if line.get("event") == "libvirt.connected"
    ]
