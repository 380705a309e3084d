"""What is counted of a batch is counted once it is stored."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.correlator.counters import Counters
from bridge.correlator.input.messages import DomainMessage, Inbound
from bridge.correlator.process.single_processor import SingleProcessor
from bridge.correlator.rules.record import OutboundMessage, Times
from bridge.correlator.store import Draft, Store, Transaction
from bridge.database import StoreTroubleError

UUID = "c7a5fdbd-edaf-9455-926a-d65c16db1809"


def said(sequence: int) -> Inbound:
    message = DomainMessage(
        "h1", UUID, "e", sequence, "lifecycle", "started/booted", "event", "QEMU", "web01", 100.0,
        "2026-11-28T00:00:00.000000Z", f"e-{sequence}",
    )  # fmt: skip
    return Inbound(message, 100.0, retained=False)


def test_a_batch_that_is_tried_again_counts_its_duplicates_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store fails at the commit's last step, as it does when the disk is full."""

    def draft(message: OutboundMessage, uuid: str, _now: float) -> Draft:
        return Draft(message.id, uuid, message.name, b"", retain=False)

    counters = Counters()
    store = Store(f"sqlite:///{tmp_path}/store.db", owner="correlator main")
    processor = SingleProcessor(store, Times(), draft, counters)
    processor.load()
    processor.take([said(1)], 100.0, 100.0)
    with monkeypatch.context() as full:

        def keep_meta(*_: object) -> None:
            raise StoreTroubleError("no space left on device")

        full.setattr(Transaction, "keep_meta", keep_meta)
        for _ in range(3):
            with pytest.raises(StoreTroubleError):
                processor.take([said(1), said(2)], 100.0, 100.0)
    assert counters.duplicates == 0
    processor.take([said(1), said(2)], 100.0, 100.0)
    assert counters.duplicates == 1
    store.close()
