"""Reads the facts: three databases, every topic, the provider's ledger over HTTP."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Any, Final
from urllib.request import urlopen

from confluent_kafka import Message
from sqlalchemy import Connection, create_engine, text

from compose.audit.facts import (
    CheckoutRow,
    Facts,
    Heard,
    LedgerEntry,
    PaymentRow,
    ReservationRow,
    StockRow,
    TrailRow,
)
from compose.settings import Servers
from dlq.letter import letter_event_id
from dlq.topics import dump as dump_topics
from schemas.choreography import SERVICES, dead_letter_topic, subscriptions, topics
from schemas.codec import Codec
from services.shell.delivery import read

_PAGE: Final = 1000
_TIMEOUT_S: Final = 30.0


Journal = Callable[[], Iterable[dict[str, Any]]]
"""Reads the provider's own journal."""


def read_facts(servers: Servers, journal: Journal) -> Facts:
    """Everything the audit looks at.

    The ends first and their traces after: what has ended no longer moves, so a running system is read soundly.
    """
    facts = Facts()
    own = {"checkout": _checkout, "payment": _payment, "warehouse": _warehouse}
    for service in SERVICES:
        _in_database(servers, service, partial(own[service], facts))
    for service in SERVICES:
        _in_database(servers, service, partial(_common, facts, service, servers.topic_prefix))
    for entry in journal():
        row = LedgerEntry(entry["kind"], entry["payment_id"], entry["amount_minor"], entry["currency"])
        facts.ledger.setdefault(entry["checkout_id"], []).append(row)
    return facts


def read_topics(servers: Servers, facts: Facts) -> None:
    """Every message of every topic, up to where they end now. Read before the inboxes, so nothing is ahead of them."""
    with closing(Codec(servers.schema_registry_url, servers.topic_prefix)) as codec:
        _read_topics(servers, facts, codec)


def _read_topics(servers: Servers, facts: Facts, codec: Codec) -> None:
    listeners = {t: [s for s in SERVICES if t in subscriptions(s)] for t in topics()}
    facts.heard = {service: [] for service in SERVICES}
    facts.letters = {service: set() for service in SERVICES}
    letters = {dead_letter_topic(service): service for service in SERVICES}
    for message in dump(servers, [*topics(), *letters]):
        name = str(message.topic()).removeprefix(servers.topic_prefix)
        if name in letters:
            facts.letters[letters[name]].add(letter_event_id(message))
            continue
        delivery = read(message, codec, servers.topic_prefix)
        heard = Heard(delivery.event_id, f"{name}/{message.partition()}/{message.offset()}")
        for service in listeners[name]:
            facts.heard[service].append(heard)
        if delivery.event is not None:
            by_type = facts.published.setdefault(delivery.event.checkout_id, {})
            by_type.setdefault(name, set()).add(delivery.event_id)


def dump(servers: Servers, names: Sequence[str]) -> Iterator[Message]:
    """The messages of these topics, named without prefix, from their beginning to their present end."""
    return dump_topics(servers.kafka, [servers.topic_prefix + name for name in names])


def ledger_entries(provider_url: str) -> Iterator[dict[str, Any]]:
    """The provider's journal, page by page."""
    after: int | None = 0
    while after is not None:
        url = f"{provider_url.rstrip('/')}/v1/ledger?after={after}&limit={_PAGE}"
        # the operator's own setting, not input
        with urlopen(url, timeout=_TIMEOUT_S) as response:  # noqa: S310
            page = json.load(response)
        yield from page["entries"]
        after = page["next"]


def _in_database(servers: Servers, service: str, work: Callable[[Connection], None]) -> None:
    engine = create_engine(servers.database_url(service))
    try:
        with engine.connect() as db:
            work(db)
    finally:
        engine.dispose()


def _checkout(facts: Facts, db: Connection) -> None:
    rows = db.execute(
        text(
            "SELECT checkout_id, status, accepted, total_minor, currency, code,"
            " CAST(extract(epoch FROM now() - updated_at) AS float) FROM checkouts"
        )
    )
    facts.checkouts = {key: CheckoutRow(*rest) for key, *rest in rows}


def _payment(facts: Facts, db: Connection) -> None:
    rows = db.execute(text("SELECT checkout_id, status, payment_id, amount_minor FROM payments"))
    facts.payments = {key: PaymentRow(*rest) for key, *rest in rows}


def _warehouse(facts: Facts, db: Connection) -> None:
    db.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))  # stock and reservations of one moment
    rows = db.execute(text("SELECT checkout_id, status, units FROM reservations"))
    facts.reservations = {key: ReservationRow(*rest) for key, *rest in rows}
    stock = db.execute(text("SELECT sku, received, on_hand, reserved, committed FROM stock"))
    facts.stock = {sku: StockRow(*rest) for sku, *rest in stock}


def _common(facts: Facts, service: str, topic_prefix: str, db: Connection) -> None:
    trails: dict[str, list[TrailRow]] = {}
    for key, *rest in db.execute(
        text("SELECT checkout_id, from_state, to_state, cause_id FROM audit_trail ORDER BY seq")
    ):
        trails.setdefault(key, []).append(TrailRow(*rest))
    facts.trails[service] = trails
    group = topic_prefix + service
    handled = db.execute(text("SELECT event_id FROM inbox WHERE consumer = :group"), {"group": group})
    facts.inbox[service] = set(handled.scalars())
    facts.waiting[service] = db.execute(
        text("SELECT count(*) FROM retries WHERE status IN ('pending', 'compensating')")
    ).scalar_one()
    dead = db.execute(text("SELECT event_id FROM retries WHERE status = 'dead'"))
    facts.given_up[service] = set(dead.scalars())
    facts.outbox[service] = db.execute(text("SELECT count(*) FROM outbox")).scalar_one()
