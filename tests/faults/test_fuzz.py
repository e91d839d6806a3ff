"""A thousand hostile messages beside honest checkouts; `make fuzz` is a hundred thousand of them."""

from pathlib import Path

from tests.fuzz.run import fuzz
from tests.servers import TestServers


def test_a_thousand_hostile_messages_stop_nothing(servers: TestServers, scratch: Path) -> None:
    result = fuzz(servers, scratch, messages=1000, rate=100.0, seed=1, alone_s=2.0)
    assert result.holds, result.as_json()
