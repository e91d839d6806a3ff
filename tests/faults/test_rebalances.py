"""Processes join and leave while checkouts run: the work moves, nothing is lost, nothing is done twice."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import TestServers
from tests.system import System, wait_for


@pytest.fixture(scope="module")
def crowd(servers: TestServers, scratch: Path) -> Iterator[System]:
    """A system with enough partitions to share."""
    with System(servers, scratch, partitions=6) as system:
        yield system


def join(system: System, service: str) -> subprocess.Popen[bytes]:
    """One more process of a service."""
    with (system.folder / f"{service}.second.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", f"services.{service}"],
            env=system.env | {f"{service.upper()}_METRICS_PORT": "0"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def has_joined(system: System, service: str) -> bool:
    """Whether the second process was given partitions."""
    return "partitions assigned" in (system.folder / f"{service}.second.log").read_text()


@pytest.mark.parametrize("graceful", [pytest.param(True, marks=pytest.mark.slow), False], ids=["stopped", "killed"])
@pytest.mark.parametrize(
    "service", ["payment", *(pytest.param(name, marks=pytest.mark.slow) for name in ("checkout", "warehouse"))]
)
def test_a_second_process_joins_and_leaves_in_mid_flow(crowd: System, service: str, graceful: bool) -> None:
    (crowd.folder / f"{service}.second.log").write_text("")
    requests = [crowd.request(sku=f"sku-{n % 9 + 1}") for n in range(200)]
    crowd.publish(*requests[:100])
    second = join(crowd, service)
    wait_for(lambda: has_joined(crowd, service), f"the second {service} to be given partitions")
    crowd.publish(*requests[100:])
    if graceful:
        second.terminate()
        assert second.wait(30) == 0
    else:
        second.kill()
        second.wait()
    crowd.await_rest(request.checkout_id for request in requests)
    assert {crowd.status("checkout", r.checkout_id) for r in requests} == {"captured"}


def test_a_stop_finishes_or_gives_back_what_it_holds(crowd: System) -> None:
    requests = [crowd.request(method="slow") for _ in range(20)]
    crowd.publish(*requests)
    wait_for(lambda: crowd.status("payment", requests[0].checkout_id) == "authorizing", "a call to be out")
    crowd.fleet.stop()
    log = crowd.fleet.log("payment").read_text()
    assert '"calls_left": 0' in log
    crowd.fleet.start()
    crowd.await_rest(request.checkout_id for request in requests)
    assert [crowd.ledger(r.checkout_id) for r in requests] == [["authorized", "captured"]] * 20


def test_after_all_changes_the_books_are_clean(crowd: System) -> None:
    crowd.await_rest()
    crowd.assert_clean()
