"""The choreography under chance: any order, copies, crashes, lost answers, timers. The invariants hold at every end."""

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Final

import pytest

from .simulated_shop import STOCK
from .simulation import Simulation, Weather

CHECKOUTS: Final = 4
WEATHERS: Final = {
    "calm": Weather(again=0, lost_answer=0, crash=0, timer=0, expiry=0),
    "fair": Weather(),
    "copies that no inbox remembers": Weather(again=0.3, forgotten=1.0),
    "a provider that seldom answers": Weather(lost_answer=0.6, crash=0.3, expiry=0.05),
    "timers all the time": Weather(timer=0.6),
    "two processes": Weather(copies=2),
    "two processes, partitions move": Weather(copies=2, again=0.3, forgotten=1.0, move=0.5),
}
RUNS: Final = 1200


def breaches(run: Simulation) -> list[str]:
    """What a finished run broke; empty for a clean one."""
    found = [*run.provider.breaches, *(text for text in run.refusals if "conflicting duplicate" not in text)]
    for checkout_id in run.requests:
        found += [f"{checkout_id}: {text}" for text in (*_ends(run, checkout_id), *_money(run, checkout_id))]
    return found + _stock(run)


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


def play(seed: int, weather: Weather, decisions: dict[str, ModuleType] | None = None) -> tuple[Simulation, list[str]]:
    """One run and what it broke."""
    run = Simulation(Random(seed), weather, decisions or {})
    try:
        run.run(CHECKOUTS)
    # whatever a decision or a wall raises is what the run found
    except Exception as error:
        return run, [f"{type(error).__name__}: {error}"]
    return run, breaches(run)


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
        "payment",
        "Decision(replace(known, status=Status.CLOSED), (voided,))",
        "Decision(None if known.status is Status.CLOSED else known, (voided,))",
    ),
    "payment answers a failure again": ("payment", "known.status in _OVER)", "known.status in ())"),
    "payment forgets what a lost answer may have done": (
        "payment", "_NOTHING_HELD: Final = (", "_NOTHING_HELD: Final = (Status.AUTHORIZING, "
    ),
    "payment does not refund": ("payment", "return _refund(known, None)", "return _void(known, Voided())"),
    "payment authorizes before stock is reserved": (
        "payment", "return Decision(expected) if known is None else ", "return "
    ),
    "payment charges a stranger's method": ("payment", "wallet.method.customer_id != event.customer_id", "False"),
    "the warehouse without a tombstone": ("warehouse", "return Decision(closed, ", "return Decision(known, "),
    "the warehouse reserves twice": ("warehouse", "if shelf.reservation is not None:", "if False:"),
    "the warehouse commits what lapsed": ("warehouse", "if known.status is not Status.RESERVED:", "if False:"),
    "the warehouse promises what it has not": ("warehouse", "stock[sku].on_hand < units[sku]", "False"),
    "the warehouse keeps what failed": ("warehouse", "replace(known, status=Status.RELEASED)", "known"),
    "checkout completes what has failed": (
        "checkout", "if known.status not in (Status.AUTHORIZED, Status.CAPTURE_PENDING):", "if False:"
    ),
    "checkout confirms what has failed": ("checkout", "if known.status is not Status.ACCEPTED:", "if False:"),
    "checkout fails what has ended": ("checkout", "if known.status in OPEN else Decision(known)", ""),
    "checkout cancels what is captured": ("checkout", "if known.status in OPEN:\n", "if True:\n"),
    "checkout forgets an early cancellation": ("checkout", "or _cancelled_first(known)", ""),
    "checkout takes a lapse for an answer": ("checkout", 'if event.outcome != "lapsed":', "if True:"),
}  # fmt: skip


def absent_minded(service: str, guard: str, without: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The service's decisions with one guard taken out."""
    original = import_module(f"services.{service}.decisions")
    source = Path(original.__file__ or "").read_text(encoding="utf-8")
    assert source.count(guard) == 1, f"the guard reads differently now; write it anew here: {guard}"
    module = ModuleType(f"absent_minded_{service}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(source.replace(guard, without), module.__dict__)
    return module


@pytest.mark.parametrize(("service", "guard", "without"), ABSENT_MINDED.values(), ids=ABSENT_MINDED)
def test_a_missing_guard_does_not_go_unnoticed(
    service: str, guard: str, without: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    decisions = {service: absent_minded(service, guard, without, monkeypatch)}
    assert any(play(seed, weather, decisions)[1] for seed in range(RUNS) for weather in WEATHERS.values())
