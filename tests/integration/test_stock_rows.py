"""Stock is found and written where it lies: also beside others who want it, and beside a snapshot that stays open."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest
from pydantic import SecretStr
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from compose.setting_up import stock
from outbox.prepared import transaction
from schemas.events import CheckoutAccepted, Line
from services.shell.database import engine_of
from services.shell.engine import make_engine
from services.warehouse.decisions import Reservation, Status
from services.warehouse.store import Shelves, load
from tests.servers import TestServers
from tests.system import System, wait_for

FAR: Final = datetime(2100, 1, 1, tzinfo=UTC)
SOLD: Final = 150
PRODUCTS: Final = [f"wanted-{n:02}" for n in range(20)]


@pytest.fixture(scope="module")
def url(servers: TestServers, scratch: Path) -> Iterator[SecretStr]:
    """A warehouse's database with twenty products in it."""
    with System(servers, scratch, services=()) as system:
        stock(system.servers, dict.fromkeys(PRODUCTS, 1_000))
        yield system.servers.database_url("warehouse")


@pytest.fixture
def engine(url: SecretStr) -> Iterator[Engine]:
    engine = make_engine(url, "warehouse")
    yield engine
    engine.dispose()


def look(db: Connection, skus: list[str]) -> tuple[str, Shelves]:
    """A new checkout of one unit of each, and what it finds."""
    checkout_id = str(uuid4())
    lines = tuple(Line(sku=sku, quantity=1, unit_price_minor=1) for sku in skus)
    accepted = CheckoutAccepted(
        checkout_id=checkout_id, customer_id="c", payment_method_id="p", currency="EUR", total_minor=len(skus),
        lines=lines, expires_at=FAR,
    )  # fmt: skip
    return checkout_id, load(db, [accepted])


def set_aside(db: Connection, shelves: Shelves, checkout_id: str, skus: list[str]) -> None:
    """One unit of each is this checkout's."""
    units = dict.fromkeys(skus, 1)
    shelves.keep(Reservation(checkout_id=checkout_id, status=Status.RESERVED, units=units, expires_at=FAR))
    shelves.save(db)


def reserve(engine: Engine, skus: list[str]) -> None:
    """A whole batch of one checkout."""
    with transaction(engine) as db:
        checkout_id, shelves = look(db, skus)
        set_aside(db, shelves, checkout_id, skus)


def reserved(engine: Engine, sku: str) -> int:
    with engine.connect() as db:
        return int(db.execute(text("SELECT reserved FROM stock WHERE sku = :sku"), {"sku": sku}).scalar_one())


def pages_read(engine: Engine) -> int:
    """Pages of the table `stock` that this engine's one session has asked for, so far."""
    with engine.connect() as db:
        db.execute(text("SELECT pg_stat_force_next_flush()"))
        found = db.execute(
            text("SELECT heap_blks_hit + heap_blks_read FROM pg_statio_user_tables WHERE relname = 'stock'")
        )
        return int(found.scalar_one())


def test_who_waited_for_a_product_reads_and_writes_what_the_other_left(url: SecretStr, engine: Engine) -> None:
    before = reserved(engine, "wanted-00")
    other = make_engine(url, "warehouse")
    with ThreadPoolExecutor(1) as second, transaction(engine) as db:
        checkout_id, shelves = look(db, ["wanted-00"])
        waits = second.submit(reserve, other, ["wanted-00"])
        watcher = engine_of(url)
        wait_for(lambda: _somebody_waits(watcher), "the second to wait for the first one's lock")
        watcher.dispose()
        set_aside(db, shelves, checkout_id, ["wanted-00"])
    waits.result(30)
    other.dispose()
    assert reserved(engine, "wanted-00") == before + 2


def _somebody_waits(engine: Engine) -> bool:
    with engine.connect() as db:
        return bool(db.execute(text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar_one())


def test_a_row_that_isnt_where_it_was_locked_is_an_error_and_nothing_is_written(engine: Engine) -> None:
    before = reserved(engine, "wanted-01")

    def moved_meanwhile() -> None:
        with transaction(engine) as db:
            checkout_id, shelves = look(db, ["wanted-01"])
            db.execute(text("UPDATE stock SET updated_at = now() WHERE sku = 'wanted-01'"))
            set_aside(db, shelves, checkout_id, ["wanted-01"])

    with pytest.raises(DBAPIError, match="stock is not where it was locked"):
        moved_meanwhile()
    assert reserved(engine, "wanted-01") == before


def test_products_in_demand_are_found_in_few_pages_beside_a_snapshot_that_stays_open(
    url: SecretStr, engine: Engine
) -> None:
    stranger = engine_of(url, isolation_level="REPEATABLE READ")
    with stranger.connect() as held:
        held.execute(text("SELECT count(*) FROM stock"))
        for _ in range(SOLD):
            reserve(engine, PRODUCTS)
        before = pages_read(engine)
        with transaction(engine) as db:
            look(db, PRODUCTS)
        read = pages_read(engine) - before
    stranger.dispose()
    # a search from the oldest version on reads them all: hundreds
    assert read <= 3 * len(PRODUCTS)
