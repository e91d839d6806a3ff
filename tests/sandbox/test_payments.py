"""Authorize, capture, void, refund: what each answers, in every state of a payment."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from compose.sandbox.payment_methods import DECLINES

from .conftest import StartProvider
from .driving import Provider, fresh, wait_until


def test_an_authorization_holds_the_amount_for_seven_days(provider: Provider) -> None:
    checkout_id = fresh("checkout")
    answered = provider.authorize(checkout_id, amount_minor=1234)
    assert answered.status == 200
    assert re.fullmatch(r"pay_[0-9a-f]{24}", answered.body["payment_id"])
    said = {name: answered.body[name] for name in ("status", "amount_minor", "currency", "checkout_id")}
    assert said == {"status": "authorized", "amount_minor": 1234, "currency": "EUR", "checkout_id": checkout_id}
    until = datetime.fromisoformat(answered.body["capture_before"])
    assert abs(until - datetime.now(UTC) - timedelta(days=7)) < timedelta(minutes=1)


@pytest.mark.parametrize("reason", DECLINES)
def test_a_decline_says_why_and_holds_nothing(provider: Provider, reason: str) -> None:
    checkout_id = fresh("checkout")
    answered = provider.authorize(checkout_id, f"tok_decline_{reason}")
    error = answered.body["error"]
    assert (answered.status, error["type"], error["code"]) == (402, "card_error", "card_declined")
    assert error["decline_code"] == reason
    assert provider.payment(error["payment_id"])["authorized_minor"] == 0
    assert provider.effects_of(checkout_id) == ["declined"]


def test_a_declined_payment_can_be_neither_captured_nor_voided_nor_refunded(provider: Provider) -> None:
    payment_id = provider.authorize(fresh("checkout"), "tok_decline_lost_card").body["error"]["payment_id"]
    assert provider.act("capture", payment_id, 1000).code == "payment_declined"
    assert provider.act("void", payment_id).code == "payment_declined"
    assert provider.act("refund", payment_id, 1000).code == "payment_not_captured"
    assert provider.kinds(payment_id) == ["declined"]


def test_an_unknown_decline_reason_is_refused_with_the_known_ones(provider: Provider) -> None:
    answered = provider.authorize(fresh("checkout"), "tok_decline_bad_mood")
    assert answered.status == 400
    assert all(reason in answered.body["error"]["message"] for reason in DECLINES)


@pytest.mark.parametrize("token", ["tok_unknown", "tok_delay_x", "tok_delay_60001", "tok_ok "])
def test_an_unknown_token_is_a_bad_request(provider: Provider, token: str) -> None:
    answered = provider.authorize(fresh("checkout"), token)
    assert (answered.status, answered.body["error"]["param"]) == (400, "payment_method")


def test_a_capture_takes_the_money_once(provider: Provider) -> None:
    payment_id = provider.authorized(amount_minor=1000)
    captured = provider.act("capture", payment_id, 1000)
    assert (captured.status, captured.body["status"], captured.body["captured_minor"]) == (200, "captured", 1000)
    again = provider.act("capture", payment_id, 1000)
    assert (again.status, again.code) == (400, "payment_already_captured")
    assert provider.act("void", payment_id).code == "payment_already_captured"
    assert provider.kinds(payment_id) == ["authorized", "captured"]


def test_a_capture_may_take_less_but_never_more(provider: Provider) -> None:
    payment_id = provider.authorized(amount_minor=1000)
    too_much = provider.act("capture", payment_id, 1001)
    assert (too_much.status, too_much.code) == (400, "amount_too_large")
    assert provider.act("capture", payment_id, 400).body["captured_minor"] == 400


def test_a_refused_capture_leaves_an_authorization_that_can_be_voided(provider: Provider) -> None:
    payment_id = provider.authorized("tok_capture_refused")
    refused = provider.act("capture", payment_id, 1000)
    assert (refused.status, refused.code) == (402, "capture_refused")
    assert provider.act("capture", payment_id, 1000).status == 402
    assert provider.act("void", payment_id).body["status"] == "voided"
    assert provider.kinds(payment_id) == ["authorized", "capture_refused", "capture_refused", "voided"]


def test_a_void_releases_the_authorization_for_good(provider: Provider) -> None:
    payment_id = provider.authorized()
    assert provider.act("void", payment_id).body["status"] == "voided"
    assert provider.act("void", payment_id).code == "payment_already_voided"
    assert provider.act("capture", payment_id, 1000).code == "payment_already_voided"
    assert provider.act("refund", payment_id, 1000).code == "payment_not_captured"
    assert provider.kinds(payment_id) == ["authorized", "voided"]


def test_refunds_add_up_to_at_most_what_was_captured(provider: Provider) -> None:
    payment_id = provider.authorized(amount_minor=1000)
    assert provider.act("refund", payment_id, 1).code == "payment_not_captured"
    provider.act("capture", payment_id, 900)
    first = provider.act("refund", payment_id, 300)
    assert (first.body["status"], first.body["refunded_minor"]) == ("refunded", 300)
    assert provider.act("refund", payment_id, 601).code == "amount_too_large"
    assert provider.act("refund", payment_id, 600).body["refunded_minor"] == 900
    assert provider.act("refund", payment_id, 1).code == "charge_already_refunded"
    assert provider.act("capture", payment_id, 1).code == "payment_already_captured"
    assert provider.kinds(payment_id) == ["authorized", "captured", "refunded", "refunded"]


def test_a_payment_that_does_not_exist_is_404(provider: Provider) -> None:
    for answered in (
        provider.get("/v1/authorizations/pay_nope"),
        provider.act("capture", "pay_nope", 1),
        provider.act("void", "pay_nope"),
        provider.act("refund", "pay_nope", 1),
        provider.get("/v1/idempotency-keys/nope"),
    ):
        assert (answered.status, answered.code) == (404, "resource_missing")


def test_an_expired_authorization_is_noticed_and_can_not_be_captured(start_provider: StartProvider) -> None:
    provider = start_provider("--authorization-ttl-s", "0.3")
    first, second = provider.authorized(), provider.authorized()
    wait_until(lambda: provider.payment(first)["status"] == "expired", "the expiry")
    assert provider.act("capture", first, 1000).code == "authorization_expired"
    assert provider.act("void", first).code == "authorization_expired"
    wait_until(lambda: "expired" in provider.kinds(second), "the expiry nobody asked for in the journal")
    assert provider.kinds(first) == ["authorized", "expired"]
    assert provider.kinds(second) == ["authorized", "expired"]


def test_a_captured_payment_does_not_expire(start_provider: StartProvider) -> None:
    provider = start_provider("--authorization-ttl-s", "2")
    captured, left = provider.authorized(), provider.authorized()
    assert provider.act("capture", captured, 1000).status == 200
    wait_until(lambda: "expired" in provider.kinds(left), "the other one's expiry")
    assert provider.payment(captured)["status"] == "captured"


def test_the_journal_reads_page_by_page_in_order(start_provider: StartProvider) -> None:
    provider = start_provider()
    payment_id = provider.authorized(amount_minor=700)
    provider.act("capture", payment_id, 600, key="the-capture")
    provider.act("refund", payment_id, 500)
    page = provider.get("/v1/ledger?limit=2").body
    assert [entry["seq"] for entry in page["entries"]] == [1, 2]
    assert page["next"] == 2
    assert page["entries"][1] | {"at": "", "checkout_id": ""} == {
        "seq": 2,
        "at": "",
        "kind": "captured",
        "payment_id": payment_id,
        "checkout_id": "",
        "amount_minor": 600,
        "currency": "EUR",
        "idempotency_key": "the-capture",
    }
    rest = provider.get(f"/v1/ledger?after={page['next']}&limit=2").body
    assert [entry["kind"] for entry in rest["entries"]] == ["refunded"]
    assert rest["next"] is None


def test_payments_are_listed_by_checkout_with_their_amounts(provider: Provider) -> None:
    checkout_id = fresh("checkout")
    ids = [provider.authorize(checkout_id, key=fresh("key")).body["payment_id"] for _ in range(3)]
    provider.act("capture", ids[0], 800)
    provider.act("refund", ids[0], 100)
    first = provider.get(f"/v1/payments?checkout_id={checkout_id}&limit=2").body
    rest = provider.get(f"/v1/payments?checkout_id={checkout_id}&limit=2&after={first['next']}").body
    found = first["payments"] + rest["payments"]
    assert [payment["payment_id"] for payment in found] == ids
    assert rest["next"] is None
    amounts = [(p["status"], p["authorized_minor"], p["captured_minor"], p["refunded_minor"]) for p in found]
    assert amounts == [("refunded", 1000, 800, 100), ("authorized", 1000, 0, 0), ("authorized", 1000, 0, 0)]


def test_health_is_answered(provider: Provider) -> None:
    assert provider.get("/healthz").status == 200
