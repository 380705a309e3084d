"""An outbox and a sender with their two threads, and a subscriber: an agent without a hypervisor."""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bridge.agent.inventory.drafts import Draft
from bridge.agent.outbox import Limits, Outbox
from bridge.agent.publish.sender import Sender
from bridge.mqtt.session import BrokerSettings, Received, Session, Subscription
from bridge.wire import messages
from bridge.wire.messages import Domain, HostStatus, Libvirt, Lifecycle
from bridge.wire.topics import Topics
from tests.support.processes import wait_until

HOST = "host1"
TOPICS = Topics()
UUID = "c7a5fdbd-edaf-9455-926a-d65c16db1809"


def lifecycle(event: str = "started", uuid: str = UUID, padding: int = 0) -> Draft:
    """One lifecycle event as the agent would draft it."""

    def build(epoch: str, sequence: int) -> bytes:
        return messages.build(
            messages.LIFECYCLE,
            id=messages.event_id(epoch, sequence),
            source=messages.host_source(HOST),
            time=messages.stamp(time.time()),
            subject=uuid,
            sequence=sequence,
            data=Lifecycle(
                host=HOST,
                driver="QEMU",
                domain=Domain(uuid=uuid, name="web01" + "x" * padding, id=3),
                event=event,
                event_code=2,
                detail="booted",
                detail_code=0,
                origin="event",
            ),
        )

    return Draft(TOPICS.lifecycle(HOST, uuid, event), build, uuid, received_s=time.monotonic())


class Stream:
    """Outbox and sender. `append` puts messages in; leaving the context stops both cleanly."""

    def __init__(
        self, folder: Path, broker: BrokerSettings, limits: Limits | None = None, **options: Any
    ) -> None:
        self.outbox = Outbox.open(folder, limits)
        self._queue: queue.SimpleQueue[Draft | Callable[[Outbox], None] | None] = queue.SimpleQueue()
        self.sender = Sender(broker, TOPICS, HOST, "0.0", self.outbox, ask=self._queue.put, **options)
        self.sender.set_status(Libvirt(connected=True, uri="test:///default"))
        self._threads = [
            threading.Thread(target=self._write, name="outbox"),
            threading.Thread(target=self.sender.run, name="mqtt"),
        ]
        self._stopped = False

    def start(self) -> Self:
        """Starts both threads."""
        for thread in self._threads:
            thread.start()
        return self

    def stop(self, timeout_s: float = 5.0) -> float:
        """Stops as the service does; returns how many seconds the sender took."""
        began = time.monotonic()
        self._stopped = True
        self.sender.stop(timeout_s)
        self._threads[1].join(timeout_s + 5)
        took_s = time.monotonic() - began
        assert not self._threads[1].is_alive()
        self._queue.put(None)
        self._threads[0].join(10)
        return took_s

    def append(self, drafts: Sequence[Draft]) -> None:
        """Hands messages over, as callbacks do."""
        for draft in drafts:
            self._queue.put(draft)

    def ask(self, task: Callable[[Outbox], None]) -> None:
        """Has something done in the outbox's thread."""
        self._queue.put(task)

    def all_acknowledged(self, timeout_s: float = 20.0) -> None:
        """Waits until the broker has everything that was appended."""
        done = threading.Event()
        self._queue.put(lambda _outbox: done.set())
        assert done.wait(timeout_s)
        outbox = self.outbox
        wait_until(lambda: outbox.acknowledged == outbox.last_sequence, lambda: vars(self), timeout_s)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._stopped:
            self.stop(1.0)

    def _write(self) -> None:
        while True:
            try:
                entry = self._queue.get(timeout=0.2)
            except queue.Empty:
                rows = self.outbox.append([])
                self.outbox.flush()
                self.outbox.tidy()
                if rows:
                    self.sender.committed(rows)
                continue
            drafts: list[Draft] = []
            while isinstance(entry, Draft):
                drafts.append(entry)
                if self._queue.empty() or len(drafts) == 500:
                    break
                entry = self._queue.get()
            if drafts:
                self.sender.committed(self.outbox.append(drafts))
            if callable(entry):
                entry(self.outbox)
            if entry is None:
                self.outbox.close()
                return


class Subscriber:
    """Hears everything of this host, in a thread of its own, with a session that outlives the connection."""

    def __init__(self, broker: BrokerSettings, client_id: str = "subscriber") -> None:
        self.received: list[Received] = []
        self._acknowledged: dict[object, int] = {}
        self._outgoing: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()
        self._going = True
        self._ready = threading.Event()
        self._session = Session(
            broker,
            client_id=client_id,
            clean_start=False,
            session_expiry_s=600,
            subscriptions=[Subscription(TOPICS.everything(), retain_as_published=True)],
            on_connected=lambda _present: self._ready.set(),
            on_disconnected=lambda _why: None,
            on_message=self._on_message,
            on_acknowledged=lambda token, code: self._acknowledged.update({token: code}),
        )
        self._thread = threading.Thread(target=self._run, name="subscriber")

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._going = False
        self._session.wake()
        self._thread.join(10)

    def ask_again(self, payload: bytes) -> None:
        """Publishes a replay request."""
        self._outgoing.put((TOPICS.replay(HOST), payload))
        self._session.wake()

    @property
    def events(self) -> list[Received]:
        """The messages of the event stream, as they came."""
        return [one for one in list(self.received) if "/lifecycle/" in one.topic]

    @property
    def sequences(self) -> list[int]:
        """Their sequences, as they came."""
        return [int(messages.parse(one.payload).sequence or 0) for one in self.events]

    @property
    def first_times(self) -> list[int]:
        """Their sequences without those that came before."""
        return list(dict.fromkeys(self.sequences))

    @property
    def statuses(self) -> list[HostStatus]:
        """What the host said about itself."""
        topic = TOPICS.host_status(HOST)
        return [messages.parse(one.payload).data for one in list(self.received) if one.topic == topic]

    def until(self, condition: Callable[[], object], timeout_s: float = 20.0) -> None:
        """Waits until `condition` holds."""
        wait_until(condition, lambda: [one.topic for one in self.received][-20:], timeout_s)

    def _on_message(self, received: Received) -> None:
        self.received.append(received)
        self._session.acknowledge(received)

    def _run(self) -> None:
        from bridge.mqtt.session import Publication

        while self._going:
            while self._session.room() > 0 and not self._outgoing.empty():
                topic, payload = self._outgoing.get()
                self._session.publish(Publication(topic, payload), payload)
            self._session.step(0.2)
        self._session.close(1.0)


def contents(received: Sequence[Received]) -> dict[str, set[bytes]]:
    """All payloads of each message id: a message that is sent again is the same to the byte."""
    found: dict[str, set[bytes]] = {}
    for one in received:
        found.setdefault(messages.parse(one.payload).id, set()).add(one.payload)
    return found
