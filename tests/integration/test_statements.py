"""A batch costs the same number of SQL statements however many messages are in it, and one bad message few more."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import pytest
from confluent_kafka import Message
from sqlalchemy import Engine, text
from uuid_utils.compat import uuid7

from compose.bench.batches import statements_in, watch
from compose.setting_up import CUSTOMERS, PRODUCTS, stock
from dlq.letters import letter_from
from dlq.retry import retry_record
from outbox.add import Record
from schemas.choreography import SERVICES
from schemas.codec import UndecodableError
from schemas.decision import Unknown
from schemas.envelope import Envelope
from schemas.events import (
    CheckoutAccepted,
    CheckoutCancelRequested,
    CheckoutConfirmed,
    CheckoutFailed,
    CheckoutRequested,
    Event,
    Line,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentCaptureFailed,
    PaymentDeclined,
    PaymentDelayed,
    PaymentRefunded,
    PaymentVoided,
    WarehouseConfirmed,
    WarehouseConfirmFailed,
    WarehouseRejected,
    WarehouseReleased,
    WarehouseReserved,
)
from schemas.kafka.record import KafkaRecord, record_of
from services.checkout.service import CheckoutSettings
from services.checkout.service import make as make_checkout
from services.checkout.state import DeadlinePassed
from services.payment.provider.protocol import Authorized, Captured, Declined, Refunded, Refusal, Refused, Voided
from services.payment.provider.sandbox import SandboxProvider
from services.payment.service import PaymentSettings
from services.payment.service import make as make_payment
from services.shell.batch import Batch
from services.shell.calls import LOOKUP
from services.shell.case import Desk
from services.shell.claims import Claims
from services.shell.delivery import Delivery, from_timer
from services.shell.draft import Draft
from services.shell.engine import make_engine
from services.shell.flood import Flood
from services.shell.gate import Gate, Gates
from services.shell.reading import from_waiting, read_replay
from services.shell.scribe import Scribe
from services.shell.service import Service
from services.shell.settings import Settings, policy
from services.warehouse.decisions import ReservationExpired
from services.warehouse.service import WarehouseSettings
from services.warehouse.service import make as make_warehouse
from tests.servers import TestServers
from tests.system import System

FEW: Final = 5
MANY: Final = 500
SKUS: Final = sorted(sku for sku, units in PRODUCTS.items() if units and sku != "sku-on-hold")


@dataclass
class Cost:
    """What the database was asked for."""

    statements: int = 0
    commits: int = 0
    rollbacks: int = 0
    round_trips: int = field(default=0, compare=False)

    def __sub__(self, other: "Cost") -> "Cost":
        """What was asked for since `other`."""
        return Cost(
            self.statements - other.statements,
            self.commits - other.commits,
            self.rollbacks - other.rollbacks,
            self.round_trips - other.round_trips,
        )


class Bench:
    """One service's batches on its real database, without its process, and what they cost."""

    def __init__(self, system: System, service: Service, settings: Settings) -> None:
        self.system = system
        self.now = datetime.now(UTC)
        self._engine = make_engine(system.servers.database_url(service.name), service.name)
        self.name = service.name
        self.prefix = system.servers.topic_prefix
        self.letters: list[Record] = []
        self.gates = Gates(Gate(name, 1, 3600.0, 5000) for name in (*service.operations, LOOKUP))
        me = uuid4()
        scribe = Scribe(system.codec, service.name, self.prefix + service.name, self.prefix)
        # where everything fails on purpose, the rule against floods would keep it in Kafka
        flood = Flood(at_least=0, window=1)
        self._desk = Desk(service, scribe, policy(settings), self.gates, flood, me, chance=lambda: 0.0)
        self._batch = self._unbiased()
        self._claims = Claims(self._engine, me, lease_s=3600.0)
        self._offset = 0
        self.cost = _counted(self._engine)

    def _unbiased(self) -> Batch:
        """As in a process that has just started: what came before makes it doubt nothing."""
        return Batch(self._engine, self._desk, lambda: self.now)

    def ids(self, count: int) -> list[str]:
        """New checkouts."""
        name = uuid4().hex[:8]
        return [f"{name}-{number:04d}" for number in range(count)]

    def delivery(self, event: Event) -> Delivery:
        """An event as it comes from its topic."""
        envelope = Envelope(event, uuid7(), self.now)
        value = self.system.codec.encode(envelope)
        self._offset += 1
        origin = KafkaRecord(
            topic=self.prefix + event.TYPE,
            partition=0,
            offset=self._offset,
            timestamp=self.now,
            key=event.checkout_id.encode(),
            value=value,
            headers=[],
        )
        place = (origin.topic, origin.partition, origin.offset)
        identity = str(envelope.event_id)
        return Delivery(event.checkout_id, event, envelope.event_id, self.now, origin, place, letter_id=identity)

    def taken(self, ids: Sequence[str]) -> list[Delivery]:
        """What waits for these checkouts, when its time has long come."""
        self.now += timedelta(hours=1)
        rows = [row for row in self._claims.due(self.now, 100_000) if row.lane in set(ids)]
        return [from_waiting(row, self.system.codec, self.prefix) for row in rows]

    def replays(self, ids: Sequence[str]) -> list[Delivery]:
        """The dead letters of these checkouts, as a job sends them back."""
        wanted, job = set(ids), uuid4().hex
        return [self._replay(letter, job) for letter in self.letters if letter.key in wanted]

    def _replay(self, letter: Record, job: str) -> Delivery:
        lies = Message(
            topic=letter.topic, partition=0, offset=1, key=letter.kafka_key, value=letter.payload,
            headers=list(letter.headers), timestamp=(1, 0),
        )  # fmt: skip
        sent = retry_record(letter_from(lies, self.prefix), job)
        self._offset += 1
        again = Message(
            topic=self.prefix + sent.topic, partition=0, offset=self._offset, key=sent.key, value=sent.value,
            headers=list(sent.headers), timestamp=(1, 0),
        )  # fmt: skip
        return read_replay(record_of(again), self.system.codec, self.prefix)

    def shut(self) -> None:
        """The provider is down: no call is made."""
        self.gates["authorize"].breaker.open()

    def mend(self) -> None:
        """It is back."""
        for operation in self.gates.states():
            self.gates[operation].breaker.close()

    def waiting(self, checkout_id: str) -> list[tuple[str, str]]:
        """(error class, message) of what waits or waited for a checkout."""
        with self._engine.connect() as db:
            rows = db.execute(
                text("SELECT error_class, error_message FROM retries WHERE lane = :lane ORDER BY seq"),
                {"lane": checkout_id},
            )
            return [(row.error_class, row.error_message) for row in rows]

    def settle(self, deliveries: Sequence[Delivery]) -> Draft:
        """One batch."""
        draft = self._batch.settle(deliveries)
        for _, call in draft.calls:
            self.gates[call.operation].leave()
        self.letters += [record for record in draft.records if record.type == "dead_letter"]
        return draft

    def costs(self, deliveries: Sequence[Delivery]) -> tuple[Draft, Cost]:
        """One batch, and what it costs."""
        self._batch = self._unbiased()
        before = replace(self.cost)
        draft = self.settle(deliveries)
        return draft, self.cost - before

    def statuses(self, ids: Sequence[str]) -> set[str | None]:
        """The statuses of these checkouts."""
        return {self.system.status(self.name, checkout_id) for checkout_id in ids}


def _counted(engine: Engine) -> Cost:
    cost = Cost()

    def seen(sent: str) -> None:
        cost.statements += statements_in(sent)
        cost.commits += sent.endswith("COMMIT")
        cost.rollbacks += sent == "ROLLBACK"
        cost.round_trips += not sent.startswith("PREPARE")

    engine.dispose()
    watch(engine, seen)
    return cost


@pytest.fixture(scope="module")
def benches(servers: TestServers, scratch: Path) -> Iterator[dict[str, Bench]]:
    with System(servers, scratch, services=()) as system:
        values: dict[str, Any] = {
            "kafka_bootstrap_servers": servers.kafka,
            "schema_registry_url": servers.registry,
            "payment_provider_url": system.env["PAYMENT_PROVIDER_URL"],
            "retry_attempts": 2,
            **{f"{service.upper()}_DATABASE_URL": system.servers.database_url(service) for service in SERVICES},
        }
        payment = PaymentSettings(**values)
        provider = SandboxProvider(payment.payment_provider_url, 10, 10)
        checkout, warehouse = CheckoutSettings(**values), WarehouseSettings(**values)
        made: list[tuple[Service, Settings]] = [
            (make_checkout(checkout), checkout),
            (make_payment(provider, payment), payment),
            (make_warehouse(warehouse), warehouse),
        ]
        stock(system.servers, {"sku-poison": 1_000_000})
        for name, constraint in _NO_POISON.items():
            system.execute(name, constraint)
        yield {service.name: Bench(system, service, settings) for service, settings in made}


# --- what comes: (bench, checkouts) -> deliveries, one or more for each checkout ------------------------------------

Step = Callable[[Bench, list[str]], list[Delivery]]
FAR: Final = datetime(2100, 1, 1, tzinfo=UTC)


def hear(kind: Callable[..., Event], **fields: Any) -> Step:
    """One event of this kind for every checkout."""
    return lambda bench, ids: [bench.delivery(kind(checkout_id=checkout_id, **fields)) for checkout_id in ids]


def basket(number: int, count: int = 2, sku: str = "") -> dict[str, Any]:
    """Who buys what: other customers and other products in every checkout."""
    customer = CUSTOMERS[number % len(CUSTOMERS)]
    skus = [sku] if sku else [SKUS[(number + n) % len(SKUS)] for n in range(count)]
    return {
        "customer_id": customer,
        "payment_method_id": f"{customer}:ok",
        "currency": "EUR",
        "total_minor": 100 * len(skus),
        "lines": tuple(Line(sku=sku, quantity=1, unit_price_minor=100) for sku in skus),
    }


def request(count: int = 2, **other: Any) -> Step:
    """checkout.requested with `count` lines."""
    return lambda bench, ids: [
        bench.delivery(CheckoutRequested(checkout_id=id_, **(basket(n, count) | other))) for n, id_ in enumerate(ids)
    ]


def accept(count: int = 2, sku: str = "", **other: Any) -> Step:
    """checkout.accepted with `count` lines."""
    return lambda bench, ids: [
        bench.delivery(CheckoutAccepted(checkout_id=id_, expires_at=FAR, **(basket(n, count, sku) | other)))
        for n, id_ in enumerate(ids)
    ]


def answer(asking: Step, said: Callable[[str], object]) -> Step:
    """What asked the provider, once it has answered."""

    def answered(bench: Bench, ids: list[str]) -> list[Delivery]:
        asked = [delivery for delivery, _ in bench.settle(asking(bench, ids)).calls]
        assert len(asked) == len(ids)
        for delivery in asked:
            delivery.answer = said(delivery.key)
        return asked

    return answered


def timer(kind: Callable[..., Event]) -> Step:
    """A timer of the service, for every checkout, when its time has long passed."""

    def due(bench: Bench, ids: list[str]) -> list[Delivery]:
        bench.now += timedelta(days=1)
        return [from_timer(kind(checkout_id=checkout_id), bench.now) for checkout_id in ids]

    return due


def again(step: Step) -> Step:
    """The very same deliveries a second time."""

    def repeated(bench: Bench, ids: list[str]) -> list[Delivery]:
        deliveries = step(bench, ids)
        bench.settle(deliveries)
        return deliveries

    return repeated


def unreadable(bench: Bench, ids: list[str]) -> list[Delivery]:
    """Messages that can't be read."""
    return [replace(d, event=None, defect=UndecodableError("not Avro")) for d in request()(bench, ids)]


def waiting(bench: Bench, ids: list[str]) -> list[Delivery]:
    """What waits in the retry table."""
    return bench.taken(ids)


def replayed(bench: Bench, ids: list[str]) -> list[Delivery]:
    """The dead letters, sent back."""
    return bench.replays(ids)


def down(step: Step) -> Step:
    """The same while the provider is down."""

    def shut(bench: Bench, ids: list[str]) -> list[Delivery]:
        deliveries = step(bench, ids)
        bench.shut()
        return deliveries

    return shut


def mixed(*parts: tuple[Step, ...]) -> Step:
    """A part of the checkouts each: all but the last step of a part have been heard before."""

    def all_of_it(bench: Bench, ids: list[str]) -> list[Delivery]:
        shares = [ids[n :: len(parts)] for n in range(len(parts))]
        return [d for steps, share in zip(parts, shares, strict=True) for d in prepared(bench, share, steps)]

    return all_of_it


def prepared(bench: Bench, ids: list[str], steps: Sequence[Step]) -> list[Delivery]:
    """The last step's deliveries, after the others were settled."""
    for step in steps[:-1]:
        bench.settle(step(bench, ids))
    return steps[-1](bench, ids)


def held(key: str) -> Authorized:
    return Authorized(payment_id=f"p-{key}", capture_before=FAR)


def always(said: object) -> Callable[[str], object]:
    return lambda _key: said


cancel = hear(CheckoutCancelRequested, reason="no")
authorized = hear(PaymentAuthorized, payment_id="p", amount_minor=200, currency="EUR", capture_before=FAR)
captured = hear(PaymentCaptured, payment_id="p", amount_minor=200, currency="EUR")
capture_failed = hear(PaymentCaptureFailed, code="CAPTURE_REFUSED")
declined = hear(PaymentDeclined, code="INSUFFICIENT_FUNDS")
voided = hear(PaymentVoided, outcome="nothing", amount_minor=0)
refunded = hear(PaymentRefunded, payment_id="p", amount_minor=200, currency="EUR")
reserved = hear(WarehouseReserved, expires_at=FAR)
rejected = hear(WarehouseRejected, code="OUT_OF_STOCK")
committed = hear(WarehouseConfirmed)
confirm_failed = hear(WarehouseConfirmFailed, code="STOCK_ON_HOLD")
lapsed = hear(WarehouseReleased, outcome="lapsed")
released = hear(WarehouseReleased, outcome="released")
confirmed = hear(CheckoutConfirmed, order_id=UUID(int=1))
failed = hear(CheckoutFailed, customer_id="c", code="CANCELLED", message="Sorry.", detail="", accepted=True)
never_accepted = hear(CheckoutFailed, customer_id="c", code="NO_LINES", message="Sorry.", detail="", accepted=False)

delayed = hear(PaymentDelayed, operation="authorize", code="PAYMENT_UNAVAILABLE", message="Wait.", attempts=1)
no_answer = always(Unknown(attempts=1, timed_out=True))

holding = answer(reserved, held)
taking = answer(committed, always(Captured(amount_minor=200)))
refusing = answer(committed, always(Refused(refusal=Refusal.BY_BANK, provider_code="no")))

Batches = dict[tuple[str, str], tuple[tuple[Step, ...], int | Cost]]


def found_waiting(statements: int) -> Cost:
    """Nothing was expected to wait before this batch: the first two statements are refused, then one more is asked."""
    return Cost(statements + 3, commits=1, rollbacks=1)


# (service, what the batch is): what comes, the last step being the batch; SQL statements.
# Always: what was handled (1; not of timers and rows), what waits in these lanes (1), the states (1). Where there is
# any of it: states saved (1), audit trail (1), events, letters and ledger (1), handled (1); at the warehouse stock read
# (1) and saved (1); at the payment methods read (1). Of what waits: saved (1), deleted (1), who is next (1).
BATCHES: Final[Batches] = {
    ("checkout", "requested"): ((request(),), 6),
    ("checkout", "requested against the rules"): ((request(total_minor=1),), 6),
    ("checkout", "requested and cancelled before"): ((cancel, request()), 6),
    ("checkout", "the same events again"): ((again(request()),), Cost(5, commits=1, rollbacks=1)),
    ("checkout", "the same requests as new events"): ((request(), request()), 3),
    ("checkout", "other requests under known ids"): ((request(), request(3)), 6),
    ("checkout", "unreadable"): ((unreadable,), 5),
    ("checkout", "of checkouts that nobody knows"): ((authorized,), 5),
    ("checkout", "events before their time, taken again and handled"): ((authorized, request(), waiting), 7),
    ("checkout", "events before their time, taken again too early"): ((authorized, waiting), 4),
    ("checkout", "more events before their time"): ((authorized, delayed), found_waiting(5)),
    ("checkout", "payment delayed"): ((request(), delayed), 5),
    ("checkout", "replays of what was refused"): ((request(), request(3), replayed), 6),
    ("checkout", "cancel requested"): ((request(), cancel), 6),
    ("checkout", "cancel requested first"): ((cancel,), 5),
    ("checkout", "cancel requested too late"): ((request(), authorized, captured, cancel), 4),
    ("checkout", "authorized"): ((request(), authorized), 6),
    ("checkout", "warehouse confirmed"): ((request(), authorized, committed), 5),
    ("checkout", "captured"): ((request(), authorized, committed, captured), 6),
    ("checkout", "captured, heard first"): ((request(), authorized, captured), 6),
    ("checkout", "warehouse rejected"): ((request(), rejected), 6),
    ("checkout", "declined"): ((request(), declined), 6),
    ("checkout", "confirm failed"): ((request(), authorized, confirm_failed), 6),
    ("checkout", "capture failed"): ((request(), authorized, committed, capture_failed), 6),
    ("checkout", "reservation lapsed"): ((request(), lapsed), 6),
    ("checkout", "stock let go"): ((request(), declined, released), 4),
    ("checkout", "money let go"): ((request(), declined, voided), 4),
    ("checkout", "both let go"): ((request(), declined, released, voided), 5),
    ("checkout", "both let go, refunded"): ((request(), cancel, released, refunded), 5),
    ("checkout", "deadline passed"): ((request(), timer(DeadlinePassed)), 5),
    ("checkout", "a bit of everything"): (
        (
            mixed(
                (request(),),
                (request(), authorized),
                (request(), declined),
                (request(), declined, released),
                (unreadable,),
            ),
        ),
        9,
    ),
    ("warehouse", "accepted"): ((accept(),), 8),
    ("warehouse", "accepted and out of stock"): ((accept(sku="sku-rare"),), 7),
    ("warehouse", "accepted, product unknown"): ((accept(sku="sku-none"),), 7),
    ("warehouse", "accepted, failed before"): ((failed, accept()), 4),
    ("warehouse", "confirmed"): ((accept(), confirmed), 8),
    ("warehouse", "confirmed, on hold"): ((accept(sku="sku-on-hold"), confirmed), 7),
    ("warehouse", "confirmed without a reservation"): ((confirmed,), 5),
    ("warehouse", "failed, reserved"): ((accept(), failed), 8),
    ("warehouse", "failed, committed"): ((accept(), confirmed, failed), 8),
    ("warehouse", "failed, nothing held"): ((failed,), 6),
    ("warehouse", "failed without being accepted"): ((never_accepted,), 3),
    ("warehouse", "reservation lapsed"): ((accept(), timer(ReservationExpired)), 7),
    ("warehouse", "a bit of everything"): (
        (mixed((accept(),), (accept(sku="sku-rare"),), (accept(), confirmed), (accept(), failed), (failed,)),),
        9,
    ),
    ("payment", "accepted"): ((accept(),), 6),
    ("payment", "accepted, method unknown"): ((accept(payment_method_id="nobody:ok"),), 7),
    ("payment", "accepted, not the owner"): ((accept(customer_id="somebody"),), 7),
    ("payment", "reserved: asks the provider"): ((accept(), reserved), 4),
    ("payment", "reserved first"): ((reserved,), 5),
    ("payment", "accepted last: asks the provider"): ((reserved, accept()), 5),
    ("payment", "authorized"): ((accept(), holding), 6),
    ("payment", "declined"): ((accept(), answer(reserved, always(Declined(code="X", provider_code="x")))), 6),
    ("payment", "confirmed: asks the provider"): ((accept(), holding, committed), 4),
    ("payment", "captured"): ((accept(), holding, taking), 6),
    ("payment", "capture failed"): ((accept(), holding, refusing), 6),
    ("payment", "confirmed without an authorization"): ((committed,), 5),
    ("payment", "failed, nothing held"): ((accept(), failed), 6),
    ("payment", "failed: asks the provider"): ((accept(), holding, failed), 4),
    ("payment", "voided"): ((accept(), holding, answer(failed, always(Voided()))), 6),
    ("payment", "refunded"): ((accept(), holding, taking, answer(failed, always(Refunded(amount_minor=200)))), 6),
    ("payment", "no answer: into the retry table"): ((accept(), answer(reserved, no_answer)), 8),
    ("payment", "the provider is down: into the retry table"): ((accept(), down(reserved)), 8),
    ("payment", "parked behind what waits"): ((accept(), answer(reserved, no_answer), failed), found_waiting(5)),
    ("payment", "taken from the retry table: asks the provider"): ((accept(), answer(reserved, no_answer), waiting), 4),
    ("payment", "taken from the retry table and handled"): (
        (accept(), answer(reserved, no_answer), answer(waiting, held)),
        7,
    ),
    ("payment", "taken from the retry table and given up"): (
        (accept(), answer(reserved, no_answer), answer(waiting, no_answer)),
        7,
    ),
    ("payment", "given up, and let go: the letters follow"): (
        (
            accept(),
            answer(reserved, no_answer),
            answer(waiting, no_answer),
            answer(failed, always(Declined(code="X", provider_code="x"))),
        ),
        found_waiting(8),
    ),
    ("payment", "answers that fit no rule: dead letters"): ((accept(), answer(reserved, always("nonsense"))), 6),
    ("payment", "replays: ask the provider"): ((accept(), answer(reserved, always("nonsense")), replayed), 2),
    ("payment", "replays: handled"): ((accept(), answer(reserved, always("nonsense")), answer(replayed, held)), 8),
    ("payment", "replays: too late"): (
        (
            accept(),
            answer(reserved, always("nonsense")),
            answer(failed, always(Declined(code="X", provider_code="x"))),
            replayed,
        ),
        6,
    ),
    ("payment", "a bit of everything"): (
        (
            mixed(
                (accept(),),
                (accept(), reserved),
                (accept(), holding),
                (accept(payment_method_id="nobody:ok"),),
                (failed,),
            ),
        ),
        8,
    ),
}


@pytest.mark.parametrize("size", [FEW, MANY])
@pytest.mark.parametrize(("service", "batch"), BATCHES, ids=lambda name: name)
def test_a_batch_is_one_transaction_of_as_many_statements_whatever_its_size(
    benches: dict[str, Bench], service: str, batch: str, size: int
) -> None:
    bench = benches[service]
    steps, statements = BATCHES[service, batch]
    deliveries = prepared(bench, bench.ids(size), steps)
    draft, cost = bench.costs(deliveries)
    bench.mend()
    settled = [*draft.done, *draft.duplicates, *draft.calls]
    assert len(settled) == len(deliveries) == size
    assert cost == (statements if isinstance(statements, Cost) else Cost(statements, commits=1))


@pytest.mark.parametrize(
    ("service", "batch", "round_trips"),
    [
        ("checkout", "requested", 2),
        ("checkout", "authorized", 2),
        ("payment", "accepted", 3),
        ("payment", "reserved: asks the provider", 2),
        ("payment", "authorized", 2),
        ("warehouse", "accepted", 3),
        ("warehouse", "confirmed", 3),
    ],
)
def test_a_small_batch_reads_and_writes_in_as_few_round_trips_as_it_can(
    benches: dict[str, Bench], service: str, batch: str, round_trips: int
) -> None:
    bench = benches[service]
    deliveries = prepared(bench, bench.ids(FEW), BATCHES[service, batch][0])
    _, cost = bench.costs(deliveries)
    assert cost.round_trips == round_trips


@pytest.mark.parametrize("service", SERVICES)
def test_an_empty_batch_costs_no_more(benches: dict[str, Bench], service: str) -> None:
    _, cost = benches[service].costs([])
    assert cost.statements <= 3


@pytest.mark.parametrize(
    ("service", "make"),
    [("checkout", request), ("warehouse", accept), ("payment", accept)],
    ids=["checkout", "warehouse", "payment"],
)
def test_a_checkout_of_many_lines_costs_no_more_than_one_of_one_line(
    benches: dict[str, Bench], service: str, make: Callable[[int], Step]
) -> None:
    bench = benches[service]
    costs = [bench.costs(make(count)(bench, bench.ids(20)))[1] for count in (1, 10, 90)]
    assert costs[0] == costs[1] == costs[2]


def test_a_key_that_waits_for_its_provider_call_holds_up_its_own_later_messages_only(
    benches: dict[str, Bench],
) -> None:
    bench, ids = benches["payment"], benches["payment"].ids(FEW)
    bench.settle(accept()(bench, ids))
    draft, cost = bench.costs([*reserved(bench, ids), *failed(bench, ids[:2])])
    assert (len(draft.calls), [d.key for d in draft.postponed], cost.commits) == (FEW, ids[:2], 1)


# --- one bad message among good ones --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Poison:
    """A message that can't be settled, among others that can. status: what the others come to."""

    service: str
    before: tuple[Step, ...]
    good: Step
    bad: Step
    reason: str
    status: str


UNSTORABLE: Final = {
    "a customer that the checkouts refuse": Poison(
        "checkout", (), request(), request(customer_id="unstorable"), "no_poison", "accepted"
    ),
    "a customer that the payments refuse": Poison(
        "payment", (), accept(), accept(customer_id="unstorable"), "no_poison", "expected"
    ),
    "a product that the reservations refuse": Poison(
        "warehouse", (), accept(), accept(sku="sku-poison"), "no_poison", "reserved"
    ),
}
"""What a decision lets pass and a constraint of the table does not."""
_NO_POISON: Final = {
    "checkout": "ALTER TABLE checkouts ADD CONSTRAINT no_poison CHECK (customer_id <> 'unstorable')",
    "payment": "ALTER TABLE payments ADD CONSTRAINT no_poison CHECK (customer_id <> 'unstorable')",
    "warehouse": "ALTER TABLE reservations ADD CONSTRAINT no_poison CHECK (units::text NOT LIKE '%sku-poison%')",
}


def poisoned(bench: Bench, poison: Poison, size: int) -> tuple[Draft, Cost, list[str]]:
    """A batch of `size` with one bad message somewhere in it; the checkouts, the bad one's first."""
    ids = bench.ids(size)
    good = prepared(bench, ids[1:], (*poison.before, poison.good))
    bad = prepared(bench, ids[:1], (*poison.before, poison.bad))
    place = size // 3
    draft, cost = bench.costs([*good[:place], *bad, *good[place:]])
    return draft, cost, ids


def letters(draft: Draft) -> list[tuple[str, str]]:
    """(checkout, reason) of the dead letters that a batch wrote."""
    return [
        (record.key, (dict(record.headers)["dlq-error-message"] or b"").decode())
        for record in draft.records
        if record.type == "dead_letter"
    ]


def assert_alone(bench: Bench, poison: Poison, draft: Draft, ids: list[str]) -> None:
    """One message waits to be tried again, everything else is settled."""
    assert (draft.retried, draft.dead, letters(draft)) == ([("not_storable", 1)], [], [])
    [(name, reason)] = bench.waiting(ids[0])
    assert name == "NotStorableError"
    assert poison.reason in reason
    assert sorted(d.key for d in draft.done) == sorted(ids)
    assert bench.statuses(ids[1:]) == {poison.status}


@pytest.mark.parametrize("poison", UNSTORABLE.values(), ids=UNSTORABLE.keys())
def test_what_cannot_be_stored_is_split_from_its_batch_and_the_others_are_settled(
    benches: dict[str, Bench], poison: Poison
) -> None:
    bench = benches[poison.service]
    draft, _, ids = poisoned(bench, poison, 20)
    assert_alone(bench, poison, draft, ids)


@pytest.mark.parametrize("poison", UNSTORABLE.values(), ids=UNSTORABLE.keys())
def test_splitting_costs_the_logarithm_of_the_size(benches: dict[str, Bench], poison: Poison) -> None:
    bench = benches[poison.service]
    costs = [poisoned(bench, poison, size)[1] for size in (8, 64, 512)]
    # halving: at each size one half fails and the other commits; the last one alone is set aside
    first, second, third = [(cost.commits, cost.rollbacks) for cost in costs]
    assert (first[0], second[0], third[0]) == (4, 7, 10)
    assert third[1] - second[1] == second[1] - first[1] == 3
    assert costs[2].statements - costs[1].statements == costs[1].statements - costs[0].statements


def test_a_batch_of_bad_messages_only_is_settled_too(benches: dict[str, Bench]) -> None:
    bench, poison = benches["payment"], UNSTORABLE["a customer that the payments refuse"]
    ids = bench.ids(7)
    draft = bench.settle(poison.bad(bench, ids))
    assert draft.retried == [("not_storable", 1)] * 7
    assert all(bench.waiting(checkout_id) for checkout_id in ids)
    assert bench.statuses(ids) == {None}


def test_what_can_never_be_stored_is_announced_at_last(benches: dict[str, Bench]) -> None:
    bench, poison = benches["payment"], UNSTORABLE["a customer that the payments refuse"]
    ids = bench.ids(1)
    bench.settle(poison.bad(bench, ids))
    for attempt in (2, 3, 4):
        assert bench.settle(bench.taken(ids)).retried == [("not_storable", attempt)]
    draft = bench.settle(bench.taken(ids))
    assert ([record.type for record in draft.records], draft.retried) == (["payment.declined"], [])
    assert bench.statuses(ids) == {"declined"}
    let_go = bench.settle(failed(bench, ids))
    assert [key for key, _ in letters(let_go)] == ids


DECIDED_BADLY: Final = Poison(
    "payment", (accept(),), holding, answer(reserved, always("nonsense")), "nonsense", "authorized"
)


def test_an_answer_that_fits_no_rule_is_a_dead_letter_in_the_same_transaction(benches: dict[str, Bench]) -> None:
    bench = benches[DECIDED_BADLY.service]
    draft, cost, ids = poisoned(bench, DECIDED_BADLY, 20)
    [(key, reason)] = letters(draft)
    assert (key, DECIDED_BADLY.reason in reason) == (ids[0], True)
    assert [(row.disposition, row.operation) for row in draft.dead] == [("unsafe", "authorize")]
    assert sorted(d.key for d in draft.done) == sorted(ids)
    assert bench.statuses(ids[1:]) == {DECIDED_BADLY.status}
    assert cost == Cost(8, commits=1)


# --- what the batches of the retry table come to ----------------------------------------------------------------------


def test_what_waits_is_parked_tried_again_and_handled_in_order(benches: dict[str, Bench]) -> None:
    bench = benches["payment"]
    ids = bench.ids(FEW)
    unanswered = bench.settle(prepared(bench, ids, (accept(), answer(reserved, no_answer))))
    assert unanswered.retried == [("provider", 1)] * FEW
    assert bench.statuses(ids) == {"authorization_unknown"}
    parked = bench.settle(failed(bench, ids))
    assert (parked.records, parked.calls, bench.statuses(ids)) == ([], [], {"authorization_unknown"})
    assert [name for name, _ in bench.waiting(ids[0])] == ["ProviderTimeout", ""]
    again = bench.taken(ids)
    assert [d.event_type for d in again if d.key == ids[0]] == ["warehouse.reserved", "checkout.failed"]
    asked = bench.settle(again)
    assert len(asked.postponed) == FEW, "what is behind waits for the call"
    for delivery, _ in asked.calls:
        delivery.answer = held(delivery.key)
    handled = bench.settle([delivery for delivery, _ in asked.calls])
    assert bench.statuses(ids) == {"authorized"}
    assert {record.type for record in handled.records} == {"payment.authorized"}
    voids = bench.settle(asked.postponed)
    assert {call.operation for _, call in voids.calls} == {"void"}


def test_what_is_given_up_is_announced_and_its_letter_follows_when_all_is_let_go(benches: dict[str, Bench]) -> None:
    bench = benches["payment"]
    ids = bench.ids(FEW)
    steps = (accept(), answer(reserved, no_answer), answer(waiting, no_answer))
    given_up = bench.settle(prepared(bench, ids, steps))
    assert {record.type for record in given_up.records} == {"payment.declined"}
    assert bench.statuses(ids) == {"authorization_abandoned"}
    let_go = bench.settle(answer(failed, always(Declined(code="X", provider_code="x")))(bench, ids))
    assert {key for key, _ in letters(let_go)} == set(ids)
    found = [dict(record.headers) for record in let_go.records if record.type == "dead_letter"]
    assert {headers["dlq-compensation"] for headers in found} == {b"compensated"}
    late = bench.settle(bench.replays(ids))
    assert {record.type for record in late.records} == {"dlq.ledger"}
    assert all(b'"too_late"' in (record.payload or b"") for record in late.records)


def test_a_confirmation_after_the_lapse_is_in_the_trail(benches: dict[str, Bench]) -> None:
    bench = benches["warehouse"]
    ids = bench.ids(1)
    bench.settle(prepared(bench, ids, (accept(), timer(ReservationExpired), confirmed)))
    assert bench.system.trail("warehouse", ids[0]) == ["reserved", "lapsed", "lapsed"]


FORGED: Final = {
    "a payment method with NUL": ("payment", accept(payment_method_id="a\0b"), "expected"),
    "an amount below zero": ("payment", accept(total_minor=-1), "expected"),
    "a product with NUL": ("warehouse", accept(sku="a\0b"), "reserved"),
}


@pytest.mark.parametrize(("service", "bad", "status"), FORGED.values(), ids=FORGED)
def test_what_can_not_be_accepted_is_a_letter_at_once_and_splits_no_batch(
    benches: dict[str, Bench], service: str, bad: Step, status: str
) -> None:
    bench = benches[service]
    draft, cost, ids = poisoned(bench, Poison(service, (), accept(), bad, "", status), 20)
    [(key, reason)] = letters(draft)
    assert (key, reason.startswith("checkout.accepted: ")) == (ids[0], True)
    assert {row.disposition for row in draft.dead} == {"unsafe"}
    assert bench.statuses(ids[1:]) == {status}
    assert (cost.commits, cost.rollbacks) == (1, 0)
