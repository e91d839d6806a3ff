"""What is said about partitions that an open transaction holds up."""

import time

from prometheus_client import CollectorRegistry, generate_latest

from services.shell.held_up import HeldUp, described
from services.shell.open_transactions import Held

BEGAN = time.time() - 60
HELD = {("pre.checkout.requested", 3): Held(7, BEGAN, 4711), ("pre.a", 0): Held(0, 0.0, None)}


def test_the_gauge_has_a_line_for_each_partition_that_is_held_up() -> None:
    registry = CollectorRegistry()
    registry.register(HeldUp("payment", "pre.", lambda: HELD))
    lines = [line for line in generate_latest(registry).decode().splitlines() if line.startswith("checkout_open")]
    assert len(lines) == 2
    name, seconds = lines[1].rsplit(" ", 1)
    assert name == ('checkout_open_transaction_seconds{partition="3",service="payment",topic="checkout.requested"}')
    assert 60 <= float(seconds) <= time.time() - BEGAN


def test_readyz_names_the_producer_and_where_its_transaction_begins() -> None:
    first, second = described(HELD)
    assert first == {
        "topic": "pre.a", "partition": 0, "offset": 0, "producer_id": None, "since": "1970-01-01T00:00:00+00:00"
    }  # fmt: skip
    assert (second["offset"], second["producer_id"]) == (7, 4711)
