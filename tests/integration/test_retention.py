"""How long tables and topics keep what they have is a setting."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._resource import ResourceType

from schemas.choreography import SERVICES
from schemas.registry import Retention, create_topics, topic_configs
from tests.servers import TestServers
from tests.system import System, wait_for

CHECKOUT: Final = Path(sys.executable).with_name("checkout")
DAY_MS: Final = 86_400_000


@pytest.fixture(scope="module")
def system(servers: TestServers, scratch: Path) -> Iterator[System]:
    with System(servers, scratch, RETRY_KEEP_DAYS="2", FATAL_KEEP_DAYS="3", INBOX_KEEP_DAYS="4") as running:
        yield running


def prune(system: System, *arguments: str, **env: str) -> str:
    done = subprocess.run(
        [CHECKOUT, "prune", *arguments], env=system.env | env, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def test_by_default_topics_keep_what_they_always_kept() -> None:
    kept = {topic: config["retention.ms"] for topic, config in topic_configs(1).items()}
    assert kept["checkout.requested"] == kept["payment.retry"] == str(30 * DAY_MS)
    assert kept["payment.dlq"] == str(90 * DAY_MS)
    assert (kept["dlq.ledger"], kept["dlq.audit"]) == ("-1", "-1")
    assert topic_configs(1)["dlq.ledger"]["cleanup.policy"] == "compact"


def test_topics_are_made_with_the_retention_that_is_asked_for(servers: TestServers) -> None:
    prefix = f"r{uuid4().hex[:10]}."
    asked = Retention(events=1, letters=2, replays=3, ledger=4, audit=5)
    made = create_topics(servers.kafka, prefix, partitions=1, retention=asked)
    admin = AdminClient({"bootstrap.servers": servers.kafka})
    names = [
        prefix + name for name in ("checkout.requested", "payment.dlq", "payment.retry", "dlq.ledger", "dlq.audit")
    ]
    try:
        found = {}
        for resource, future in admin.describe_configs([ConfigResource(ResourceType.TOPIC, n) for n in names]).items():
            config = future.result(30)
            found[resource.name] = (int(config["retention.ms"].value) // DAY_MS, config["cleanup.policy"].value)
        assert [found[name][0] for name in names] == [1, 2, 3, 4, 5]
        assert found[prefix + "dlq.ledger"][1] == "compact,delete"
    finally:
        for done in admin.delete_topics(made, operation_timeout=30).values():
            done.result(30)


def test_a_service_drops_what_is_older_than_its_settings_say(system: System) -> None:
    """Aged by hand; the process that starts next looks."""
    old, young = "now() - interval '73 hours'", "now() - interval '47 hours'"
    for at, name in ((old, "old"), (young, "young")):
        system.execute(
            "payment",
            "INSERT INTO retries (letter_id, event_id, lane, event_type, operation, gate, status, early, attempts,"
            " timeouts, error_class, error_message, error_stack, fingerprint, disposition, topic, at_partition,"
            " at_offset, at_time, headers, replay_id, replay_count, edit_of, updated_at) VALUES (gen_random_uuid(),"
            " gen_random_uuid(), :name, 't', '', '', 'resolved', false, 0, 0, '', '', '', '', '', 't', 0, 0, now(),"
            f" '[]', '', 0, '', {at})",
            name=name,
        )
        system.execute("payment", f"INSERT INTO fatal_messages VALUES (:name, 0, 0, 1, {at})", name=name)
    system.execute(
        "payment", "CREATE TABLE inbox_20200101 PARTITION OF inbox FOR VALUES FROM ('2020-01-01') TO ('2020-01-02')"
    )
    system.fleet.stop()
    system.fleet.start()
    wait_for(system.fleet.ready, "the services to be ready")
    lanes = "SELECT lane FROM retries ORDER BY lane"
    wait_for(lambda: [row.lane for row in system.rows("payment", lanes)] == ["young"], "the old row to go")
    places = "SELECT topic FROM fatal_messages ORDER BY topic"
    wait_for(lambda: [row.topic for row in system.rows("payment", places)] == ["young"], "the old count to go")
    assert system.rows("payment", "SELECT to_regclass('inbox_20200101') AS found")[0].found is None


def test_old_trails_go_and_the_audit_is_still_clean(system: System) -> None:
    old, young = system.request(), system.request()
    cancelled = system.request(method="declines-lost_card")
    system.publish(old, young, cancelled)
    system.await_rest([request.checkout_id for request in (old, young, cancelled)])
    ids = [old.checkout_id, cancelled.checkout_id]
    system.execute(
        "checkout",
        "UPDATE checkouts SET updated_at = now() - interval '11 days' WHERE checkout_id = ANY(:ids)",
        ids=ids,
    )
    rows = sum(len(system.trail(service, checkout_id)) for service in SERVICES for checkout_id in ids)
    assert "AUDIT_TRAIL_KEEP_DAYS is 0" in prune(system, "--yes")
    assert prune(system, AUDIT_TRAIL_KEEP_DAYS="10") == f"{rows} rows of 2 checkouts would be deleted (--yes does it)"
    assert all(system.trail(service, old.checkout_id) for service in SERVICES)
    assert prune(system, "--yes", AUDIT_TRAIL_KEEP_DAYS="10") == f"{rows} rows of 2 checkouts deleted"
    assert [system.trail(service, checkout_id) for service in SERVICES for checkout_id in ids] == [[]] * 6
    assert all(system.trail(service, young.checkout_id) for service in SERVICES)
    assert prune(system, "--yes", AUDIT_TRAIL_KEEP_DAYS="10") == "0 rows of 2 checkouts deleted"
    audit = [str(CHECKOUT), "audit"]
    env = system.env | {"AUDIT_TRAIL_KEEP_DAYS": "10"}
    assert subprocess.run(audit, env=env, capture_output=True, check=False, timeout=120).returncode == 0
    # whoever prunes without saying so is told that trails are missing
    assert subprocess.run(audit, env=system.env, capture_output=True, check=False, timeout=120).returncode == 1
