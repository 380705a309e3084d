"""Three nodes of a broker on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bridge.mqtt.settings import BrokerSettings
from tests.matrix.brokers import Epmd, Foreign, Nats, RabbitMq
from tests.support.broker import free_port

NAMES: Final = ("n1", "n2", "n3")


@dataclass(frozen=True, slots=True)
class Cluster:
    """Its nodes, in the order in which they were started."""

    nodes: tuple[Foreign, ...]

    @property
    def port(self) -> int:
        """That of the first node."""
        return self.nodes[0].port

    @property
    def url(self) -> str:
        """What `--broker` is given."""
        return "mqtt://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def settings(self) -> BrokerSettings:
        """The same for a session."""
        first, *others = (node.settings() for node in self.nodes)
        return replace(first, others=tuple((each.host, each.port) for each in others))


@contextmanager
def nats(folder: Path) -> Iterator[Cluster]:
    """NATS 2.10: a node waits for nobody, and answers once they are two."""
    ports = [free_port() for _ in NAMES]
    with ExitStack() as stack:
        nodes: list[Foreign] = []
        for name, port in zip(NAMES, ports, strict=True):
            (folder / name).mkdir()
            nodes.append(stack.enter_context(Nats(folder / name, "trixie", name=name, cluster=(port, ports))))
        yield Cluster(tuple(nodes))


@contextmanager
def rabbitmq(folder: Path) -> Iterator[Cluster]:
    """RabbitMQ 4, durable sessions in quorum queues. The nodes make the cluster together."""
    with ExitStack() as stack:
        epmd = stack.enter_context(Epmd(folder))
        for name in NAMES:
            (folder / name).mkdir()
        nodes = [RabbitMq(folder / name, name=name, cluster=(epmd.port, NAMES)) for name in NAMES]
        for node in nodes:
            stack.callback(node.kill)
        with ThreadPoolExecutor(len(nodes)) as pool:
            list(pool.map(RabbitMq.start, nodes))
        yield Cluster(tuple(nodes))
