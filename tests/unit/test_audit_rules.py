"""The audit names every broken invariant and its offender, and finds nothing where nothing is broken."""

from collections import Counter
from collections.abc import Callable
from typing import Final
from uuid import UUID, uuid4

import pytest

from compose.audit.facts import (
    UNDER_WAY,
    Breach,
    CheckoutRow,
    Facts,
    Heard,
    LedgerEntry,
    LetterFact,
    PaymentRow,
    ReservationRow,
    StockRow,
    TrailRow,
    is_under_way,
)
from compose.audit.rules import INVARIANTS, STUCK_S, breaches
from schemas.choreography import SERVICES

TOTAL: Final = 2500
CONTENT: Final = 7
PAID, UNDONE, GIVEN_UP, REFUSED = "paid", "undone", "given-up", "refused"

# what each service went through, and what it said
TRAILS: Final = {
    PAID: {
        "checkout": ["accepted", "authorized", "capture_pending", "captured"],
        "payment": ["expected", "authorizing", "authorized", "capture_pending", "captured"],
        "warehouse": ["reserved", "committed"],
    },
    UNDONE: {
        "checkout": ["accepted", "authorized", "capture_pending", "capture_failed", "failed", "compensated"],
        "payment": [
            *("expected", "authorizing", "authorized", "capture_pending", "capture_failed"),
            *("capture_pending", "capture_refused", "voiding", "voided"),
        ],
        "warehouse": ["reserved", "committed", "released"],
    },
    GIVEN_UP: {
        "checkout": ["accepted", "failed", "compensated"],
        "payment": [
            *("expected", "authorization_delayed", "authorizing", "authorization_unknown"),
            *("authorizing", "authorization_abandoned", "voiding", "voided"),
        ],
        "warehouse": ["reserved", "released"],
    },
    REFUSED: {"checkout": ["failed"]},
}
SAID: Final = {
    PAID: [
        *("checkout.requested", "checkout.accepted", "warehouse.reserved", "payment.authorized"),
        *("checkout.confirmed", "warehouse.confirmed", "payment.captured", "checkout.completed"),
    ],
    UNDONE: [
        *("checkout.requested", "checkout.accepted", "warehouse.reserved", "payment.authorized"),
        *("checkout.confirmed", "warehouse.confirmed", "payment.delayed", "payment.capture_failed"),
        *("checkout.failed", "warehouse.released", "payment.voided"),
    ],
    GIVEN_UP: [
        *("checkout.requested", "checkout.accepted", "warehouse.reserved", "payment.delayed", "payment.delayed"),
        *("payment.declined", "checkout.failed", "warehouse.released", "payment.voided"),
    ],
    REFUSED: ["checkout.requested", "checkout.failed"],
}


def clean() -> Facts:
    """One checkout that was captured, one that was compensated, one whose payment was given up, one never accepted."""
    facts = Facts(
        checkouts={
            PAID: CheckoutRow("captured", True, TOTAL, "EUR", None, 1.0),
            UNDONE: CheckoutRow("compensated", True, TOTAL, "EUR", "CAPTURE_REFUSED", 1.0),
            GIVEN_UP: CheckoutRow("compensated", True, TOTAL, "EUR", "PAYMENT_TIMED_OUT", 1.0),
            REFUSED: CheckoutRow("failed", False, 1, "EUR", "TOTAL_MISMATCH", 1e9),
        },
        payments={
            PAID: PaymentRow("captured", "p-1", TOTAL),
            UNDONE: PaymentRow("voided", "p-2", TOTAL),
            GIVEN_UP: PaymentRow("voided", "p-4", TOTAL),
        },
        reservations={
            PAID: ReservationRow("committed", {"cup": 2, "pot": 1}),
            UNDONE: ReservationRow("released", {"cup": 3}),
            GIVEN_UP: ReservationRow("released", {"cup": 1}),
        },
        stock={"cup": StockRow(10, 8, 0, 2), "pot": StockRow(5, 4, 0, 1), "lid": StockRow(0, 0, 0, 0)},
        ledger={
            PAID: [entry("authorized", "p-1"), entry("captured", "p-1")],
            UNDONE: [entry("authorized", "p-2"), entry("capture_refused", "p-2", 0), entry("voided", "p-2")],
            GIVEN_UP: [entry("authorized", "p-4"), entry("voided", "p-4")],
        },
        trails={service: {} for service in SERVICES},
        published={key: {event: ids(count) for event, count in Counter(said).items()} for key, said in SAID.items()},
        heard={service: [] for service in SERVICES},
        inbox={service: {} for service in SERVICES},
        outbox=dict.fromkeys(SERVICES, 0),
        letters={service: set() for service in SERVICES},
    )
    for key, services in TRAILS.items():
        for service, states in services.items():
            facts.trails[service][key] = [
                TrailRow(before, after, uuid4()) for before, after in zip([None, *states], states, strict=False)
            ]
    for service in SERVICES:
        handled, letter = uuid4(), uuid4()
        facts.heard[service] = [heard(handled, 1), heard(letter, 2)]
        facts.letters[service] = {LetterFact(str(letter), "checkout.failed/0/2")}
        facts.written[service] = {str(letter)}
        facts.inbox[service] = {handled: {CONTENT}, letter: {None}}
    return facts


def ids(count: int) -> set[tuple[UUID, int]]:
    return {(uuid4(), CONTENT) for _ in range(count)}


def heard(identity: UUID, offset: int, content: int = CONTENT, refused_as: UUID | None = None) -> Heard:
    return Heard(identity, content, refused_as or uuid4(), f"checkout.failed/0/{offset}")


def entry(kind: str, payment_id: str, amount: int = TOTAL, currency: str = "EUR") -> LedgerEntry:
    return LedgerEntry(kind, payment_id, amount, currency)


# --- ways to break it: facts -> None --------------------------------------------------------------------------------

Break = Callable[[Facts], None]


def both(*changes: Break) -> Break:
    def broken(facts: Facts) -> None:
        for change in changes:
            change(facts)

    return broken


def step(service: str, key: str, before: str | None, after: str) -> Break:
    """One more row in an audit trail."""
    return lambda facts: facts.trails[service].setdefault(key, []).append(TrailRow(before, after, uuid4()))


def no_step(service: str, key: str, state: str) -> Break:
    """A row of an audit trail is missing."""

    def broken(facts: Facts) -> None:
        facts.trails[service][key] = [row for row in facts.trails[service][key] if row.to_state != state]

    return broken


def same_step(service: str, key: str, state: str, event: str | None) -> Break:
    """One event had its effect twice, and said so twice."""

    def broken(facts: Facts) -> None:
        [twice] = [row for row in facts.trails[service][key] if row.to_state == state]
        facts.trails[service][key].append(twice)
        if event is not None:
            said(key, event)(facts)

    return broken


def tries(key: str, *states: str) -> Break:
    """One message is tried as often as its payment passes these states, and says each time that it waits."""

    def tried(facts: Facts) -> None:
        cause, before = uuid4(), facts.trails["payment"][key][-1].to_state
        for state in states:
            facts.trails["payment"][key].append(TrailRow(before, state, cause))
            before = state
            if state in ("authorization_delayed", "authorization_unknown", "capture_failed"):
                said(key, "payment.delayed")(facts)

    return tried


def no_letter(service: str) -> Break:
    """A message that was given up, and whose letter is not there."""
    return lambda facts: facts.given_up.setdefault(service, set()).add(LetterFact("7", "checkout.failed/0/7"))


def said(key: str, event: str) -> Break:
    """One more event on a topic."""
    return lambda facts: facts.published.setdefault(key, {}).setdefault(event, set()).add((uuid4(), CONTENT))


def unsaid(key: str, event: str) -> Break:
    """An event is missing from its topic."""
    return lambda facts: facts.published[key].pop(event).clear()


def row(key: str, status: str = "accepted", *, accepted: bool = True, age_s: float = 1.0) -> Break:
    """A checkout is in this state."""

    def broken(facts: Facts) -> None:
        facts.checkouts[key] = CheckoutRow(status, accepted, TOTAL, "EUR", None, age_s)

    return broken


def ledger(key: str, *entries: LedgerEntry) -> Break:
    """The provider's journal of a checkout is another."""
    return lambda facts: facts.ledger.__setitem__(key, list(entries))


def total(key: str, minor: int, currency: str) -> Break:
    """The checkout's own total is another."""

    def broken(facts: Facts) -> None:
        facts.checkouts[key] = facts.checkouts[key]._replace(total_minor=minor, currency=currency)

    return broken


def stock(sku: str, received: int, on_hand: int, reserved: int, committed: int) -> Break:
    """A product's units are others."""
    return lambda facts: facts.stock.__setitem__(sku, StockRow(received, on_hand, reserved, committed))


def reservation(key: str, status: str) -> Break:
    """A reservation is in another state."""

    def broken(facts: Facts) -> None:
        facts.reservations[key] = facts.reservations[key]._replace(status=status)

    return broken


def no_reservation(facts: Facts) -> None:
    del facts.reservations[PAID]


def unpublished(facts: Facts) -> None:
    facts.outbox["payment"] = 3


def unheard(service: str) -> Break:
    """A message that a service has not handled."""
    return lambda facts: facts.heard[service].append(Heard(uuid4(), CONTENT, uuid4(), "checkout.accepted/2/7"))


def other_content(service: str) -> Break:
    """Another message under an identity that was handled, and no letter of it."""

    def change(facts: Facts) -> None:
        known = next(identity for identity, content in facts.inbox[service].items() if content != {None})
        facts.heard[service].append(Heard(known, CONTENT + 1, uuid4(), "checkout.accepted/2/7"))

    return change


ON_SHELF: Final = both(stock("cup", 10, 10, 0, 0), stock("pot", 5, 5, 0, 0))

BREAKS: Final[dict[str, tuple[Break, set[tuple[int, str]]]]] = {
    # 1: one end
    "completed, and then failed": (
        both(step("checkout", PAID, "captured", "failed"), said(PAID, "checkout.failed")),
        {(1, PAID)},
    ),
    "completed twice": (
        both(step("checkout", PAID, "failed", "captured"), said(PAID, "checkout.completed")),
        {(1, PAID)},
    ),
    "failed twice": (
        both(step("checkout", UNDONE, "compensated", "failed"), said(UNDONE, "checkout.failed")),
        {(1, UNDONE)},
    ),
    "accepted and stuck": (row("stuck", "accepted", age_s=STUCK_S + 1), {(1, "stuck")}),
    "authorized and stuck": (row("stuck", "authorized", age_s=STUCK_S + 1), {(1, "stuck")}),
    "without an answer to its capture and stuck": (row("stuck", "capture_failed", age_s=STUCK_S + 1), {(1, "stuck")}),
    "waiting for its capture and stuck": (row("stuck", "capture_pending", age_s=STUCK_S + 1), {(1, "stuck")}),
    "failed and never compensated": (row(UNDONE, "failed", age_s=STUCK_S + 1), {(1, UNDONE)}),
    "ended without a trace": (
        both(no_step("checkout", PAID, "captured"), unsaid(PAID, "checkout.completed")),
        {(1, PAID)},
    ),
    # 2: captured once
    "captured twice": (
        ledger(PAID, *[entry(kind, p) for p in ("p-1", "p-9") for kind in ("authorized", "captured")]),
        {(2, PAID)},
    ),
    "captured twice of one authorization": (
        ledger(PAID, entry("authorized", "p-1"), entry("captured", "p-1"), entry("captured", "p-1")),
        {(2, PAID), (3, PAID)},
    ),
    "captured without a confirmed reservation": (
        both(no_step("warehouse", PAID, "committed"), unsaid(PAID, "warehouse.confirmed")),
        {(2, PAID)},
    ),
    "captured less than authorized": (
        ledger(PAID, entry("authorized", "p-1", TOTAL + 9), entry("captured", "p-1"), entry("voided", "p-1", 9)),
        {(2, PAID)},
    ),
    "captured on another authorization": (
        ledger(PAID, entry("authorized", "p-1"), entry("captured", "p-9")),
        {(2, PAID)},
    ),
    "captured in another currency": (
        ledger(PAID, entry("authorized", "p-1"), entry("captured", "p-1", currency="USD")),
        {(2, PAID)},
    ),
    "captured more than the total": (total(PAID, TOTAL - 1, "EUR"), {(2, PAID)}),
    "captured in a currency that the total isn't in": (total(PAID, TOTAL, "USD"), {(2, PAID)}),
    # 3: nothing held
    "held after the failure": (
        ledger(UNDONE, entry("authorized", "p-2"), entry("capture_refused", "p-2", 0)),
        {(3, UNDONE)},
    ),
    "held in part": (
        ledger(UNDONE, entry("authorized", "p-2"), entry("voided", "p-2", TOTAL - 1)),
        {(3, UNDONE)},
    ),
    "held beside the capture": (
        ledger(PAID, entry("authorized", "p-1"), entry("captured", "p-1"), entry("authorized", "p-9")),
        {(3, PAID)},
    ),
    "failed, but the money was kept": (
        ledger(UNDONE, entry("authorized", "p-2"), entry("captured", "p-2")),
        {(3, UNDONE)},
    ),
    "failed, and refunded in part": (
        ledger(UNDONE, entry("authorized", "p-2"), entry("captured", "p-2"), entry("refunded", "p-2", 1)),
        {(3, UNDONE)},
    ),
    "completed, but refunded": (
        ledger(PAID, entry("authorized", "p-1"), entry("captured", "p-1"), entry("refunded", "p-1")),
        {(3, PAID)},
    ),
    "completed, but never captured": (
        ledger(PAID, entry("authorized", "p-1"), entry("voided", "p-1")),
        {(3, PAID)},
    ),
    "completed, but the provider knows nothing": (lambda facts: facts.ledger.pop(PAID).clear(), {(3, PAID)}),
    "money of a checkout that nobody knows": (
        ledger("stranger", entry("authorized", "p-9"), entry("voided", "p-9")),
        {(3, "stranger")},
    ),
    # 4: stock
    "units from nowhere": (stock("cup", 10, 9, 0, 2), {(4, "cup")}),
    "units gone": (stock("cup", 10, 7, 0, 2), {(4, "cup")}),
    "below zero": (stock("lid", 0, -1, 0, 1), {(4, "lid")}),
    "reserved for nobody": (stock("pot", 5, 3, 1, 1), {(4, "pot")}),
    "committed goods back on the shelf": (stock("cup", 10, 10, 0, 0), {(4, "cup")}),
    "completed, but its goods are released": (both(reservation(PAID, "released"), ON_SHELF), {(4, PAID)}),
    "completed, but its goods are only reserved": (
        both(reservation(PAID, "reserved"), stock("cup", 10, 8, 2, 0), stock("pot", 5, 4, 1, 0)),
        {(4, PAID)},
    ),
    "completed without a reservation": (both(no_reservation, ON_SHELF), {(4, PAID)}),
    "compensated, but its goods are committed": (
        both(reservation(UNDONE, "committed"), stock("cup", 10, 5, 0, 5)),
        {(4, UNDONE)},
    ),
    "compensated, but its goods are reserved": (
        both(reservation(UNDONE, "reserved"), stock("cup", 10, 5, 3, 2)),
        {(4, UNDONE)},
    ),
    "compensated, but its goods are on hold": (
        both(reservation(UNDONE, "confirm_failed"), stock("cup", 10, 5, 3, 2)),
        {(4, UNDONE)},
    ),
    # 5: committed and published
    "committed and not yet published": (unpublished, {(5, "payment")}),
    "published by nobody that we know": (said("ghost", "checkout.completed"), {(5, "ghost")}),
    "a second payment.captured": (said(PAID, "payment.captured"), {(5, PAID)}),
    "a release that nobody committed": (said(PAID, "warehouse.released"), {(5, PAID)}),
    # 6: never gone
    **{f"a message that {s} never handled": (unheard(s), {(6, f"{s} checkout.accepted/2/7")}) for s in SERVICES},
    **{
        f"another message under one identity, which {s} lost": (other_content(s), {(6, f"{s} checkout.accepted/2/7")})
        for s in SERVICES
    },
    **{f"a message that {s} gave up, without a letter": (no_letter(s), {(6, f"{s}.dlq")}) for s in SERVICES},
    # 7: one effect
    "an effect twice at checkout": (same_step("checkout", PAID, "capture_pending", None), {(7, PAID)}),
    "an effect twice at payment": (same_step("payment", PAID, "captured", "payment.captured"), {(7, PAID)}),
    "an effect twice at the warehouse": (same_step("warehouse", PAID, "committed", "warehouse.confirmed"), {(7, PAID)}),
    "a failed checkout undone twice": (same_step("payment", UNDONE, "voided", "payment.voided"), {(7, UNDONE)}),
    # together
    "two at once": (both(unpublished, stock("pot", 5, 3, 1, 1)), {(4, "pot"), (5, "payment")}),
}


def named(found: list[Breach]) -> set[tuple[int, str]]:
    return {(breach.invariant, breach.offender) for breach in found}


def test_where_nothing_is_broken_nothing_is_named() -> None:
    assert breaches(clean()) == []


@pytest.mark.parametrize(("broken", "expected"), BREAKS.values(), ids=BREAKS.keys())
def test_what_is_broken_is_named_and_nothing_else(broken: Break, expected: set[tuple[int, str]]) -> None:
    facts = clean()
    broken(facts)
    found = breaches(facts)
    assert named(found) == expected
    assert all(breach.what for breach in found)


@pytest.mark.parametrize(
    ("key", "event"),
    [(key, event) for key, events in SAID.items() for event in events if event != "checkout.requested"],
)
def test_an_event_that_is_missing_from_its_topic_is_named(key: str, event: str) -> None:
    facts = clean()
    unsaid(key, event)(facts)
    [breach] = breaches(facts)
    assert (breach.invariant, breach.offender) == (5, key)
    assert event in breach.what


@pytest.mark.parametrize(
    ("key", "event"),
    [(key, event) for key, events in SAID.items() for event in events if event != "checkout.requested"],
)
def test_an_event_that_nobody_committed_is_named(key: str, event: str) -> None:
    facts = clean()
    said(key, event)(facts)
    [breach] = breaches(facts)
    assert (breach.invariant, breach.offender) == (5, key)
    assert event in breach.what


ALLOWED: Final[dict[str, Break]] = {
    "the shop asks twice": said(PAID, "checkout.requested"),
    "the shop asks to cancel": said(PAID, "checkout.cancel_requested"),
    "an authorization that the provider let expire": ledger(
        UNDONE, entry("authorized", "p-2"), entry("expired", "p-2")
    ),
    "captured and refunded in full": ledger(
        UNDONE, entry("authorized", "p-2"), entry("captured", "p-2"), entry("refunded", "p-2")
    ),
    "declined at the provider": ledger(REFUSED, entry("declined", "p-3", 0)),
    "a wish to cancel that waits for its checkout": row("early", "cancelled_first", accepted=False, age_s=1e9),
    "a capture that is tried again and again": tries(PAID, *["capture_pending", "capture_failed"] * 5),
    "an authorization that is tried again and again": tries(
        GIVEN_UP, *["authorization_delayed", "authorizing", "authorization_unknown"] * 5
    ),
    "a note in the trail": step("checkout", PAID, "captured", "captured"),
    **{f"{status} and young": row("young", status) for status in UNDER_WAY},
    "failed and not compensated yet": row("young", "failed"),
    "money of a checkout that still moves": both(
        row("young", "authorized"), ledger("young", entry("authorized", "p-9"))
    ),
    "events of a checkout that still moves": both(row("young"), said("young", "checkout.accepted")),
}


@pytest.mark.parametrize("change", ALLOWED.values(), ids=ALLOWED.keys())
def test_what_is_allowed_is_not_named(change: Break) -> None:
    facts = clean()
    change(facts)
    assert breaches(facts) == []


def test_every_invariant_has_a_number_a_name_and_a_case() -> None:
    cases = Counter(number for _, expected in BREAKS.values() for number, _ in expected)
    assert set(cases) == set(range(1, len(INVARIANTS) + 1))
    for number, invariant in enumerate(INVARIANTS, start=1):
        assert (invariant.__doc__ or "").startswith(f"{number}. ")


@pytest.mark.parametrize(
    ("status", "accepted", "moves"),
    [
        ("cancelled_first", False, False),
        ("accepted", True, True),
        ("authorized", True, True),
        ("capture_pending", True, True),
        ("capture_failed", True, True),
        ("captured", True, False),
        ("failed", True, True),
        ("failed", False, False),
        ("compensated", True, False),
    ],
)
def test_a_checkout_is_under_way_until_everybody_has_let_go(status: str, accepted: bool, moves: bool) -> None:
    assert is_under_way(CheckoutRow(status, accepted, TOTAL, "EUR", None, 0.0)) is moves


def test_another_message_under_one_identity_is_fine_once_it_is_a_dead_letter() -> None:
    facts = clean()
    known, refused_as = next(iter(facts.inbox["payment"])), uuid4()
    facts.heard["payment"].append(heard(known, 9, CONTENT + 1, refused_as))
    assert breaches(facts)
    facts.inbox["payment"][refused_as] = {0}
    assert breaches(facts) == []


def test_an_event_that_all_its_listeners_set_aside_may_be_anybodys() -> None:
    facts = clean()
    said("ghost", "checkout.accepted")(facts)
    assert breaches(facts)
    [event] = facts.published["ghost"]["checkout.accepted"]
    facts.set_aside["payment"].add(event)
    assert breaches(facts)
    facts.set_aside["warehouse"].add(event)
    assert breaches(facts) == []


def test_one_identity_on_two_days_is_fine_with_the_content_of_each() -> None:
    facts = clean()
    known = next(iter(facts.inbox["payment"]))
    facts.heard["payment"].append(heard(known, 9, CONTENT + 1))
    assert breaches(facts)
    facts.inbox["payment"][known].add(CONTENT + 1)
    assert breaches(facts) == []


def test_a_letter_that_no_service_wrote_breaks_nothing_and_is_counted() -> None:
    facts = clean()
    assert facts.foreign_letters == 0
    facts.letters["warehouse"].add(LetterFact("forged", "payment.captured/0/812"))
    assert (breaches(facts), facts.foreign_letters) == ([], 1)
