"""A shop, as far as this system sees one: publishes `checkout.requested` and `checkout.cancel_requested`."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any, BinaryIO, Final

from confluent_kafka import KafkaError, Message, Producer
from pydantic import BaseModel, ConfigDict, ValidationError
from uuid_utils.compat import uuid7

from compose.settings import Servers
from dlq.offsets import QUIET
from outbox.relay import producer_config
from schemas import json_lines
from schemas.codec import Codec
from schemas.envelope import CHECKOUT_ID, Envelope, event_headers, trace_headers
from schemas.events import CheckoutRequested, Event, Line
from schemas.trace import TraceContext
from services.shell.tracing import Span, keeper_of, published

_INT32: Final = 2**31
_INT64: Final = 2**63
_REACH_S: Final = 5.0
_FLUSH_S: Final = 30.0
_FAULTS: Final = 5
_NAME_CHARS: Final = 80


class BadLineError(Exception):
    """A line of the input can't be published; the text names the line, the field and what is wrong."""


class NotDeliveredError(Exception):
    """The broker did not take a message."""


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    sku: str
    quantity: int
    unit_price_minor: int


class _Request(BaseModel):
    """One JSON line. Only what Avro can't hold is refused here: rules are the checkout service's."""

    model_config = ConfigDict(extra="forbid")
    checkout_id: str
    customer_id: str
    payment_method_id: str
    currency: str
    total_minor: int
    lines: list[_Line]
    expires_at: datetime | None = None


def requests(file: BinaryIO, source: str) -> Iterator[CheckoutRequested]:
    """The requests in JSON lines; empty lines are skipped. Raises BadLineError at the first bad one."""
    try:
        for number, found in json_lines.values(file, source):
            yield _request(found, f"{source}:{number}")
    except json_lines.BadTextError as error:
        raise BadLineError(str(error)) from None


def _request(found: Any, place: str) -> CheckoutRequested:
    if not isinstance(found, dict):
        raise BadLineError(f"{place}: line: is no JSON object")
    try:
        request = _Request.model_validate(found)
    except ValidationError as error:
        raise BadLineError(f"{place}: {_faults(error)}") from None
    if not CHECKOUT_ID.fullmatch(request.checkout_id):
        raise BadLineError(f"{place}: checkout_id: must be 1 to 64 letters, digits or . _ : -")
    if not -_INT64 <= request.total_minor < _INT64:
        raise BadLineError(f"{place}: total_minor: does not fit 64 bits")
    for number, line in enumerate(request.lines, start=1):
        if not -_INT32 <= line.quantity < _INT32 or not -_INT64 <= line.unit_price_minor < _INT64:
            raise BadLineError(f"{place}: lines.{number}: quantity must fit 32 bits, unit_price_minor 64")
    if request.expires_at is not None and request.expires_at.tzinfo is None:
        raise BadLineError(f"{place}: expires_at: needs a time zone, such as 2026-12-24T18:00:00Z")
    values: dict[str, Any] = {name: getattr(request, name) for name in _Request.model_fields if name != "lines"}
    return CheckoutRequested(**values, lines=tuple(Line(**line.model_dump()) for line in request.lines))


def _faults(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(str(part)[:_NAME_CHARS] for part in e['loc']) or 'line'}: {e['msg']}"
        for e in error.errors(include_input=False, include_url=False)[:_FAULTS]
    )


class Shop:
    """Publishes a shop's events, each delivered before `close` returns.

    A shop with a database of its own uses the outbox instead, in its own transaction.
    """

    def __init__(self, servers: Servers) -> None:
        self._prefix = servers.topic_prefix
        self._codec = Codec(servers.registry, servers.topic_prefix)
        self._producer = Producer(producer_config(servers.kafka) | QUIET)
        self._failed: list[str] = []
        self._keep, self._end = keeper_of(servers.otel_exporter_otlp_endpoint, "shop")
        # said at once, not when the first message times out
        self._producer.list_topics(timeout=_REACH_S)

    def publish(self, event: Event) -> Envelope:
        """Publish an event under a new id."""
        envelope = Envelope(event, uuid7(), datetime.now(UTC))
        self.publish_again(envelope)
        return envelope

    def publish_again(self, envelope: Envelope) -> None:
        """Publish the very same event, as a producer does that did not hear the broker's answer."""
        place = TraceContext.root() if self._keep else None
        headers = event_headers(envelope, "shop", envelope.event_id, trace_headers([], place))
        key, value = envelope.event.checkout_id.encode(), self._codec.encode(envelope)
        report = partial(self._kept, self._keep, place, envelope, time.time_ns()) if self._keep and place else None
        self.publish_raw(envelope.event.TYPE, key, value, dict(headers), report)

    def publish_raw(
        self,
        event_type: str,
        key: bytes | None,
        value: bytes | None,
        headers: dict[str, Any] | None = None,
        report: Callable[[KafkaError | None, Message], None] | None = None,
    ) -> None:
        """Publish any bytes. report: told what became of them."""
        topic, told = self._prefix + event_type, report or self._report
        while True:
            try:
                self._producer.produce(topic, key=key, value=value, headers=headers or {}, on_delivery=told)
            except BufferError:
                self._producer.poll(0.1)
            else:
                self._producer.poll(0)
                return

    def flush(self) -> None:
        """Wait until everything is delivered. Raises NotDeliveredError."""
        left = self._producer.flush(_FLUSH_S)
        if left or self._failed:
            reason = self._failed[0] if self._failed else f"no answer from the broker within {_FLUSH_S:.0f} s"
            raise NotDeliveredError(f"{left + len(self._failed)} messages were not delivered: {reason}")

    def close(self) -> None:
        """Deliver what is left and give connections back. Raises NotDeliveredError."""
        self.flush()
        self._codec.close()
        self._end()

    def _report(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._failed.append(error.str())

    def _kept(
        self,
        keep: Callable[[Span], None],
        place: TraceContext,
        envelope: Envelope,
        began_ns: int,
        error: KafkaError | None,
        message: Message,
    ) -> None:
        """Published, with a trace that begins here."""
        self._report(error, message)
        if error is None:
            event = envelope.event
            keep(published(self._prefix + event.TYPE, place, envelope.event_id, event.checkout_id, message, began_ns))


def to_json(request: CheckoutRequested) -> str:
    """A request as a JSON line, as `requests` reads it."""
    lines = [{"sku": x.sku, "quantity": x.quantity, "unit_price_minor": x.unit_price_minor} for x in request.lines]
    values = {name: getattr(request, name) for name in _Request.model_fields if name not in ("lines", "expires_at")}
    return json.dumps({**values, "lines": lines})
