"""What was sent and isn't answered yet, in order. Pure."""

from collections import deque


class InFlight:
    """Sequences on their way to the broker. Answers may come in any order; `through` moves only without a
    gap.
    """

    __slots__ = ("_answered", "_sent", "_sequences")

    def __init__(self, through: int = 0) -> None:
        self._sequences: deque[int] = deque()
        self._answered: set[int] = set()
        self._sent = through

    def __len__(self) -> int:
        """How many wait for an answer."""
        return len(self._sequences) - len(self._answered)

    @property
    def sent(self) -> int:
        """Up to here everything was sent, or is not there to be sent."""
        return self._sent

    @property
    def through(self) -> int:
        """Up to here nothing waits: everything was answered, or is not there."""
        return self._sequences[0] - 1 if self._sequences else self._sent

    @property
    def first(self) -> int | None:
        """The oldest that waits for an answer."""
        return self._sequences[0] if self._sequences else None

    def send(self, sequence: int) -> None:
        """This one leaves; it is higher than all before."""
        self._sequences.append(sequence)
        self._sent = sequence

    def pass_over(self, through: int) -> None:
        """There is nothing (more) to be sent up to here."""
        self._sent = max(self._sent, through)

    def answer(self, sequence: int) -> None:
        """The broker answered. An answer to something that isn't on its way changes nothing."""
        sequences = self._sequences
        if not sequences or sequence < sequences[0] or sequence > self._sent:
            return
        if sequence != sequences[0]:
            self._answered.add(sequence)
            return
        sequences.popleft()
        while sequences and sequences[0] in self._answered:
            self._answered.discard(sequences.popleft())

    def rewind(self) -> int:
        """The connection is gone: what wasn't answered has to be sent again. Returns after which sequence."""
        self._sent = self.through
        self._sequences.clear()
        self._answered.clear()
        return self._sent
