"""Structured logs: one JSON object a line, so that a checkout's id finds everything that was said about it."""

import logging
import sys
from typing import Any

import structlog

from schemas import terminal
from schemas.secret import masked


def configure(level: str, service: str) -> None:
    """Set up structlog and the standard library's logging, on stderr."""
    number = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Masking("%(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler])
    # what nobody has caught ends the process, and is a log line too
    sys.excepthook = terminal.tell
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _named(service),
            structlog.processors.JSONRenderer(),
            _mask,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


class _Masking(logging.Formatter):
    """For what libraries say."""

    def format(self, record: logging.LogRecord) -> str:
        """Without the logins of URLs, also in a traceback."""
        return masked(super().format(record))


def _mask(_logger: structlog.types.WrappedLogger, _method: str, line: Any) -> str:
    """A whole line, without the logins of URLs."""
    return masked(str(line))


def _named(service: str) -> structlog.types.Processor:
    def add(
        _logger: structlog.types.WrappedLogger, _method: str, event: structlog.types.EventDict
    ) -> structlog.types.EventDict:
        return {"service": service, **event}

    return add
