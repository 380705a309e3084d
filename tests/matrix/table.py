"""What each check finds at each broker; docs/brokers.md shows it, and the tests hold it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.matrix.brokers import AedesBroker, Nats, RabbitMq, Running, mosquitto
from tests.matrix.story import WORKS

CHECKS: Final[dict[str, str]] = {
    "dotted name": "a host's name with a dot in it",
    "retained by wildcard": "a late subscriber receives the status of a host by a filter with `+`",
    "verdicts": "a migration is published, once",
    "hole and replay": "a missing message is requested, and the migration is published",
    "correlator killed": "SIGKILL during a migration: it is published once when the correlator is back",
    "late correlator": "one that starts late knows the hosts, and publishes nothing wrong",
    "Will": "of an agent that dies while the correlator is down: published at once, retained, and read later",
    "broker killed": "SIGKILL of the broker: messages that it had acknowledged are delivered later",
    "clearing": "a late subscriber receives nothing on a cleared topic",
    "30,000 states": "a late subscriber receives all of them",
    "group": "correlators that share the work (`--group`)",
}
"""The checks of `story.Story`, in its order."""

_NO_GROUP: Final = "shared subscriptions need MQTT 5"


@dataclass(frozen=True, slots=True)
class Kind:
    """One broker: how it is started, what to set for it, and the cells that aren't `works`, with what they
    mean for a user.
    """

    title: str
    make: Callable[[Path], Running]
    sets: str
    cells: dict[str, tuple[str, str]] = field(default_factory=dict)
    encodes: bool = False
    soak: bool = False
    """Whether it takes too long for `make test`."""

    def cell(self, check: str) -> str:
        """What the check has to find."""
        return self.cells.get(check, (WORKS, ""))[0]

    def shown(self, check: str) -> str:
        """The same for a user."""
        return self.cells.get(check, ("", WORKS))[1]


_NO_GROUP_CELL: Final = (_NO_GROUP, "refused: needs MQTT 5")
_FEWER: Final = ("fewer", "**some are silently dropped**")

KINDS: Final[dict[str, Kind]] = {
    "mosquitto": Kind(
        "mosquitto of this release", mosquitto, "[mosquitto.conf](../docker/mosquitto/mosquitto.conf)"
    ),
    "mosquitto-trixie": Kind(
        "mosquitto 2.0.21 (Debian 13)",
        lambda folder: mosquitto(folder, "trixie"),
        "[mosquitto.conf](../docker/mosquitto/mosquitto.conf)",
    ),
    "nats-2.9": Kind(
        "NATS 2.9",
        lambda folder: Nats(folder, "bookworm"),
        "JetStream on disk; `--broker-version 3.1.1`, and `--encode-dots` where a host's name has a dot",
        {"dotted name": ("--encode-dots", "refused: with `--encode-dots`"), "group": _NO_GROUP_CELL},
        encodes=True,
    ),
    "nats-2.10": Kind(
        "NATS 2.10 (Debian 13)",
        lambda folder: Nats(folder, "trixie"),
        "JetStream on disk; `--broker-version 3.1.1`",
        {"30,000 states": _FEWER, "group": _NO_GROUP_CELL},
    ),
    "aedes": Kind(
        "aedes 1.2",
        AedesBroker,
        "`--broker-version 3.1.1`",
        {"broker killed": ("forgets", "asked for again: it keeps nothing on disk"), "group": _NO_GROUP_CELL},
    ),
    "rabbitmq-4": Kind(
        "RabbitMQ 4.0 (Debian 13)",
        RabbitMq,
        "its plugin `rabbitmq_mqtt`; `--encode-dots` where a host's name has a dot",
        {
            "dotted name": ("other topic", "with `--encode-dots`: else its topics come with `/` for `.`"),
            "retained by wildcard": ("none", "**none is sent**"),
            "late correlator": ("not ready", "not ready: it knows no host, and logs why"),
            "Will": (
                "not ready",
                "at once and retained; a correlator that was away isn't ready, and logs why",
            ),
            "30,000 states": ("none", "**none is sent**"),
            "group": ("refused", "refused: it has no shared subscriptions"),
        },
        encodes=True,
        soak=True,
    ),
}


def page() -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Head and rows of the page's table: a line for each check, a column for each broker."""
    head = ("", *(kind.title for kind in KINDS.values()))
    rows: list[tuple[str, ...]] = [("to set", *(kind.sets for kind in KINDS.values()))]
    for check, means in CHECKS.items():
        rows.append((f"*{check}*: {means}", *(kind.shown(check) for kind in KINDS.values())))
    return head, rows
