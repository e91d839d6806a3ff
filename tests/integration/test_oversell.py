"""Many want what few can have, and two processes of each service decide at the same time: nothing is sold twice."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from compose.setting_up import stock
from schemas.events import CheckoutFailed, CheckoutRequested, Line
from tests.servers import TestServers
from tests.system import System, free_port, wait_for

DOUBLED: Final = ("warehouse", "payment")


def second_process(system: System, service: str) -> subprocess.Popen[bytes]:
    """One more process of a service, beside the one that the system has."""
    with (system.folder / f"{service}.second.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", f"services.{service}"],
            env=system.env | {f"{service.upper()}_METRICS_PORT": str(free_port())},
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def has_partitions(system: System, service: str) -> bool:
    return "partitions assigned" in (system.folder / f"{service}.second.log").read_text()


@pytest.fixture(scope="module")
def crowd(servers: TestServers, scratch: Path) -> Iterator[System]:
    """Two warehouses, two payments, six partitions to share."""
    with System(servers, scratch, partitions=6) as system:
        seconds = [second_process(system, service) for service in DOUBLED]
        try:
            wait_for(lambda: all(has_partitions(system, s) for s in DOUBLED), "the second processes to take part")
            yield system
        finally:
            for process in seconds:
                process.terminate()
            assert [process.wait(30) for process in seconds] == [0, 0]


def basket(system: System, units: dict[str, int], method: str = "ok") -> CheckoutRequested:
    """A request of these units at 100 each, its lines in this order."""
    lines = tuple(Line(sku=sku, quantity=count, unit_price_minor=100) for sku, count in units.items())
    return system.request(lines=lines, total_minor=100 * sum(units.values()), method=method)


def publish_at_once(system: System, requests: Sequence[CheckoutRequested]) -> dict[str, str]:
    """The codes they failed with by checkout_id, once all is over; a captured one has none."""
    system.publish(*requests)
    system.await_rest((request.checkout_id for request in requests), limit_s=90)
    found = system.rows("checkout", "SELECT checkout_id, code FROM checkouts")
    codes = {row.checkout_id: str(row.code) for row in found if row.code is not None}
    return {r.checkout_id: codes[r.checkout_id] for r in requests if r.checkout_id in codes}


def shelf(system: System, sku: str) -> tuple[int, int, int]:
    """Units on hand, reserved, committed."""
    found = system.rows("warehouse", "SELECT on_hand, reserved, committed FROM stock WHERE sku = :sku", sku=sku)
    return tuple(found[0])


def sold(requests: Sequence[CheckoutRequested], refused: dict[str, str]) -> Counter[str]:
    """Units of each product in the checkouts that were captured."""
    units: Counter[str] = Counter()
    for request in requests:
        for line in request.lines if request.checkout_id not in refused else ():
            units[line.sku] += line.quantity
    return units


def dead_letters(system: System) -> int:
    return sum(len(system.letters(service)) for service in ("checkout", *DOUBLED))


def test_both_processes_of_a_service_have_work_to_do(crowd: System) -> None:
    """Or the tests below would show nothing."""
    for service in DOUBLED:
        first = crowd.fleet.log(service).read_text()
        assert "partitions given back" in first


def test_forty_units_are_sold_forty_times(crowd: System) -> None:
    stock(crowd.servers, {"scarce": 40})
    requests = [basket(crowd, {"scarce": 1 + n % 2}) for n in range(150)]
    refused = publish_at_once(crowd, requests)
    assert set(refused.values()) == {"OUT_OF_STOCK"}
    # more want one unit than there are, and none comes back: the last one goes too
    assert sold(requests, refused)["scarce"] == 40
    assert shelf(crowd, "scarce") == (0, 0, 40)
    captures = [crowd.ledger(r.checkout_id) for r in requests if r.checkout_id not in refused]
    assert captures == [["authorized", "captured"]] * len(captures)


def test_baskets_that_share_products_in_any_order_neither_oversell_nor_lock_each_other_out(crowd: System) -> None:
    skus = [f"shared-{n}" for n in range(5)]
    stock(crowd.servers, dict.fromkeys(skus, 25))
    rings = [[skus[(n + step) % 5] for step in range(3)] for n in range(5)]
    orders = [ring[::direction] for ring in rings for direction in (1, -1)]
    requests = [basket(crowd, dict.fromkeys(orders[n % 10], 1)) for n in range(100)]
    refused = publish_at_once(crowd, requests)
    assert set(refused.values()) == {"OUT_OF_STOCK"}
    units = sold(requests, refused)
    assert {sku: shelf(crowd, sku) for sku in skus} == {sku: (25 - units[sku], 0, units[sku]) for sku in skus}
    # a basket was refused for want of one of its products only
    gone = {sku for sku in skus if units[sku] == 25}
    assert all(gone & {line.sku for line in r.lines} for r in requests if r.checkout_id in refused)


def test_what_is_let_go_is_sold_again(crowd: System) -> None:
    """Captures that are refused put their units back while others ask for them."""
    stock(crowd.servers, {"bouncing": 10})
    methods = ("refuses-capture", "ok", "declines-lost_card")
    requests = [basket(crowd, {"bouncing": 1}, methods[n % 3]) for n in range(90)]
    refused = publish_at_once(crowd, requests)
    late = [basket(crowd, {"bouncing": 1}) for _ in range(15)]
    refused |= publish_at_once(crowd, late)
    assert shelf(crowd, "bouncing") == (0, 0, 10)
    assert sold([*requests, *late], refused)["bouncing"] == 10
    # which of the others came early enough to be refused by their bank is chance
    assert {"OUT_OF_STOCK"} < set(refused.values()) <= {"OUT_OF_STOCK", "CAPTURE_REFUSED", "CARD_BLOCKED"}


def test_the_refused_are_told_which_product_was_gone(crowd: System) -> None:
    stock(crowd.servers, {"none-left": 0})
    request = basket(crowd, {"sku-1": 1, "none-left": 1})
    publish_at_once(crowd, [request])
    [failed] = [event for _, event in crowd.events(request.checkout_id) if isinstance(event, CheckoutFailed)]
    assert (failed.code, failed.detail) == ("OUT_OF_STOCK", "sku none-left")


def test_after_the_rush_the_books_are_clean_and_nothing_was_set_aside(crowd: System) -> None:
    crowd.await_rest()
    crowd.assert_clean()
    assert dead_letters(crowd) == 0
