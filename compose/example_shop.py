"""An example: a shop with a database of its own publishes `checkout.requested` through the outbox library.

    eval "$(checkout stack env)" && python -m compose.example_shop

The basket and the event are written in one transaction: either both are there, or neither is. A relay, here a
thread of the same process, publishes what was committed. Needs the services to run (`checkout run`).
"""

import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

from confluent_kafka import Producer
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from uuid_utils.compat import uuid7

import outbox
from compose.ends import Ends
from compose.settings import Servers
from outbox.relay import producer_config
from schemas.codec import Codec
from schemas.envelope import Envelope, event_headers, trace_headers
from schemas.events import CheckoutRequested, Line
from services.shell.settings import read_settings

_LIMIT_POLLS: Final = 300
_POLL_S: Final = 0.1


class Base(DeclarativeBase):
    """The shop's own tables."""


class Basket(Base):
    """What the customer put together."""

    __tablename__ = "baskets"
    checkout_id: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str]


def buy(session: Session, codec: Codec, topic_prefix: str) -> str:
    """Save a basket and ask for its checkout, in the caller's transaction; the checkout's id."""
    request = CheckoutRequested(
        checkout_id=f"shop-{uuid4().hex[:12]}",
        customer_id="customer-1",
        payment_method_id="customer-1:ok",
        currency="EUR",
        total_minor=2500,
        lines=(Line(sku="sku-1", quantity=2, unit_price_minor=1250),),
    )
    envelope = Envelope(request, uuid7(), datetime.now(UTC))
    session.add(Basket(checkout_id=request.checkout_id, state="paying"))
    outbox.add(
        session,
        outbox.Record(
            topic=topic_prefix + request.TYPE,
            key=request.checkout_id,
            payload=codec.encode(envelope),
            headers=event_headers(envelope, "shop", envelope.event_id, trace_headers([])),
            id=envelope.event_id,
        ),
    )
    return request.checkout_id


def main(tell: Callable[[str], None] = print) -> int:
    """Buy once, wait for the end; 0 when it completed."""
    servers = read_settings(Servers)
    engine, codec = (
        shop_database(os.environ["POSTGRES_ADMIN_URL"]),
        Codec(servers.registry, servers.topic_prefix),
    )
    wake, ends = outbox.Wake(), Ends(servers)
    relay = outbox.Relay(engine, lambda: Producer(producer_config(servers.kafka)), wake)
    thread = threading.Thread(target=relay.run)
    thread.start()
    try:
        with Session(engine) as session, session.begin():
            checkout_id = buy(session, codec, servers.topic_prefix)
        wake.set()
        tell(f"{checkout_id}: basket saved, checkout asked for")
        outcome = _outcome(ends, checkout_id)
        tell(f"{checkout_id}: {outcome}")
        return 0 if outcome == "completed" else 1
    finally:
        relay.stop()
        thread.join()
        ends.close()
        codec.close()
        engine.dispose()


def shop_database(admin_url: str) -> Engine:
    """The shop's database with its tables, made where it is missing."""
    admin = create_engine(admin_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as db:
        if not db.execute(text("SELECT 1 FROM pg_database WHERE datname = 'shop'")).first():
            db.execute(text("CREATE DATABASE shop"))
    admin.dispose()
    engine = create_engine(make_url(admin_url).set(database="shop"))
    Base.metadata.create_all(engine)
    with engine.begin() as db:
        outbox.create_tables(db)
    return engine


def _outcome(ends: Ends, checkout_id: str) -> str:
    for _ in range(_LIMIT_POLLS):
        for end in ends.heard(_POLL_S):
            if end.checkout_id == checkout_id:
                return end.outcome
    return "no end heard; are the services running?"


if __name__ == "__main__":
    raise SystemExit(main())
