"""The gate of a provider operation: shut after failures, a few calls while it is half open, then more and more."""

import asyncio
from typing import Final

import pytest
from pybreaker import CircuitBreakerError

from services.shell.gate import PROBES, Gate, Gates

FAILURES: Final = 5
LIMIT: Final = 12
FIRST: Final = 5
"""Calls at once after the answer that closed it: four, and one for that answer."""
AN_HOUR_S: Final = 3600.0


class RefusedError(Exception):
    """No answer from the provider."""


def gate(reset_s: float = AN_HOUR_S, operation: str = "authorize", told: list[str] | None = None) -> Gate:
    def tell(operation: str, state: str) -> None:
        if told is not None:
            told.append(f"{operation} {state}")

    return Gate(operation, FAILURES, reset_s, LIMIT, tell)


def answer(of: Gate, times: int = 1) -> None:
    for _ in range(times):
        with of.breaker.calling():
            pass


def fail(of: Gate, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(RefusedError), of.breaker.calling():
            raise RefusedError


def opened(reset_s: float = AN_HOUR_S) -> Gate:
    """One that is open. reset_s 0: the next call half opens it."""
    one = gate(reset_s)
    fail(one, FAILURES)
    return one


def admitted(of: Gate, tries: int = 100) -> int:
    return sum(of.admit() for _ in range(tries))


def test_it_opens_after_failures_in_a_row() -> None:
    one = gate()
    for _ in range(10):
        fail(one, FAILURES - 1)
        answer(one)
    assert one.state == "closed"
    fail(one, FAILURES - 1)
    assert one.state == "closed"
    fail(one)
    assert one.state == "open"


def test_whoever_watches_is_told_of_each_change() -> None:
    told: list[str] = []
    one = gate(0.0, told=told)
    fail(one, FAILURES)
    answer(one)
    assert told == ["authorize open", "authorize half-open", "authorize closed"]


def test_an_open_one_admits_nobody_and_lets_no_call_through() -> None:
    one = opened()
    assert (admitted(one), one.places(), one.room()) == (0, 0, 0)
    with pytest.raises(CircuitBreakerError), one.breaker.calling():
        pytest.fail("the provider was asked")


def test_a_closed_one_admits_everybody_as_calls_queue_in_memory() -> None:
    one = gate()
    assert admitted(one, 1000) == 1000
    assert one.places() == LIMIT


def test_when_its_time_is_over_a_few_may_try() -> None:
    one = opened(reset_s=0.0)
    assert (one.places(), admitted(one), one.places()) == (PROBES, PROBES, 0)


def test_a_call_that_was_admitted_and_not_made_gives_its_place_back() -> None:
    one = opened(reset_s=0.0)
    assert admitted(one) == PROBES
    one.leave()
    assert (one.places(), admitted(one)) == (1, 1)


def test_a_failure_while_half_open_shuts_it_again() -> None:
    one = opened(reset_s=0.0)
    fail(one)
    assert one.state == "open"


def test_after_an_outage_every_answer_lets_one_more_through_up_to_the_limit() -> None:
    one = opened(reset_s=0.0)
    rooms = []
    for _ in range(10):
        answer(one)
        rooms.append(one.room())
    assert rooms == [5, 6, 7, 8, 9, 10, 11, 12, 12, 12]
    assert not one.ramping()


def test_it_ramps_from_its_first_failure_to_its_last_missing_answer() -> None:
    one = gate(0.0)
    assert not one.ramping()
    fail(one, FAILURES)
    assert one.ramping()
    answer(one, LIMIT - FIRST)
    assert one.ramping()
    answer(one)
    assert not one.ramping()


def test_calls_that_are_out_take_room() -> None:
    one = opened(reset_s=0.0)
    answer(one)
    assert admitted(one, 3) == 3
    assert one.room() == FIRST - 3
    one.leave()
    assert one.room() == FIRST - 2
    admitted(one, 10)
    assert one.room() == 0


# --- at once, on a real event loop ------------------------------------------------------------------------------------


class Crowd:
    """Calls that all want their turn; each waits until it is let go. most: how many were at it at once."""

    def __init__(self, of: Gate, count: int) -> None:
        self.gate = of
        self.at_it = 0
        self.most = 0
        self.through = 0
        self._change = asyncio.Event()
        self._leave = asyncio.Semaphore(0)
        self.tasks = [asyncio.ensure_future(self._call()) for _ in range(count)]

    async def _call(self) -> None:
        async with self.gate:
            self.at_it += 1
            self.most = max(self.most, self.at_it)
            self._change.set()
            await self._leave.acquire()
            answer(self.gate)
            self.at_it -= 1
            self.through += 1

    async def until(self, at_it: int) -> None:
        """Wait until so many are at it, and see that nobody else follows."""
        while self.at_it != at_it:
            self._change.clear()
            await asyncio.wait_for(self._change.wait(), 5)
        for _ in range(5):  # everything that can run has run
            await asyncio.sleep(0)
        assert self.at_it == at_it

    def answer_one(self) -> None:
        self._leave.release()

    async def all(self) -> None:
        for _ in self.tasks:
            self.answer_one()
        await asyncio.wait_for(asyncio.gather(*self.tasks), 5)


def test_after_an_outage_the_calls_at_once_grow_with_the_answers() -> None:
    async def play() -> None:
        one = opened(reset_s=0.0)
        answer(one)
        crowd = Crowd(one, 60)
        for at_once in [5, 6, 7, 8, 9, 10, 11, 12, 12, 12]:
            await crowd.until(at_once)
            crowd.answer_one()
        await crowd.all()
        assert (crowd.most, crowd.through) == (LIMIT, 60)

    asyncio.run(play())


def test_when_all_is_well_never_more_than_the_limit_are_made_at_once() -> None:
    async def play() -> None:
        crowd = Crowd(gate(), 100)
        await crowd.until(LIMIT)
        await crowd.all()
        assert (crowd.most, crowd.through) == (LIMIT, 100)

    asyncio.run(play())


def test_a_call_that_breaks_or_is_dropped_gives_its_turn_to_the_next() -> None:
    async def broken(of: Gate) -> None:
        async with of:
            raise RefusedError

    async def play() -> None:
        one = gate()
        dropped = Crowd(one, LIMIT)
        await dropped.until(LIMIT)
        for task in dropped.tasks:
            task.cancel()
        await asyncio.gather(*dropped.tasks, return_exceptions=True)
        for _ in range(3 * LIMIT):
            with pytest.raises(RefusedError):
                await broken(one)
        crowd = Crowd(one, 2 * LIMIT)
        await crowd.until(LIMIT)
        await crowd.all()

    asyncio.run(play())


# --- all gates --------------------------------------------------------------------------------------------------------


def three() -> tuple[Gates, Gate, Gate, Gate]:
    """One that is closed, one that is open for long, one that may be tried."""
    made = gate(), gate(operation="capture"), gate(0.0, operation="void")
    fail(made[1], FAILURES)
    fail(made[2], FAILURES)
    return Gates(made), *made


def test_the_gates_are_told_apart() -> None:
    gates, closed, open_, probing = three()
    assert [gates[name] for name in ("authorize", "capture", "void")] == [closed, open_, probing]
    assert gates.states() == {"authorize": "closed", "capture": "open", "void": "open"}


def test_only_those_that_admit_nobody_are_shut() -> None:
    gates, _, _, probing = three()
    assert gates.shut() == ["capture"]
    assert admitted(probing) == PROBES
    assert gates.shut() == ["capture", "void"]


def test_of_what_waits_only_as_much_is_taken_as_may_be_asked_at_once() -> None:
    gates, _, _, probing = three()
    assert gates.slow() == {"void": PROBES}
    answer(probing)
    assert gates.slow() == {"void": FIRST}
    answer(probing, LIMIT)
    assert gates.slow() == {}
    assert (Gates([]).shut(), Gates([]).slow(), Gates([]).states()) == ([], {}, {})


def test_a_limit_below_the_probes_is_the_limit_of_the_probes() -> None:
    narrow = Gate("authorize", FAILURES, 0.0, 1)
    fail(narrow, FAILURES)
    assert admitted(narrow) == 1
