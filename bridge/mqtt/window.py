"""How many publications may be in flight, and which packet identifier stands for which of them. Sans-I/O."""

MAX_PACKET_IDS = 65_535


class WindowFullError(RuntimeError):
    """A publication was offered without room: the caller has to check `room()` first."""


class SendWindow:
    """The publications that were sent and aren't acknowledged yet.

    The window is closed until `open()`, and again after `close()`. While it is open there are never more in
    flight than the smallest of: the limit, the broker's Receive Maximum (MQTT 5, section 3.2.2.3.3), and the
    number of packet identifiers less two, which SUBSCRIBE and UNSUBSCRIBE may need.
    """

    __slots__ = ("_capacity", "_in_flight", "_last_mid", "_limit", "_reserved")

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"the send window must hold at least one publication, not {limit}")
        self._limit = limit
        self._capacity = 0
        self._in_flight: dict[int, object] = {}
        self._reserved: set[int] = set()
        self._last_mid = 0

    def __len__(self) -> int:
        """The publications in flight."""
        return len(self._in_flight)

    def __contains__(self, mid: int) -> bool:
        """Whether `mid` is in flight."""
        return mid in self._in_flight

    def open(self, receive_maximum: int | None = None) -> None:
        """A connection was accepted; `receive_maximum` is the broker's, None where it set none."""
        broker = MAX_PACKET_IDS if receive_maximum is None else receive_maximum
        self._capacity = min(self._limit, broker, MAX_PACKET_IDS - 2)

    def close(self) -> int:
        """The connection ended: everything in flight is forgotten. Returns how many that were."""
        forgotten = len(self._in_flight)
        self._capacity = 0
        self._in_flight.clear()
        self._reserved.clear()
        return forgotten

    def room(self) -> int:
        """How many more publications may be sent now."""
        return max(0, self._capacity - len(self._in_flight))

    def take(self, token: object) -> int:
        """Puts `token` in flight and returns its packet identifier. Raises `WindowFullError`."""
        in_flight = self._in_flight
        if len(in_flight) >= self._capacity:
            raise WindowFullError("no room in the send window")
        mid = self._last_mid % MAX_PACKET_IDS + 1
        while mid in in_flight or mid in self._reserved:
            mid = mid % MAX_PACKET_IDS + 1
        self._last_mid = mid
        in_flight[mid] = token
        return mid

    def acknowledge(self, mid: int) -> object:
        """The broker answered `mid`: removes it and returns its token. KeyError when it isn't in flight."""
        return self._in_flight.pop(mid)

    def reserve(self, mid: int) -> None:
        """`mid` is in use for something other than a publication (a SUBSCRIBE), until `release`."""
        self._reserved.add(mid)

    def release(self, mid: int) -> None:
        """`mid` may be used again."""
        self._reserved.discard(mid)
