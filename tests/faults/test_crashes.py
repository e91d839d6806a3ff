"""Services that are killed at any point of a batch, or between the broker and their outbox, lose nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.events import CheckoutRequested
from tests.servers import TestServers
from tests.system import System, wait_for

SERVICES = ("checkout", "payment", "warehouse")
POINTS = (
    pytest.param("before_transaction", marks=pytest.mark.slow),
    "before_commit",
    pytest.param("after_commit", marks=pytest.mark.slow),
    "relay_published",
    "answered",
)
METHODS = {"ok": "captured", "declines-insufficient_funds": "compensated", "refuses-capture": "compensated"}


@pytest.fixture(scope="module")
def crashing(servers: TestServers, scratch: Path) -> Iterator[System]:
    """A system that outlives crashes."""
    with System(servers, scratch) as system:
        yield system


@pytest.mark.parametrize("passing", [1, pytest.param(4, marks=pytest.mark.slow)], ids=["first", "later"])
@pytest.mark.parametrize("point", POINTS)
def test_services_killed_at_any_point_lose_and_repeat_nothing(crashing: System, point: str, passing: int) -> None:
    # provider calls are the payment service's alone
    mortal = ("payment",) if point == "answered" else SERVICES
    crashing.fleet.stop()
    crashing.fleet.start(*(service for service in SERVICES if service not in mortal))
    doomed = {service: crashing.crashing(service, point, passing) for service in mortal}
    expected: dict[str, str] = {}

    def all_were_killed() -> bool:
        request = a_request(crashing, len(expected))
        expected[request.checkout_id] = METHODS[request.payment_method_id.partition(":")[2]]
        crashing.publish(request)
        for service in [name for name, process in doomed.items() if process.poll() is not None]:
            assert doomed.pop(service).returncode == -9
            crashing.fleet.start(service)
        return not doomed

    wait_for(all_were_killed, f"{', '.join(mortal)} to be killed at {point}", pause_s=0.1)
    crashing.await_rest(expected)
    assert {key: crashing.status("checkout", key) for key in expected} == expected


def a_request(system: System, number: int) -> CheckoutRequested:
    """Requests of every kind in turn, over a few products."""
    return system.request(method=list(METHODS)[number % 3], sku=f"sku-{number % 7 + 1}")


def test_after_all_crashes_the_books_are_clean(crashing: System) -> None:
    crashing.await_rest()
    crashing.assert_clean()
