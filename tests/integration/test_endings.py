"""Every ending of a checkout, on real servers."""

from datetime import UTC, datetime, timedelta

import pytest

from schemas.events import CheckoutCancelRequested, CheckoutFailed, CheckoutRequested
from tests.system import System


def failure(system: System, checkout_id: str) -> CheckoutFailed:
    """The one checkout.failed of a checkout."""
    [failed] = [event for _, event in system.events(checkout_id) if isinstance(event, CheckoutFailed)]
    return failed


def test_a_sound_checkout_is_captured(system: System) -> None:
    request = system.request()
    system.publish(request)
    system.await_status("checkout", request.checkout_id, "captured")
    assert system.trail("checkout", request.checkout_id) == ["accepted", "authorized", "capture_pending", "captured"]
    assert system.ledger(request.checkout_id) == ["authorized", "captured"]


@pytest.mark.parametrize(
    ("fields", "code", "money"),
    [
        ({"sku": "sku-rare"}, "OUT_OF_STOCK", []),
        ({"sku": "sku-nobody-knows"}, "UNKNOWN_SKU", []),
        ({"method": "declines-insufficient_funds"}, "INSUFFICIENT_FUNDS", ["declined"]),
        ({"method": "declines-lost_card"}, "CARD_BLOCKED", ["declined"]),
        ({"payment_method_id": "customer-2:ok"}, "PAYMENT_METHOD_NOT_OWNED", []),
        ({"payment_method_id": "nobody:ok"}, "PAYMENT_METHOD_UNKNOWN", []),
        ({"sku": "sku-on-hold"}, "STOCK_ON_HOLD", ["authorized", "voided"]),
        ({"method": "refuses-capture"}, "CAPTURE_REFUSED", ["authorized", "capture_refused", "voided"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_refusal_ends_compensated_with_a_code_and_nothing_held(
    system: System, fields: dict[str, str], code: str, money: list[str]
) -> None:
    request = system.request(**fields)
    system.publish(request)
    system.await_status("checkout", request.checkout_id, "compensated")
    failed = failure(system, request.checkout_id)
    assert failed.code == code
    assert failed.message.endswith(".")
    assert system.ledger(request.checkout_id) == money


def test_a_rule_breaker_fails_without_having_been_accepted(system: System) -> None:
    request = system.request(total_minor=1)
    system.publish(request)
    system.await_status("checkout", request.checkout_id, "failed")
    failed = failure(system, request.checkout_id)
    assert (failed.code, failed.accepted) == ("TOTAL_MISMATCH", False)
    assert [kind for kind, _ in system.events(request.checkout_id)] == ["checkout.requested", "checkout.failed"]


def test_a_cancelled_checkout_gives_the_money_back_that_comes_late(system: System) -> None:
    request = system.request(method="slow")
    system.publish(request)
    system.await_status("payment", request.checkout_id, "authorizing")
    system.publish(CheckoutCancelRequested(checkout_id=request.checkout_id, reason="changed my mind"))
    system.await_status("checkout", request.checkout_id, "compensated")
    assert failure(system, request.checkout_id).code == "CANCELLED"
    assert system.ledger(request.checkout_id) == ["authorized", "voided"]


def test_a_wish_to_cancel_that_comes_first_waits_for_its_checkout(system: System) -> None:
    request = system.request()
    system.publish(CheckoutCancelRequested(checkout_id=request.checkout_id, reason=""))
    system.await_status("checkout", request.checkout_id, "cancelled_first")
    system.publish(request)
    system.await_status("checkout", request.checkout_id, "failed")
    assert failure(system, request.checkout_id).code == "CANCELLED"


def test_a_wish_to_cancel_after_the_capture_changes_nothing(system: System) -> None:
    request = system.request()
    system.publish(request)
    system.await_status("checkout", request.checkout_id, "captured")
    system.publish(CheckoutCancelRequested(checkout_id=request.checkout_id, reason="too late"))
    system.await_rest([request.checkout_id])
    assert system.status("checkout", request.checkout_id) == "captured"


def test_a_checkout_that_is_not_authorized_in_time_expires(system: System) -> None:
    request = system.request(method="slow", expires_at=datetime.now(UTC) + timedelta(seconds=1.5))
    system.publish(request)
    system.await_status("checkout", request.checkout_id, "compensated")
    assert failure(system, request.checkout_id).code == "EXPIRED"
    assert system.ledger(request.checkout_id) == ["authorized", "voided"]


def test_the_same_request_twice_is_one_checkout(system: System) -> None:
    request: CheckoutRequested = system.request()
    system.publish(request, request)
    system.await_status("checkout", request.checkout_id, "captured")
    assert system.ledger(request.checkout_id) == ["authorized", "captured"]


def test_other_content_under_a_known_id_is_a_dead_letter_and_leaves_the_honest_one_alone(system: System) -> None:
    request = system.request()
    system.publish(request)
    system.await_status("checkout", request.checkout_id, "captured")
    system.publish(system.request(request.checkout_id, sku="sku-2"))
    [letter] = system.await_letters("checkout", request.checkout_id, 1)
    assert b"conflicting duplicate" in letter.headers["dlq-error-message"]
    assert system.status("checkout", request.checkout_id) == "captured"


def test_every_ending_leaves_the_books_clean(system: System) -> None:
    system.await_rest()
    system.assert_clean()
