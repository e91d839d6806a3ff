"""The provider is away for long: nobody's attempts are used up, everybody else is served, it is not overrun then."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen

import pytest

from compose.audit.reading import ledger_entries
from schemas import events as ev
from services.shell.gate import PROBES
from tests.servers import TestServers
from tests.system import System, wait_for

MANY: Final = 500
IN_FLIGHT: Final = 256
DEAD: Final = {"fault": "error:503", "operation": "*"}


@pytest.fixture(scope="module")
def patient(servers: TestServers, scratch: Path) -> Iterator[System]:
    """A breaker that opens after five failures; deadlines that are far."""
    with System(servers, scratch, PAYMENT_TIMEOUT_S="2") as system:
        yield system


@pytest.fixture(scope="module")
def hasty(servers: TestServers, scratch: Path) -> Iterator[System]:
    """The same with deadlines of four seconds."""
    with System(servers, scratch, PAYMENT_TIMEOUT_S="1", CHECKOUT_DEADLINE_S="4", PAYMENT_BREAKER_OPEN_S="8") as system:
        yield system


def ready(system: System, service: str = "payment") -> dict[str, Any]:
    """What /readyz says."""
    with urlopen(f"http://127.0.0.1:{system.env[f'{service.upper()}_METRICS_PORT']}/readyz", timeout=5) as page:
        found: dict[str, Any] = json.load(page)
    return found


def metrics(system: System, service: str = "payment") -> str:
    """What /metrics says."""
    with urlopen(f"http://127.0.0.1:{system.env[f'{service.upper()}_METRICS_PORT']}/metrics", timeout=5) as page:
        return str(page.read().decode())


def test_a_provider_that_is_away_for_long_under_500_checkouts_costs_nobody_an_ending(patient: System) -> None:
    patient.faults(DEAD)
    requests = [patient.request(sku=f"sku-{n % 90 + 1}") for n in range(MANY)]
    patient.publish(*requests)
    wait_for(lambda: ready(patient)["detail"]["breakers"]["authorize"] == "open", "the breaker to open")
    count = "SELECT count(*) FROM retries WHERE status = 'pending' AND lane = ANY(:ids)"
    ids = [request.checkout_id for request in requests]
    wait_for(lambda: patient.rows("payment", count, ids=ids)[0].count == MANY, "everybody to wait")
    # longer than the breaker's window: it half opens and closes again several times
    openings = 'checkout_circuit_breaker_state{operation="authorize",service="payment"}'
    assert openings in metrics(patient)
    wait_for(lambda: probes(patient) >= 3, "some probes to fail")
    used = attempts(patient, ids)
    assert used[0] > 0, used
    assert sum(tries * n for tries, n in used.items()) <= IN_FLIGHT + 3 * PROBES * probes(patient), used
    waiting = "SELECT count(*) FROM retries WHERE error_class = 'BreakerOpen' AND attempts > 0"
    assert patient.rows("payment", waiting)[0].count == 0
    patient.faults()
    patient.await_rest(ids, limit_s=120)
    assert Counter(patient.status("checkout", checkout_id) for checkout_id in ids) == {"captured": MANY}
    assert not patient.letters("payment")
    patient.assert_clean()


def attempts(system: System, ids: list[str]) -> Counter[int]:
    """How many messages have used how many attempts."""
    rows = system.rows("payment", "SELECT attempts FROM retries WHERE lane = ANY(:ids)", ids=ids)
    return Counter(row.attempts for row in rows)


def probes(system: System) -> int:
    """How often the breaker has opened, by the log."""
    log = system.fleet.log("payment").read_text()
    return sum('"circuit breaker"' in line and '"open"' in line and "authorize" in line for line in log.splitlines())


def test_the_customer_reads_that_the_payment_is_delayed_and_it_is_captured_later(patient: System) -> None:
    patient.faults(DEAD)
    request = patient.request()
    patient.publish(request)
    delay = "SELECT delay FROM checkouts WHERE checkout_id = :id AND delay IS NOT NULL"
    wait_for(lambda: patient.rows("checkout", delay, id=request.checkout_id), "the checkout to hear of the delay")
    patient.faults()
    patient.await_status("checkout", request.checkout_id, "captured")
    delayed = [event for _, event in patient.events(request.checkout_id) if isinstance(event, ev.PaymentDelayed)]
    assert delayed
    assert all("Please don't pay again" in event.message for event in delayed)
    assert patient.ledger(request.checkout_id) == ["authorized", "captured"]


def test_the_service_handles_everything_else_while_the_breaker_is_open(patient: System) -> None:
    patient.faults(DEAD)
    waiting = [patient.request() for _ in range(20)]
    patient.publish(*waiting)
    wait_for(lambda: ready(patient)["detail"]["breakers"]["authorize"] != "closed", "the breaker to open")
    others = [patient.request(payment_method_id="customer-2:ok") for _ in range(5)]
    patient.publish(*others)
    for other in others:
        patient.await_status("checkout", other.checkout_id, "compensated")
    patient.faults()
    patient.await_rest(request.checkout_id for request in waiting)
    patient.assert_clean()


def test_past_the_deadline_a_checkout_fails_as_unavailable_and_the_stock_goes_back_although_nobody_answers(
    hasty: System,
) -> None:
    hasty.faults(DEAD)
    opening = [hasty.request() for _ in range(12)]
    hasty.publish(*opening)
    wait_for(lambda: ready(hasty)["detail"]["breakers"]["authorize"] == "open", "the breaker to open")
    request = hasty.request(sku="sku-7")
    hasty.publish(request)
    hasty.await_status("checkout", request.checkout_id, "compensated")
    (failed,) = [event for _, event in hasty.events(request.checkout_id) if isinstance(event, ev.CheckoutFailed)]
    assert failed.code == "PAYMENT_UNAVAILABLE"
    assert (failed.error_class, failed.retryable) == ("try_again_later", True)
    assert hasty.status("warehouse", request.checkout_id) in ("released", "closed")
    hasty.faults()
    hasty.await_rest(request.checkout_id for request in opening)
    assert hasty.ledger(request.checkout_id) == []
    hasty.assert_clean()


def test_an_authorization_that_succeeds_after_the_deadline_is_voided(hasty: System) -> None:
    hasty.faults({"fault": "lost_answer", "operation": "authorize"}, {"fault": "hang", "operation": "lookup"})
    request = hasty.request()
    hasty.publish(request)
    hasty.await_status("checkout", request.checkout_id, "failed")
    assert hasty.ledger(request.checkout_id) == ["authorized"]
    hasty.faults()
    hasty.await_status("checkout", request.checkout_id, "compensated")
    assert hasty.ledger(request.checkout_id) == ["authorized", "voided"]


def test_one_answer_in_a_hundred_is_lost_after_the_effect_and_nobody_pays_twice(patient: System) -> None:
    patient.faults(
        *({"fault": "lost_answer", "operation": op, "probability": 0.01} for op in ("authorize", "capture", "void")),
        {"fault": "error_after:500", "operation": "*", "probability": 0.005},
    )
    methods = ("ok", "ok", "ok", "refuses-capture", "declines-insufficient_funds")
    requests = [patient.request(method=methods[n % 5], sku=f"sku-{n % 90 + 1}") for n in range(MANY)]
    patient.publish(*requests)
    patient.await_rest((request.checkout_id for request in requests), limit_s=120)
    patient.faults()
    captures = Counter(
        e["checkout_id"] for e in ledger_entries(patient.env["PAYMENT_PROVIDER_URL"]) if e["kind"] == "captured"
    )
    assert max(captures.values()) == 1
    patient.assert_clean()
