"""The three services, the map and a provider in memory; chance chooses what happens next. Same seed, same story.

Kafka is a heap of copies that may arrive in any order, twice, or after the inbox forgot them; a crash drops the
provider call that was out, and the call may still reach the provider later.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random
from types import ModuleType
from typing import Final, cast

from schemas.choreography import MAP, reactions
from schemas.events import CheckoutCancelRequested, CheckoutRequested, Event, WarehouseConfirmed
from services.checkout import decisions as checkout_decisions
from services.checkout.store import Checkouts
from services.checkout.tables import CHECKOUTS
from services.payment import decisions as payment_decisions
from services.payment.provider.protocol import Answer, Call
from services.payment.store import Wallets
from services.payment.tables import PAYMENTS
from services.shell.service import Handler, World
from services.shell.states import States
from services.warehouse import decisions as warehouse_decisions
from services.warehouse.decisions import Stock
from services.warehouse.store import Shelves
from services.warehouse.tables import RESERVATIONS

from .simulated_provider import Provider
from .simulated_shop import METHODS, STOCK, request

START: Final = datetime(2026, 3, 1, tzinfo=UTC)
TIME_TO_PAY: Final = timedelta(minutes=15)
HOLD_FOR: Final = timedelta(minutes=10)
LISTENERS: Final = {entry.event: tuple(r.service for r in entry.heard_by) for entry in MAP}


@dataclass(frozen=True)
class Weather:
    """How rough a run is: the chance, at each step, of what goes wrong.

    copies: processes of the payment service. With one, a checkout waits while its provider call is out; with two,
    another event of the same checkout may lie in a partition of the other process, which does not wait, and a
    partition may move (`move`) from one to the other while a call is out.
    """

    again: float = 0.1
    forgotten: float = 0.5
    lost_answer: float = 0.2
    crash: float = 0.1
    timer: float = 0.1
    wish: float = 0.03
    expiry: float = 0.01
    move: float = 0.05
    copies: int = 1


@dataclass(eq=False)
class Copy:
    """A copy of an event on its way to one consumer. forgotten: the inbox no longer knows the event."""

    consumer: str
    number: int
    event: Event
    forgotten: bool = False


@dataclass
class Simulation:
    """One run. decisions: other modules in place of the services' own, to see what their absence of mind does."""

    rng: Random
    weather: Weather
    decisions: Mapping[str, ModuleType] = field(default_factory=dict)
    now: datetime = START
    on_the_way: list[Copy] = field(default_factory=list)
    calls_out: list[tuple[Copy, Call]] = field(default_factory=list)
    ghosts: list[Call] = field(default_factory=list)
    inbox: set[tuple[str, int]] = field(default_factory=set)
    published: list[Event] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    story: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        checkout = self.decisions.get("checkout", checkout_decisions)
        payment = self.decisions.get("payment", payment_decisions)
        warehouse = self.decisions.get("warehouse", warehouse_decisions)
        self.handlers: dict[str, dict[str, Handler]] = {
            "checkout": checkout.handlers(TIME_TO_PAY),
            "payment": payment.handlers(),
            "warehouse": warehouse.handlers(HOLD_FOR),
        }
        self.timers: dict[str, Callable[..., Event]] = {
            "checkout": checkout.DeadlinePassed,
            "warehouse": warehouse.ReservationExpired,
        }
        self.shelves = Shelves(
            States(RESERVATIONS, {}),
            {sku: Stock(sku=sku, on_hand=units, reserved=0, committed=0) for sku, units in STOCK.items()},
        )
        self.worlds: dict[str, World] = {
            "checkout": Checkouts(States(CHECKOUTS, {})),
            "payment": Wallets(States(PAYMENTS, {}), METHODS),
            "warehouse": self.shelves,
        }
        self.provider = Provider(may_capture=lambda key: self.said(key)[WarehouseConfirmed.TYPE] > 0)
        self.wishes: list[CheckoutCancelRequested] = []
        self.cancelled_first: set[str] = set()
        self.said_by_checkout: dict[str, Counter[str]] = {}
        self.requests: dict[str, CheckoutRequested] = {}

    def run(self, checkouts: int, steps_limit: int = 2000) -> None:
        """Play `checkouts` checkouts until nothing is left to do."""
        for number in range(checkouts):
            self._shop(f"c{number}")
        for _ in range(steps_limit):
            if not self.on_the_way and not self.calls_out and not self.wishes:
                return
            self._step()
        raise AssertionError("the run does not end")

    def said(self, checkout_id: str) -> Counter[str]:
        """How often each event was published for a checkout; releases by outcome too."""
        return self.said_by_checkout.get(checkout_id, Counter())

    def stock(self) -> Mapping[str, Stock]:
        """The stock now."""
        stock: Mapping[str, Stock] = self.shelves.view(self.requests["c0"]).stock
        return stock

    def _shop(self, checkout_id: str) -> None:
        asked = request(self.rng, checkout_id)
        self.requests[checkout_id] = asked
        self._publish(asked)
        if self.rng.random() < 0.15:
            self._publish(asked)
        if self.rng.random() < 0.05:
            self._publish(replace(asked, payment_method_id="good", total_minor=asked.total_minor + 1))
        if self.rng.random() < 0.3:
            self.wishes.append(CheckoutCancelRequested(checkout_id=checkout_id))

    def _step(self) -> None:
        rng, weather = self.rng, self.weather
        self.now += timedelta(seconds=rng.choice((0, 1, 1, 1, 240)))
        if rng.random() < weather.timer:
            self._ring()
        if rng.random() < weather.expiry:
            self.provider.expire_one(rng)
        if self.ghosts and rng.random() < 0.2:
            self.provider.perform(self.ghosts.pop(rng.randrange(len(self.ghosts))))
        waiting = len(self.on_the_way)
        moves = waiting + len(self.calls_out)
        if self.wishes and (not moves or rng.random() < weather.wish):
            self._publish(self.wishes.pop(rng.randrange(len(self.wishes))))
            return
        chosen = rng.randrange(moves)
        if chosen < waiting:
            self._arrive(chosen)
        else:
            self._call(chosen - waiting)

    def _ring(self) -> None:
        """A timer's own query finds what is due; the decision must hold when it rings too early, too."""
        consumer = self.rng.choice(list(self.timers))
        event = self.timers[consumer](checkout_id=self.rng.choice(list(self.requests)))
        self._decide(Copy(consumer, -1, event))

    def _arrive(self, index: int) -> None:
        copy = self.on_the_way[index]
        if self._waits(copy):
            return
        last = self.on_the_way.pop()
        if last is not copy:
            self.on_the_way[index] = last
        if self.rng.random() < self.weather.again:
            forgotten = self.rng.random() < self.weather.forgotten
            self.on_the_way.append(replace(copy, forgotten=forgotten))
        self._decide(copy)

    def _waits(self, copy: Copy) -> bool:
        """In one process, a checkout whose provider call is out waits."""
        if copy.consumer != "payment":
            return False
        if self.weather.copies > 1:
            return False
        return any(held.event.checkout_id == copy.event.checkout_id for held, _ in self.calls_out)

    def _call(self, index: int) -> None:
        copy, call = self.calls_out[index]
        chance = self.rng.random()
        if chance < self.weather.crash:
            del self.calls_out[index]
            self.ghosts.append(call)
            self.on_the_way.append(copy)
            self._tell(f"crash: {type(call).__name__} of {copy.event.TYPE}")
            return
        if self.weather.copies > 1 and self.rng.random() < self.weather.move:
            self.on_the_way.append(copy)
        answer = self.provider.perform(call)
        if chance < self.weather.crash + self.weather.lost_answer:
            self._tell(f"lost: {answer}")
            return
        del self.calls_out[index]
        self._decide(copy, answer)

    def _decide(self, copy: Copy, *answer: Answer) -> None:
        known = (copy.consumer, copy.number)
        if known in self.inbox and not copy.forgotten:
            return
        event, world = copy.event, self.worlds[copy.consumer]
        decision = self.handlers[copy.consumer][event.TYPE](world.view(event), event, self.now, *answer)
        if decision.refusal is not None:
            self.refusals.append(f"{copy.consumer} refuses {event.TYPE}: {decision.refusal}")
        elif decision.state is not None:
            world.keep(decision.state)
            self._check_state(event, decision.state.status)
        state = decision.state.status if decision.state else None
        self._tell(f"{event.checkout_id} {copy.consumer} {event.TYPE} {answer or ''} -> {state} {decision.call or ''}")
        for said in decision.events:
            self._check_map(copy.consumer, event, said)
            self._publish(said)
        if decision.call is not None:
            self.calls_out.append((copy, cast("Call", decision.call)))
        elif copy.number >= 0:
            self.inbox.add(known)

    def _check_state(self, event: Event, status: str) -> None:
        if status == "cancelled_first":
            self.cancelled_first.add(event.checkout_id)
        if status == "compensated":
            said = self.said(event.checkout_id)
            answers = said["warehouse.released released"] + said["warehouse.released nothing"]
            assert answers, f"{event.checkout_id} is compensated, the warehouse has not answered"
            assert said["payment.voided"] + said["payment.refunded"], "compensated, payment has not answered"
        for stock in self.stock().values():
            places = (stock.on_hand, stock.reserved, stock.committed)
            assert min(places) >= 0, f"below zero: {stock}"
            assert sum(places) == STOCK[stock.sku], f"not conserved: {stock}"

    def _check_map(self, consumer: str, heard: Event, said: Event) -> None:
        assert said.TYPE in reactions(consumer)[heard.TYPE], f"{consumer} answers {heard.TYPE} with {said.TYPE}"

    def _publish(self, event: Event) -> None:
        self.published.append(event)
        counts = self.said_by_checkout.setdefault(event.checkout_id, Counter())
        counts[event.TYPE] += 1
        counts[f"{event.TYPE} {getattr(event, 'outcome', '')}"] += 1
        self._tell(f"    {event}")
        self.on_the_way += [Copy(consumer, len(self.published), event) for consumer in LISTENERS[event.TYPE]]

    def _tell(self, line: str) -> None:
        self.story.append(line)
