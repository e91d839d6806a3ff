"""Prometheus metrics of a service process. No label without a bound."""

from prometheus_client import CollectorRegistry, Counter

from services.shell.draft import Draft


class Metrics:
    """The counters of one process, in a registry of its own."""

    def __init__(self, service: str) -> None:
        self.registry = CollectorRegistry()
        self._transitions = Counter(
            "checkout_saga_transitions_total",
            "Changes of a checkout's state",
            ("service", "from_state", "to_state"),
            registry=self.registry,
        )
        self._handled = self._counter("checkout_messages_handled_total", "Messages settled")
        self._duplicates = self._counter("checkout_inbox_duplicates_total", "Messages known already")
        self._dead = self._counter("checkout_dead_letters_total", "Messages given up")
        self._published = self._counter("checkout_outbox_published_total", "Events delivered to the broker")
        self._service = service

    def _counter(self, name: str, what: str) -> Counter:
        return Counter(name, what, ("service",), registry=self.registry)

    def settled(self, draft: Draft) -> None:
        """A batch was committed."""
        self._handled.labels(self._service).inc(len(draft.done))
        self._duplicates.labels(self._service).inc(draft.duplicates)
        self._dead.labels(self._service).inc(draft.dead)
        for step in draft.steps:
            self._transitions.labels(self._service, step.from_state or "none", step.to_state).inc()

    def published(self, count: int) -> None:
        """The relay delivered events."""
        self._published.labels(self._service).inc(count)
