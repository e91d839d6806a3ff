"""SQL statements and WAL for one checkout in full batches: counted, so the same on every machine."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import uuid4

from sqlalchemy import text

from compose.bench.batches import Batches, Cost
from compose.bench.figures import Context, Figure
from compose.bench.load import baskets
from compose.bench.provider import InProcessProvider, ProviderSettings
from compose.bench.rig import Rig
from compose.settings import Servers
from schemas.codec import Codec
from schemas.events import (
    CheckoutAccepted,
    CheckoutConfirmed,
    CheckoutRequested,
    Event,
    PaymentAuthorized,
    PaymentCaptured,
    WarehouseConfirmed,
    WarehouseReserved,
)
from services.checkout.service import CheckoutSettings
from services.checkout.service import make as make_checkout
from services.payment.provider.protocol import Authorize, Authorized, Captured
from services.payment.service import PaymentSettings
from services.payment.service import make as make_payment
from services.shell.settings import read_settings
from services.warehouse.service import WarehouseSettings
from services.warehouse.service import make as make_warehouse

FULL: Final = 1_000
_DAY: Final = timedelta(days=1)

Step = tuple[str, Callable[[Sequence[CheckoutRequested]], list[Event]]]


def costs(context: Context) -> list[Figure]:
    """Of a captured checkout, by service."""
    with Rig(context.bench.environ, context.bench.folder, services=False) as rig:
        found = cost_by_service(rig.servers)
    total = sum(found.values(), Cost())
    shown = ", ".join(f"{name} {cost.wal_bytes / FULL / 1000:.1f} kB" for name, cost in found.items())
    return [
        Figure(
            f"one checkout in batches of {FULL:,}",
            "counted",
            f"{total.statements / FULL:.3f} SQL statements, {total.transactions / FULL:.3f} transactions, "
            f"{total.wal_bytes / FULL / 1000:.1f} kB of WAL ({shown})",
            None,
        )
    ]


def cost_by_service(servers: Servers, size: int = FULL) -> dict[str, Cost]:
    """What `size` captured checkouts cost each service in batches of `size`, its outbox rows' deletion included."""
    with ExitStack() as undo:
        codec = undo.enter_context(closing(Codec(servers.registry, servers.topic_prefix)))
        services = {name: undo.enter_context(closing(batches)) for name, batches in _services(servers, codec).items()}
        # the first ones find every page untouched since the last checkpoint, which says nothing about a checkout
        _play(services, baskets(size, seed=1))
        return _play(services, baskets(size, seed=2))


def _play(services: Mapping[str, Batches], requests: Sequence[CheckoutRequested]) -> dict[str, Cost]:
    found = {name: Cost() for name in services}
    for service, events in _steps():
        answer = _answer if service == "payment" else None
        found[service] += services[service].settle(events(requests), answer)
    return {name: cost + _publish(services[name]) for name, cost in found.items()}


def _publish(service: Batches) -> Cost:
    """The deletion of what a relay has published, as it deletes it."""
    with service.engine.connect() as db:
        began = db.execute(text("SELECT pg_current_wal_insert_lsn() - '0/0'")).scalar_one()
        db.execute(text("DELETE FROM outbox"))
        db.commit()
        ended = db.execute(text("SELECT pg_current_wal_insert_lsn() - '0/0'")).scalar_one()
    # one read and one deletion
    return Cost(2, 1, int(ended - began))


def _steps() -> list[Step]:
    far = datetime.now(UTC) + _DAY

    def each(kind: Callable[..., Event], **fields: Any) -> Callable[[Sequence[CheckoutRequested]], list[Event]]:
        return lambda requests: [kind(checkout_id=request.checkout_id, **fields) for request in requests]

    def accepted(requests: Sequence[CheckoutRequested]) -> list[Event]:
        names = ("checkout_id", "customer_id", "payment_method_id", "currency", "total_minor", "lines")
        return [CheckoutAccepted(**{n: getattr(r, n) for n in names}, expires_at=far) for r in requests]

    def paid(kind: Callable[..., Event], **fields: Any) -> Callable[[Sequence[CheckoutRequested]], list[Event]]:
        return lambda requests: [
            kind(
                checkout_id=request.checkout_id,
                payment_id=f"pay-{request.checkout_id}",
                amount_minor=request.total_minor,
                currency=request.currency,
                **fields,
            )
            for request in requests
        ]

    return [
        ("checkout", list),
        ("warehouse", accepted),
        ("payment", accepted),
        ("payment", each(WarehouseReserved, expires_at=far)),
        ("checkout", paid(PaymentAuthorized, capture_before=far)),
        ("warehouse", each(CheckoutConfirmed, order_id=uuid4())),
        ("checkout", each(WarehouseConfirmed)),
        ("payment", each(WarehouseConfirmed)),
        ("checkout", paid(PaymentCaptured)),
    ]


def _answer(call: Any) -> object:
    if isinstance(call, Authorize):
        return Authorized(payment_id=f"pay-{call.checkout_id}", capture_before=datetime.now(UTC) + _DAY)
    return Captured(amount_minor=call.amount_minor)


def _services(servers: Servers, codec: Codec) -> dict[str, Batches]:
    values: dict[str, Any] = {
        "kafka_bootstrap_servers": servers.kafka_bootstrap_servers,
        "schema_registry_url": servers.schema_registry_url,
        "payment_provider_url": servers.payment_provider_url,
        **{f"{s.upper()}_DATABASE_URL": servers.database_url(s) for s in ("checkout", "payment", "warehouse")},
    }
    checkout, payment, warehouse = CheckoutSettings(**values), PaymentSettings(**values), WarehouseSettings(**values)
    nobody = InProcessProvider(read_settings(ProviderSettings))
    return {
        "checkout": Batches(make_checkout(checkout), checkout, servers, codec),
        "payment": Batches(make_payment(nobody, payment), payment, servers, codec),
        "warehouse": Batches(make_warehouse(warehouse), warehouse, servers, codec),
    }
