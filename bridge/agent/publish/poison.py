"""Finds the message over which a broker ends the connection, so that it doesn't hold up all others. Pure.

A broker should refuse a message with a PUBACK. Some end the connection instead, without a word: mosquitto 2.0
does for a topic with control characters, and, where its `max_queued_messages` is 0, for whatever its access
rules deny. Sent again after each reconnect, such a message would be the last one ever sent.
"""

from typing import Final

PROMPT_S: Final = 2.0
"""Only a connection that ends so soon after a message was sent may have ended because of it."""
LOSSES: Final = 2
"""So many losses in a row with the same message in front make the sender careful."""
LOSSES_ALONE: Final = 3
"""So many with nothing but this message on its way prove it."""
CAREFUL_ROWS: Final = 200
"""So many answered messages end the care: more than a window, anywhere in which the culprit may have been."""


class PoisonDetector:
    """While it is `careful`, one message at a time is on its way: it is plain then what ends a connection."""

    __slots__ = ("_alone", "_careful_rows", "_losses", "_suspect")

    def __init__(self) -> None:
        self._suspect: int | None = None
        self._losses = 0
        self._alone = 0
        self._careful_rows = 0

    @property
    def careful(self) -> bool:
        """Whether to send one message at a time."""
        return self._careful_rows > 0

    def answered(self) -> None:
        """The broker answered a message."""
        if self._careful_rows:
            self._careful_rows -= 1

    def lost(self, first: int | None, on_their_way: int, since_sent_s: float) -> bool:
        """The connection ended with `first` as the oldest of the unanswered messages, some time after one was
        sent last. Returns whether `first` is proved to be the reason.
        """
        if first is None or since_sent_s > PROMPT_S:
            self._suspect, self._losses, self._alone = None, 0, 0
            return False
        if first != self._suspect:
            self._suspect, self._losses, self._alone = first, 0, 0
        self._losses += 1
        if self._losses >= LOSSES:
            self._careful_rows = CAREFUL_ROWS
        if on_their_way == 1:
            self._alone += 1
        return self._alone >= LOSSES_ALONE
