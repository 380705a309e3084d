"""What is counted of a batch is counted once it is stored."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.correlator.counters import Counters
from bridge.correlator.input.messages import Heard, Said
from bridge.correlator.process.processor import Casework
from bridge.correlator.rules.record import Telling, Times
from bridge.correlator.store import Draft, Store
from bridge.database import StoreTroubleError

UUID = "c7a5fdbd-edaf-9455-926a-d65c16db1809"


def said(sequence: int) -> Heard:
    word = Said(
        "h1", UUID, "e", sequence, "lifecycle", "started/booted", "event", "QEMU", "web01", 100.0,
        "2026-11-28T00:00:00.000000Z", f"e-{sequence}",
    )  # fmt: skip
    return Heard(word, 100.0, retained=False)


def test_a_batch_that_is_tried_again_counts_its_duplicates_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store fails at the commit's last step, as it does when the disk is full."""

    def draft(telling: Telling, uuid: str, _now: float) -> Draft:
        return Draft(telling.id, uuid, telling.word, b"", retain=False)

    counters = Counters()
    store = Store(f"sqlite:///{tmp_path}/store.db", owner="correlator main")
    work = Casework(store, Times(), draft, counters)
    work.load()
    work.take([said(1)], 100.0, 100.0)
    with monkeypatch.context() as full:

        def note_heard(*_: object) -> None:
            raise StoreTroubleError("no space left on device")

        full.setattr(work, "_note_heard", note_heard)
        for _ in range(3):
            with pytest.raises(StoreTroubleError):
                work.take([said(1), said(2)], 100.0, 100.0)
    assert counters.duplicates == 0
    work.take([said(1), said(2)], 100.0, 100.0)
    assert counters.duplicates == 1
    store.close()
