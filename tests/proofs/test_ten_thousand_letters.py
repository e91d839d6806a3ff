"""Ten thousand dead letters are looked at, replayed, killed in the middle, replayed again; and the books are clean."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from dlq.letter import letter_id
from schemas.choreography import retry_topic
from tests.jam import jammed
from tests.servers import TestServers
from tests.system import System, wait_for

LETTERS: Final = 10_000
GROUPS_S: Final = 3.0
PER_S: Final = 5_000
SLOW_PER_S: Final = 400


@pytest.fixture(scope="module")
def full(servers: TestServers, scratch: Path) -> Iterator[System]:
    """Every first failure of the checkout service is a letter, and many of them are no flood."""
    settings: dict[str, Any] = {"RETRY_BUG_ATTEMPTS": "1", "FLOOD_AT_LEAST": "0"}
    with System(servers, scratch, partitions=6, **settings) as system:
        yield system


def letters(system: System) -> int:
    """How many messages the checkout service has given up."""
    (row,) = system.rows("checkout", "SELECT count(*) FROM retries WHERE status = 'dead'")
    return int(row.count)


def states(system: System) -> Counter[str]:
    """The letters by their state in the ledger."""
    return Counter(letter["state"] for letter in system.dlq("list", "--all"))


def killed_replay(system: System) -> int:
    """`dlq replay`, killed when a part of the letters is sent; how many were."""
    command = [str(Path(sys.executable).with_name("dlq")), "replay", "--yes", "--rate", str(SLOW_PER_S), "--json"]
    with (system.folder / "killed-replay.log").open("ab") as log:
        process = subprocess.Popen(command, env=system.env, stdout=log, stderr=log, start_new_session=True)
    wait_for(lambda: sent(system) >= LETTERS // 10, "a tenth of the letters to be sent")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return sent(system)


def sent(system: System) -> int:
    """Letters on the retry topic, in committed transactions."""
    return len(system.messages(retry_topic("checkout")))


def replay(system: System) -> dict[str, Any]:
    """`dlq replay --yes`, until every letter has an outcome."""
    command = [str(Path(sys.executable).with_name("dlq")), "replay", "--yes", "--wait", "--wait-limit", "300", "--json"]
    done = subprocess.run(command, env=system.env, capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0, (done.stdout, done.stderr)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_ten_thousand_letters_are_replayed_once_each_although_the_replay_is_killed(full: System) -> None:
    with jammed(full, "checkout", "checkouts", "UPDATE", "true"):
        requests = [full.request(f"letter-{number:05d}", sku=f"sku-{number % 90 + 1}") for number in range(LETTERS)]
        full.publish(*requests)
        wait_for(lambda: letters(full) >= LETTERS, "ten thousand letters", limit_s=600, pause_s=0.5)
        wait_for(lambda: not full.rows("checkout", "SELECT 1 FROM outbox LIMIT 1"), "them to be published")
    began = time.monotonic()
    groups = full.dlq("groups")
    groups_s = time.monotonic() - began
    before = sent(full)
    first = killed_replay(full) - before
    told = replay(full)
    copies = Counter(letter_id(message) for message in full.messages(retry_topic("checkout")))
    full.await_rest(limit_s=600)
    report = full.audit()
    print(
        f"\n{letters_line(groups)}; dlq groups {groups_s:.1f} s; killed after {first:,} were sent,"
        f" then {told['sent']:,} at {told['sent'] / told['seconds']:,.0f}/s;"
        f" sent twice {sum(n > 1 for n in copies.values())}; states {dict(states(full))}; audit clean: {report.clean}"
    )
    assert groups_s < GROUPS_S
    assert 0 < first < LETTERS
    assert first + told["sent"] == LETTERS
    assert max(copies.values()) == 1
    assert told["sent"] / told["seconds"] >= PER_S
    assert states(full) == {"resolved": LETTERS}
    assert report.clean, report.breaches[:5]
    assert report.under_way == 0
    assert {full.status("checkout", request.checkout_id) for request in requests[:100]} == {"captured"}


def letters_line(groups: list[dict[str, Any]]) -> str:
    """What `dlq groups` says, in short."""
    return f"{sum(group['count'] for group in groups):,} letters in {len(groups)} groups"
