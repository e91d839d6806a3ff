"""The three services, the map and a provider in memory; chance chooses what happens next. Same seed, same story.

Kafka is a heap of copies that may arrive in any order, twice, or after the inbox forgot them; a crash drops the
provider call that was out, and the call may still reach the provider later. What can't be handled waits, is tried again
and given up as the shell does it (`services/shell/verdict.py`, `fate.py`); dead letters are replayed at any time.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random
from types import ModuleType
from typing import Any, Final, cast
from uuid import UUID

from schemas.choreography import MAP, reactions
from schemas.decision import Decision, NotAsked, Unknown, UnsafeError
from schemas.events import CheckoutCancelRequested, CheckoutConfirmed, CheckoutRequested, Event, WarehouseConfirmed
from schemas.failures import Code
from services.checkout import decisions as checkout_decisions
from services.checkout.service import _let_go as checkout_let_go
from services.checkout.store import Checkouts
from services.checkout.tables import CHECKOUTS
from services.payment import decisions as payment_decisions
from services.payment.provider.protocol import Authorize, Call, Told
from services.payment.service import _let_go as payment_let_go
from services.payment.store import Wallets
from services.payment.tables import PAYMENTS
from services.shell.service import Handler, World
from services.shell.states import States
from services.warehouse import decisions as warehouse_decisions
from services.warehouse.decisions import Stock
from services.warehouse.service import _let_go as warehouse_let_go
from services.warehouse.store import Shelves
from services.warehouse.tables import RESERVATIONS

from .simulated_provider import Provider
from .simulated_queue import Copy, Fate, Identity, Row, Rows
from .simulated_shop import METHODS, STOCK, forged, request

START: Final = datetime(2026, 3, 1, tzinfo=UTC)
TIME_TO_PAY: Final = timedelta(minutes=15)
HOLD_FOR: Final = timedelta(minutes=10)
LET_GO: Final[dict[str, Callable[[Any], bool]]] = {
    "checkout": checkout_let_go,
    "payment": payment_let_go,
    "warehouse": warehouse_let_go,
}
OPERATIONS: Final = ("authorize", "capture", "void", "refund")
TRIES: Final = 3
"""Tries until a message is given up."""
ANNOUNCED: Final = (
    "checkout.requested",
    "checkout.accepted",
    "checkout.confirmed",
    "warehouse.reserved",
    "warehouse.confirmed",
    "payment.authorized",
)
"""What is announced where it is given up, as a customer waits for it."""
FORGED: Final = 100_000
"""Numbers of events that nobody published are above."""
OTHER_MONEY: Final = 200_000
"""Numbers of those among them that don't fit their checkout are above: they end as dead letters."""
LISTENERS: Final = {entry.event: tuple(r.service for r in entry.heard_by) for entry in MAP}


@dataclass(frozen=True)
class Weather:
    """How rough a run is: the chance, at each step, of what goes wrong.

    copies: processes of the payment service. With one, a checkout waits while its provider call is out; with two,
    another event of the same checkout may lie in a partition of the other process, which does not wait, and a
    partition may move (`move`) from one to the other while a call is out.
    unknown: a call whose outcome nobody knows. outage: of an operation's circuit breaker. bug: a handler breaks, of the
    service `breaks` or of any. stale: a key is too old when a call is tried again. replay: of a dead letter. early: a
    confirmation that nobody said yet. other_money: a message about other money than the checkout's, or an acceptance
    with other content, at any time. holds_up: whether what waits holds up the later messages of its checkout.
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
    unknown: float = 0.0
    outage: float = 0.0
    bug: float = 0.0
    breaks: str = ""
    stale: float = 0.0
    replay: float = 0.05
    early: float = 0.0
    other_money: float = 0.0
    holds_up: bool = True


@dataclass
class Simulation:
    """One run. decisions: other modules in place of the services' own, to see what their absence of mind does.

    asks_first: whether a call is looked for before it is made again, as the shell does.
    """

    rng: Random
    weather: Weather
    decisions: Mapping[str, ModuleType] = field(default_factory=dict)
    asks_first: bool = True
    now: datetime = START
    on_the_way: list[Copy] = field(default_factory=list)
    calls_out: list[tuple[Copy, Call]] = field(default_factory=list)
    ghosts: list[Call] = field(default_factory=list)
    inbox: set[tuple[str, int, int]] = field(default_factory=set)
    published: list[Event] = field(default_factory=list)
    refusals: list[tuple[str, str]] = field(default_factory=list)
    given_up: set[str] = field(default_factory=set)
    forged: set[str] = field(default_factory=set)
    shut: set[str] = field(default_factory=set)
    happened: Counter[str] = field(default_factory=Counter)
    silent: set[Identity] = field(default_factory=set)
    letters: dict[Identity, Copy] = field(default_factory=dict)
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
        self.giving_up: dict[str, dict[str, Handler]] = {
            name: module.giving_up()
            for name, module in (("checkout", checkout), ("payment", payment), ("warehouse", warehouse))
        }
        self.timers: dict[str, Callable[..., Event]] = {
            "checkout": checkout.DeadlinePassed,
            "warehouse": warehouse.ReservationExpired,
        }
        self.shelves = Shelves(
            States(RESERVATIONS, {}),
            {sku: Stock(sku=sku, on_hand=units, reserved=0, committed=0) for sku, units in STOCK.items()},
            {},
        )
        self.worlds: dict[str, World] = {
            "checkout": Checkouts(States(CHECKOUTS, {})),
            "payment": Wallets(States(PAYMENTS, {}), METHODS),
            "warehouse": self.shelves,
        }
        self.provider = Provider(may_capture=lambda key: self.said(key)[WarehouseConfirmed.TYPE] > 0)
        self.rows = Rows(self.weather.holds_up)
        self.wishes: list[CheckoutCancelRequested] = []
        self.cancelled_first: set[str] = set()
        self.said_by_checkout: dict[str, Counter[str]] = {}
        self.requests: dict[str, CheckoutRequested] = {}

    def run(self, checkouts: int) -> None:
        """Play `checkouts` checkouts until nothing is left to do; engineers replay what nobody announced."""
        for number in range(checkouts):
            self._shop(f"c{number}")
        self._play()
        self._mend()
        for _ in range(TRIES):
            for row in [row for row in self.rows.dead() if not row.compensated]:
                self._replay(row.copy)
            self._play()

    def replay_everything(self) -> None:
        """Long after the end, somebody replays every letter that there ever was, also those that were resolved."""
        self._mend()
        for copy in self.letters.values():
            self._replay(copy)
        self._play()

    def said(self, checkout_id: str) -> Counter[str]:
        """How often each event was published for a checkout; releases by outcome too."""
        return self.said_by_checkout.get(checkout_id, Counter())

    def stock(self) -> Mapping[str, Stock]:
        """The stock now."""
        stock: Mapping[str, Stock] = self.shelves.view(self.requests["c0"]).stock
        return stock

    def _mend(self) -> None:
        """Nothing breaks any more."""
        self.weather = replace(self.weather, unknown=0, outage=0, bug=0, again=0, crash=0, lost_answer=0, replay=0)
        self.shut.clear()

    def _play(self, steps_limit: int = 4000) -> None:
        for _ in range(steps_limit):
            waiting = self.rows.waiting()
            if not self.on_the_way and not self.calls_out and not self.wishes and not waiting:
                return
            self._step(waiting)
        raise AssertionError("the run does not end")

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
        if self.rng.random() < self.weather.early:
            forged = CheckoutConfirmed(checkout_id=checkout_id, order_id=UUID(int=1))
            self.forged.add(checkout_id)
            self.on_the_way.append(Copy("warehouse", FORGED + len(self.requests), forged))

    def _step(self, waiting: list[Row]) -> None:
        rng, weather = self.rng, self.weather
        self.now += timedelta(seconds=rng.choice((0, 1, 1, 1, 240)))
        self._chances()
        on_the_way = len(self.on_the_way)
        moves = on_the_way + len(self.calls_out) + len(waiting)
        if self.wishes and (not moves or rng.random() < weather.wish):
            self._publish(self.wishes.pop(rng.randrange(len(self.wishes))))
            return
        chosen = rng.randrange(moves)
        if chosen < on_the_way:
            self._arrive(chosen)
        elif chosen < on_the_way + len(self.calls_out):
            self._call(chosen - on_the_way)
        else:
            self._take(waiting[chosen - on_the_way - len(self.calls_out)])

    def _chances(self) -> None:
        """What happens besides."""
        rng, weather = self.rng, self.weather
        if rng.random() < weather.timer:
            self._ring()
        if rng.random() < weather.expiry:
            self.provider.expire_one(rng)
        if self.ghosts and rng.random() < 0.2:
            self.provider.perform(self.ghosts.pop(rng.randrange(len(self.ghosts))))
        if weather.outage and rng.random() < weather.outage:
            self.shut.add(rng.choice(OPERATIONS))
        if self.shut and rng.random() < 0.2:
            self.shut.remove(rng.choice(sorted(self.shut)))
        self._forge()
        if rng.random() < weather.replay:
            dead = self.rows.dead()
            if dead:
                self._replay(rng.choice(dead).copy)

    def _forge(self) -> None:
        """A message about other money than its checkout's arrives."""
        if not self.weather.other_money or self.rng.random() > self.weather.other_money:
            return
        asked = self.rng.choice(list(self.requests.values()))
        consumer, event = forged(self.rng, asked)
        self.happened["forged"] += 1
        self.on_the_way.append(Copy(consumer, OTHER_MONEY + self.happened["forged"], event))

    def _ring(self) -> None:
        """A timer's own query finds what is due; the decision must hold when it rings too early, too."""
        consumer = self.rng.choice(list(self.timers))
        event = self.timers[consumer](checkout_id=self.rng.choice(list(self.requests)))
        self._decide(Copy(consumer, -1, event))

    def _replay(self, copy: Copy) -> None:
        """Each replay has a name of its own."""
        self.happened["replay"] += 1
        self.on_the_way.append(replace(copy, replay=self.happened["replay"], claim=0))

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
        self._settle(copy)

    def _take(self, row: Row) -> None:
        """From the retry table: its time has come."""
        if self._waits(row.copy):
            return
        row.out, row.claim = True, row.claim + 1
        self._settle(replace(row.copy, replay=row.replay, claim=row.claim))

    def _waits(self, copy: Copy) -> bool:
        """In one process, a checkout whose provider call is out waits."""
        if copy.consumer != "payment":
            return False
        if self.weather.copies > 1:
            return False
        return any(held.event.checkout_id == copy.event.checkout_id for held, _ in self.calls_out)

    def _call(self, index: int) -> None:
        copy, call = self.calls_out[index]
        weather, chance = self.weather, self.rng.random()
        if chance < weather.crash:
            del self.calls_out[index]
            self.ghosts.append(call)
            self._again(copy)
            self._tell(f"crash: {type(call).__name__} of {copy.event.TYPE}")
            return
        if weather.copies > 1 and self.rng.random() < weather.move:
            self._again(copy)
        if chance < weather.crash + weather.lost_answer:
            self._tell(f"lost: {self.provider.perform(call)}")
            return
        del self.calls_out[index]
        if self.rng.random() < weather.unknown:
            self._settle(copy, self._no_answer(copy, call))
        else:
            self._settle(copy, self._ask(copy, call))

    def _again(self, copy: Copy) -> None:
        """Whoever had it no longer has it: it comes again from where it was taken."""
        row = self.rows.find(copy)
        if copy.claim and row is not None:
            row.out = False
        else:
            self.on_the_way.append(copy)

    def _no_answer(self, copy: Copy, call: Call) -> Unknown:
        """It was made or not, or is still on its way."""
        if self.rng.random() < 0.5:
            self.provider.perform(call)
        else:
            self.ghosts.append(call)
        self.happened["unknown"] += 1
        return Unknown(attempts=self._tries(copy) + 1, timed_out=self.rng.random() < 0.5)

    def _ask(self, copy: Copy, call: Call) -> Told:
        """After an unknown outcome the provider is asked what happened before anything is done again."""
        if not self._tries(copy) and not copy.replay:
            return self.provider.perform(call)
        if self.rng.random() < self.weather.stale:
            self.provider.forget(call.key)
            self.ghosts = [ghost for ghost in self.ghosts if ghost.key != call.key]
        found = self.provider.find(call) if self.asks_first else None
        self.happened["found"] += found is not None
        return found or self.provider.perform(call)

    def _tries(self, copy: Copy) -> int:
        row = self.rows.find(copy)
        return row.tries if copy.claim and row else 0

    def _settle(self, copy: Copy, *answer: Told) -> None:
        """The life of a message, as in services/shell/verdict.py."""
        known = (*copy.identity, copy.replay)
        if not copy.claim and known in self.inbox and not copy.forgotten:
            return
        if self.rows.is_foreign(copy) or self.rows.is_known(copy):
            self.inbox.add(known)
        elif self.rows.is_behind(copy):
            self.rows.of(copy)
            self.inbox.add(known)
            self.happened["parked"] += 1
        elif self.weather.breaks in ("", copy.consumer) and self.rng.random() < self.weather.bug:
            self._tell(f"{copy.event.checkout_id} {copy.consumer} {copy.event.TYPE} {answer or ''} breaks")
            self._failed(copy, Code.INTERNAL_ERROR)
        else:
            self._decide(copy, *answer)

    def _decide(self, copy: Copy, *answer: Told) -> None:
        event = copy.event
        try:
            decision, told = self._decision(copy, *answer)
        except UnsafeError as error:
            self._unsafe(copy, error)
            return
        state = decision.state.status if decision.state else None
        self._tell(
            f"{event.checkout_id} {copy.consumer} {event.TYPE} {told or ''} -> {state} {decision.call or ''}"
            f"{decision.early or ''}{decision.late or ''}{decision.waits or ''}"
        )
        if decision.refusal is not None:
            self.refusals.append((event.checkout_id, f"{copy.consumer} refuses {event.TYPE}: {decision.refusal}"))
            self.inbox.add((*copy.identity, copy.replay))
            self.rows.resolve(copy)
        elif decision.early is not None:
            self._failed(copy, "", early=True)
        elif decision.waits is not None:
            self._wait(copy, decision, told)
        else:
            self._check_silent(copy, decision)
            self._write(copy, decision)
            if decision.call is not None:
                self._check_call(event, cast("Call", decision.call))
                self.calls_out.append((copy, cast("Call", decision.call)))
            elif copy.number >= 0:
                self._handled(copy)

    def _unsafe(self, copy: Copy, error: UnsafeError) -> None:
        """As in services/shell/fate.py: a dead letter at once. What our own services say is never unsafe."""
        if copy.number <= OTHER_MONEY:
            raise error
        self._tell(f"{copy.event.checkout_id} {copy.consumer} {copy.event.TYPE} is unsafe: {error}")
        self.happened["unsafe"] += 1
        self.inbox.add((*copy.identity, copy.replay))
        self._bury(self.rows.of(copy))

    def _decision(self, copy: Copy, *answer: Told) -> tuple[Decision[Any], Told | None]:
        event, view = copy.event, self.worlds[copy.consumer].view(copy.event)
        handler = self.handlers[copy.consumer][event.TYPE]
        decision = handler(view, event, self.now, *answer)
        if decision.call is None or decision.call.operation not in self.shut:
            return decision, answer[0] if answer else None
        decision = handler(view, event, self.now, NotAsked())
        assert decision.call is None, f"{event.TYPE} asks for a call that can't be made"
        self.happened["not asked"] += 1
        return decision, NotAsked()

    def _wait(self, copy: Copy, decision: Decision[Any], told: Told | None) -> None:
        """As in services/shell/fate.py: what was not asked uses up no try."""
        if isinstance(told, Unknown):
            timed_out = told.timed_out
            self._failed(copy, Code.PAYMENT_TIMED_OUT if timed_out else Code.PAYMENT_UNAVAILABLE, waiting=decision)
            return
        self._write(copy, decision)
        self.rows.of(copy)
        self.inbox.add((*copy.identity, copy.replay))

    def _failed(self, copy: Copy, code: str, *, early: bool = False, waiting: Decision[Any] | None = None) -> None:
        if copy.number < 0:
            return
        row = self.rows.of(copy)
        self.inbox.add((*copy.identity, copy.replay))
        row.tries, row.early = row.tries + 1, early
        if row.tries < TRIES:
            if waiting is not None:
                self._write(copy, waiting)
            return
        self._give_up(copy, row, code)

    def _give_up(self, copy: Copy, row: Row, code: str) -> None:
        announce = self.giving_up[copy.consumer].get(copy.event.TYPE) if code else None
        view = self.worlds[copy.consumer].view(copy.event)
        decision = announce(view, copy.event, self.now, code) if announce else None
        self._tell(f"{copy.event.checkout_id} {copy.consumer} {copy.event.TYPE} given up: {decision}")
        self.happened["given up"] += 1
        if decision is None or not decision.events:
            self._bury(row)
            if code and copy.event.checkout_id not in self.forged:
                self.silent.add(copy.identity)
            return
        assert copy.number <= OTHER_MONEY, f"{copy.event.TYPE} about other money ends a checkout"
        accepted = copy.event.TYPE == "checkout.requested" and self.said(copy.event.checkout_id)["checkout.accepted"]
        assert not accepted, "a copy of its request undoes a checkout"
        self.given_up.add(copy.event.checkout_id)
        self.happened[f"given up: {copy.event.TYPE}"] += 1
        self._write(copy, decision)
        row.fate = Fate.COMPENSATING
        self._bury_compensated(copy)

    def _bury(self, row: Row, *, compensated: bool = False) -> None:
        row.fate, row.compensated = Fate.DEAD, compensated
        self.letters[row.copy.identity] = row.copy

    def _bury_compensated(self, copy: Copy) -> None:
        state = self.worlds[copy.consumer].current(copy.event.checkout_id)
        if state is not None and LET_GO[copy.consumer](state):
            for row in self.rows.compensating(copy.consumer, copy.event.checkout_id):
                self._bury(row, compensated=True)

    def _handled(self, copy: Copy) -> None:
        self.inbox.add((*copy.identity, copy.replay))
        self.rows.resolve(copy)
        self._bury_compensated(copy)

    def _write(self, copy: Copy, decision: Decision[Any]) -> None:
        if decision.state is not None:
            self.worlds[copy.consumer].keep(decision.state)
            self._check_state(copy.event, decision.state.status)
        for said in decision.events:
            self._check_map(copy.consumer, copy.event, said)
            self._publish(said)

    def _check_silent(self, copy: Copy, decision: Decision[Any]) -> None:
        """What is given up without a word waits for an engineer: only where nobody else waits for it."""
        if copy.identity in self.silent and copy.event.TYPE in ANNOUNCED:
            nothing = not decision.events and decision.call is None
            assert nothing, f"{copy.consumer} gave up {copy.event.TYPE} without a word"

    def _check_call(self, event: Event, call: Call) -> None:
        if isinstance(call, Authorize) and event.TYPE != "checkout.failed":
            known = self.worlds["payment"].current(event.checkout_id)
            assert known is not None
            assert known.expires_at is None or self.now < known.expires_at, "authorizes after the deadline"
            assert self.said(event.checkout_id)["warehouse.reserved"], "authorizes before stock is reserved"

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
