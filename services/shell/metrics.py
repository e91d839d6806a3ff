"""Prometheus metrics of a service process. No label without a bound."""

from collections import Counter as Counts
from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from services.shell.draft import Draft
from services.shell.waiting import COMPENSATIONS

_BREAKER: Final = {"closed": 0, "half-open": 1, "open": 2}


class Metrics:
    """The counters of one process, in a registry of its own."""

    def __init__(self, service: str) -> None:
        self.registry = CollectorRegistry()
        self._service = service
        states = ("from_state", "to_state")
        self._transitions = self._counter("checkout_saga_transitions_total", "Changes of a checkout's state", *states)
        self._handled = self._counter("checkout_messages_handled_total", "Messages settled")
        self._duplicates = self._counter("checkout_inbox_duplicates_total", "Messages known already")
        self._retries = self._counter("checkout_retries_total", "Messages that will be tried again", "fault")
        self._dead = self._counter("checkout_dead_letters_total", "Messages given up", "disposition")
        self._undone = self._counter(
            "checkout_failed_compensation_dead_total", "Voids, refunds, releases given up: page somebody", "operation"
        )
        self._published = self._counter("checkout_outbox_published_total", "Events delivered to the broker")
        self._unmapped = self._counter(
            "checkout_unmapped_provider_codes_total", "Answers of the provider that the catalogue doesn't know", "code"
        )
        self._breaker = Gauge(
            "checkout_circuit_breaker_state",
            "0 closed, 1 half open, 2 open",
            ("service", "operation"),
            registry=self.registry,
        )
        self._codes: set[str] = set()

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(name, what, ("service", *labels), registry=self.registry)

    def settled(self, draft: Draft) -> None:
        """A batch was committed."""
        self._handled.labels(self._service).inc(len(draft.done))
        self._duplicates.labels(self._service).inc(draft.duplicates)
        for fault, count in Counts(draft.retried).items():
            self._retries.labels(self._service, fault).inc(count)
        for disposition, operation in draft.dead:
            self._dead.labels(self._service, disposition).inc()
            if operation in COMPENSATIONS:
                self._undone.labels(self._service, operation).inc()
        moves = Counts((step.from_state or "none", step.to_state) for step in draft.steps)
        for (source, target), count in moves.items():
            self._transitions.labels(self._service, source, target).inc(count)

    def published(self, count: int) -> None:
        """The relay delivered events."""
        self._published.labels(self._service).inc(count)

    def breaker(self, operation: str, state: str) -> None:
        """A circuit breaker opened, half opened or closed."""
        self._breaker.labels(self._service, operation).set(_BREAKER[state])

    def unmapped(self, code: str, limit: int = 100) -> None:
        """The provider used a word that the catalogue doesn't know; after `limit` different ones it is `other`."""
        if len(self._codes) < limit:
            self._codes.add(code)
        self._unmapped.labels(self._service, code if code in self._codes else "other").inc()

    def watch(self, name: str, what: str, count: Callable[[], float]) -> None:
        """A gauge that is read when it is asked for."""
        gauge = Gauge(name, what, ("service",), registry=self.registry)
        gauge.labels(self._service).set_function(count)
