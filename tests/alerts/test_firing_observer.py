"""Alerts on what the observer sees, each fired by what it is about, on real servers."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from schemas.events import CheckoutCompleted
from tests.alerts.watching import Watch, service_ports, started
from tests.servers import TestServers
from tests.system import System, free_port, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def system(servers: TestServers, scratch: Path) -> Iterator[System]:
    """A system whose observer finds after seconds what it finds after minutes otherwise."""
    settings: dict[str, Any] = {
        "PAYMENT_BREAKER_FAILURES": "1000",
        "RETRY_COMPENSATION_ATTEMPTS": "1000",
        "OBSERVER_WEB_PORT": str(free_port()),
        "OBSERVER_STUCK_S": "2",
        "OBSERVER_GRACE_S": "2",
        "OBSERVER_STEP_DEADLINES": "undo=2",
    }
    with System(servers, scratch, **settings) as running:
        yield running


@contextmanager
def observer(system: System) -> Iterator[None]:
    """One worker."""
    command = [sys.executable, "-m", "services.observer"]
    with (system.folder / "observer.log").open("ab") as log, started(command, log, system.env):
        yield


@pytest.fixture(scope="module")
def observing(system: System) -> Iterator[ExitStack]:
    """The observer; close it to stop it."""
    with ExitStack() as stack:
        stack.enter_context(observer(system))
        yield stack


@pytest.fixture(scope="module")
def watch(system: System, scratch: Path, observing: ExitStack) -> Iterator[Watch]:
    """Prometheus on services and observer."""
    ports = service_ports(system) | {"observer": system.env["OBSERVER_WEB_PORT"]}
    with Watch(scratch / "prometheus-observer", ports).running() as running:
        wait_for(lambda: running.ask("checkout_observer_behind_seconds >= 0"), "the observer to know all", 90)
        yield running


def test_checkout_stuck(system: System, watch: Watch) -> None:
    """A void that nobody answers: the checkout lets go of nothing, and the step is late."""
    system.faults({"fault": "error:503", "operation": "void"})
    request = system.request(method="refuses-capture")
    system.publish(request)
    watch.await_firing("CheckoutStuck", state="failed", severity="ticket")
    watch.await_firing("CheckoutStuck", rule="let_go_in_time", severity="ticket")
    assert not watch.firing("BooksDirty")
    system.faults()
    system.await_status("checkout", request.checkout_id, "compensated")
    watch.await_clear("CheckoutStuck")


def test_books_dirty(system: System, watch: Watch) -> None:
    """Somebody forges a second end of a checkout."""
    request = system.request(method="declines-insufficient_funds")
    system.publish(request)
    system.await_status("checkout", request.checkout_id, "compensated")
    assert not watch.firing("BooksDirty")
    system.publish(
        CheckoutCompleted(
            checkout_id=request.checkout_id,
            order_id=uuid4(),
            customer_id=request.customer_id,
            currency=request.currency,
            total_minor=request.total_minor,
        )
    )
    watch.await_firing("BooksDirty", rule="one_end", severity="page")


def test_observer_blind(system: System, watch: Watch, observing: ExitStack) -> None:
    assert not watch.firing("ObserverBlind")
    observing.close()
    watch.await_firing("ObserverBlind", severity="ticket")
    observing.enter_context(observer(system))
    watch.await_clear("ObserverBlind")
