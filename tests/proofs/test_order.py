"""One message waits for its retry: those of its key come after it, in order; ten thousand of other keys go by."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest

from schemas.events import CheckoutCancelRequested
from tests.jam import jammed
from tests.servers import TestServers
from tests.system import System, wait_for

LATER: Final = 100
OTHERS: Final = 10_000


@pytest.fixture(scope="module")
def ordered(servers: TestServers, scratch: Path) -> Iterator[System]:
    """Only the checkout service; a message that fails is tried again every second, for long."""
    settings: dict[str, Any] = {"RETRY_FIRST_S": "1", "RETRY_STEP_S": "0", "RETRY_BUG_ATTEMPTS": "100000"}
    with System(servers, scratch, services=("checkout",), **settings) as system:
        yield system


def wish(checkout_id: str, reason: str) -> CheckoutCancelRequested:
    """A customer's wish to cancel; the checkout's trail keeps the reason."""
    return CheckoutCancelRequested(checkout_id=checkout_id, reason=reason)


def handled(system: System, prefix: str) -> int:
    """How many checkouts with this prefix are known."""
    (row,) = system.rows("checkout", "SELECT count(*) FROM checkouts WHERE checkout_id LIKE :p", p=f"{prefix}%")
    return int(row.count)


def pass_by(system: System, prefix: str) -> float:
    """Seconds that ten thousand messages of other keys take."""
    began = time.monotonic()
    system.publish(*(wish(f"{prefix}-{number}", "other") for number in range(OTHERS)))
    wait_for(lambda: handled(system, prefix) == OTHERS, "the others to be handled", limit_s=120)
    return time.monotonic() - began


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_key_waits_in_order_and_ten_thousand_others_do_not(ordered: System) -> None:
    checkout_id = f"o-{uuid4().hex[:8]}"
    ordered.publish(wish(checkout_id, "the first"))
    ordered.await_status("checkout", checkout_id, "cancelled_first")
    alone = pass_by(ordered, "before")
    with jammed(ordered, "checkout", "audit_trail", "INSERT", f"NEW.checkout_id = '{checkout_id}'"):
        ordered.publish(wish(checkout_id, "number 000"))
        count = "SELECT count(*) FROM retries WHERE lane = :id AND status = 'pending'"
        wait_for(lambda: ordered.rows("checkout", count, id=checkout_id)[0].count == 1, "the first to wait")
        ordered.publish(*(wish(checkout_id, f"number {number:03d}") for number in range(1, LATER + 1)))
        wait_for(lambda: ordered.rows("checkout", count, id=checkout_id)[0].count == LATER + 1, "all to wait behind it")
        beside = pass_by(ordered, "beside")
    wait_for(lambda: ordered.rows("checkout", count, id=checkout_id)[0].count == 0, "the key to be handled")
    notes = [
        row.note
        for row in ordered.rows(
            "checkout", "SELECT note FROM audit_trail WHERE checkout_id = :id ORDER BY seq", id=checkout_id
        )
    ][1:]
    assert [note.split(";")[0].removeprefix("cancel requested: ") for note in notes] == [
        f"number {number:03d}" for number in range(LATER + 1)
    ]
    print(
        f"\n{LATER} later messages of the key handled after it, in order; {OTHERS:,} of other keys took {beside:.1f} s"
        f" meanwhile, {alone:.1f} s without ({beside / alone:.2f} x)"
    )
    assert beside < 2 * alone + 1
