"""Reads what libvirt-mqtt publishes, for your own programs: each message once, and the gaps between them.

    async for message in Client("mqtt://broker.example", id="alerts", what=["migrations"]).messages():
        if isinstance(message, Message) and message.address.name == "failed":
            print(message.data.domain.name, message.data.reason)

The public names of this module are stable within a major version.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, deque
from collections.abc import AsyncGenerator, Collection, Iterable
from pathlib import Path
from typing import Final, Literal

import msgspec

from bridge.addresses import BrokerAddress
from bridge.consumer.reader import Gap, Message, Place
from bridge.consumer.streams import AgentStream
from bridge.consumer.subscriber import Delivery, Subscriber, What
from bridge.mqtt.session import BrokerSettings, Received
from bridge.mqtt.settings import DURABLE_EXPIRY_S
from bridge.wire.topics import Address, Topics

__all__ = ["Address", "Client", "Gap", "Message", "Place", "What"]

_POSITIONS: Final = msgspec.msgpack.Decoder(dict[str, bytes])


class Client:
    """A subscriber whose session the broker keeps under `id` for `session_expiry_s` after a disconnect.

    broker: as in `--broker`, `mqtt[s]://[user@]host[:port][,host…]` or `ws[s]://…`. what: any of `events`
    (the event streams of agents, and their statuses), `migrations` (their outcomes), and of the retained
    messages `states`, `locations`, `progress` (jobs and migrations under way) and `verdicts` (the newest).
    positions: what `positions()` returned earlier, so that messages that were lost since are detected, too.
    Raises ValueError for an invalid broker, id or prefix. Network errors are never raised: the client
    reconnects.
    """

    def __init__(
        self,
        broker: str = "mqtt://127.0.0.1:1883",
        *,
        id: str,  # noqa: A002 - MQTT's client id
        what: Collection[What] = ("events", "states", "migrations", "locations"),
        password: str | None = None,
        ca_file: str | Path | None = None,
        cert_file: str | Path | None = None,
        key_file: str | Path | None = None,
        version: Literal["5", "3.1.1"] = "5",
        prefix: str = "libvirt",
        session_expiry_s: int = DURABLE_EXPIRY_S,
        positions: bytes = b"",
    ) -> None:
        self.rejected: Counter[str] = Counter()
        """Invalid messages, by reason."""
        streams = _POSITIONS.decode(positions) if positions else {}
        self._streams = {host: AgentStream.load(host, data) for host, data in streams.items()}
        address = BrokerAddress.parse(broker)
        self._subscriber = Subscriber(
            BrokerSettings(
                scheme=address.scheme,
                host=address.host,
                port=address.port,
                path=address.path,
                user=address.user,
                password=password,
                ca_file=_name(ca_file),
                cert_file=_name(cert_file),
                key_file=_name(key_file),
                version=version,
                others=address.others,
            ),
            client_id=id,
            topics=Topics(prefix),
            what=what,
            session_expiry_s=session_expiry_s,
            streams=streams,
        )
        self._unacknowledged: dict[tuple[str, bytes], list[Received]] = {}
        self._acknowledge: deque[Received] = deque()
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._queue: asyncio.Queue[Message | Gap | BaseException] = asyncio.Queue()

    @property
    def connected(self) -> bool:
        """Whether the broker is connected."""
        return self._subscriber.connected

    @property
    def last_failure(self) -> str | None:
        """Why the broker isn't connected, in a sentence; None while it is."""
        return self._subscriber.last_failure

    async def messages(self, *, acknowledge: bool = True) -> AsyncGenerator[Message | Gap, None]:
        """Each message once, in order of receipt, and a `Gap` for messages that agents no longer have.

        A message is acknowledged when the next one is requested, so one whose processing fails is delivered
        to the next client of the same id; with `acknowledge` false only by `acknowledge`. To be called once.
        """
        if self._loop is not None:
            raise RuntimeError("messages() was called before")
        self._loop = asyncio.get_running_loop()
        thread = threading.Thread(target=self._read, name="client", daemon=True)
        thread.start()
        try:
            while True:
                item = await self._queue.get()
                if isinstance(item, BaseException):
                    raise item
                yield item
                if isinstance(item, Gap):
                    self._stream(item.host).give_up(item.epoch, item.first, item.last, item.why)
                elif acknowledge:
                    self.acknowledge(item)
        finally:
            self._stopping = True
            self._subscriber.wake()
            await asyncio.to_thread(thread.join)

    def acknowledge(self, message: Message) -> None:
        """The message was processed: it is not delivered again. In the event loop's thread."""
        if message.place is not None:
            self._stream(message.place.host).see(message.place.epoch, message.place.sequence, 0.0)
        self._hand_back(self._unacknowledged.pop((message.topic, message.payload), ()))

    def positions(self) -> bytes:
        """How far each agent's stream was acknowledged, to be kept for the next client of the same id."""
        return msgspec.msgpack.encode({host: stream.dump() for host, stream in self._streams.items()})

    def _take(self, item: Delivery | Gap | BaseException) -> None:
        """In the event loop's thread, as soon as a message comes."""
        if not isinstance(item, Delivery):
            self._queue.put_nowait(item)
            return
        received = item.received
        twins = self._unacknowledged.get((received.topic, received.payload))
        if item.message is not None:
            if received.qos:
                self._unacknowledged[received.topic, received.payload] = [received]
            self._queue.put_nowait(item.message)
        elif twins is not None:
            twins.append(received)  # on a new connection: only the acknowledgement of this one counts
        else:
            self._hand_back([received])
        if item.rejected is not None:
            self.rejected[item.rejected.kind] += 1

    def _hand_back(self, received: Iterable[Received]) -> None:
        self._acknowledge.extend(received)
        self._subscriber.wake()

    def _stream(self, host: str) -> AgentStream:
        return self._streams.setdefault(host, AgentStream(host))

    def _read(self) -> None:
        """In the thread `client`: everything that touches the session, except `wake`."""
        try:
            while not self._stopping:
                self._acknowledge_all()
                for item in self._subscriber.receive():
                    self._put(item)
            self._acknowledge_all()
            self._subscriber.close()
        except BaseException as error:  # noqa: BLE001 - raised in the event loop's thread
            self._put(error)

    def _acknowledge_all(self) -> None:
        while self._acknowledge:
            self._subscriber.acknowledge(self._acknowledge.popleft())

    def _put(self, item: Delivery | Gap | BaseException) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._take, item)


def _name(path: str | Path | None) -> str | None:
    return None if path is None else str(path)
