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
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import compose.sandbox
from compose.sandbox import tables
from compose.sandbox.cards import has_card_number, passes_luhn
from compose.sandbox.decisions import Moment, decide, notice_expiry
from compose.sandbox.idempotency import StoredKey
from compose.sandbox.model import Authorize, Capture, Command, Entry, Payment, Refund, Void, rfc3339

TTL_US = 1_000
AMOUNTS = st.integers(1, 4)  # few, so that equal, less and more all come up
TOKENS = st.sampled_from(["tok_ok", "tok_ok", "tok_capture_refused", "tok_decline_lost_card", "tok_delay_5"])


def check(payment: Payment, entries: list[Entry]) -> None:
    """What holds of every payment at any time; the journal accounts for every unit of it."""

    def journaled(kind: str) -> list[int]:
        return [entry.amount_minor for entry in entries if entry.kind == kind]

    assert len(journaled("captured")) <= 1
    assert sum(journaled("captured")) == payment.captured_minor <= sum(journaled("authorized"))
    assert sum(journaled("refunded")) == payment.refunded_minor <= payment.captured_minor
    ends = [entry for entry in entries if entry.kind in ("captured", "voided", "expired", "declined")]
    assert len(ends) == (0 if payment.status == "authorized" else 1)
    assert all(end.at_us < payment.capture_before_us for end in ends if end.kind in ("captured", "voided"))


class Payments(RuleBasedStateMachine):
    """One payment, any commands in any order at any time: money adds up, and the journal accounts for all of it."""

    payment: Payment

    def __init__(self) -> None:
        super().__init__()
        self.now_us = 1
        self.entries: list[Entry] = []

    def decide(self, command: Command, payment: Payment | None) -> None:
        outcome = decide(command, payment, Moment(self.now_us, "key", "pay_1", TTL_US))
        assert outcome.payment is not None
        self.payment = outcome.payment
        self.entries += outcome.entries
        effects = [entry for entry in outcome.entries if entry.kind not in ("expired", "declined", "capture_refused")]
        assert len(effects) == (1 if outcome.answer.status == 200 else 0)

    @initialize(amount_minor=AMOUNTS, token=TOKENS)
    def authorize(self, amount_minor: int, token: str) -> None:
        self.decide(Authorize("c", amount_minor, "EUR", token, None), None)

    @rule(amount_minor=AMOUNTS)
    def capture(self, amount_minor: int) -> None:
        self.decide(Capture("pay_1", amount_minor), self.payment)

    @rule()
    def void(self) -> None:
        self.decide(Void("pay_1"), self.payment)

    @rule(amount_minor=AMOUNTS)
    def refund(self, amount_minor: int) -> None:
        self.decide(Refund("pay_1", amount_minor), self.payment)

    @rule(us=st.sampled_from([1, TTL_US // 2, TTL_US]))
    def time_passes(self, us: int) -> None:
        self.now_us += us

    @rule()
    def tidy(self) -> None:
        self.payment, noticed = notice_expiry(self.payment, self.now_us)
        self.entries += noticed

    @invariant()
    def money_adds_up(self) -> None:
        if self.entries:
            check(self.payment, self.entries)


TestPayments = Payments.TestCase
TestPayments.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)

COMMANDS: tuple[Command | None, ...] = (  # None: the time to live passes
    *(Capture("pay_1", amount_minor) for amount_minor in (1, 2, 3)),
    *(Refund("pay_1", amount_minor) for amount_minor in (1, 2, 3)),
    Void("pay_1"),
    None,
)


def follow(payment: Payment, entries: list[Entry], now_us: int, steps: int) -> int:
    """Every sequence of `steps` commands from here on; the number of states looked at."""
    check(payment, entries)
    if steps == 0:
        return 1
    looked_at = 1
    for command in COMMANDS:
        if command is None:
            looked_at += follow(payment, entries, now_us + TTL_US, steps - 1)
        else:
            outcome = decide(command, payment, Moment(now_us, "key", "unused", TTL_US))
            assert outcome.payment is not None
            looked_at += follow(outcome.payment, [*entries, *outcome.entries], now_us, steps - 1)
    return looked_at


@pytest.mark.parametrize("token", ["tok_ok", "tok_capture_refused"])
def test_no_sequence_of_four_commands_breaks_the_rules_of_money(token: str) -> None:
    made = decide(Authorize("c", 2, "EUR", token, None), None, Moment(1, "key", "pay_1", TTL_US))
    assert made.payment is not None
    assert follow(made.payment, list(made.entries), 1, steps=4) == 1 + 8 + 8**2 + 8**3 + 8**4


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
    allowed = {*sys.stdlib_module_names, "aiohttp", "uvloop"}
    for path in Path(*compose.sandbox.__path__).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert all(name.split(".")[0] in allowed or name.startswith("compose.sandbox") for name in names), path
