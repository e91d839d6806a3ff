"""The circuit breaker of one provider operation, and the way back: few calls while it is half open, then more and more.

The breaker itself is pybreaker's. What is added here: a message is admitted before its intent is committed, so that
what was never asked is known never to have been asked; and after an outage the calls at once grow with every success
instead of all coming back together.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

import structlog
from pybreaker import STATE_CLOSED, STATE_OPEN, CircuitBreaker, CircuitBreakerListener

PROBES: Final = 3
"""Calls at once while nobody knows whether the provider is back."""
_FIRST: Final = 4
"""Calls at once right after it answered again; every answer lets one more through."""

log = structlog.get_logger("shell.gate")


class Gate(CircuitBreakerListener):
    """One operation's gate. fail_max: failures in a row that open it. reset_s: how long it stays open.

    limit: calls at once when all is well. on_change: told the operation and the breaker's new state.
    """

    def __init__(
        self,
        operation: str,
        fail_max: int,
        reset_s: float,
        limit: int,
        on_change: Callable[[str, str], None] = lambda _operation, _state: None,
    ) -> None:
        self.operation = operation
        self.breaker = CircuitBreaker(
            fail_max=fail_max, reset_timeout=reset_s, listeners=[self], name=operation, throw_new_error_on_trip=False
        )
        self._reset_s = reset_s
        self._limit = limit
        self._on_change = on_change
        self._lock = threading.Lock()
        self._admitted = 0
        self._calling = 0
        self._allowance = limit
        self._reopen_at = 0.0
        self._waiters: deque[asyncio.Future[None]] = deque()

    @property
    def state(self) -> str:
        """closed, open or half-open."""
        return str(self.breaker.current_state)

    def admit(self) -> bool:
        """Whether a call may be made; a call that is admitted must be made or given back by `leave`."""
        with self._lock:
            if self._places() <= 0:
                return False
            self._admitted += 1
            return True

    def leave(self) -> None:
        """A call that was admitted is over, or will not be made."""
        with self._lock:
            self._admitted -= 1

    def places(self) -> int:
        """How many calls would be admitted now."""
        with self._lock:
            return max(0, self._places())

    def ramping(self) -> bool:
        """Whether fewer calls than usual are made at once."""
        with self._lock:
            return self.breaker.current_state != STATE_CLOSED or self._allowance < self._limit

    def room(self) -> int:
        """How many more calls could start at once."""
        with self._lock:
            return max(0, min(self._places(), self._allowance - self._admitted))

    async def __aenter__(self) -> None:
        """Take a place among the calls that are made at once; only on the event loop of the calls."""
        while self._calling >= self._allowance:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter
        self._calling += 1

    async def __aexit__(self, *_: object) -> None:
        """Give the place to who waits; an answer may have made one more."""
        self._calling -= 1
        free = self._allowance - self._calling
        while free > 0 and self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                free -= 1

    def success(self, _cb: CircuitBreaker) -> None:
        """pybreaker: a call was answered."""
        with self._lock:
            self._allowance = min(self._limit, self._allowance + 1)

    def state_change(self, _cb: CircuitBreaker, _old: Any, new: Any) -> None:
        """pybreaker: it opened, half opened or closed."""
        with self._lock:
            self._allowance = min(self._limit, _FIRST if new.name == STATE_CLOSED else PROBES)
            if new.name == STATE_OPEN:
                self._reopen_at = time.monotonic() + self._reset_s
        say = log.info if new.name == STATE_CLOSED else log.error if new.name == STATE_OPEN else log.warning
        say("circuit breaker", operation=self.operation, state=new.name)
        self._on_change(self.operation, new.name)

    def _places(self) -> int:
        """While closed, calls queue in memory; otherwise no more are admitted than may be made."""
        if self.breaker.current_state == STATE_CLOSED:
            return self._limit
        if self.breaker.current_state == STATE_OPEN and time.monotonic() < self._reopen_at:
            return 0
        return min(self._limit, PROBES) - self._admitted


class Gates:
    """The gates of all operations of a provider."""

    def __init__(self, gates: Iterable[Gate]) -> None:
        self._gates = {gate.operation: gate for gate in gates}

    def __getitem__(self, operation: str) -> Gate:
        """The gate of an operation."""
        return self._gates[operation]

    def states(self) -> dict[str, str]:
        """Operation -> closed, open or half-open."""
        return {name: gate.state for name, gate in self._gates.items()}

    def shut(self) -> list[str]:
        """Operations that no call is made for at the moment."""
        return [name for name, gate in self._gates.items() if gate.places() == 0]

    def slow(self) -> dict[str, int]:
        """Operation -> how many waiting messages may be taken for it now, where fewer calls than usual are made."""
        return {name: gate.room() for name, gate in self._gates.items() if gate.ramping() and gate.places() > 0}
