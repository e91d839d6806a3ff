"""Broker, database, registry and provider go away in mid-flow: nothing is lost and no dead letter is made of it."""

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers import TestServers
from tests.system import System

Outage = Callable[[System, TestServers], None]


@pytest.fixture(scope="module")
def own(servers: TestServers, scratch: Path) -> Iterator[System]:
    """A system on servers that may be stopped."""
    if servers.stack is None:
        pytest.skip("the servers are not ours to stop: they come from the environment or from containers")
    with System(servers, scratch, PAYMENT_TIMEOUT_S="1") as system:
        yield system


def restart(name: str, *, kill: bool) -> Outage:
    """Stop a server, gracefully or by SIGKILL, and start it again on the same port and data."""

    def outage(_system: System, servers: TestServers) -> None:
        assert servers.stack is not None
        servers.stack.stop_server(name, kill=kill)
        servers.stack.start_server(name)

    return outage


def provider_killed(system: System, _servers: TestServers) -> None:
    """SIGKILL the provider; its ledger is what it has on disk."""
    system.stop_provider(signal.SIGKILL)
    system.start_provider()


OUTAGES: dict[str, Outage] = {
    "the broker is restarted": restart("kafka", kill=False),
    "the broker is killed": restart("kafka", kill=True),
    "Postgres is restarted": restart("postgres", kill=False),
    "Postgres is killed": restart("postgres", kill=True),
    "the registry is killed": restart("registry", kill=True),
    "the provider is killed": provider_killed,
}


@pytest.mark.parametrize("outage", OUTAGES.values(), ids=OUTAGES.keys())
def test_in_mid_flow(own: System, servers: TestServers, outage: Outage) -> None:
    before = {service: len(own.letters(service)) for service in ("checkout", "payment", "warehouse")}
    first = [own.request(sku=f"sku-{n % 9 + 1}") for n in range(60)]
    own.publish(*first)
    outage(own, servers)
    second = [own.request(sku=f"sku-{n % 9 + 1}") for n in range(20)]
    own.publish(*second)
    own.await_rest([request.checkout_id for request in (*first, *second)], limit_s=120)
    own.assert_clean()
    assert {r.checkout_id: own.status("checkout", r.checkout_id) for r in (*first, *second)} == dict.fromkeys(
        (r.checkout_id for r in (*first, *second)), "captured"
    )
    assert {service: len(own.letters(service)) for service in before} == before


@pytest.mark.parametrize(
    ("fault", "operation"),
    [
        (fault, operation)
        for fault in (
            "error:500",
            "error:503",
            "error_after:500",
            "reset_before",
            "reset_after",
            "lost_answer",
            "hang",
            "latency:1500",
        )
        for operation in ("authorize", "capture")
    ],
)
def test_an_unknown_outcome_is_asked_again_with_the_same_key(own: System, fault: str, operation: str) -> None:
    own.faults({"fault": fault, "operation": operation, "times": 3})
    requests = [own.request() for _ in range(4)]
    own.publish(*requests)
    own.await_rest(request.checkout_id for request in requests)
    own.faults()
    assert [own.ledger(request.checkout_id) for request in requests] == [["authorized", "captured"]] * 4


@pytest.mark.parametrize("fault", ["lost_answer", "reset_after", "error:503", "error_after:500"])
def test_a_void_whose_answer_is_lost_is_done_once(own: System, fault: str) -> None:
    own.faults({"fault": fault, "operation": "void", "times": 2})
    request = own.request(method="refuses-capture")
    own.publish(request)
    own.await_status("checkout", request.checkout_id, "compensated")
    own.faults()
    assert own.ledger(request.checkout_id) == ["authorized", "capture_refused", "voided"]


@pytest.mark.slow
def test_a_stop_while_the_broker_is_away_ends_in_time_and_loses_nothing(own: System, servers: TestServers) -> None:
    assert servers.stack is not None
    requests = [own.request(sku=f"sku-{n % 9 + 1}") for n in range(200)]
    own.publish(*requests)
    servers.stack.stop_server("kafka", kill=True)
    began = time.monotonic()
    own.fleet.stop()
    took_s = time.monotonic() - began
    servers.stack.start_server("kafka")
    own.fleet.start()
    own.await_rest((request.checkout_id for request in requests), limit_s=120)
    assert took_s < 15


def test_after_all_outages_the_books_are_clean(own: System) -> None:
    own.await_rest()
    own.assert_clean()
