"""What a sound request is: every rule at its boundary, and what must never be kept."""

from dataclasses import replace
from datetime import timedelta
from typing import Any, Final
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from schemas.decision import Decision
from schemas.events import CheckoutRequested, Line
from schemas.failures import Code
from schemas.limits import CURRENCIES, MAX_TOTAL_MINOR, short
from services.checkout.decisions import handlers
from services.checkout.rules import problem_of

from . import making as a

INT32: Final = 2**31 - 1
INT64: Final = 2**63 - 1
CARD: Final = "4242424242424242"  # a test number of card schemes; passes Luhn
TOO_LONG: Final = "x" * 65


def request(*lines: Line, **changes: Any) -> CheckoutRequested:
    """A request whose total fits its lines unless `changes` says otherwise."""
    total = sum(line.quantity * line.unit_price_minor for line in lines)
    whole: dict[str, Any] = {"lines": lines, "total_minor": total}
    return replace(a.REQUESTED, **(whole | changes))


def line(quantity: int = 1, price: int = 100, sku: str = "cup") -> Line:
    return Line(sku=sku, quantity=quantity, unit_price_minor=price)


def code_of(asked: CheckoutRequested) -> Code | None:
    problem = problem_of(asked, a.AT)
    return problem.code if problem else None


LINES: Final = {
    "no lines": (request(), Code.NO_LINES),
    "one line": (request(line()), None),
    "200 lines": (request(*[line()] * 200), None),
    "201 lines": (request(*[line()] * 201), Code.TOO_MANY_LINES),
    "quantity 1": (request(line(1)), None),
    "quantity 0": (request(line(0), total_minor=100), Code.INVALID_LINE),
    "quantity -1": (request(line(-1), total_minor=100), Code.INVALID_LINE),
    "quantity 10000": (request(line(10_000, 1)), None),
    "quantity 10001": (request(line(10_001, 1)), Code.INVALID_LINE),
    "quantity 2**31-1": (request(line(INT32, 1), total_minor=100), Code.INVALID_LINE),
    "a present beside a paid line": (request(line(price=0), line()), None),
    "a negative price": (request(line(price=-1), line()), Code.INVALID_LINE),
    "the last line is wrong": (request(*[line()] * 199, line(0)), Code.INVALID_LINE),
    "an empty sku": (request(line(sku="")), Code.INVALID_LINE),
    "a sku of 64": (request(line(sku="x" * 64)), None),
    "a sku of 65": (request(line(sku=TOO_LONG)), Code.INVALID_LINE),
    "a sku with a blank": (request(line(sku="tea cup")), Code.INVALID_LINE),
    "a sku with a line end": (request(line(sku="cup\n")), Code.INVALID_LINE),
    "a sku with NUL": (request(line(sku="cup\0")), Code.INVALID_LINE),
}
TOTALS: Final = {
    "1": (request(line(price=1)), None),
    "0": (request(line(price=0)), Code.TOTAL_OUT_OF_RANGE),
    "-1": (request(line(), total_minor=-1), Code.TOTAL_OUT_OF_RANGE),
    "the most": (request(line(price=MAX_TOTAL_MINOR)), None),
    "one over the most": (request(line(price=MAX_TOTAL_MINOR + 1)), Code.TOTAL_OUT_OF_RANGE),
    "lines over the most": (request(line(price=MAX_TOTAL_MINOR), line(), total_minor=100), Code.TOTAL_OUT_OF_RANGE),
    "only the total is over": (request(line(), total_minor=MAX_TOTAL_MINOR + 1), Code.TOTAL_OUT_OF_RANGE),
    "one too few": (request(line(), total_minor=99), Code.TOTAL_MISMATCH),
    "one too many": (request(line(), total_minor=101), Code.TOTAL_MISMATCH),
    "the largest of 64 bits": (request(line(), total_minor=INT64), Code.TOTAL_OUT_OF_RANGE),
    "the least of 64 bits": (request(line(), total_minor=-INT64 - 1), Code.TOTAL_OUT_OF_RANGE),
    # 10,000 x (2**63 - 1) overflows; in 64 bits, twice 2**63 would come round to 0 and 4 x 2**62 + 100 to 100
    "beyond 64 bits": (request(line(10_000, INT64), total_minor=100), Code.TOTAL_OUT_OF_RANGE),
    "round to the total in 64 bits": (request(line(4, 2**62), line(), total_minor=100), Code.TOTAL_OUT_OF_RANGE),
}
FIELDS: Final = {
    "no currency": (request(line(), currency=""), Code.UNKNOWN_CURRENCY),
    "an unknown currency": (request(line(), currency="XXX"), Code.UNKNOWN_CURRENCY),
    "a currency in lower case": (request(line(), currency="eur"), Code.UNKNOWN_CURRENCY),
    "a currency with a blank": (request(line(), currency="EUR "), Code.UNKNOWN_CURRENCY),
    **{currency: (request(line(), currency=currency), None) for currency in sorted(CURRENCIES)},
}
DEADLINES: Final = {
    "none": (request(line()), None),
    "ahead": (request(line(), expires_at=a.AT + timedelta(microseconds=1)), None),
    "this instant": (request(line(), expires_at=a.AT), Code.EXPIRED),
    "past": (request(line(), expires_at=a.AT - timedelta(days=1)), Code.EXPIRED),
}
CASES: Final = {
    f"{kind}: {name}": case
    for kind, cases in (("lines", LINES), ("total", TOTALS), ("field", FIELDS), ("deadline", DEADLINES))
    for name, case in cases.items()
}


@pytest.mark.parametrize(("asked", "code"), CASES.values(), ids=CASES)
def test_each_rule_at_its_boundary(asked: CheckoutRequested, code: Code | None) -> None:
    assert code_of(asked) == code


IDS: Final = {
    "empty": ("", True),
    "a card number with dashes": ("4242-4242-4242-4242", True),
    "a number as long as a card's, but none of a bank": ("1111111111111", False),
    "one letter": ("c", False),
    "64 letters": ("x" * 64, False),
    "65 letters": (TOO_LONG, True),
    "a megabyte": ("x" * 2**20, True),
    "every sign that may be": ("Az09._:@-", False),
    "a blank": ("cust 1", True),
    "a line end": ("cust-1\n", True),
    "NUL": ("cust\0", True),
    "an umlaut": ("müller", True),
    "digits of another script": ("٤٢٤٢", True),
    "a lone surrogate": ("\ud800", True),
    "a card number": (CARD, True),
    "a card number of 13 digits": ("4222222222222", True),
    "a card number of 19 digits": ("6304000000000000000", True),
    "16 digits that are no card number": ("4242424242424241", False),
    "12 digits": ("424242424242", False),
    "20 digits": ("42424242424242424242", False),
    "a card number in groups": ("4242 4242 4242 4242", True),
}


@pytest.mark.parametrize("field", ["customer_id", "payment_method_id"])
@pytest.mark.parametrize(("value", "wrong"), IDS.values(), ids=IDS)
def test_an_id_is_short_and_plain_and_no_card_number(field: str, value: str, wrong: bool) -> None:
    assert code_of(request(line(), **{field: value})) == (Code.INVALID_FIELD if wrong else None)


def test_the_first_problem_is_told() -> None:
    """Fields before lines, lines before totals, totals before the deadline."""
    asked = request(customer_id="", currency="XXX", total_minor=0, expires_at=a.AT)
    told = []
    for repair in (
        {"customer_id": "cust-1"},
        {"currency": "EUR"},
        {"lines": (line(0),)},
        {"lines": (line(),)},
        {"total_minor": 100},
        {"expires_at": None},
        {},
    ):
        told.append(code_of(asked))
        asked = replace(asked, **repair)
    assert told == [
        Code.INVALID_FIELD,
        Code.UNKNOWN_CURRENCY,
        Code.NO_LINES,
        Code.INVALID_LINE,
        Code.TOTAL_OUT_OF_RANGE,
        Code.EXPIRED,
        None,
    ]


def test_the_wrong_line_is_told_by_its_number() -> None:
    problem = problem_of(request(line(), line(0), line(-1)), a.AT)
    assert problem is not None
    assert problem.detail.startswith("line 2: quantity 0")


def failure_of(asked: CheckoutRequested) -> Decision[Any]:
    decision = handlers(timedelta(minutes=15))[asked.TYPE](None, asked, a.AT)
    assert a.told(decision) == ["checkout.failed"]
    return decision


SECRETS: Final = {
    "a card number for a customer": ({"customer_id": CARD}, CARD),
    "a card number for a method": ({"payment_method_id": CARD}, CARD),
    "a novel for a customer": ({"customer_id": TOO_LONG}, TOO_LONG),
    "a novel for a method": ({"payment_method_id": TOO_LONG}, TOO_LONG),
    "NUL for a customer": ({"customer_id": "cust\0"}, "\\x00"),
    "a novel for a currency": ({"currency": TOO_LONG}, TOO_LONG),
    "a card number for a sku": ({"lines": (line(sku=CARD),), "total_minor": 100}, CARD),
    "a card number in a sku": ({"lines": (line(sku=f"sku-{CARD}x"),), "total_minor": 100}, CARD),
    "a card number in groups for a customer": ({"customer_id": "c:4242.4242.4242.4242"}, "4242.4242.4242"),
    "a card number in groups for a method": ({"payment_method_id": "4242:4242:4242:4242"}, "4242:4242"),
    "a card number beside another wrong": ({"lines": (line(sku=CARD),), "currency": "XXX", "total_minor": 1}, CARD),
    "a novel for a sku": ({"lines": (line(sku=TOO_LONG),), "total_minor": 100}, TOO_LONG),
    "two wrongs: method and currency": ({"payment_method_id": CARD, "currency": TOO_LONG}, TOO_LONG),
    "two wrongs: customer and currency": ({"customer_id": CARD, "currency": CARD}, CARD),
}


@pytest.mark.parametrize(("changes", "secret"), SECRETS.values(), ids=SECRETS)
def test_what_must_not_be_kept_is_in_no_state_and_no_event(changes: dict[str, Any], secret: str) -> None:
    decision = failure_of(replace(a.REQUESTED, **changes))
    assert secret not in repr(decision)


@pytest.mark.parametrize("number", [CARD, "4000056655665556", "378282246310005"])
@pytest.mark.parametrize("written", ["{}", "order-{}", "{}x", "a.{}.b"])
@pytest.mark.parametrize("field", ["customer_id", "payment_method_id", "sku"])
def test_a_card_number_in_an_id_is_refused_and_not_even_its_digest_is_kept(
    field: str, written: str, number: str
) -> None:
    value = written.format(number)
    asked = request(line(sku=value)) if field == "sku" else request(line(), **{field: value})
    assert code_of(asked) == (Code.INVALID_LINE if field == "sku" else Code.INVALID_FIELD)
    decision = failure_of(asked)
    assert number not in repr(decision)
    assert decision.state.fingerprint == ""
    assert "looks like a card number" in decision.state.detail


def test_ids_as_shops_make_them_are_no_card_numbers() -> None:
    for _ in range(2000):
        names = (str(uuid4()), uuid4().hex, f"cust_{uuid4()}", f"pm-{uuid7()}", f"order-20261129-{uuid4().hex[:6]}")
        for name in names:
            assert code_of(request(line(sku=name), customer_id=name, payment_method_id=name)) is None, name


def test_what_is_usable_is_kept_beside_what_is_not() -> None:
    assert failure_of(replace(a.REQUESTED, payment_method_id=CARD)).state.customer_id == "cust-1"
    assert failure_of(replace(a.REQUESTED, customer_id=CARD)).state.currency == "EUR"


ANY_TEXT: Final = st.text(max_size=80)
ANY_LONG: Final = st.integers(-INT64 - 1, INT64)


@given(
    st.builds(
        CheckoutRequested,
        checkout_id=st.just(a.ID),
        customer_id=ANY_TEXT,
        payment_method_id=ANY_TEXT,
        currency=st.sampled_from(["EUR", "JPY"]) | ANY_TEXT,
        total_minor=ANY_LONG,
        lines=st.lists(
            st.builds(Line, sku=ANY_TEXT, quantity=st.integers(-INT32 - 1, INT32), unit_price_minor=ANY_LONG),
            max_size=3,
        ).map(tuple),
    )
)
def test_whatever_is_asked_gets_an_answer_that_can_be_stored(asked: CheckoutRequested) -> None:
    decision = handlers(timedelta(minutes=15))[asked.TYPE](None, asked, a.AT)
    assert len(decision.events) == 1
    state: Any = decision.state
    assert all("\0" not in text and text.isascii() for text in (state.customer_id, state.currency, state.detail))
    assert -INT64 - 1 <= state.total_minor <= INT64


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ("", ""),
        ("changed my mind", "changed my mind"),
        ("x" * 1000, "x" * 200),
        ("a NUL\0 is no letter", "a NUL is no letter"),
        ("my card 4242-4242 4242.4242 was stolen", "my card [card number removed, ends 4242] was stolen"),
        ("4242\u200b4242\u200b4242\u200b4242", "[card number removed, ends 4242]"),
        ("x" * 190 + " 4242424242424242", "x" * 190 + " [card num"),
        ("\0" * 2**20 + "changed my mind", "changed my mind"),
        ("two\nlines\tand\u2028more", "two lines and more"),
        ("\x1b]0;title\x07 \u202eback \u2066here\ufeff", "]0;title back here"),
        ("\ud800half", "half"),
        ("1" + "4" * 300, "1" + "4" * 199),
        ("order 1234567", "order 1234567"),
    ],
)
def test_a_shops_free_text_is_bounded_and_holds_no_card_number(words: str, kept: str) -> None:
    assert short(words) == kept
