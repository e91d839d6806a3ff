"""Events that no service of ours said, on the real system: a person hears of them, and no money moves by them."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from schemas import events as ev
from schemas.events import CheckoutRequested, Event, Line
from tests.servers import TestServers
from tests.system import System, wait_for

SOON: Final = datetime.now(UTC) + timedelta(days=1)
TOTAL: Final = 2500
CARD: Final = "4242424242424242"


@pytest.fixture(scope="module")
def system(servers: TestServers, scratch: Path) -> Iterator[System]:
    """A system whose reservations and deadlines outlast the tests."""
    with System(servers, scratch) as running:
        yield running


def authorized(checkout_id: str, **changes: Any) -> Event:
    values: dict[str, Any] = {"payment_id": "pay_forged", "amount_minor": TOTAL, "currency": "EUR"}
    return ev.PaymentAuthorized(checkout_id=checkout_id, capture_before=SOON, **values | changes)


def captured(checkout_id: str, **changes: Any) -> Event:
    values: dict[str, Any] = {"payment_id": "pay_forged", "amount_minor": TOTAL, "currency": "EUR"}
    return ev.PaymentCaptured(checkout_id=checkout_id, **values | changes)


def accepted(request: CheckoutRequested, **changes: Any) -> Event:
    names = ("checkout_id", "customer_id", "payment_method_id", "currency", "total_minor", "lines")
    return ev.CheckoutAccepted(**{name: getattr(request, name) for name in names} | {"expires_at": SOON} | changes)


def unsafe(system: System, service: str, checkout_id: str, count: int) -> list[str]:
    """What a person reads in that many letters, all of them at once set aside for a person."""
    letters = system.await_letters(service, checkout_id, count)
    assert {letter.headers["dlq-disposition"] for letter in letters} == {b"unsafe"}
    assert not any(b"tok_" in value for letter in letters for value in letter.headers.values())
    return [letter.headers["dlq-error-message"].decode() for letter in letters]


WHILE_AUTHORIZING: Final[dict[str, Callable[[str], Event]]] = {
    "authorized: 1 cent": lambda c: authorized(c, amount_minor=1),
    "authorized: another currency": lambda c: authorized(c, currency="JPY"),
    "authorized: less than nothing": lambda c: authorized(c, amount_minor=-TOTAL),
    "authorized: no payment": lambda c: authorized(c, payment_id=""),
    "authorized: an odd payment": lambda c: authorized(c, payment_id="\x1b[2J"),
    "captured: 1 cent": lambda c: captured(c, amount_minor=1),
    "captured: another currency": lambda c: captured(c, currency="JPY"),
    "voided: before any failure": lambda c: ev.PaymentVoided(checkout_id=c, outcome="nothing", amount_minor=0),
    "voided: an odd outcome": lambda c: ev.PaymentVoided(checkout_id=c, outcome="[/]\x1b[2J", amount_minor=0),
    "refunded: before any failure": lambda c: ev.PaymentRefunded(
        checkout_id=c, payment_id="pay_forged", amount_minor=TOTAL, currency="EUR"
    ),
    "released: an odd outcome": lambda c: ev.WarehouseReleased(checkout_id=c, outcome="sold"),
}


def test_messages_about_other_money_neither_complete_nor_end_an_honest_checkout(system: System) -> None:
    request = system.request(method="slow")
    system.publish(request)
    system.await_status("payment", request.checkout_id, "authorizing")
    system.publish(*(make(request.checkout_id) for make in WHILE_AUTHORIZING.values()))
    said = unsafe(system, "checkout", request.checkout_id, len(WHILE_AUTHORIZING))
    assert len(said) == len(WHILE_AUTHORIZING)
    system.await_status("checkout", request.checkout_id, "captured")
    assert system.ledger(request.checkout_id) == ["authorized", "captured"]


def test_another_payment_than_the_authorized_one_completes_nothing(system: System) -> None:
    request = system.request()
    system.faults({"fault": "latency:3000", "operation": "capture", "checkout_id": request.checkout_id})
    system.publish(request)
    system.await_status("payment", request.checkout_id, "capture_pending")
    system.publish(captured(request.checkout_id), authorized(request.checkout_id))
    said = unsafe(system, "checkout", request.checkout_id, 2)
    assert all("names the payment pay_forged, authorized was" in text for text in said)
    system.await_status("checkout", request.checkout_id, "captured")
    assert system.ledger(request.checkout_id) == ["authorized", "captured"]


IMPOSSIBLE: Final[dict[str, dict[str, Any]]] = {
    "below zero": {"total_minor": -5, "lines": (Line(sku="sku-1", quantity=-5, unit_price_minor=1),)},
    "an overflow": {"lines": (Line(sku="sku-1", quantity=2**31 - 1, unit_price_minor=2**63 - 1),)},
    "nothing": {"total_minor": 0, "lines": (Line(sku="sku-1", quantity=1, unit_price_minor=0),)},
    "no lines": {"lines": ()},
    "NUL": {"payment_method_id": "customer-1:ok\0", "lines": (Line(sku="s\0", quantity=1, unit_price_minor=TOTAL),)},
    "a card number": {"customer_id": CARD},
    "an unknown currency": {"currency": "XXX"},
}


def test_what_can_not_be_accepted_reserves_and_authorizes_nothing(system: System) -> None:
    requests = {name: system.request() for name in IMPOSSIBLE}
    system.publish(*(accepted(requests[name], **changes) for name, changes in IMPOSSIBLE.items()))
    for request in requests.values():
        for service in ("payment", "warehouse"):
            [text] = unsafe(system, service, request.checkout_id, 1)
            assert text.startswith("checkout.accepted: ")
            assert CARD not in text
            assert system.status(service, request.checkout_id) is None
        assert system.ledger(request.checkout_id) == []
    # the honest requests of the same ids go their way
    system.publish(*requests.values())
    for request in requests.values():
        system.await_status("checkout", request.checkout_id, "captured")


def test_a_second_acceptance_with_other_content_changes_nothing(system: System) -> None:
    request = system.request(method="slow")
    system.publish(request)
    system.await_status("payment", request.checkout_id, "authorizing")
    wait_for(lambda: system.status("warehouse", request.checkout_id) == "reserved", "the reservation")
    other = replace(request.lines[0], quantity=1)
    system.publish(accepted(request, lines=(other,), total_minor=1250))
    [text] = unsafe(system, "payment", request.checkout_id, 1)
    assert "1250 EUR, and 2500 EUR was accepted before" in text
    [text] = unsafe(system, "warehouse", request.checkout_id, 1)
    assert "other products or quantities" in text
    system.await_status("checkout", request.checkout_id, "captured")
    assert system.ledger(request.checkout_id) == ["authorized", "captured"]


def test_a_foreign_code_of_nearly_1_mib_still_lets_go_of_money_and_stock(system: System) -> None:
    request = system.request(method="slow")
    system.publish(request)
    system.await_status("payment", request.checkout_id, "authorizing")
    system.publish(ev.PaymentDeclined(checkout_id=request.checkout_id, code="X" * (2**20 - 150)))
    system.await_status("checkout", request.checkout_id, "compensated")
    [failed] = [event for _, event in system.events(request.checkout_id) if isinstance(event, ev.CheckoutFailed)]
    assert failed.code == "INTERNAL_ERROR"
    assert len(failed.detail) <= 200


@pytest.mark.parametrize("field", ["sku", "customer_id", "payment_method_id"])
def test_a_card_number_in_an_id_is_kept_in_no_row_and_no_event(system: System, field: str) -> None:
    lines = {"lines": (Line(sku=CARD, quantity=2, unit_price_minor=1250),)}
    request = system.request(**lines if field == "sku" else {field: CARD})
    system.publish(request)
    system.await_status("checkout", request.checkout_id, "failed")
    [failed] = [event for _, event in system.events(request.checkout_id) if isinstance(event, ev.CheckoutFailed)]
    assert failed.code == ("INVALID_LINE" if field == "sku" else "INVALID_FIELD")
    assert CARD not in repr(failed)
    for table in ("checkouts", "audit_trail"):
        named = f"SELECT t::text FROM {table} t WHERE checkout_id = :id"
        assert not [row for (row,) in system.rows("checkout", named, id=request.checkout_id) if CARD in row]
