"""The settings that take effect while a service runs: the log's, and the files that TLS needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from bridge import log
from bridge.config import BrokerUserSettings
from bridge.errors import ConfigError
from bridge.mqtt.link import FileUnusableError, tls_context
from bridge.options import Loaded, declared

AT_ONCE: Final = ("log_format", "log_level")
_log = log.get_logger()


class Reload:
    """A service's settings, read again by each call.

    running: the settings that it was started with; read: reads them again, raises ConfigError.
    """

    def __init__(self, running: BrokerUserSettings, read: Callable[[], Loaded[Any]]) -> None:
        self._running = running
        self._read = read

    def __call__(self) -> bool:
        """Whether to reconnect to the broker, because certificates may have changed.

        A log line names the result. Where anything can't be used, everything stays as it is.
        """
        running = self._running
        broker = running.broker_settings()
        try:
            settings = self._read().settings
            if broker.tls:
                tls_context(broker)
        except (ConfigError, FileUnusableError) as error:
            _log.error("config.not_reloaded", why=str(error))
            return False
        log.configure(settings.log_format, settings.log_level)
        after_restart = [
            option.key
            for option in declared(type(running))
            if option.field not in AT_ONCE
            and getattr(settings, option.field) != getattr(running, option.field)
        ]
        _log.warning(
            "config.reloaded",
            log_level=settings.log_level,
            certificates=broker.tls,
            after_restart=after_restart,
        )
        return broker.tls
