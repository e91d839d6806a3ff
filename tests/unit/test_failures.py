"""The catalogue of errors is complete, and the table of the provider's words leads into it."""

import io
import re
from typing import Any, Final

import pytest
from rich.console import Console

from compose.sandbox.payment_methods import DECLINES
from compose.show import _failure, print_checkout
from schemas.cards import has_card_number
from schemas.failures import CATALOGUE, Code, ErrorClass, entry_of
from services.payment.provider.declines import CODES, MAX_WORD, bounded, code_for, declined, invalid, nobody
from services.payment.provider.protocol import Declined

every_code = pytest.mark.parametrize("code", Code)

PUBLISHED: Final = frozenset(
    re.findall(
        r"\w+",
        """
    authentication_required approve_with_id call_issuer card_not_supported card_velocity_exceeded
    currency_not_supported do_not_honor do_not_try_again duplicate_transaction expired_card fraudulent generic_decline
    incorrect_number incorrect_cvc incorrect_pin incorrect_zip incorrect_address insufficient_funds invalid_account
    invalid_amount invalid_cvc invalid_expiry_month invalid_expiry_year invalid_number invalid_pin
    issuer_not_available lost_card merchant_blacklist mobile_device_authentication_required
    new_account_information_available no_action_taken not_permitted offline_pin_required
    online_or_offline_pin_required pickup_card pin_try_exceeded processing_error reenter_transaction restricted_card
    revocation_of_all_authorizations revocation_of_authorization security_violation service_not_allowed stolen_card
    stop_payment_order testmode_decline transaction_not_allowed try_again_later withdrawal_count_limit_exceeded
    """,
    )
)
"""https://docs.stripe.com/declines/codes, the codes of cards."""

SECRETS: Final = ("fraudulent", "lost_card", "merchant_blacklist", "pickup_card", "restricted_card", "stolen_card")
"""What whoever holds the card must not learn."""


@every_code
def test_every_code_has_an_entry_of_its_own(code: Code) -> None:
    assert CATALOGUE[code].code == code
    assert entry_of(code.value) is CATALOGUE[code]


@every_code
def test_a_customer_reads_whole_sentences_without_jargon(code: Code) -> None:
    sentence = entry_of(code).customer
    assert sentence.endswith(".")
    jargon = r"\b(null|none|exception|provider|traceback|timeout|circuit|breaker|bug|code|event|row|checkout\.\w+)\b"
    assert not re.search(jargon, sentence, re.IGNORECASE)


@every_code
def test_nobody_tells_a_customer_that_a_card_is_under_suspicion(code: Code) -> None:
    assert not re.search(r"stolen|lost|fraud|suspic|thief|police", entry_of(code).customer, re.IGNORECASE)


@every_code
def test_an_engineer_reads_whole_sentences_and_not_the_customers(code: Code) -> None:
    entry = entry_of(code)
    assert entry.engineer.endswith(".")
    assert entry.engineer != entry.customer
    assert "|" not in entry.engineer + entry.customer, "it stands in a table of the README"


@every_code
def test_only_what_time_or_the_customer_mends_may_be_asked_again(code: Code) -> None:
    entry = entry_of(code)
    if entry.error_class is ErrorClass.TRY_AGAIN_LATER:
        assert entry.retryable
    if entry.error_class in (ErrorClass.NOBODY_CAN_FIX, ErrorClass.OURS):
        assert not entry.retryable


def test_every_class_is_used() -> None:
    assert {entry.error_class for entry in CATALOGUE.values()} == set(ErrorClass)


def test_a_code_that_nobody_knows_gets_the_most_careful_entry() -> None:
    entry = entry_of("FROM_A_NEWER_SERVICE")
    assert (entry.code, entry.error_class, entry.retryable) == ("FROM_A_NEWER_SERVICE", ErrorClass.OURS, False)
    assert "not charged" not in entry.customer


def test_a_time_out_a_decline_a_breaker_and_a_bug_never_share_a_code() -> None:
    kinds = (Code.PAYMENT_TIMED_OUT, Code.PAYMENT_UNAVAILABLE, Code.PROVIDER_ERROR, Code.INTERNAL_ERROR)
    assert len({*kinds, Code.PAYMENT_DECLINED}) == 5
    assert not set(CODES.values()) & set(kinds), "a bank's no is none of these"
    assert code_for("a_word_that_nobody_knows") not in kinds
    assert invalid("parameter_invalid").code not in CODES.values()
    sentences = {(entry_of(kind).customer, entry_of(kind).engineer) for kind in (*kinds, Code.PAYMENT_DECLINED)}
    assert len(sentences) == 5


def test_show_tells_class_retryable_and_the_engineers_sentence() -> None:
    failure = _failure(Code.CARD_BLOCKED)
    found: dict[str, Any] = {
        "states": {},
        "trail": [],
        "events": [],
        "waiting": [],
        "trace": None,
        "customer_reads": "Sorry.",
        "failure": failure,
    }
    page = io.StringIO()
    print_checkout(found, Console(file=page, width=200))
    shown = page.getvalue()
    assert "CARD_BLOCKED: customer_must_act; the same again will fail again" in shown
    assert entry_of(Code.CARD_BLOCKED).engineer in shown
    assert "the customer reads: Sorry." in shown


# the provider's words


@pytest.mark.parametrize("word", sorted(PUBLISHED | DECLINES.keys()))
def test_every_published_decline_code_is_mapped(word: str) -> None:
    assert word in CODES
    assert entry_of(code_for(word)).error_class in (ErrorClass.CUSTOMER_MUST_ACT, ErrorClass.TRY_AGAIN_LATER)


def test_a_suspicion_looks_like_any_other_refusal_of_a_bank() -> None:
    assert {code_for(word) for word in SECRETS} == {code_for("do_not_honor")} == {code_for("call_issuer")}


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("insufficient_funds", Code.INSUFFICIENT_FUNDS),
        ("expired_card", Code.CARD_EXPIRED),
        ("incorrect_cvc", Code.CARD_DETAILS_WRONG),
        ("card_velocity_exceeded", Code.LIMIT_EXCEEDED),
        ("currency_not_supported", Code.CARD_NOT_SUPPORTED),
        ("issuer_not_available", Code.BANK_UNAVAILABLE),
        ("duplicate_transaction", Code.DUPLICATE_PAYMENT),
        ("authentication_required", Code.AUTHENTICATION_REQUIRED),
        ("generic_decline", Code.PAYMENT_DECLINED),
    ],
)
def test_a_word_becomes_what_the_customer_can_do(word: str, code: Code) -> None:
    assert declined(word, nobody) == Declined(code=code, provider_code=word)


def test_a_word_that_the_table_lacks_is_a_decline_and_is_told() -> None:
    told: list[str] = []
    assert declined("brand_new_reason", told.append) == Declined(
        code=Code.PAYMENT_DECLINED, provider_code="brand_new_reason"
    )
    assert declined("lost_card", told.append).code == Code.CARD_BLOCKED
    assert told == ["brand_new_reason"]


@pytest.mark.parametrize(
    "word",
    ["x" * 10_000, "4242 4242 4242 4242", "x" * 55 + "_4242424242424242", 'Quote"\n}', "Ünïcode", "", "UPPER_case"],
)
def test_what_is_told_is_bounded_and_fit_for_a_label(word: str) -> None:
    told: list[str] = []
    declined(word, told.append)
    assert told == [bounded(word)]
    assert re.fullmatch(rf"[a-z0-9_]{{1,{MAX_WORD}}}", told[0])
    assert not has_card_number(told[0])


def test_an_invalid_request_is_our_fault_unless_it_is_the_amount() -> None:
    assert invalid("parameter_unknown").code == Code.PROVIDER_ERROR
    assert entry_of(invalid("parameter_unknown").code).error_class is ErrorClass.OURS
    assert invalid("amount_too_small").code == Code.TOTAL_OUT_OF_RANGE
