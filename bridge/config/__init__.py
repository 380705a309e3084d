"""The settings of each program: one declaration an option.

From a field's declaration come the option on the command line, the variable, the key of the TOML file, the
line of `check-config` and the line of the configuration page (`bridge.options` does that). A setting is
complete and checked when its program starts; nothing reads the environment later.
"""

from collections.abc import Mapping
from typing import Final

from bridge.config.agent import AgentSettings
from bridge.config.broker import BrokerUserSettings
from bridge.config.check_broker import CheckSettings
from bridge.config.correlator import CorrelatorSettings
from bridge.config.dashboard import DashboardSettings, HistorySettings
from bridge.config.demo import DemoSettings
from bridge.config.hook import HookSettings
from bridge.config.log import LogSettings
from bridge.config.values import default_state_dir
from bridge.config.watch import WatchSettings

__all__ = [
    "PROGRAMS",
    "AgentSettings",
    "BrokerUserSettings",
    "CheckSettings",
    "CorrelatorSettings",
    "DashboardSettings",
    "DemoSettings",
    "HistorySettings",
    "HookSettings",
    "LogSettings",
    "WatchSettings",
    "default_state_dir",
]

PROGRAMS: Final[Mapping[str, type[LogSettings]]] = {
    "agent": AgentSettings,
    "correlator": CorrelatorSettings,
    "dashboard": DashboardSettings,
    "hook": HookSettings,
    "watch": WatchSettings,
    "demo": DemoSettings,
}
"""The subcommands that have settings; also the names of the tables in the TOML file."""
