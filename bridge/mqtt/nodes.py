"""Which of a broker's nodes a client tries, and in which order. Sans-I/O.

A node is an address of `--broker`, and each record of a name that has several. The order is a client's own,
drawn from its id (rendezvous hashing), so that a fleet spreads over the nodes, stays where it is when one is
added, and spreads over the rest when one is gone.
"""

from collections.abc import Sequence
from random import Random

from bridge.mqtt.settings import BrokerSettings
from bridge.mqtt.transport import Address


class Nodes:
    """The nodes of one client. After a failure of any kind `go_on` leads to the next one, in a circle."""

    def __init__(self, settings: BrokerSettings, client_id: str) -> None:
        self._client_id = client_id
        self._each = sorted(settings.each, key=lambda node: self._draw(node.address))
        self._at = 0
        self._records: Sequence[Address] = ()
        self._reached: Address | None = None
        self._after: Address | None = None

    def __len__(self) -> int:
        """How many addresses were given."""
        return len(self._each)

    @property
    def current(self) -> BrokerSettings:
        """The node to try, or in use."""
        return self._each[self._at]

    @property
    def address(self) -> str:
        """The node to try or in use, for a person to read, with the record where the name has several."""
        if self._reached is None or len(self._records) == 1:
            return self.current.address
        return f"{self.current.address} ({self._reached[4][0]})"

    @property
    def several(self) -> bool:
        """Whether there is another one, as far as is known."""
        return len(self._each) > 1 or len(self._records) > 1

    def arrange(self, records: Sequence[Address]) -> Sequence[Address]:
        """The records of the current node's name to try now. The families keep their order (RFC 6724)."""
        only = self.current.record
        records = [record for record in records if only in (None, record[4][0])] or records
        families = [record[0] for record in records]
        self._records = sorted(
            records, key=lambda record: (families.index(record[0]), self._draw(record[4][0]))
        )
        after = self._records.index(self._after) + 1 if self._after in self._records else 0
        return self._records[after:] or self._records

    def reached(self, record: Address) -> None:
        """This one accepted the connection."""
        self._reached = record

    def go_on(self) -> None:
        """The node failed."""
        more = self._reached is not None and self._reached != self._records[-1]
        self._after, self._reached = self._reached if more else None, None
        if not more:
            self._at = (self._at + 1) % len(self._each)

    def _draw(self, place: str) -> float:
        return Random(f"{self._client_id} {place}").random()  # noqa: S311 - spreads, guards nothing
