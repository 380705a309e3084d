"""Rows as lines of a terminal or a file: columns, widths, colours."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, tzinfo
from typing import Any, Final

from bridge.view import words
from bridge.view.bars import Bars
from bridge.view.rows import Reader, Summary
from bridge.view.selection import ALL, Selection
from bridge.view.text import Tone, as_ascii, columns, cut, fit, harmless, paint, wrap
from bridge.wire.topics import Address, Topics

_TIME: Final = 12
_DOMAIN: Final = 10
"""Columns that a domain's name has from the start; it gets more when a longer one comes."""
_WHERE: Final = 13
_TEXT: Final = 24
"""The least width of the text, however narrow the terminal."""
_BELOW: Final = 4
"""Where the text begins if it stands below the names."""
_NAMED: Final = 6
"""How many domains of a host the summary names."""


class View:
    """One line a message. Columns grow with the names that come and never shrink.

    width: the terminal's columns, None for a file, where nothing is cut and no column grows. colour: whether
    to colour. plain_ascii: for a terminal that can't show more. zone: whose time is shown, None for the
    local one.
    """

    def __init__(
        self,
        *,
        width: int | None = None,
        colour: bool = False,
        plain_ascii: bool = False,
        zone: tzinfo | None = None,
        topics: Topics | None = None,
        selection: Selection = ALL,
    ) -> None:
        self.width = width
        self._colour = colour
        self._plain_ascii = plain_ascii
        self._zone = zone
        self._reader = Reader(topics or Topics())
        self._selection = selection
        self._bars = Bars()
        self._domain = _DOMAIN
        self._where = _WHERE

    def line(self, topic: str, payload: bytes, *, now_s: float, retain: bool = False) -> str:
        """The line for one message, without a final newline; a long one may contain newlines. Empty for one
        that differs from the one before in numbers only.

        `now_s`, in seconds since 1970, is shown if a message has no time, and distinguishes today from other
        days.
        """
        row = self._reader.read(topic, payload)
        return self._render(row, now_s, dim=retain) if row.is_news else ""

    def wants(self, topic: str, payload: bytes) -> bool:
        """Whether a message is selected."""
        if not self._selection:
            return True
        found = self._reader.look(topic, payload)
        if found is None:
            return False
        address, data = found
        return self._selection.takes(address, data, self._reader.named(address.uuid, data))

    def adds(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        """Whether a message is no repetition: a verdict is published, and then again as `last`."""
        found = self._reader.look(topic, payload)
        return retain or found is None or (found[0].kind, found[0].name) != ("migration", "last")

    def progress(self, topic: str, payload: bytes) -> bool | None:
        """Notes a message about a migration or job under way, for `bars`, and returns whether these change;
        None for another message.
        """
        found = self._reader.look(topic, payload)
        if found is None or not self._bars.knows(found[0]):
            return None
        address, data = found
        return self._bars.take(address, self._reader.read(topic, payload), data if payload else None)

    def bars(self) -> list[str]:
        """Migrations and jobs under way, one line each, without colours, never wider than the terminal."""
        lines = [self._render(row, None, dim=False) for row in self._bars.rows()]
        return lines if self.width is None else [cut(line, self.width) for line in lines]

    def moment(self, address: Address, message: dict[str, Any], *, now_s: float) -> str:
        """As `line`, for a message that was parsed already. address: what its topic named."""
        return self._render(self._reader.row(address, message), now_s, dim=False)

    def learn(self, topic: str, payload: bytes) -> None:
        """Notes a retained message without a line: names, statuses and states for `summary`."""
        self._reader.read(topic, payload)

    def forget(self) -> None:
        """A new connection: drops what `summary` shows, as the broker sends it again. Names are kept."""
        self._reader.forget()
        self._bars.forget()

    def summary(self) -> list[str]:
        """What `learn` noted, one line a host."""
        reader = self._reader
        rows = [
            Summary(None, "", host, f"{self._agent(host)}: {self._domains(host)}")
            for host in sorted(reader.statuses.keys() | reader.domains.keys())
        ]
        rows += [
            Summary(None, "", name, words.correlator_status(data))
            for name, data in sorted(reader.correlators.items())
        ]
        return [self._render(row, None, dim=True) for row in rows]

    def _agent(self, host: str) -> str:
        status = self._reader.statuses.get(host)
        if status is None:
            return "no agent"
        libvirt = status.get("libvirt")
        sees = isinstance(libvirt, dict) and libvirt.get("connected") is True
        return "online" if status.get("state") == "online" and sees else words.host_status(status)

    def _domains(self, host: str) -> str:
        domains = self._reader.domains.get(host, {})
        if not domains:
            return "no domains"
        if len(domains) <= _NAMED:
            return ", ".join(sorted(f"{self._reader.named(uuid)} {state}" for uuid, state in domains.items()))
        counts = Counter(domains.values())
        return f"{len(domains)} domains: " + ", ".join(f"{n} {state}" for state, n in counts.most_common())

    def _render(self, row: Summary, now_s: float | None, *, dim: bool) -> str:
        domain, where, text = (self._clean(part) for part in (row.domain, row.where, row.text))
        self._widen(domain, where)
        tone: Tone = "dim" if dim else row.tone
        time = self._time(row.at_s if row.at_s is not None else now_s, now_s)
        head, name = fit(self._clean(row.mark), 1), self._cell(domain, self._domain)
        place = self._cell(where, self._where)
        left = _TIME + 3 + self._domain + 2 + self._where + 2
        left, (first, *more) = self._broken(text, left, whole=row.whole and not dim)
        if tone == "alarm":
            whole = f"{head} {name}  {place}  {first}"
            cells = [self._paint(whole if self.width is None else fit(whole, self.width - _TIME - 1), tone)]
        else:
            cells = [
                self._paint(head, tone),
                self._paint(name, "dim" if tone == "dim" else "bold" if row.whole else "plain") + " ",
                self._paint(place, "dim" if tone == "dim" else "plain") + " ",
                self._paint(first, tone),
            ]
        line = " ".join([self._paint(time, "dim"), *cells]).rstrip()
        return "\n".join([line, *(" " * left + self._paint(rest, tone) for rest in more)])

    def _clean(self, text: str) -> str:
        clean = harmless(text)
        return as_ascii(clean) if self._plain_ascii else clean

    def _paint(self, text: str, tone: Tone) -> str:
        if self._plain_ascii:
            text = text.replace("…", "~")
        return paint(text, tone) if self._colour else text

    def _cell(self, text: str, width: int) -> str:
        """A name in its column; in a file a longer one moves only what is on its line."""
        return text if self.width is None and columns(text) > width else fit(text, width)

    def _widen(self, domain: str, where: str) -> None:
        """Widens the columns for these two, as far as the text keeps its least width."""
        if self.width is not None:
            room = max(0, self.width - _TIME - 7 - _TEXT)
            self._domain = max(self._domain, min(columns(domain), room * 2 // 5))
            self._where = max(self._where, min(columns(where), room * 3 // 5))

    def _broken(self, text: str, left: int, *, whole: bool) -> tuple[int, list[str]]:
        """Where the text begins, and the text in lines: all of it in several lines, or one line, cut. On a
        terminal that is too narrow for text beside the names, it begins below them.
        """
        if self.width is None:
            return left, [text]
        room = self.width - left
        if room >= _TEXT:
            return left, wrap(text, room) if whole else [cut(text, room)]
        if whole:
            return _BELOW, ["", *wrap(text, max(1, self.width - _BELOW))]
        return left, [cut(text, room)]

    def _time(self, at_s: float | None, now_s: float | None) -> str:
        """The time of day, or the date where that isn't today's."""
        if at_s is None or now_s is None:
            return " " * _TIME
        try:
            at, now = (datetime.fromtimestamp(s, self._zone) for s in (at_s, now_s))
        except (OverflowError, ValueError, OSError):
            return " " * _TIME
        if at.date() == now.date():
            return f"{at:%H:%M:%S}.{at.microsecond // 1000:03d}"
        return f"{at:%b %d %H:%M}"
