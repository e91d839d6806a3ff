"""Reads the facts: three databases, every topic, the provider's ledger over HTTP."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any, Final, NoReturn
from urllib.request import Request, urlopen

from aiokafka.errors import KafkaError as BrokerError
from confluent_kafka import KafkaError, KafkaException
from pydantic import SecretStr
from sqlalchemy import Connection, text

from compose.audit.facts import (
    CheckoutRow,
    Facts,
    Heard,
    LedgerEntry,
    LetterFact,
    PaymentRow,
    ReservationRow,
    StockRow,
    TrailRow,
)
from compose.settings import Servers
from dlq.topics import dump
from schemas.choreography import SERVICES, dead_letter_topic, subscriptions, topics
from schemas.codec import Codec
from schemas.kafka.behind import said_behind
from schemas.kafka.raw import Partition
from schemas.kafka.record import KafkaRecord, record_of
from schemas.secret import login_of, secret
from services.shell.database import engine_of
from services.shell.delivery import Delivery, place_identity
from services.shell.reading import read

_PAGE: Final = 1000
_TIMEOUT_S: Final = 30.0
_DAY_S: Final = 86_400.0


Journal = Callable[[], Iterable[dict[str, Any]]]
"""Reads the provider's own journal."""


def read_facts(servers: Servers, journal: Journal) -> Facts:
    """Everything the audit looks at.

    The ends first and their traces after: what has ended no longer moves, so a running system is read soundly.
    """
    facts = Facts(trail_kept_s=servers.audit_trail_keep_days * _DAY_S or None)
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
    with closing(Codec(servers.registry, servers.topic_prefix)) as codec:
        _read_topics(servers, facts, codec)


def _read_topics(servers: Servers, facts: Facts, codec: Codec) -> None:
    listeners = {t: [s for s in SERVICES if t in subscriptions(s)] for t in topics()}
    facts.heard = {service: [] for service in SERVICES}
    facts.letters = {service: set() for service in SERVICES}
    letters = {dead_letter_topic(service): service for service in SERVICES}
    for record in records(servers, [*topics(), *letters]):
        name = record.topic.removeprefix(servers.topic_prefix)
        if name in letters:
            facts.letters[letters[name]].add(_letter(record))
            continue
        delivery = read(record, codec, servers.topic_prefix)
        for service in listeners[name]:
            facts.heard[service].append(_heard(delivery, record, name))
        if delivery.event is not None:
            by_type = facts.published.setdefault(delivery.event.checkout_id, {})
            by_type.setdefault(name, set()).add((delivery.seen.event_id, delivery.content))
    for service in SERVICES:
        lettered = {letter.origin for letter in facts.letters[service]}
        facts.set_aside[service] = {
            (message.identity, message.content)
            for message in facts.heard[service]
            if servers.topic_prefix + message.place in lettered
        }


def _heard(delivery: Delivery, record: KafkaRecord, name: str) -> Heard:
    place = f"{name}/{record.partition}/{record.offset}"
    return Heard(delivery.seen.event_id, delivery.content, place_identity(record), place)


def _letter(record: KafkaRecord) -> LetterFact:
    """What a record on a dead-letter topic says of itself; anything may lie there."""
    said = {name: (value or b"").decode("utf-8", "replace") for name, value in record.headers}
    origin = "/".join(said.get(f"dlq-original-{part}", "") for part in ("topic", "partition", "offset"))
    # an edit takes the place of the letter that it was made from
    return LetterFact(said.get("dlq-edit-root") or said.get("dlq-id", ""), origin)


def records(servers: Servers, names: Sequence[str]) -> Iterator[KafkaRecord]:
    """The messages of these topics, named without prefix, from their beginning to their present end.

    What lies behind another producer's open transaction comes last: the services have read it too. Raises
    KafkaException.
    """
    behind: dict[Partition, tuple[int, int]] = {}
    unpack = servers.unpack_outbox_headers
    for message in dump(servers.kafka, [servers.topic_prefix + name for name in names], behind=behind):
        yield record_of(message, unpack=unpack)
    if behind:
        yield from _behind(servers, behind, unpack=unpack)


def _behind(servers: Servers, stops: Mapping[Partition, tuple[int, int]], *, unpack: bool) -> Iterator[KafkaRecord]:
    try:
        yield from said_behind(servers.kafka, stops, _unreadable, unpack=unpack)
    except (BrokerError, OSError, TimeoutError) as error:
        raise KafkaException(KafkaError(KafkaError._TRANSPORT, f"behind an open transaction: {error}")) from error  # noqa: SLF001


def _unreadable(reason: str) -> NoReturn:
    raise KafkaException(KafkaError(KafkaError._BAD_MSG, f"behind an open transaction: {reason}"))  # noqa: SLF001


def ledger_entries(provider_url: SecretStr | str) -> Iterator[dict[str, Any]]:
    """The provider's journal, page by page."""
    base, login = login_of(secret(provider_url).get_secret_value().rstrip("/"))
    after: int | None = 0
    while after is not None:
        # the operator's own setting, not input
        request = Request(f"{base}/v1/ledger?after={after}&limit={_PAGE}", headers=login)  # noqa: S310
        with urlopen(request, timeout=_TIMEOUT_S) as response:  # noqa: S310
            page = json.load(response)
        yield from page["entries"]
        after = page["next"]


def _in_database(servers: Servers, service: str, work: Callable[[Connection], None]) -> None:
    engine = engine_of(servers.database_url(service))
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
    handled = db.execute(text("SELECT event_id, content FROM inbox WHERE consumer = :group"), {"group": group})
    inbox = facts.inbox[service] = {}
    for row in handled:
        # one identity on two days is two rows
        inbox.setdefault(row.event_id, set()).add(row.content)
    facts.waiting[service] = db.execute(
        text("SELECT count(*) FROM retries WHERE status IN ('pending', 'compensating')")
    ).scalar_one()
    dead = db.execute(text("SELECT letter_id, topic, at_partition, at_offset, status FROM retries"))
    rows = [(LetterFact(str(key), "/".join(map(str, place))), status) for key, *place, status in dead]
    facts.written[service] = {letter.id for letter, _ in rows}
    facts.given_up[service] = {letter for letter, status in rows if status == "dead"}
    facts.outbox[service] = db.execute(text("SELECT count(*) FROM outbox")).scalar_one()
