"""What was sent and isn't answered yet, in order. Sans-I/O."""

from collections import deque


class InFlight:
    """Sequences in flight. Answers may come in any order; `through` moves only over answered ones."""

    __slots__ = ("_answered", "_sent", "_sequences")

    def __init__(self, through: int = 0) -> None:
        self._sequences: deque[int] = deque()
        self._answered: set[int] = set()
        self._sent = through

    def __len__(self) -> int:
        """How many are in flight."""
        return len(self._sequences) - len(self._answered)

    @property
    def sent(self) -> int:
        """Everything up to here was sent, or does not exist."""
        return self._sent

    @property
    def through(self) -> int:
        """Everything up to here was answered, or does not exist."""
        return self._sequences[0] - 1 if self._sequences else self._sent

    @property
    def first(self) -> int | None:
        """The oldest in flight."""
        return self._sequences[0] if self._sequences else None

    def send(self, sequence: int) -> None:
        """This one was sent; it is higher than all before."""
        self._sequences.append(sequence)
        self._sent = sequence

    def pass_over(self, through: int) -> None:
        """Nothing more exists to be sent up to here."""
        self._sent = max(self._sent, through)

    def answer(self, sequence: int) -> None:
        """The broker answered. An answer to a sequence that isn't in flight changes nothing."""
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
        """The connection ended: what wasn't answered is to be sent again. Returns the sequence before it."""
        self._sent = self.through
        self._sequences.clear()
        self._answered.clear()
        return self._sent
