"""Messages as lines for people: aligned, coloured if the terminal has colours, control characters escaped.

Sans-I/O: messages and the time are arguments, lines are returned.
"""

from bridge.view.lines import View
from bridge.view.selection import ALL, Selection

__all__ = ["ALL", "Selection", "View"]
