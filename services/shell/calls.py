"""Provider calls: outside any transaction, many at a time, bounded, each with its own deadline and behind a breaker.

Where a call got no answer, the provider is asked by the call's key what happened; only when it has never heard of it is
the same call made again. What is still not known then comes back as `Unknown`, and the message waits in the retry
table.
"""

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

import structlog
import uvloop
from pybreaker import CircuitBreakerError

from schemas.decision import NotAsked, Unknown
from services.shell.delivery import Call, Delivery
from services.shell.gate import Gate, Gates

_START_S: Final = 10.0
_OLD: Final = timedelta(hours=1)
"""Keys are kept for a day at most; well before that, what a call did is looked up first."""
_SHARE: Final = 1 / 20
_GATHER_S: Final = 0.01
"""Answers are gathered for a twentieth of what calls take, and no longer than this: nobody notices, and few large
batches cost half of what many small ones do."""
_NEWEST: Final = 0.05
"""The weight of the newest call in what calls take."""
LOOKUP: Final = "lookup"
"""The gate of `find`."""

log = structlog.get_logger("shell.calls")


class Provider(Protocol):
    """Who makes the calls; see services/payment/provider/protocol.py."""

    async def perform(self, call: Any) -> object:
        """Do a call; safe to repeat."""

    async def find(self, call: Any) -> object | None:
        """What became of a call, without an effect; None when it was never executed."""

    async def close(self) -> None:
        """Give connections back."""


class Calls:
    """Runs calls on an event loop of its own thread and hands the answers to the batch loop.

    unknown: the exception class that says "no answer" (its `timed_out` says how). gates: one per operation.
    limit: calls in flight at the same time. on_call: told of every call that is over, and when it began (ns).
    """

    def __init__(
        self,
        provider: Provider,
        unknown: type[Exception],
        gates: Gates,
        limit: int,
        on_call: Callable[[Delivery, Call, int], None],
    ) -> None:
        self._provider = provider
        self._unknown = unknown
        self._gates = gates
        self._limit = limit
        self._on_call = on_call
        self._answered: queue.SimpleQueue[Delivery] = queue.SimpleQueue()
        self._took_s = 0.0
        self._closing = threading.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        self._places: asyncio.Semaphore | None = None
        self._thread = threading.Thread(target=self._run, name="calls", daemon=True)
        self._ready = threading.Event()
        self._thread.start()
        if not self._ready.wait(_START_S):
            raise RuntimeError("the thread of the provider calls did not start")

    def submit(self, calls: Sequence[tuple[Delivery, Call]]) -> None:
        """Make calls, which their gates admitted; each delivery comes back from `answered` with its answer."""
        if calls:
            self._loop.call_soon_threadsafe(self._start, calls)

    def answered(self) -> list[Delivery]:
        """Deliveries whose answer has come since this was last asked."""
        answered: list[Delivery] = []
        with contextlib.suppress(queue.Empty):
            while True:
                answered.append(self._answered.get_nowait())
        return answered

    def wait(self, timeout_s: float) -> list[Delivery]:
        """Like `answered`, but waits for the first one, and a little for those that come right after it."""
        if timeout_s <= 0:
            return self.answered()
        try:
            first = self._answered.get(timeout=timeout_s)
        except queue.Empty:
            return []
        self._closing.wait(min(_GATHER_S, self._took_s * _SHARE))
        return [first, *self.answered()]

    def close(self) -> None:
        """Drop the calls that are out; their messages come again. Gives the provider's connections back."""
        self._closing.set()
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._places = asyncio.Semaphore(self._limit)
        self._loop.call_soon(self._ready.set)
        self._loop.run_forever()

    def _start(self, calls: Sequence[tuple[Delivery, Call]]) -> None:
        for delivery, call in calls:
            task = self._loop.create_task(self._answer(delivery, call))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer(self, delivery: Delivery, call: Call) -> None:
        gate, began_ns = self._gates[call.operation], time.time_ns()
        try:
            delivery.answer = await self._ask(gate, delivery, call)
        # a bug in an adapter must not leave its message hanging: it is tried again and then set aside
        except Exception as error:
            log.exception("a provider call broke", key=delivery.key)
            delivery.answer = error
        finally:
            gate.leave()
        self._on_call(delivery, call, began_ns)
        self._answered.put(delivery)

    async def _ask(self, gate: Gate, delivery: Delivery, call: Call) -> object:
        if self._places is None:
            raise RuntimeError("the calls' loop is not running")
        async with gate, self._places:
            tries, began = delivery.waiting.attempts if delivery.waiting else 0, time.monotonic()
            try:
                # after an unknown outcome nothing is tried before it is known what happened
                found = await self._find(call) if _asks_first(delivery) else None
                return found or await self._guarded(gate, self._provider.perform, call)
            except CircuitBreakerError:
                return NotAsked()
            except self._unknown as error:
                return await self._find_out(gate, call, error) or _unknown(error, tries + 1)
            finally:
                self._took_s += (time.monotonic() - began - self._took_s) * _NEWEST

    async def _find_out(self, gate: Gate, call: Call, error: Exception) -> object | None:
        """After a call without an answer: what happened, by its key. None: still unknown."""
        log.warning("no answer from the provider", operation=call.operation, reason=str(error))
        try:
            found = await self._find(call)
            # it has never heard of the call: making it again, with the same key, can't have two effects
            return found or await self._guarded(gate, self._provider.perform, call)
        except (CircuitBreakerError, self._unknown) as again:
            log.warning("still no answer", operation=call.operation, reason=str(again))
            return None

    async def _find(self, call: Call) -> object | None:
        """Look-ups have a breaker of their own: that they are answered says nothing about the calls."""
        return await self._guarded(self._gates[LOOKUP], self._provider.find, call)

    @staticmethod
    async def _guarded(gate: Gate, ask: Callable[[Any], Awaitable[object | None]], call: Call) -> object | None:
        with gate.breaker.calling():
            return await ask(call)

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._provider.close()


def _asks_first(delivery: Delivery) -> bool:
    """Whether an earlier try may have had its effect although the provider forgot its key: then the state tells."""
    old = datetime.now(UTC) - delivery.occurred_at > _OLD
    return old or bool(delivery.replay.id) or (delivery.waiting is not None and delivery.waiting.attempts > 0)


def _unknown(error: Exception, attempts: int) -> Unknown:
    return Unknown(attempts=attempts, timed_out=bool(getattr(error, "timed_out", False)))
