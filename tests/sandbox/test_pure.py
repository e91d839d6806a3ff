"""The pure parts, under everything that hypothesis can think of."""

import ast
import sys
import uuid
from dataclasses import fields
from pathlib import Path
from random import Random
from sqlite3 import connect

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

import compose.sandbox
from compose.sandbox import tables
from compose.sandbox.cards import has_card_number, passes_luhn
from compose.sandbox.decisions import Moment, decide, notice_expiry
from compose.sandbox.idempotency import StoredKey
from compose.sandbox.model import Authorize, Capture, Command, Entry, Payment, Refund, Void, rfc3339

TTL_US = 1_000
AMOUNTS = st.integers(1, 30)  # small, so that equal, less and more all come up
TOKENS = st.sampled_from(["tok_ok", "tok_ok", "tok_capture_refused", "tok_decline_lost_card", "tok_delay_5"])


class Ledger(RuleBasedStateMachine):
    """Any commands in any order at any time; the invariants of money hold, and the journal accounts for all of it."""

    made = Bundle("made")

    def __init__(self) -> None:
        super().__init__()
        self.now_us = 1
        self.payments: dict[str, Payment] = {}
        self.entries: list[Entry] = []

    def decide(self, command: Command, payment: Payment | None) -> Payment:
        moment = Moment(self.now_us, "key", f"pay_{len(self.payments)}", TTL_US)
        outcome = decide(command, payment, moment)
        assert outcome.payment is not None
        self.payments[outcome.payment.payment_id] = outcome.payment
        self.entries += outcome.entries
        successes = [entry for entry in outcome.entries if entry.kind not in ("expired", "declined", "capture_refused")]
        assert len(successes) == (1 if outcome.answer.status == 200 else 0)
        return outcome.payment

    @rule(target=made, amount_minor=AMOUNTS, token=TOKENS)
    def authorize(self, amount_minor: int, token: str) -> str:
        return self.decide(Authorize("c", amount_minor, "EUR", token, None), None).payment_id

    @rule(payment_id=made, amount_minor=AMOUNTS)
    def capture(self, payment_id: str, amount_minor: int) -> None:
        self.decide(Capture(payment_id, amount_minor), self.payments[payment_id])

    @rule(payment_id=made)
    def void(self, payment_id: str) -> None:
        self.decide(Void(payment_id), self.payments[payment_id])

    @rule(payment_id=made, amount_minor=AMOUNTS)
    def refund(self, payment_id: str, amount_minor: int) -> None:
        self.decide(Refund(payment_id, amount_minor), self.payments[payment_id])

    @rule(us=st.integers(1, TTL_US))
    def time_passes(self, us: int) -> None:
        self.now_us += us

    @rule(payment_id=made)
    def tidy(self, payment_id: str) -> None:
        self.payments[payment_id], noticed = notice_expiry(self.payments[payment_id], self.now_us)
        self.entries += noticed

    def journaled(self, payment: Payment, kind: str) -> list[int]:
        return [e.amount_minor for e in self.entries if e.payment_id == payment.payment_id and e.kind == kind]

    @invariant()
    def captured_at_most_once_and_at_most_what_was_authorized(self) -> None:
        for payment in self.payments.values():
            captures = self.journaled(payment, "captured")
            assert len(captures) <= 1
            assert sum(captures) == payment.captured_minor <= sum(self.journaled(payment, "authorized"))

    @invariant()
    def refunded_at_most_what_was_captured(self) -> None:
        for payment in self.payments.values():
            assert sum(self.journaled(payment, "refunded")) == payment.refunded_minor <= payment.captured_minor

    @invariant()
    def an_authorization_ends_in_one_way_only(self) -> None:
        for payment in self.payments.values():
            ends = [kind for kind in ("captured", "voided", "expired", "declined") if self.journaled(payment, kind)]
            assert len(ends) <= 1
            assert bool(ends) == (payment.status != "authorized")
            assert len(self.journaled(payment, "voided")) <= 1

    @invariant()
    def nothing_is_captured_or_voided_after_its_time(self) -> None:
        for entry in self.entries:
            if entry.kind in ("captured", "voided"):
                assert entry.at_us < self.payments[entry.payment_id].capture_before_us


TestLedger = Ledger.TestCase
TestLedger.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)


@given(st.integers(0, 10**17))
def test_luhn_accepts_exactly_one_check_digit(number: int) -> None:
    assert [passes_luhn(f"{number}{digit}") for digit in range(10)].count(True) == 1


@pytest.mark.parametrize(
    "number", ["378282246310005", "5555555555554444", "6011111111111117", "2223003122003222", "4222222222222"]
)
@pytest.mark.parametrize("around", ["{}", "card={};", "a{}b", '{{"n":{}}}'])
def test_card_numbers_are_found(number: str, around: str) -> None:
    assert has_card_number(around.format(number))
    assert not has_card_number(around.format(number[:-1] + str((int(number[-1]) + 1) % 10)))


def test_no_uuid_is_taken_for_a_card_number() -> None:
    random = Random(1)
    for _ in range(50_000):
        name = uuid.UUID(int=random.getrandbits(128), version=4)
        assert not has_card_number(f"checkout:{name}:auth")
        assert not has_card_number(f'{{"checkout_id":"{name.hex}"}}')


def test_instants_are_rfc_3339_in_utc() -> None:
    assert rfc3339(1_795_500_000_000_001) == "2026-11-24T06:00:00.000001Z"


def test_columns_stand_in_the_order_of_the_fields() -> None:
    ledger = connect(":memory:")
    ledger.executescript(tables.SCHEMA)
    for table, value, skipped in (("payments", Payment, 1), ("journal", Entry, 1), ("keys", StoredKey, 0)):
        columns = [row[1] for row in ledger.execute(f"PRAGMA table_info({table})")]
        assert columns[skipped:] == [field.name for field in fields(value)]
    ledger.close()


def test_the_provider_imports_nothing_of_the_project() -> None:
    allowed = {*sys.stdlib_module_names, "aiohttp"}
    for path in Path(*compose.sandbox.__path__).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert all(name.split(".")[0] in allowed or name.startswith("compose.sandbox") for name in names), path
