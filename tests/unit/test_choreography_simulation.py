"""The choreography under chance: any order, copies, crashes, lost answers, timers. The invariants hold at every end."""

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Final

import pytest

from .simulation import STOCK, Simulation, Weather

CHECKOUTS: Final = 4
WEATHERS: Final = {
    "calm": Weather(again=0, lost_answer=0, crash=0, timer=0, expiry=0),
    "fair": Weather(),
    "copies that no inbox remembers": Weather(again=0.3, forgotten=1.0),
    "a provider that seldom answers": Weather(lost_answer=0.6, crash=0.3, expiry=0.05),
    "timers all the time": Weather(timer=0.6),
}
RUNS: Final = 700


def breaches(run: Simulation) -> list[str]:
    """What a finished run broke; empty for a clean one."""
    found = [*run.provider.breaches, *run.refusals]
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
    except Exception as error:  # noqa: BLE001
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
