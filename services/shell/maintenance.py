"""What is done in a service's database now and then: partitions of the inbox, rows that are over for long."""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

from sqlalchemy import Engine

from outbox import inbox
from outbox.prepared import transaction
from services.shell.fatal_messages import FatalMessages
from services.shell.retry_worker import RetryWorker
from services.shell.settings import Settings

_EVERY_S: Final = 3600.0


class Maintenance:
    """At the start and then hourly. clock: the time now, UTC."""

    def __init__(
        self,
        engine: Engine,
        worker: RetryWorker,
        fatal: FatalMessages,
        clock: Callable[[], datetime],
        settings: Settings,
    ) -> None:
        self._engine, self._worker, self._fatal, self._clock = engine, worker, fatal, clock
        self._settings = settings
        self._done_at = -_EVERY_S

    def turn(self) -> None:
        """Do it where it is time. Raises sqlalchemy's DBAPIError; it is tried again at the next turn then."""
        if time.monotonic() - self._done_at < _EVERY_S:
            return
        with transaction(self._engine) as db:
            inbox.maintain(db, self._clock().date(), self._settings.inbox_keep_days)
        self._worker.forget(self._settings.retry_keep_days)
        self._fatal.forget(self._settings.fatal_keep_days)
        self._done_at = time.monotonic()
