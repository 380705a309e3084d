"""Detects the end of the retained messages that follow a SUBSCRIBE. Sans-I/O; no time limit is involved.

mosquitto answers in order: 100,000 retained messages come before its answer to a PINGREQ that was sent after
its SUBACK. A broker that sends them in pieces answers in between; so the end is an exchange in which none
came. A broker that pauses for longer seems done too early: what looks lost is then published again, with the
same bytes.
"""


class Burst:
    """The burst of one connection. Every PINGREQ and PINGRESP counts: they answer each other in order."""

    __slots__ = ("_answered", "_asked", "_awaited", "_came")

    def __init__(self) -> None:
        self._asked = self._answered = self._awaited = 0
        self._came = False

    def asked(self) -> None:
        """A PINGREQ was sent."""
        self._asked += 1

    def await_next(self) -> None:
        """The next PINGREQ, to be sent now, shows whether more comes."""
        self._awaited, self._came = self._asked + 1, False

    def came(self) -> None:
        """A retained message came."""
        self._came = True

    def answered(self) -> bool | None:
        """A PINGRESP came: True if that was the end, False if more may come, None if it shows neither."""
        self._answered += 1
        return not self._came if self._answered == self._awaited else None
