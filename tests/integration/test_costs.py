"""What a checkout costs the databases in full batches: counted, so it must not grow unseen on any machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import Engine, create_engine, text

from compose.bench.batches import Cost
from compose.bench.costs import cost_by_service
from compose.bench.rig import Rig
from tests.servers import TestServers

SIZE: Final = 1_000


@pytest.fixture(scope="module")
def costs(servers: TestServers, scratch: Path) -> Iterator[dict[str, Cost]]:
    """Of `SIZE` captured checkouts, by service."""
    admin = create_engine(servers.postgres_admin, isolation_level="AUTOCOMMIT")
    environ = {
        "KAFKA_BOOTSTRAP_SERVERS": servers.kafka,
        "SCHEMA_REGISTRY_URL": servers.registry,
        "POSTGRES_ADMIN_URL": servers.postgres_admin,
    }
    with Rig(environ, scratch, services=False) as rig, housekeeping_off(admin):
        yield cost_by_service(rig.servers, SIZE)
    admin.dispose()


@contextmanager
def housekeeping_off(admin: Engine) -> Iterator[None]:
    """Nothing but the checkouts writes to the WAL: vacuum would, and pages as a whole after a checkpoint."""
    with admin.connect() as db:
        db.execute(text("ALTER SYSTEM SET autovacuum = off"))
        db.execute(text("SELECT pg_reload_conf()"))
        # the next one is minutes away
        db.execute(text("CHECKPOINT"))
    try:
        yield
    finally:
        with admin.connect() as db:
            db.execute(text("ALTER SYSTEM RESET autovacuum"))
            db.execute(text("SELECT pg_reload_conf()"))


def test_a_checkout_costs_no_more_statements_than_it_did(costs: dict[str, Cost]) -> None:
    assert {name: cost.statements for name, cost in costs.items()} == {"checkout": 25, "payment": 29, "warehouse": 18}


def test_a_checkout_is_no_more_transactions_than_it_was(costs: dict[str, Cost]) -> None:
    assert sum(cost.transactions for cost in costs.values()) == 15


def test_a_checkout_writes_no_more_ahead_than_it_did(costs: dict[str, Cost]) -> None:
    kilobytes = {name: cost.wal_bytes / SIZE / 1000 for name, cost in costs.items()}
    print(f"WAL of one checkout, kB: {kilobytes}")
    assert sum(kilobytes.values()) < 14.5
