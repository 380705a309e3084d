"""What a person sees of the messages: aligned lines, coloured where colours are, harmless everywhere.

Pure: messages and the time go in, lines come out.
"""

from bridge.view.lines import View
from bridge.view.selection import ALL, Selection

__all__ = ["ALL", "Selection", "View"]
