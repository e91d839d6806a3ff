"""Group commit: requests that wait in the same moment share one transaction and one flush of the disk.

While a commit flushes in its thread, the next batch gathers. Nobody is answered before the commit of their batch.
SQL runs in the event loop's thread, as two threads would take turns at every row; only the flush leaves it.
"""

import asyncio
import contextlib
import logging
import time
from typing import Final

from compose.sandbox.idempotency import Reply
from compose.sandbox.ledger import Ledger, Work

log = logging.getLogger("compose.sandbox")

MAX_BATCH: Final = 500  # some 20 ms of SQL: the longest that the loop attends to nothing else
TIDY_EVERY_S: Final = 1.0

Waiting = tuple[Work, "asyncio.Future[Reply]"]


class LedgerUnavailableError(Exception):
    """The batch could not be committed: nothing of it took place, and its keys are free."""


class GroupCommit:
    """Executes requests against the ledger, many per transaction."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._waiting: list[Waiting] = []
        self._wake = asyncio.Event()
        self._closing = False
        self._tidy_at_s = 0.0

    async def execute(self, work: Work) -> Reply:
        """Execute one request; returns once it is durable. Raises LedgerUnavailableError."""
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, answer))
        self._wake.set()
        return await answer

    async def run(self) -> None:
        """Commit batch after batch until `close`, then what is still waiting."""
        while self._waiting or not self._closing:
            await self._wait_for_work()
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            await self._commit(batch)

    def close(self) -> None:
        """Let `run` return when nothing waits any more."""
        self._closing = True
        self._wake.set()

    async def _wait_for_work(self) -> None:
        self._wake.clear()
        if self._waiting or self._closing:
            return
        with contextlib.suppress(TimeoutError):  # nothing came: an empty batch gives the tidy its turn
            await asyncio.wait_for(self._wake.wait(), TIDY_EVERY_S)

    async def _commit(self, batch: list[Waiting]) -> None:
        loop = asyncio.get_running_loop()
        try:
            replies = self._ledger.apply([work for work, _ in batch], time.time_ns() // 1000)
            self._tidy_when_due()
            await loop.run_in_executor(None, self._ledger.commit)
        except Exception:  # whatever it was, every waiting request must hear that nothing took place
            log.exception("transaction failed requests=%d", len(batch))
            _fail(batch)
            self._ledger.rollback()
            return
        for (_, answer), reply in zip(batch, replies, strict=True):
            if not answer.done():  # its handler was cancelled at the end of a bounded stop
                answer.set_result(reply)

    def _tidy_when_due(self) -> None:
        now_s = time.monotonic()
        if now_s >= self._tidy_at_s:
            self._tidy_at_s = now_s + TIDY_EVERY_S
            self._ledger.tidy(time.time_ns() // 1000)


def _fail(batch: list[Waiting]) -> None:
    for _, answer in batch:
        if not answer.done():
            answer.set_exception(LedgerUnavailableError())
