"""What has to be there before the services start: tables, schemas, topics, and something to sell."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Engine

from compose.settings import Servers
from outbox.bulk import BulkInsert
from schemas.choreography import SERVICES
from schemas.registry import create_topics, register
from schemas.registry_client import registry_client
from services.shell.database import engine_of, url_of
from services.shell.migrate import upgrade

PLENTY: Final = 10_000_000
DECLINES: Final = ("insufficient_funds", "expired_card", "do_not_honor", "lost_card")
CUSTOMERS: Final = tuple(f"customer-{n}" for n in range(1, 21))
PRODUCTS: Final = {f"sku-{n}": PLENTY for n in range(1, 101)} | {"sku-rare": 0, "sku-on-hold": PLENTY}

_METHOD: Final = BulkInsert(
    "payment_methods",
    {"payment_method_id": "text", "customer_id": "text", "token": "text"},
    "ON CONFLICT (payment_method_id) DO NOTHING",
)
_STOCK: Final = BulkInsert(
    "stock",
    {"sku": "text", "received": "bigint", "on_hand": "bigint", "on_hold": "boolean"},
    "ON CONFLICT (sku) DO NOTHING",
)


def migrate(servers: Servers) -> None:
    """Bring every service's database to its newest tables."""
    for service in SERVICES:
        with _owned(servers, service) as engine:
            upgrade(service, engine, url_of(servers.database_url(service)).username or "")


def register_schemas(servers: Servers) -> dict[str, int]:
    """Register every schema; subject -> id. Raises IncompatibleSchemaError."""
    with registry_client(servers.registry) as client:
        return register(client, servers.topic_prefix)


def make_topics(servers: Servers) -> list[str]:
    """Create the topics that are missing; their names."""
    return create_topics(
        servers.kafka,
        servers.topic_prefix,
        partitions=servers.topic_partitions,
        replication=servers.topic_replication,
        retention=servers.retention,
    )


def seed(servers: Servers) -> None:
    """Customers' payment methods and stock for the sample; what is there already stays as it is."""
    payment_methods(servers, [method for customer in CUSTOMERS for method in methods_of(customer)])
    stock(servers, PRODUCTS, on_hold={"sku-on-hold"})


def payment_methods(servers: Servers, methods: Sequence[tuple[str, str, str]]) -> None:
    """Customers store (payment method, customer, the provider's token); what is there already stays as it is."""
    with _owned(servers, "payment") as engine, engine.begin() as db:
        _METHOD.run(db, methods)


def stock(servers: Servers, units: dict[str, int], on_hold: frozenset[str] | set[str] = frozenset()) -> None:
    """Goods arrive: `units` by sku, for products that the warehouse doesn't have yet."""
    with _owned(servers, "warehouse") as engine, engine.begin() as db:
        _STOCK.run(db, [(sku, count, count, sku in on_hold) for sku, count in sorted(units.items())])


@contextmanager
def _owned(servers: Servers, service: str) -> Iterator[Engine]:
    """A service's database, as the role that its tables belong to."""
    engine = engine_of(servers.owner_database_url(service))
    try:
        yield engine
    finally:
        engine.dispose()


def methods_of(customer: str) -> list[tuple[str, str, str]]:
    """(payment method, customer, the sandbox provider's token): one that works, and one for each way to fail."""
    tokens = {"ok": "tok_ok", "refuses-capture": "tok_capture_refused"}
    tokens |= {"slow": "tok_delay_3000", "slower": "tok_delay_6000"}
    tokens |= {f"declines-{reason}": f"tok_decline_{reason}" for reason in DECLINES}
    return [(f"{customer}:{name}", customer, token) for name, token in tokens.items()]


def set_up(servers: Servers, tell: Callable[[str], None], *, seeding: bool = True) -> None:
    """Migrate, register, create topics, seed; each is safe to repeat. seeding: for the sample, not for production."""
    migrate(servers)
    tell("databases: migrated")
    tell(f"schemas: {len(register_schemas(servers))} registered")
    tell(f"topics: {len(make_topics(servers))} created")
    if seeding:
        seed(servers)
        tell("customers, payment methods, stock: there")
