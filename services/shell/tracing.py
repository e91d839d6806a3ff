"""Traces: one for each checkout, over all services and the times in which its messages wait.

An event's headers name the span that said it: `process` of the message that caused it. Below that span are `send`, from
the row's insert until the broker has it, so that the time in the outbox is seen, and the `process` of whoever hears it.
A provider call is below the `process` that asked for it; the time in the retry table is a span of its own, `wait`.
A dead letter and a replay are in traces of their own, linked to the message's.

Names: OpenTelemetry's messaging conventions, https://opentelemetry.io/docs/specs/semconv/messaging/ (development).
Spans are written when they are over, from what the messages carry anyway: nothing is open across threads or processes.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from confluent_kafka import Message
from pydantic import SecretStr

from outbox.age import made_ns
from outbox.sending import Outgoing
from schemas.decision import NotAsked, Unknown
from schemas.trace import TraceContext
from services.shell.delivery import Call, Delivery
from services.shell.draft import Draft
from services.shell.settings import Settings

_SYSTEM: Final = {"messaging.system": "kafka"}
_LINKS: Final = 128
"""Most links of a span; OpenTelemetry's own default."""
"""The version of UUIDs that say when they were made."""
LETTER: Final = "dlq-id"
"""The header that makes a record a dead letter."""


@dataclass(frozen=True, slots=True)
class Span:
    """One span that is over. kind: OpenTelemetry's. Times in ns since 1970."""

    name: str
    kind: str
    place: TraceContext
    parent: TraceContext | None
    began_ns: int
    ended_ns: int
    attributes: Mapping[str, Any] = field(default_factory=dict)
    links: Sequence[TraceContext] = ()
    error: str = ""


class Tracing:
    """Writes the spans of one service process.

    keep: takes spans that are over, from any thread. group: the consumer group. share: of the traces that begin here.
    """

    def __init__(self, group: str, keep: Callable[[Span], None], share: float = 1.0) -> None:
        self._group = group
        self._keep = keep
        self._share = share

    def begin(self, deliveries: Iterable[Delivery]) -> None:
        """Messages are about to be decided; what they say will name their spans. An answer goes on with its span."""
        now = time.time_ns()
        for delivery in deliveries:
            if delivery.span is None:
                parent = None if delivery.replay.id else TraceContext.of(delivery.headers)
                delivery.span = parent.child() if parent else TraceContext.root(self._share)
                delivery.began_ns = now

    def settled(self, draft: Draft) -> None:
        """A batch was committed."""
        now = time.time_ns()
        done = [delivery for delivery in draft.done if delivery.trace]
        if not done:
            return
        states = {step.cause_id: step.to_state for step in draft.steps}
        for delivery in done:
            self._processed(delivery, now, states.get(delivery.event_id, ""))
        self._keep(self._batch(done, draft, now))

    def _batch(self, done: Sequence[Delivery], draft: Draft, now: int) -> Span:
        """The transaction that the messages share: linked to them, as it belongs to no single one of their traces."""
        count = {"messaging.batch.message_count": len(draft.done), "checkout.batch.events": len(draft.records)}
        links = [delivery.span for delivery in done[:_LINKS] if delivery.span]
        began = max(delivery.began_ns for delivery in done)
        return Span("settle batch", "INTERNAL", TraceContext.root(), None, began, now, {**_SYSTEM, **count}, links)

    def _processed(self, delivery: Delivery, now: int, state: str) -> None:
        span = delivery.span
        if span is None:
            return
        linked = TraceContext.of(delivery.headers)
        parent, links = (None, [linked] if linked else []) if delivery.replay.id else (linked, [])
        self._waited(delivery, parent)
        attributes = self._received(delivery) | {"messaging.message.conversation_id": delivery.key}
        if state:
            attributes["checkout.state"] = state
        if delivery.fault:
            attributes["error.type"] = delivery.fault.error_class
        heard = f"process {delivery.event_type}"
        name, kind = (heard, "CONSUMER") if delivery.origin else (delivery.event_type, "INTERNAL")
        error = delivery.fault.message if delivery.fault else ""
        self._keep(Span(name, kind, span, parent, delivery.began_ns, now, attributes, links, error))

    def _received(self, delivery: Delivery) -> dict[str, Any]:
        """What it was and where it lay. What a timer says lay nowhere."""
        origin = delivery.origin
        if origin is None:
            return {}
        return {
            **_SYSTEM,
            **_handled("process", origin.topic),
            **_lies(origin.partition, origin.offset),
            "messaging.consumer.group.name": self._group,
            "messaging.message.id": str(delivery.event_id),
        }

    def _waited(self, delivery: Delivery, parent: TraceContext | None) -> None:
        """The time in the retry table."""
        row = delivery.waiting
        if row is None or row.last_failed_at is None or parent is None:
            return
        attributes = {
            "messaging.message.id": str(delivery.event_id),
            "messaging.message.conversation_id": delivery.key,
            "checkout.retry.attempts": row.attempts,
            "error.type": row.fault.error_class,
        }
        name, began = f"wait {delivery.event_type}", _ns(row.last_failed_at)
        self._keep(Span(name, "INTERNAL", parent.child(), parent, began, delivery.began_ns, attributes))

    def called(self, delivery: Delivery, call: Call, began_ns: int) -> None:
        """A provider call is over, with an answer or without."""
        if (parent := delivery.trace) is None:
            return
        answer = delivery.answer
        failed = isinstance(answer, NotAsked | Unknown | Exception)
        attributes: dict[str, Any] = {
            "checkout.provider.operation": call.operation,
            "checkout.provider.answer": type(answer).__name__,
            "messaging.message.conversation_id": delivery.key,
        }
        if failed:
            attributes["error.type"] = type(answer).__name__
        error = f"{call.operation}: {type(answer).__name__}" if failed else ""
        place, now = parent.child(), time.time_ns()
        self._keep(Span(call.operation, "CLIENT", place, parent, began_ns, now, attributes, (), error))

    def sent(self, row: Outgoing, message: Message) -> None:
        """A row of the outbox is with the broker. From the row's insert on, where its id is a UUIDv7."""
        headers = [(name, _bytes(value)) for name, value in row.headers]
        place = TraceContext.of(headers)
        if place is None or not place.sampled:
            return
        letter = any(name == LETTER for name, _ in headers)
        own, parent, links = (TraceContext.root(), None, [place]) if letter else (place.child(), place, [])
        now, row_id = time.time_ns(), UUID(row.head[1])
        attributes = _sent(row.topic, row_id, row.head[2], message)
        made = min(made_ns(row_id) or now, now)
        self._keep(Span(f"send {row.topic}", "PRODUCER", own, parent, made, now, attributes, links))


def published(topic: str, place: TraceContext, message_id: UUID, key: str, message: Message, began_ns: int) -> Span:
    """The span of a message that was published without an outbox, and begins a trace."""
    attributes = _sent(topic, message_id, key, message)
    return Span(f"send {topic}", "PRODUCER", place, None, began_ns, time.time_ns(), attributes)


def tracing_of(settings: Settings, service: str) -> tuple[Tracing | None, Callable[[], None]]:
    """The tracing that the settings ask for, and what ends it."""
    keep, end = keeper_of(settings.otel_exporter_otlp_endpoint, service)
    group = settings.topic_prefix + service
    return Tracing(group, keep, settings.otel_traces_sampler_arg) if keep else None, end


def keeper_of(endpoint: SecretStr, service: str) -> tuple[Callable[[Span], None] | None, Callable[[], None]]:
    """Where spans go, and what ends it. None, and nothing is imported, without an endpoint."""
    if not endpoint.get_secret_value():
        return None, _nothing
    from services.shell.otlp import exporting  # noqa: PLC0415

    return exporting(endpoint, service)


def _nothing() -> None:
    """There is nothing to end."""


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def _sent(topic: str, message_id: UUID, key: str, message: Message) -> dict[str, Any]:
    return {
        **_SYSTEM,
        **_handled("send", topic),
        **_lies(message.partition(), message.offset()),
        "messaging.message.id": str(message_id),
        "messaging.message.conversation_id": key,
    }


def _lies(partition: int | None, offset: int | None) -> dict[str, Any]:
    if partition is None or offset is None:
        return {}
    return {"messaging.destination.partition.id": str(partition), "messaging.kafka.offset": offset}


def _handled(operation: str, destination: str) -> dict[str, Any]:
    return {
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": destination,
    }


def _ns(instant: datetime) -> int:
    return int(instant.timestamp() * 1e9)
