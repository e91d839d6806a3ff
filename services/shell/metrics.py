"""Prometheus metrics of a service process. No label without a bound."""

from prometheus_client import CollectorRegistry, Counter

from services.shell.draft import Draft


class Metrics:
    """The counters of one process, in a registry of its own."""

    def __init__(self, service: str) -> None:
        self.registry = CollectorRegistry()
        names = {"registry": self.registry, "labelnames": ("service",)}
        self._transitions = Counter(
            "checkout_saga_transitions_total",
            "Changes of a checkout's state",
            ("service", "from_state", "to_state"),
            registry=self.registry,
        )
        self._handled = Counter("checkout_messages_handled_total", "Messages settled", **names)  # type: ignore[arg-type]
        self._duplicates = Counter("checkout_inbox_duplicates_total", "Messages known already", **names)  # type: ignore[arg-type]
        self._dead = Counter("checkout_dead_letters_total", "Messages given up", **names)  # type: ignore[arg-type]
        self._published = Counter("checkout_outbox_published_total", "Events delivered to the broker", **names)  # type: ignore[arg-type]
        self._service = service

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
