"""Many workers share what waits, a killed one's messages come back; a flood of failures stops its partition."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from compose.fleet import Fleet
from schemas.choreography import dead_letter_topic
from schemas.events import CheckoutCancelRequested
from tests.jam import jammed
from tests.servers import TestServers
from tests.system import System, free_port, wait_for

WAITS: Final = "SELECT lane, claimed_by FROM retries WHERE status = 'pending'"
STOPPED: Final = '"partition stopped: most of its messages fail"'


@pytest.fixture(scope="module")
def shared(servers: TestServers, scratch: Path) -> Iterator[System]:
    """Claims that hold for two seconds, calls that may take two, and a breaker that stays out of it."""
    settings: dict[str, Any] = {"RETRY_LEASE_S": "2", "PAYMENT_TIMEOUT_S": "2", "PAYMENT_BREAKER_FAILURES": "1000"}
    with System(servers, scratch, **settings) as system:
        yield system


@pytest.fixture(scope="module")
def flooded(servers: TestServers, scratch: Path) -> Iterator[System]:
    """One partition a topic, which stops after 20 failures and is looked at again every second."""
    settings: dict[str, Any] = {
        "FLOOD_AT_LEAST": "20",
        "FLOOD_WINDOW": "40",
        "FLOOD_PROBE_S": "1",
        "RETRY_BUG_ATTEMPTS": "1000",
    }
    with System(servers, scratch, partitions=1, **settings) as system:
        yield system


def owners(system: System) -> set[Any]:
    """The workers that have claimed something."""
    return {row.claimed_by for row in system.rows("payment", WAITS) if row.claimed_by}


def test_workers_share_what_waits_and_a_killed_ones_messages_come_back(shared: System) -> None:
    second = Fleet(shared.env | {"PAYMENT_METRICS_PORT": str(free_port())}, shared.folder / "second", ["payment"])
    second.start()
    try:
        shared.faults({"fault": "error:503", "operation": "capture"}, {"fault": "error:503", "operation": "lookup"})
        requests = [shared.request(sku=f"sku-{n % 50 + 1}") for n in range(40)]
        shared.publish(*requests)
        wait_for(lambda: len(shared.rows("payment", WAITS)) == len(requests), "every capture to wait")
        # now the calls hang, so that whoever claims a message holds it for a while
        shared.faults({"fault": "hang", "operation": "*"})
        wait_for(lambda: len(owners(shared)) == 2, "both workers to have some")
        second.kill("payment")
        shared.faults()
        shared.await_rest(request.checkout_id for request in requests)
    finally:
        second.stop()
    assert {shared.status("checkout", request.checkout_id) for request in requests} == {"captured"}
    shared.assert_clean()


@pytest.mark.slow
def test_a_stopped_workers_messages_are_free_at_once(shared: System) -> None:
    shared.faults({"fault": "error:503", "operation": "void"})
    requests = [shared.request(method="refuses-capture") for _ in range(5)]
    shared.publish(*requests)
    wait_for(lambda: len(shared.rows("payment", WAITS)) == len(requests), "every void to wait")
    shared.fleet.stop()
    assert owners(shared) == set()
    shared.faults()
    shared.fleet.start()
    shared.await_rest(request.checkout_id for request in requests)
    shared.assert_clean()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
@pytest.mark.slow
def test_what_waits_outlives_its_process(shared: System, number: signal.Signals) -> None:
    shared.faults({"fault": "error:503", "operation": "capture"})
    requests = [shared.request() for _ in range(5)]
    shared.publish(*requests)
    wait_for(lambda: len(shared.rows("payment", WAITS)) == len(requests), "every capture to wait")
    if number is signal.SIGKILL:
        shared.fleet.kill("payment")
    else:
        shared.fleet.stop()
    shared.faults()
    shared.fleet.start()
    shared.await_rest(request.checkout_id for request in requests)
    assert {shared.status("checkout", request.checkout_id) for request in requests} == {"captured"}
    shared.assert_clean()


def test_what_waited_behind_another_outlives_the_process_that_had_claimed_both(shared: System) -> None:
    shared.faults({"fault": "error:503", "operation": "capture"})
    request = shared.request()
    shared.publish(request)
    lane = "SELECT event_type FROM retries WHERE lane = :id AND status = 'pending' ORDER BY seq"
    wait_for(lambda: shared.rows("payment", lane, id=request.checkout_id), "the capture to wait")
    shared.publish(CheckoutCancelRequested(checkout_id=request.checkout_id))
    wait_for(lambda: len(shared.rows("payment", lane, id=request.checkout_id)) == 2, "the failure to wait behind it")
    # the capture succeeds now, and the refund behind it hangs
    shared.faults({"fault": "hang", "operation": "refund"})
    shared.await_status("payment", request.checkout_id, "refunding")
    shared.fleet.kill("payment")
    shared.faults()
    shared.fleet.start()
    shared.await_status("checkout", request.checkout_id, "compensated")
    assert shared.ledger(request.checkout_id) == ["authorized", "captured", "refunded"]
    shared.assert_clean()


# --- floods --------------------------------------------------------------------------------------------------------


def test_when_most_of_a_partition_fails_it_stops_and_goes_on_by_itself_when_it_is_better(flooded: System) -> None:
    requests = [flooded.request(sku=f"sku-{n % 50 + 1}") for n in range(300)]
    with jammed(flooded, "checkout", "checkouts", "INSERT", "true"):
        flooded.publish(*requests)
        wait_for(lambda: STOPPED in flooded.fleet.log("checkout").read_text(), "the partition to stop")
        waiting = flooded.rows("checkout", "SELECT count(*) FROM retries WHERE status = 'pending'")[0].count
        assert 20 <= waiting < 60
    flooded.await_rest(request.checkout_id for request in requests)
    assert {flooded.status("checkout", request.checkout_id) for request in requests} == {"captured"}
    assert not flooded.letters("checkout")
    flooded.assert_clean()


def test_a_flood_of_unreadable_messages_stops_no_partition(flooded: System) -> None:
    for number in range(200):
        flooded.shop.publish_raw("payment.declined", f"garbage-{number}".encode(), b"\x00\x00\x00\xff\xff garbage")
    flooded.shop.flush()
    wait_for(lambda: len(flooded.messages(dead_letter_topic("checkout"))) == 200, "a letter of each")
    assert not [line for line in _log(flooded) if STOPPED in line and "payment.declined" in line]
    request = flooded.request()
    flooded.publish(request)
    flooded.await_status("checkout", request.checkout_id, "captured")


def _log(system: System) -> list[str]:
    return system.fleet.log("checkout").read_text().splitlines()
