"""The tests' own clients are served while a test waits for something else."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from bridge.mqtt.session import Subscription
from tests.support.broker import Broker
from tests.support.session_recorder import Client

pytestmark = [pytest.mark.server, pytest.mark.slow]

KEEPALIVE_S = 2


def test_nothing_sent_to_a_client_is_lost_while_nobody_uses_it(tmp_path: Path) -> None:
    """As when a program is installed for minutes: the broker ends a session after 1.5 keep-alives."""
    with Broker(tmp_path) as broker:
        hears = Client(broker.settings(), "hears", subscriptions=[Subscription("t")], keepalive_s=KEEPALIVE_S)
        hears.connect()
        time.sleep(KEEPALIVE_S * 3)
        says = Client(broker.settings(), "says")
        says.connect()
        says.publish_all("t", [b"1", b"2"])
        hears.until(lambda: hears.payloads == [b"1", b"2"])
        assert hears.connected == [False]
        says.close()
        hears.close()
