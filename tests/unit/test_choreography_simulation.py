"""The choreography under chance: any order, copies, crashes, lost answers, timers, outages, exhausted retries, replays.

The invariants hold at every end.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Final

import pytest

from .simulated_queue import Fate
from .simulated_shop import STOCK
from .simulation import ANNOUNCED, OTHER_MONEY, Simulation, Weather

CHECKOUTS: Final = 4
WEATHERS: Final = {
    "calm": Weather(again=0, lost_answer=0, crash=0, timer=0, expiry=0),
    "fair": Weather(),
    "copies that no inbox remembers": Weather(again=0.3, forgotten=1.0),
    "a provider that seldom answers": Weather(lost_answer=0.6, crash=0.3, expiry=0.05),
    "timers all the time": Weather(timer=0.6),
    "two processes": Weather(copies=2),
    "two processes, partitions move": Weather(copies=2, again=0.3, forgotten=1.0, move=0.5),
    "outcomes that nobody knows": Weather(unknown=0.4, stale=0.3),
    "a provider that is down now and then": Weather(outage=0.1, unknown=0.2, crash=0.2),
    "handlers that break": Weather(bug=0.3, stale=0.3),
    "everything is given up": Weather(unknown=0.6, bug=0.2, outage=0.1, replay=0.2, expiry=0.05),
    "confirmations before their time": Weather(early=0.5, bug=0.1, unknown=0.1),
    "messages about other money": Weather(other_money=0.2, bug=0.3, unknown=0.1, wish=0.1),
    "two processes and all that": Weather(copies=2, move=0.3, again=0.3, unknown=0.3, bug=0.1, outage=0.05, early=0.1),
    "checkout breaks": Weather(again=0.4, forgotten=1.0, bug=0.6, breaks="checkout", timer=0.02, wish=0.01),
    "the warehouse breaks": Weather(again=0.4, forgotten=1.0, bug=0.5, breaks="warehouse", wish=0.01),
    "payment breaks": Weather(again=0.4, forgotten=1.0, bug=0.5, breaks="payment", copies=2, wish=0.01),
    "nothing holds anything up": Weather(
        copies=2, holds_up=False, unknown=0.5, bug=0.15, outage=0.02, stale=0.2, wish=0.1
    ),
}
RUNS: Final = 200


def breaches(run: Simulation) -> list[str]:
    """What a finished run broke; empty for a clean one."""
    found = [*run.provider.breaches, *_refused(run), *_left(run)]
    for checkout_id in run.requests:
        found += [f"{checkout_id}: {text}" for text in (*_ends(run, checkout_id), *_money(run, checkout_id))]
    return found + _stock(run)


def _refused(run: Simulation) -> Iterator[str]:
    """Only a conflicting duplicate is refused, and what follows from a confirmation that nobody said."""
    for checkout_id, text in run.refusals:
        if "conflicting duplicate" not in text and checkout_id not in run.forged:
            yield f"{checkout_id}: {text}"


def _left(run: Simulation) -> Iterator[str]:
    """Every message is handled or a dead letter, and the letter of what was undone says so."""
    for row in run.rows.rows.values():
        checkout_id = row.copy.event.checkout_id
        if row.copy.number > OTHER_MONEY and row.fate is Fate.DEAD and not row.compensated:
            continue
        early = row.fate is Fate.DEAD and row.early and checkout_id in run.forged and row.copy.consumer != "checkout"
        if row.fate is not Fate.RESOLVED and not row.compensated and not early:
            yield f"{checkout_id}: {row.copy.consumer} ends with {row.copy.event.TYPE} {row.fate}"
    for checkout_id in run.given_up:
        if run.said(checkout_id)["checkout.failed"] != 1:
            yield f"{checkout_id}: a step was given up, and the checkout did not fail"


def _ends(run: Simulation, checkout_id: str) -> Iterator[str]:
    said = run.said(checkout_id)
    accepted, completed, failed = (said[f"checkout.{name}"] for name in ("accepted", "completed", "failed"))
    if accepted > 1 or completed + failed != 1:
        yield f"accepted {accepted}, completed {completed}, failed {failed} times"
    for name in ("checkout.confirmed", "payment.authorized", "payment.captured", "warehouse.confirmed"):
        if said[name] > 1:
            yield f"{name} was said {said[name]} times"
    if accepted and checkout_id in run.cancelled_first:
        yield "accepted although it was cancelled first"
    answers = said["warehouse.released released"] + said["warehouse.released nothing"]
    undone = said["payment.voided"] + said["payment.refunded"]
    owed = accepted * failed
    if (answers, undone) != (owed, owed):
        yield f"checkout.failed was answered {answers} times by the warehouse, {undone} times by payment, not {owed}"
    expected = "captured" if completed else "compensated" if accepted else "failed"
    state = run.worlds["checkout"].current(checkout_id)
    if state is None or state.status != expected:
        yield f"ends as {state and state.status}, not {expected}"


def _money(run: Simulation, checkout_id: str) -> Iterator[str]:
    money = [m for m in run.provider.money.values() if m.checkout_id == checkout_id]
    if len(money) > 1:
        yield f"{len(money)} authorizations"
    for one in money:
        if one.token == "tok_strangers":
            yield "a stranger's money is touched"
        if one.authorized != run.requests[checkout_id].total_minor:
            yield f"{one.authorized} authorized, not the total"
        if one.status == "held":
            yield "money is still held"
        if one.captures > 1 or one.captured not in (0, one.authorized):
            yield f"{one.captured} of {one.authorized} captured in {one.captures} captures"
    completed = run.said(checkout_id)["checkout.completed"] > 0
    if completed != any(one.status == "captured" for one in money):
        yield f"completed is {completed}, the money is {[one.status for one in money]}"


def _stock(run: Simulation) -> list[str]:
    sold = dict.fromkeys(STOCK, 0)
    for checkout_id, request in run.requests.items():
        for line in request.lines if run.said(checkout_id)["checkout.completed"] else ():
            sold[line.sku] += line.quantity
    return [
        f"{sku}: {stock} where {sold[sku]} of {STOCK[sku]} were sold"
        for sku, stock in run.stock().items()
        if (stock.on_hand, stock.reserved, stock.committed) != (STOCK[sku] - sold[sku], 0, sold[sku])
    ]


def _after_the_end(run: Simulation) -> list[str]:
    """What replays of all letters did, long after everything had ended: nothing, or it is told."""
    before = (len(run.published), run.provider.effects(), _states(run))
    run.replay_everything()
    after = (len(run.published), run.provider.effects(), _states(run))
    said = [str(event) for event in run.published[before[0] :]]
    return [] if before == after else [f"a replay after the end had an effect: {said}"]


def _states(run: Simulation) -> list[object]:
    return [world.current(checkout_id) for world in run.worlds.values() for checkout_id in run.requests]


def play(
    seed: int, weather: Weather, decisions: dict[str, ModuleType] | None = None, *, asks_first: bool = True
) -> tuple[Simulation, list[str]]:
    """One run and what it broke."""
    run = Simulation(Random(seed), weather, decisions or {}, asks_first=asks_first)
    try:
        run.run(CHECKOUTS)
        found = breaches(run)
        return run, found or _after_the_end(run) or breaches(run)
    # whatever a decision or a wall raises is what the run found
    except Exception as error:
        return run, [f"{type(error).__name__}: {error}"]


@pytest.mark.parametrize("weather", WEATHERS.values(), ids=WEATHERS)
def test_the_invariants_hold_in_any_order_of_events(weather: Weather) -> None:
    endings: set[str] = set()
    for seed in range(RUNS):
        run, broken = play(seed, weather)
        assert not broken, "\n".join([f"seed {seed}: {broken}", *run.story])
        endings |= {getattr(event, "code", "completed") for event in run.published if "checkout." in event.TYPE}
    assert {"completed", "OUT_OF_STOCK", "PAYMENT_DECLINED", "CAPTURE_REFUSED", "CANCELLED"} <= endings


ABSENT_MINDED: Final = {
    "payment without a tombstone": (
        "payment.steps",
        "Decision(replace(known, status=Status.CLOSED), (voided,))",
        "Decision(None if known.status is Status.CLOSED else known, (voided,))",
    ),
    "payment answers a failure again": ("payment.decisions", "known.status in LET_GO)", "known.status in ())"),
    "payment forgets what a lost answer may have done": (
        "payment.state", "NOTHING_HELD: Final = (", "NOTHING_HELD: Final = (Status.AUTHORIZING, "
    ),
    "payment takes an authorization without an answer for none": (
        "payment.state", "NOTHING_HELD: Final = (", "NOTHING_HELD: Final = (Status.AUTHORIZATION_UNKNOWN, "
    ),
    "payment takes an abandoned authorization for none": (
        "payment.state", "NOTHING_HELD: Final = (", "NOTHING_HELD: Final = (Status.AUTHORIZATION_ABANDONED, "
    ),
    "payment gives up an authorization as if nothing were held": (
        "payment.steps", "Status.AUTHORIZATION_ABANDONED if known.status in MAYBE_HELD else Status.DECLINED",
        "Status.DECLINED",
    ),
    "payment takes a call that can't be repeated now for one that was never made": (
        "payment.steps", "isinstance(told, Unknown) or known.status in MAYBE_HELD", "isinstance(told, Unknown)"
    ),
    "payment authorizes after the deadline": (
        "payment.steps", "if known.expires_at is not None and at >= known.expires_at:", "if False:"
    ),
    "payment gives up an authorization that succeeded": (
        "payment.decisions", "if known.status not in _NOT_YET_AUTHORIZED:", "if False:"
    ),
    "payment gives up a capture that succeeded": (
        "payment.decisions", "if known is None or known.status not in _CAN_CAPTURE:", "if known is None:"
    ),
    "payment gives up a capture without a word": (
        "payment.steps",
        "return _capture_failed(known, Status.CAPTURE_ABANDONED, code, None)",
        "return Decision(replace(known, status=Status.CAPTURE_ABANDONED))",
    ),
    "payment keeps what a given-up capture took": (
        "payment.state", "LET_GO: Final = (", "LET_GO: Final = (Status.CAPTURE_ABANDONED, "
    ),
    "payment captures what is over": (
        "payment.decisions", "    if known.status not in _CAN_CAPTURE:\n", "    if False:\n"
    ),
    "payment captures what is not authorized yet": (
        "payment.decisions", "if known is None or known.status in _NOT_YET_AUTHORIZED:", "if known is None:"
    ),
    "payment takes any answer for an answer to its question": (
        "payment.decisions", "if told is not None and _is_stale(known.status, told):", "if False:"
    ),
    "payment does not refund": ("payment.steps", "return refund(known, None)", "return void(known, Voided())"),
    "payment authorizes before stock is reserved": (
        "payment.decisions", "return Decision(expected) if known is None else ", "return "
    ),
    "payment charges a stranger's method": (
        "payment.decisions", "wallet.method.customer_id != event.customer_id", "False"
    ),
    "the warehouse without a tombstone": ("warehouse.decisions", "return Decision(closed, ", "return Decision(known, "),
    "the warehouse reserves twice": (
        "warehouse.decisions",
        "if shelf.reservation is not None:\n        return _nothing_to_do(shelf.reservation)\n    missing",
        "missing",
    ),
    "the warehouse gives up what is reserved": (
        "warehouse.decisions",
        "if shelf.reservation is not None:\n        return _nothing_to_do(shelf.reservation)\n    if isinstance",
        "if isinstance",
    ),
    "the warehouse gives up what is committed": (
        "warehouse.decisions", "if known is None or known.status is not Status.RESERVED:", "if known is None:"
    ),
    "the warehouse gives up what lapsed without a word": (
        "warehouse.decisions",
        "    if known is not None and known.status is Status.LAPSED:\n",
        "    if False:\n",
    ),
    "the warehouse commits what lapsed": (
        "warehouse.decisions", "if known.status is not Status.RESERVED:", "if False:"
    ),
    "the warehouse commits what it never reserved": (
        "warehouse.decisions",
        'return Decision(None, early="no reservation was ever made for this checkout")',
        "known = Reservation(checkout_id=event.checkout_id, status=Status.RESERVED)",
    ),
    "the warehouse promises what it has not": ("warehouse.decisions", "stock[sku].on_hand < units[sku]", "False"),
    "the warehouse keeps what failed": ("warehouse.decisions", "replace(known, status=Status.RELEASED)", "known"),
    "checkout completes what has failed": (
        "checkout.decisions",
        "if known.status not in OPEN:\n        return _too_late(known)\n    if known.order_id",
        "if known.order_id",
    ),
    "checkout forgets a capture that comes before its order": (
        "checkout.decisions", 'Decision(known, early="captured without an order")', "Decision(known)"
    ),
    "checkout confirms what has failed": ("checkout.decisions", "if known.status is not Status.ACCEPTED:", "if False:"),
    "checkout fails what has ended": (
        "checkout.decisions", "_fail(known, code, detail, via) if known.status in OPEN else _too_late(known)",
        "_fail(known, code, detail, via)",
    ),
    "checkout gives up what it has accepted": (
        "checkout.decisions",
        "if known is not None and known.status is not Status.CANCELLED_FIRST:\n        return _too_late(known)\n    #",
        "#",
    ),
    "checkout gives up an order that was made": (
        "checkout.decisions",
        "if known is None or known.status is not Status.ACCEPTED:\n        return _too",
        "if known is None:\n        return _too",
    ),
    "checkout gives up a request without a word": (
        "checkout.decisions", "CheckoutRequested.TYPE: give_up_accepting, ", ""
    ),
    "checkout gives up an order without a word": (
        "checkout.decisions", ", PaymentAuthorized.TYPE: give_up_ordering", ""
    ),
    "checkout cancels what is captured": ("checkout.decisions", "if known.status in OPEN:\n", "if True:\n"),
    "checkout forgets an early cancellation": ("checkout.decisions", "or _cancelled_first(known)", ""),
    "checkout takes a lapse for an answer": (
        "checkout.decisions", 'event.outcome in ("released", "nothing")', "event.outcome"
    ),
    "checkout takes any outcome for an answer": (
        "checkout.decisions", 'if event.outcome in ("released", "nothing"):', 'if event.outcome != "lapsed":'
    ),
    "checkout takes any authorization for its own": (
        "checkout.decisions",
        "check_paid(known, event)\n    if known.status is not Status.ACCEPTED",
        "if known.status is not Status.ACCEPTED",
    ),
    "checkout takes any capture for its own": (
        "checkout.decisions",
        "check_paid(known, event)\n    if known.status not in OPEN",
        "if known.status not in OPEN",
    ),
    "checkout takes any void for its own": ("checkout.decisions", "    check_voided(known, event)\n", ""),
    "checkout takes any refund for its own": ("checkout.decisions", "    check_refunded(known, event)\n", ""),
    "checkout gives up what is not its own": (
        "checkout.decisions", "    try:\n        check_paid(known, event)\n", "    try:\n        known = known\n"
    ),
    "payment takes any acceptance": (
        "payment.decisions", "fault = accepted_fault(event) or _conflict(known, event)", "fault = None"
    ),
    "the warehouse takes any acceptance": (
        "warehouse.decisions", "fault = accepted_fault(event) or _conflict(shelf.reservation, units)", "fault = None"
    ),
    "payment gives up what can't be accepted": (
        "payment.decisions", "isinstance(event, CheckoutAccepted) and (", "False and ("
    ),
    "the warehouse gives up what can't be accepted": (
        "warehouse.decisions", "isinstance(event, CheckoutAccepted) and accepted_fault(event)", "False"
    ),
}  # fmt: skip
ROUGH_FIRST: Final = list(WEATHERS.values())[::-1]
CHAIN: Final = {"payment": ("state", "steps", "decisions"), "checkout": ("decisions",), "warehouse": ("decisions",)}
"""A service's pure modules, each after those that it imports; all are made anew, so that they know each other."""


def absent_minded(where: str, guard: str, without: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """The service's decisions with one guard taken out."""
    service = where.split(".", maxsplit=1)[0]
    assert where.split(".")[1] in CHAIN[service]
    for name in CHAIN[service]:
        source = Path(import_module(f"services.{service}.{name}").__file__ or "").read_text(encoding="utf-8")
        if where == f"{service}.{name}":
            assert source.count(guard) == 1, f"the guard reads differently now; write it anew here: {guard}"
            source = source.replace(guard, without)
        module = ModuleType(f"absent_minded_{name}")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(_among_themselves(service, source), module.__dict__)
    return {service: module}


def _among_themselves(service: str, source: str) -> str:
    """The source, importing the modules that were made anew."""
    for name in CHAIN[service][:-1]:
        source = source.replace(f"from services.{service}.{name} import", f"from absent_minded_{name} import")
        source = source.replace(f"from services.{service} import {name}", f"import absent_minded_{name} as {name}")
    return source


@pytest.mark.parametrize(("where", "guard", "without"), ABSENT_MINDED.values(), ids=ABSENT_MINDED)
def test_a_missing_guard_does_not_go_unnoticed(
    where: str, guard: str, without: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    decisions = absent_minded(where, guard, without, monkeypatch)
    assert any(play(seed, weather, decisions)[1] for seed in range(RUNS) for weather in ROUGH_FIRST)


def test_modules_that_are_made_anew_do_what_the_services_do(monkeypatch: pytest.MonkeyPatch) -> None:
    for service, names in CHAIN.items():
        same = absent_minded(f"{service}.{names[-1]}", "def giving_up()", "def giving_up()", monkeypatch)
        assert not any(play(seed, weather, same)[1] for seed in range(10) for weather in WEATHERS.values())


def test_a_call_that_is_made_again_without_asking_first_does_not_go_unnoticed() -> None:
    weathers = [weather for weather in WEATHERS.values() if weather.stale]
    assert any(play(seed, weather, asks_first=False)[1] for seed in range(RUNS) for weather in weathers)


def test_what_can_go_wrong_did_go_wrong() -> None:
    """Chance may not leave out what the other tests are about."""
    happened = sum((play(seed, weather)[0].happened for seed in range(40) for weather in WEATHERS.values()), Counter())
    assert {f"given up: {event}" for event in ANNOUNCED} <= set(happened)
    often = ("unknown", "not asked", "found", "parked", "replay", "given up", "unsafe")
    assert min(happened[name] for name in often) > 100
