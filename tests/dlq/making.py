"""Real dead letters for tests: written as the services write them, on topics of the test's own."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from pydantic import SecretStr

from dlq.desk import PARTITIONER
from dlq.ledger import Entry, State
from dlq.letter import Disposition, Fault, Letter, Replay, record
from dlq.settings import DlqSettings
from outbox.add import Record
from schemas.choreography import DLQ_AUDIT_TOPIC, LEDGER_TOPIC, SERVICES
from schemas.envelope import Header, rfc3339
from schemas.kafka.record import KafkaRecord
from schemas.registry import create_topics
from tests.servers import TestServers

NOW = datetime.now(UTC).replace(microsecond=0)
_TIMEOUT_S = 30.0


@contextmanager
def own_topics(servers: TestServers, partitions: int = 2) -> Iterator[DlqSettings]:
    """Settings with a prefix of their own, whose topics exist; they are dropped in the end."""
    prefix = f"d{uuid4().hex[:10]}."
    create_topics(servers.kafka, prefix, partitions=partitions)
    try:
        where: dict[str, Any] = {"kafka_bootstrap_servers": servers.kafka, "schema_registry_url": servers.registry}
        yield DlqSettings(**where, topic_prefix=prefix)
    finally:
        admin = AdminClient({"bootstrap.servers": servers.kafka})
        mine = [topic for topic in admin.list_topics(timeout=_TIMEOUT_S).topics if topic.startswith(prefix)]
        for future in admin.delete_topics(mine, operation_timeout=_TIMEOUT_S).values():
            future.result(timeout=_TIMEOUT_S)


def environment(settings: DlqSettings) -> dict[str, str]:
    """What the `dlq` command reads."""
    shown = {name: secret.get_secret_value() for name, secret in settings if isinstance(secret, SecretStr)}
    return {name.upper(): str(value) for name, value in (settings.model_dump() | shown).items()}


def letter(  # noqa: PLR0913 - a test says what matters to it
    letter_id: str = "",
    *,
    service: str = "payment",
    checkout: str = "c-1",
    event: str = "warehouse.reserved",
    value: bytes | None = b"\x00\x00\x00\x00\x07body",
    headers: Iterable[Header] = (),
    fault: Fault | None = None,
    disposition: Disposition = Disposition.RETRIES_EXHAUSTED,
    failed: datetime = NOW,
    first_failed: datetime | None = None,
    prefix: str = "",
    key: bytes | str | None = "",
    offset: int = 41,
    replay: Replay | None = None,
) -> Letter:
    """A letter of a message that failed for good. key: "" is the checkout's id. prefix: of the original's topic."""
    first = first_failed or failed
    original = KafkaRecord(
        topic=prefix + event,
        partition=1,
        offset=offset,
        timestamp=first - timedelta(minutes=1),
        key=checkout.encode() if isinstance(key, str) else key,
        value=value,
        headers=list(headers),
    )
    return Letter(
        id=letter_id or str(uuid4()),
        event_id=uuid4(),
        lane=checkout,
        service=service,
        group=prefix + service,
        handler="on_warehouse_reserved",
        handler_version="0.1.0",
        disposition=disposition,
        fault=fault or Fault("ProviderError", "the provider said 500", "Traceback\n  frame", "f-provider"),
        attempts=10,
        timeouts=2,
        first_failed_at=first,
        failed_at=failed,
        origin=original,
        replay=replay or Replay(),
    )


def put(settings: DlqSettings, *letters: Letter) -> None:
    """Put letters on their topics, as the relay does; returns when they lie there."""
    produce(settings, (_as_produced(record(each, settings.topic_prefix)) for each in letters))


def _as_produced(one: Record) -> dict[str, Any]:
    return {"topic": one.topic, "key": one.kafka_key, "value": one.payload, "headers": list(one.headers)}


def produce(settings: DlqSettings, messages: Iterable[dict[str, Any]]) -> None:
    """Produce any messages, by the arguments of `Producer.produce`; topics by their full names."""
    producer = Producer({**settings.kafka, "partitioner": PARTITIONER, "linger.ms": 5})
    for message in messages:
        while len(producer) > 50_000:
            producer.poll(0.1)
        producer.produce(**message)
    assert producer.flush(_TIMEOUT_S) == 0


def enter(settings: DlqSettings, one: Letter, state: State, **fields: Any) -> Entry:
    """Write a letter's entry to the ledger."""
    entry = Entry(
        service=one.service,
        letter=one.id,
        state=state,
        at=rfc3339(NOW),
        by="somebody",
        **{"fingerprint": one.fault.fingerprint, **fields},
    )
    topic = settings.topic_prefix + LEDGER_TOPIC
    produce(settings, [{"topic": topic, "key": entry.key.encode(), "value": entry.value()}])
    return entry


def write_audit(settings: DlqSettings, key: str, **fields: Any) -> None:
    """Write a line of the audit."""
    line = {"at": rfc3339(NOW), "by": "somebody", "action": "discard", "why": "a test", **fields}
    topic = settings.topic_prefix + DLQ_AUDIT_TOPIC
    produce(settings, [{"topic": topic, "key": key.encode(), "value": json.dumps(line).encode()}])


def many(count: int, services: tuple[str, ...] = SERVICES) -> Iterator[Letter]:
    """Letters of twenty causes, with stacks as long as real ones."""
    stack = "\n".join(f'  File "services/payment/store.py", line {line}, in save_many' for line in range(40))
    for number in range(count):
        kind = number % 20
        fault = Fault(f"Error{kind}", f"row {number} is locked", stack, f"f-{kind}")
        yield letter(
            service=services[number % len(services)],
            checkout=f"c-{number}",
            fault=fault,
            failed=NOW - timedelta(seconds=number),
            headers=[("ce_id", str(number).encode()), ("traceparent", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01")],
        )
