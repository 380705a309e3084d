"""The outbox of the agent: the only queue of the event stream.

`Outbox` is the file, `Row` what comes out, `Limits` how much it keeps. The sending thread reads it by a
`Reader`. Opening it raises bridge.errors.StateInUseError (another agent has the directory) or ConfigError.
This package is the only one of the agent that imports sqlite3.
"""

from bridge.agent.outbox.file import DamagedError
from bridge.agent.outbox.reader import Reader
from bridge.agent.outbox.rows import Gap, Limits, Refused, Row
from bridge.agent.outbox.store import Outbox

__all__ = [
    "DamagedError",
    "Gap",
    "Limits",
    "Outbox",
    "Reader",
    "Refused",
    "Row",
]
