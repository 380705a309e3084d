"""Detects a poison message: one over which the broker ends the connection. Sans-I/O.

A broker should refuse a message with a PUBACK. Some end the connection instead, without a reason: mosquitto
2.0 does for a topic with control characters, and, where its `max_queued_messages` is 0, for whatever its
access rules deny. Sent again after each reconnect, such a message would block all others.
"""

from typing import Final

PROMPT_S: Final = 2.0
"""Only a connection that ends this soon after a message was sent may have ended because of it."""
LOSSES: Final = 2
"""After this many losses in a row with the same oldest message in flight, messages are sent one at a time."""
LOSSES_ALONE: Final = 3
"""This many losses with only this message in flight prove it."""
CAREFUL_ROWS: Final = 200
"""This many answered messages end that: more than a window, in which the message may be anywhere."""


class PoisonDetector:
    """While it is `careful`, one message at a time is in flight, so it is known which ends a connection."""

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
        """The connection ended `since_sent_s` after a message was last sent, with `first` the oldest in
        flight. Whether `first` is proved to be the reason.
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
