"""What fails is tried again, in order, while everybody else goes on; what keeps failing is let go of and a letter."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest

from compose.setting_up import stock
from schemas import events as ev
from tests.jam import jammed
from tests.servers import TestServers
from tests.system import Letter, System, wait_for

FORGED: Final[set[str]] = set()
"""Checkouts whose events these tests publish in a service's name; the audit names those, rightly."""


@pytest.fixture(scope="module")
def failing(servers: TestServers, scratch: Path) -> Iterator[System]:
    """Few tries, quick ones, and a breaker that does not get in their way."""
    settings: dict[str, Any] = {
        "RETRY_ATTEMPTS": "4",
        "RETRY_COMPENSATION_ATTEMPTS": "4",
        "RETRY_BUG_ATTEMPTS": "3",
        "RETRY_EARLY_ATTEMPTS": "4",
        "PAYMENT_BREAKER_FAILURES": "1000",
        "PAYMENT_TIMEOUT_S": "0.4",
    }
    with System(servers, scratch, **settings) as system:
        yield system


def compensations(system: System, service: str, checkout_id: str) -> list[tuple[str, str]]:
    """(operation, status) of what operators see of a checkout."""
    sql = "SELECT operation, status FROM failed_compensation WHERE checkout_id = :id ORDER BY first_failed_at"
    return [(row.operation, row.status) for row in system.rows(service, sql, id=checkout_id)]


def waiting(system: System, service: str, checkout_id: str) -> list[Any]:
    """What waits of a checkout, in its order."""
    sql = "SELECT * FROM retries WHERE lane = :id AND status = 'pending' ORDER BY seq"
    return system.rows(service, sql, id=checkout_id)


# --- captures ------------------------------------------------------------------------------------------------------


def test_a_capture_without_an_answer_is_tried_again_and_really_captures(failing: System) -> None:
    failing.faults(
        {"fault": "hang", "operation": "capture", "times": 3}, {"fault": "hang", "operation": "lookup", "times": 3}
    )
    request = failing.request()
    failing.publish(request)
    failing.await_status("checkout", request.checkout_id, "captured")
    failing.faults()
    assert failing.ledger(request.checkout_id) == ["authorized", "captured"]
    trail = failing.trail("checkout", request.checkout_id)
    start = trail.index("capture_pending")
    assert trail[start : start + 2] == ["capture_pending", "capture_failed"]
    assert trail[-2:] == ["capture_pending", "captured"]
    tries = failing.trail("payment", request.checkout_id)
    assert tries[tries.index("capture_pending") :] == ["capture_pending", "capture_failed"] * tries.count(
        "capture_failed"
    ) + ["capture_pending", "captured"]
    assert compensations(failing, "payment", request.checkout_id) == [("capture", "resolved")]


def test_a_capture_that_keeps_failing_is_voided_and_its_letter_says_compensated(failing: System) -> None:
    failing.faults({"fault": "error:503", "operation": "capture"})
    request = failing.request()
    failing.publish(request)
    failing.await_status("checkout", request.checkout_id, "compensated")
    failing.faults()
    (letter,) = failing.await_letters("payment", request.checkout_id, 1)
    assert failing.ledger(request.checkout_id) == ["authorized", "voided"]
    assert letter.headers["dlq-compensation"] == b"compensated"
    assert letter.headers["dlq-disposition"] == b"retries_exhausted"
    assert letter.headers["dlq-operation"] == b"capture"
    assert letter.headers["dlq-attempts"] == b"4"
    assert compensations(failing, "payment", request.checkout_id) == [("capture", "dead")]
    (failed,) = [event for _, event in failing.events(request.checkout_id) if isinstance(event, ev.CheckoutFailed)]
    assert failed.code == "PAYMENT_UNAVAILABLE"


@pytest.mark.parametrize(
    ("fault", "done"),
    [("lost_answer", ["authorized", "captured", "refunded"]), ("hang", ["authorized", "voided"])],
)
def test_what_a_given_up_capture_did_is_found_out_before_it_is_undone(
    failing: System, fault: str, done: list[str]
) -> None:
    failing.faults({"fault": fault, "operation": "capture"}, {"fault": "hang", "operation": "lookup"})
    request = failing.request()
    failing.publish(request)
    wait_for(lambda: "capture_abandoned" in failing.trail("payment", request.checkout_id), "the capture to be given up")
    failing.faults()
    failing.await_status("checkout", request.checkout_id, "compensated")
    assert failing.ledger(request.checkout_id) == done
    (failed,) = [event for _, event in failing.events(request.checkout_id) if isinstance(event, ev.CheckoutFailed)]
    assert failed.code == "PAYMENT_TIMED_OUT"


@pytest.fixture
def forgetful(servers: TestServers, scratch: Path) -> Iterator[System]:
    """A provider that forgets its idempotency keys after half a second."""
    settings: dict[str, Any] = {"PAYMENT_TIMEOUT_S": "0.5", "RETRY_FIRST_S": "1.5"}
    with System(servers, scratch, provider_options=("--key-ttl-s", "0.5"), **settings) as system:
        yield system


def test_an_authorization_whose_key_is_forgotten_is_found_by_its_payment_and_not_made_again(forgetful: System) -> None:
    forgetful.faults(
        {"fault": "lost_answer", "operation": "authorize", "times": 1},
        {"fault": "hang", "operation": "lookup", "times": 1},
    )
    request = forgetful.request()
    forgetful.publish(request)
    forgetful.await_status("checkout", request.checkout_id, "captured")
    forgetful.faults()
    assert forgetful.ledger(request.checkout_id) == ["authorized", "captured"]
    forgetful.assert_clean()


# --- voids, refunds, releases ----------------------------------------------------------------------------------------


def test_a_void_that_fails_is_tried_again_and_really_voids(failing: System) -> None:
    failing.faults({"fault": "error:503", "operation": "void", "times": 3})
    request = failing.request(method="refuses-capture")
    failing.publish(request)
    failing.await_status("checkout", request.checkout_id, "compensated")
    failing.faults()
    assert failing.ledger(request.checkout_id) == ["authorized", "capture_refused", "voided"]
    assert compensations(failing, "payment", request.checkout_id) == [("void", "resolved")]


def test_a_void_that_keeps_failing_is_a_letter_as_it_is_and_nobody_says_that_it_was_done(failing: System) -> None:
    failing.faults({"fault": "error:503", "operation": "void"})
    request = failing.request(method="refuses-capture")
    failing.publish(request)
    (letter,) = failing.await_letters("payment", request.checkout_id, 1)
    failing.faults()
    assert letter.headers["dlq-compensation"] == b"none"
    assert letter.headers["dlq-operation"] == b"void"
    assert compensations(failing, "payment", request.checkout_id) == [("void", "dead")]
    assert failing.status("checkout", request.checkout_id) == "failed"
    assert "voided" not in failing.ledger(request.checkout_id)
    assert replay(failing, letter)["outcomes"]["handled"] == 1
    failing.await_status("checkout", request.checkout_id, "compensated")
    assert failing.ledger(request.checkout_id) == ["authorized", "capture_refused", "voided"]
    assert compensations(failing, "payment", request.checkout_id) == [("void", "resolved")]


def test_a_release_that_breaks_is_tried_again_and_really_releases(failing: System) -> None:
    sku = f"sku-{uuid4().hex[:8]}"
    stock(failing.servers, {sku: 10})
    with jammed(failing, "warehouse", "stock", "UPDATE", f"OLD.sku = '{sku}' AND NEW.reserved < OLD.reserved"):
        request = failing.request(sku=sku, method="declines-insufficient_funds")
        failing.publish(request)
        wait_for(
            lambda: compensations(failing, "warehouse", request.checkout_id) == [("release", "pending")],
            "the release to fail",
        )
        assert failing.status("warehouse", request.checkout_id) == "reserved"
    failing.await_status("checkout", request.checkout_id, "compensated")
    assert failing.status("warehouse", request.checkout_id) == "released"
    (row,) = failing.rows("warehouse", "SELECT on_hand, reserved FROM stock WHERE sku = :sku", sku=sku)
    assert (row.on_hand, row.reserved) == (10, 0)
    assert compensations(failing, "warehouse", request.checkout_id) == [("release", "resolved")]


def test_a_step_that_can_not_be_done_fails_the_checkout_as_our_fault_and_everybody_lets_go(failing: System) -> None:
    sku = f"sku-{uuid4().hex[:8]}"
    stock(failing.servers, {sku: 10})
    with jammed(failing, "warehouse", "stock", "UPDATE", f"OLD.sku = '{sku}' AND NEW.committed > OLD.committed"):
        request = failing.request(sku=sku)
        failing.publish(request)
        failing.await_status("checkout", request.checkout_id, "compensated")
    (failed,) = [event for _, event in failing.events(request.checkout_id) if isinstance(event, ev.CheckoutFailed)]
    assert (failed.code, failed.error_class) == ("INTERNAL_ERROR", "ours")
    (letter,) = failing.await_letters("warehouse", request.checkout_id, 1)
    assert letter.headers["dlq-compensation"] == b"compensated"
    assert failing.ledger(request.checkout_id) == ["authorized", "voided"]


# --- order -----------------------------------------------------------------------------------------------------------


def test_later_messages_of_a_key_wait_behind_the_one_that_failed_and_other_keys_do_not(failing: System) -> None:
    failing.faults({"fault": "error:503", "operation": "void", "times": 5})
    request = failing.request(method="refuses-capture")
    failing.publish(request)
    wait_for(lambda: waiting(failing, "payment", request.checkout_id), "the void to fail")
    FORGED.add(request.checkout_id)
    followers = [ev.WarehouseReserved(checkout_id=request.checkout_id, expires_at=later()) for _ in range(20)]
    failing.publish(*followers)
    others = [failing.request() for _ in range(20)]
    failing.publish(*others)
    for other in others:
        failing.await_status("checkout", other.checkout_id, "captured")
    failing.await_status("checkout", request.checkout_id, "compensated")
    failing.faults()
    wait_for(lambda: not waiting(failing, "payment", request.checkout_id), "the lane to be empty")


def later() -> datetime:
    return datetime.now(UTC) + timedelta(hours=1)


def test_an_event_that_comes_too_early_waits_for_the_one_it_needs(failing: System) -> None:
    checkout_id = f"c-{uuid4().hex[:8]}"
    FORGED.add(checkout_id)
    failing.publish(ev.CheckoutConfirmed(checkout_id=checkout_id, order_id=uuid4()))
    wait_for(lambda: waiting(failing, "warehouse", checkout_id), "the early event to wait")
    accepted = failing.request(checkout_id)
    failing.publish(
        ev.CheckoutAccepted(
            checkout_id=checkout_id,
            customer_id=accepted.customer_id,
            payment_method_id=accepted.payment_method_id,
            currency="EUR",
            total_minor=2500,
            lines=accepted.lines,
            expires_at=later(),
        )
    )
    failing.await_status("warehouse", checkout_id, "committed")
    assert failing.trail("warehouse", checkout_id) == ["reserved", "committed"]


# --- replays ---------------------------------------------------------------------------------------------------------


def replay(system: System, letter: Letter) -> dict[str, Any]:
    """`dlq replay` of one letter, until the service said what became of it."""
    told: dict[str, Any] = system.dlq("replay", letter.headers["dlq-id"].decode(), "--yes", "--wait", expect=None)
    return told


def test_the_replay_of_a_capture_that_was_compensated_comes_too_late_and_does_nothing(failing: System) -> None:
    failing.faults({"fault": "error:503", "operation": "capture"})
    request = failing.request()
    failing.publish(request)
    failing.await_status("checkout", request.checkout_id, "compensated")
    failing.faults()
    (letter,) = failing.await_letters("payment", request.checkout_id, 1)
    told = replay(failing, letter)
    assert told["outcomes"]["too_late"] == 1, told
    assert failing.ledger(request.checkout_id) == ["authorized", "voided"]
    assert len(failing.await_letters("payment", request.checkout_id, 1)) == 1


def test_after_all_of_this_the_books_are_clean(failing: System) -> None:
    failing.await_rest()
    report = failing.audit()
    assert {breach.offender for breach in report.breaches} <= FORGED
    assert report.under_way == 0
