"""Prometheus metrics of a service process: what it does. No label without a bound.

`services/shell/standing.py` and `services/shell/lag.py` have those of what stands in its tables and topics.
"""

from collections import Counter as Counts
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from time import time_ns
from typing import Final
from uuid import UUID

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from outbox.age import made_ns
from outbox.sending import Head
from schemas.decision import NotAsked, Unknown
from schemas.trace import TraceContext
from services.shell.delivery import Call, Delivery
from services.shell.draft import Draft, Timed
from services.shell.waiting import COMPENSATIONS

_BREAKER: Final = {"closed": 0, "half-open": 1, "open": 2}
_MANY: Final = 10
_FINGERPRINTS: Final = 100
_CODES: Final = 100
_STEP_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_SAGA_S: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
_CALL_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_RELAY_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30)
_NS: Final = 1e9


class Metrics:
    """The metrics of one process, in a registry of its own."""

    def __init__(self, service: str) -> None:
        self.registry = CollectorRegistry()
        self._service = service
        self._transitions = self._counter(
            "checkout_saga_transitions_total", "Changes of a checkout's state", "from_state", "to_state", "reason"
        )
        self._outcomes = self._counter("checkout_outcomes_total", "Checkouts that came to an end", "outcome", "code")
        self._saga = self._histogram("checkout_saga_duration_seconds", "From the request to an end", _SAGA_S, "outcome")
        self._step = self._histogram(
            "checkout_step_latency_seconds", "From an event to what this service made of it", _STEP_S, "event"
        )
        self._handled = self._counter("checkout_messages_handled_total", "Messages settled")
        self._duplicates = self._counter("checkout_inbox_duplicates_total", "Messages known already")
        self._retries = self._counter(
            "checkout_retries_total", "Messages that will be tried again, by the number of the try", "fault", "attempt"
        )
        self._dead = self._counter(
            "checkout_dead_letters_total", "Messages given up", "disposition", "reason", "fingerprint"
        )
        self._undone = self._counter(
            "checkout_failed_compensation_dead_total", "Voids, refunds, releases given up: page somebody", "operation"
        )
        self._published = self._counter("checkout_outbox_published_total", "Events delivered to the broker")
        self._relay = self._histogram(
            "checkout_relay_seconds", "From writing to the broker's answer, of each round's oldest event", _RELAY_S
        )
        self._calls = self._histogram(
            "checkout_provider_call_seconds", "Provider calls, look-ups included", _CALL_S, "operation", "outcome"
        )
        self._unmapped = self._counter(
            "checkout_unmapped_provider_codes_total", "Answers of the provider that the catalogue doesn't know", "code"
        )
        self._breaker = Gauge(
            "checkout_circuit_breaker_state",
            "0 closed, 1 half open, 2 open",
            ("service", "operation"),
            registry=self.registry,
        )
        self._code = Few(_CODES)
        self._cause = Few(_FINGERPRINTS)

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(name, what, ("service", *labels), registry=self.registry)

    def _histogram(self, name: str, what: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(name, what, ("service", *labels), registry=self.registry, buckets=buckets)

    def settled(self, draft: Draft, now: datetime) -> None:
        """A batch was committed."""
        self._handled.labels(self._service).inc(len(draft.done) + len(draft.duplicates))
        self._duplicates.labels(self._service).inc(len(draft.duplicates))
        for (fault, attempt), count in Counts(draft.retried).items():
            self._retries.labels(self._service, fault, _number(attempt)).inc(count)
        moves = Counts((step.from_state or "none", step.to_state, step.cause_type) for step in draft.steps)
        for (source, target, reason), count in moves.items():
            self._transitions.labels(self._service, source, target, reason).inc(count)
        self._died(draft)
        self._ended(draft.timed, now)
        ends = Counts((end.TYPE.rpartition(".")[2], str(getattr(end, "code", ""))) for end in draft.ends)
        for (outcome, code), count in ends.items():
            self._outcomes.labels(self._service, outcome, code).inc(count)
        self._took(draft.done, now)

    def _died(self, draft: Draft) -> None:
        for row in draft.dead:
            cause = (row.fault.error_class, row.fault.fingerprint)
            self._dead.labels(self._service, row.disposition, *self._cause.of(cause)).inc()
            if row.operation in COMPENSATIONS:
                self._undone.labels(self._service, row.operation).inc()

    def _ended(self, timed: Iterable[Timed], now: datetime) -> None:
        for state, began, trace in timed:
            took_s = max(0.0, (now - began).total_seconds())
            self._saga.labels(self._service, state).observe(took_s, _exemplar(trace))

    def _took(self, done: Iterable[Delivery], now: datetime) -> None:
        """What can't be read has no event, and a timer's own event was said just now."""
        by_event: dict[str, Histogram] = {}
        for delivery in done:
            if delivery.event is None or delivery.origin is None:
                continue
            name = delivery.event.TYPE
            step = by_event.get(name) or by_event.setdefault(name, self._step.labels(self._service, name))
            step.observe(max(0.0, (now - delivery.occurred_at).total_seconds()), _exemplar(delivery.trace))

    def published(self, heads: Sequence[Head]) -> None:
        """The relay delivered these rows."""
        self._published.labels(self._service).inc(len(heads))
        made = made_ns(UUID(min(name for _, name, _ in heads)))  # ids that hold their time are in its order
        if made is not None:
            self._relay.labels(self._service).observe(max(0.0, (time_ns() - made) / _NS))

    def swept(self, count: int) -> None:
        """So many rows were found published by somebody else; when each of them was, nobody here knows."""
        self._published.labels(self._service).inc(count)

    def called(self, delivery: Delivery, call: Call, began_ns: int) -> None:
        """A provider call is over; one that was never made doesn't count."""
        answer = delivery.answer
        if isinstance(answer, NotAsked):
            return
        outcome = "answered"
        if isinstance(answer, Unknown | Exception):
            outcome = "timeout" if getattr(answer, "timed_out", False) else "error"
        took_s = (time_ns() - began_ns) / _NS
        self._calls.labels(self._service, call.operation, outcome).observe(took_s, _exemplar(delivery.trace))

    def breaker(self, operation: str, state: str) -> None:
        """A circuit breaker opened, half opened or closed."""
        self._breaker.labels(self._service, operation).set(_BREAKER[state])

    def unmapped(self, code: str) -> None:
        """The provider used a word that the catalogue doesn't know."""
        self._unmapped.labels(self._service, *self._code.of((code,))).inc()

    def watch(self, name: str, what: str, count: Callable[[], float]) -> None:
        """A gauge that is read when it is asked for."""
        gauge = Gauge(name, what, ("service",), registry=self.registry)
        gauge.labels(self._service).set_function(count)


class Few:
    """Values for labels: the first `limit` different ones as they are, every further one as `other`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: set[tuple[str, ...]] = set()

    def of(self, values: tuple[str, ...]) -> tuple[str, ...]:
        """The labels for these values."""
        if len(self._known) < self._limit:
            self._known.add(values)
        return values if values in self._known else ("other",) * len(values)


def _number(attempt: int) -> str:
    return str(attempt) if attempt < _MANY else f"{_MANY}+"


def _exemplar(trace: TraceContext | None) -> dict[str, str] | None:
    """Leads from a point of a histogram to a trace."""
    return None if trace is None else {"trace_id": f"{trace.trace_id:032x}", "span_id": f"{trace.span_id:016x}"}
