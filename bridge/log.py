"""Logging: one line when something changes, with a stable name and its fields; never a secret.

Modules log by `log = get_logger()` and `log.info("broker.connected", host=…)`. The name (`event` in JSON) is
for programs and doesn't change. Lines go to standard error, so that the output of `watch` stays clean.
"""

import logging
import re
import sys
import threading
from contextlib import suppress
from typing import Any, Final, Literal, TextIO, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

MASKED: Final = "***"
_URL_PASSWORD: Final = re.compile(r"(://[^\s:/@]*):[^\s\"',]*@")
_WHOLE_PASSWORD: Final = re.compile(r"^((?:[^:]*://)?+[^:/@]*+):.*@", re.DOTALL)
_QUERY_PASSWORD: Final = re.compile(r"([?&](?:password|sslpassword)=)[^&\s\"']*", re.IGNORECASE)
_SECRET_KEY: Final = re.compile(r"password|passphrase|secret|token", re.IGNORECASE)
_SHORTEST_SECRET: Final = 4

_secrets: set[str] = set()


def get_logger() -> FilteringBoundLogger:
    """A logger that follows each `configure`, also where it was created or used before."""
    logger: FilteringBoundLogger = structlog.get_logger()
    return logger


def hide(secret: str) -> None:
    """Masks this text in every line from now on.

    A text shorter than four characters isn't masked: it would mask half of every line and so reveal itself.
    """
    if len(secret) >= _SHORTEST_SECRET:
        _secrets.update({secret, repr(secret)[1:-1]})


def mask(text: str) -> str:
    """The text without the passwords of URLs in it, and without the texts passed to `hide`."""
    text = _QUERY_PASSWORD.sub(rf"\1{MASKED}", _URL_PASSWORD.sub(rf"\1:{MASKED}@", text))
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, MASKED)
    return text


def mask_value(text: str) -> str:
    """As `mask`, for a text that is, or was meant to be, one URL, whatever its password contains."""
    return mask(_WHOLE_PASSWORD.sub(rf"\1:{MASKED}@", text))


def configure(log_format: LogFormat | None, log_level: LogLevel) -> None:
    """Sets up logging for the whole process. No format means text on a terminal, else JSON."""
    text = log_format == "text" or (log_format is None and sys.stderr.isatty())
    level = logging.getLevelNamesMapping()[log_level.upper()]
    renderer: list[Processor] = (
        [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(),
                pad_event_to=28,
                timestamp_key="time",
                exception_formatter=structlog.dev.plain_traceback,
            )
        ]
        if text
        else [structlog.processors.JSONRenderer(ensure_ascii=False)]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.format_exc_info,  # plain: local variables may hold secrets
            mask_fields,
            *renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(standard_error),
    )
    logging.basicConfig(handlers=[_Forward()], level=max(level, logging.WARNING), force=True)
    logging.captureWarnings(capture=True)
    threading.excepthook = _log_death


def mask_fields(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A structlog processor: masks secrets by the name of their field and wherever they occur in a text."""
    return {
        key: MASKED if _SECRET_KEY.search(key) and isinstance(value, str) else _masked(value)
        for key, value in event.items()
    }


def _masked(value: Any) -> Any:  # noqa: ANN401 - a log line may carry anything
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, dict):
        return {key: _masked(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(entry) for entry in value]
    return value


class _StandardError:
    """The standard error at the time a line is written: `sys.stderr` may be replaced at any time.

    A line that can't be written (a full disk, a closed pipe) is dropped: a service doesn't end for want of a
    log.
    """

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.flush()


standard_error: Final = cast(TextIO, _StandardError())


class _Forward(logging.Handler):
    """Formats what libraries log by the standard module like our own lines."""

    def emit(self, record: logging.LogRecord) -> None:
        facts = {"exc_info": record.exc_info} if record.exc_info else {}
        get_logger().log(
            record.levelno, "library.said", library=record.name, text=record.getMessage(), **facts
        )


def _log_death(death: threading.ExceptHookArgs) -> None:
    """Logs the traceback of a thread that died as a line like every other."""
    if death.exc_type is SystemExit:
        return
    error = death.exc_value or death.exc_type()
    get_logger().error("thread.died", thread=death.thread.name if death.thread else None, exc_info=error)
