"""Provider calls: outside any transaction, many at a time, bounded, each with its own deadline.

A call whose outcome is unknown is repeated with the same key until there is an answer; only its own key waits.
"""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Final

import stamina
import structlog

from services.shell.delivery import Delivery

_AGAIN_AT_FIRST_S: Final = 0.2
_AGAIN_AT_MOST_S: Final = 30.0
_START_S: Final = 10.0

Perform = Callable[[Any], Awaitable[object]]
log = structlog.get_logger("shell.calls")


class Calls:
    """Runs calls on an event loop of its own thread and hands the answers to the batch loop.

    perform: does one call; safe to repeat. unknown: the exception class that says "no answer".
    limit: calls in flight at the same time.
    """

    def __init__(self, perform: Perform, unknown: type[Exception], limit: int) -> None:
        self._perform = perform
        self._unknown = unknown
        self._limit = limit
        self._answered: queue.SimpleQueue[Delivery] = queue.SimpleQueue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._places: asyncio.Semaphore | None = None
        self._thread = threading.Thread(target=self._run, name="calls", daemon=True)
        self._ready = threading.Event()
        self._thread.start()
        if not self._ready.wait(_START_S):
            raise RuntimeError("the thread of the provider calls did not start")

    def submit(self, delivery: Delivery, call: object) -> None:
        """Make `call` for `delivery`; it comes back from `answered` with its answer."""
        self._loop.call_soon_threadsafe(self._start, delivery, call)

    def answered(self) -> list[Delivery]:
        """Deliveries whose answer has come since this was last asked."""
        answered: list[Delivery] = []
        with contextlib.suppress(queue.Empty):
            while True:
                answered.append(self._answered.get_nowait())
        return answered

    def wait(self, timeout_s: float) -> list[Delivery]:
        """Like `answered`, but waits for the first one."""
        try:
            first = self._answered.get(timeout=timeout_s)
        except queue.Empty:
            return []
        return [first, *self.answered()]

    def close(self, release: Callable[[], Awaitable[None]]) -> None:
        """Drop the calls that are out; their messages come again. `release` gives connections back."""
        asyncio.run_coroutine_threadsafe(self._end(release), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._places = asyncio.Semaphore(self._limit)
        self._loop.call_soon(self._ready.set)
        self._loop.run_forever()

    def _start(self, delivery: Delivery, call: object) -> None:
        task = self._loop.create_task(self._answer(delivery, call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, delivery: Delivery, call: object) -> None:
        attempts = stamina.retry_context(
            on=self._unknown,
            attempts=None,
            timeout=None,
            wait_initial=_AGAIN_AT_FIRST_S,
            wait_max=_AGAIN_AT_MOST_S,
            wait_jitter=_AGAIN_AT_FIRST_S,
        )
        try:
            async for attempt in attempts:
                with attempt:
                    delivery.answer = await self._once(call)
        # a bug in an adapter must not leave its message hanging: the decision hears of it and sets it aside
        except Exception as error:
            log.exception("a provider call broke", key=delivery.key)
            delivery.answer = error
        self._answered.put(delivery)

    async def _once(self, call: object) -> object:
        if self._places is None:
            raise RuntimeError("the calls' loop is not running")
        async with self._places:
            return await self._perform(call)

    async def _end(self, release: Callable[[], Awaitable[None]]) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await release()
