"""The slow proof: ten SIGKILLs during 5,000 checkouts of every kind, and the books are clean."""

import random
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from compose.audit.reading import ledger_entries
from compose.ends import Ends
from compose.sample import plan
from compose.tally import Tally
from tests.servers import TestServers
from tests.system import System, wait_for

CHECKOUTS = 5_000
KILLS = 10
SERVICES = ("checkout", "payment", "warehouse")


@pytest.fixture(scope="module")
def shaken(servers: TestServers, scratch: Path) -> Iterator[System]:
    """A system of its own."""
    with System(servers, scratch, partitions=6) as system:
        yield system


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_ten_kills_during_five_thousand_checkouts_change_no_ending(shaken: System) -> None:
    chance, tally, ends = random.Random(20_261_124), Tally(), Ends(shaken.servers)
    began = time.monotonic()
    for number, kind in enumerate(plan(CHECKOUTS)):
        checkout_id = f"shaken-{number:05d}"
        tally.expect(checkout_id, kind)
        kind.publish(shaken.shop, checkout_id, number)
    shaken.shop.flush()
    victims = Counter[str]()

    def ended(share: float) -> bool:
        for end in ends.heard(0.05):
            tally.hear(end)
        return len(tally.outcomes) >= share * len(tally.kinds)

    for kill in range(KILLS):
        # spread over the whole run: the next one comes when another part has ended
        wait_for(partial(ended, kill / (KILLS + 1)), f"kill {kill + 1} to be due", limit_s=300)
        victim = SERVICES[kill % 3] if kill < 9 else chance.choice(SERVICES)
        shaken.fleet.kill(victim)
        victims[victim] += 1
        shaken.fleet.start(victim)
    wait_for(lambda: ended(1), "every checkout to end", limit_s=600)
    shaken.await_rest(limit_s=300)
    seconds = time.monotonic() - began
    captures = Counter(
        e["checkout_id"] for e in ledger_entries(shaken.env["PAYMENT_PROVIDER_URL"]) if e["kind"] == "captured"
    )
    report = shaken.audit()
    print(
        f"\n{CHECKOUTS} checkouts, killed {dict(victims)}, all ended after {seconds:.0f} s; captured {len(captures)},"
        f" captured twice {sum(n > 1 for n in captures.values())}; audit clean: {report.clean}"
    )
    ends.close()
    assert report.clean, report.breaches
    assert report.under_way == 0
    assert max(captures.values()) == 1
    assert tally.as_expected, tally.as_json(report, seconds)
