"""A service that is killed at any point of a batch, or a relay between the broker and its table, loses nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import TestServers
from tests.system import System, wait_for

POINTS = ("before_transaction", "before_commit", "after_commit", "relay_published")
CASES = [(service, point) for service in ("checkout", "payment", "warehouse") for point in POINTS]
CASES += [("payment", "answered")]


@pytest.fixture(scope="module")
def crashing(servers: TestServers, scratch: Path) -> Iterator[System]:
    """A system whose reservations and checkouts outlive a crash."""
    with System(servers, scratch) as system:
        yield system


@pytest.mark.parametrize("passing", [1, 4], ids=["first", "later"])
@pytest.mark.parametrize(("service", "point"), CASES)
def test_a_service_killed_at_any_point_loses_and_repeats_nothing(
    crashing: System, service: str, point: str, passing: int
) -> None:
    crashing.fleet.kill(service)
    doomed = crashing.crashing(service, point, passing)
    methods = ("ok", "ok", "declines-insufficient_funds", "refuses-capture", "ok")
    requests = [crashing.request(method=methods[n % 5], sku=f"sku-{n % 7 + 1}") for n in range(15)]
    for request in requests:
        crashing.publish(request)  # one by one, so that the later passings are reached
    assert wait_for(doomed.poll, f"{service} to be killed at {point}") == -9
    crashing.fleet.start()
    crashing.await_rest(request.checkout_id for request in requests)
    outcomes = [crashing.status("checkout", request.checkout_id) for request in requests]
    assert outcomes == ["captured", "captured", "compensated", "compensated", "captured"] * 3


def test_after_all_crashes_the_books_are_clean(crashing: System) -> None:
    crashing.await_rest()
    crashing.assert_clean()
