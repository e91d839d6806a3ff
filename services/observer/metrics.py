"""Prometheus metrics of one worker: counters of what was heard; gauges are read from the overview when asked for."""

import time
from collections import Counter as Counts
from collections.abc import Iterator
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from schemas.choreography import topics
from schemas.failures import Code
from services.observer.index import RATE_S, Breach, Index
from services.observer.instants import SECOND
from services.observer.rules import RULE_NAMES
from services.observer.states import OPEN, STATES

_CODES: Final = frozenset(map(str, Code)) | {""}
_TOPICS: Final = frozenset(topics())
_ELSEWHERE: Final = "elsewhere"


class Source(Protocol):
    """What the gauges are read from."""

    index: Index

    def breaches(self) -> list[Breach]:
        """What is broken now."""

    @property
    def heard_us(self) -> int | None:
        """Everything that was on the topics then is known."""


class Metrics(Collector):
    """In a registry of its own. Every label has its values from the start, so that an alert sees 0 and not nothing."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.registry = CollectorRegistry()
        self._events = self._counter("checkout_observer_events_total", "Events that are new to the view")
        self._undecodable = self._counter("checkout_observer_undecodable_total", "Records that can't be decoded")
        for topic in topics():
            self._events.labels(topic)
        for topic in (*topics(), _ELSEWHERE):
            self._undecodable.labels(topic)
        self.registry.register(self)

    def _counter(self, name: str, what: str) -> Counter:
        return Counter(name, what, ("event",), registry=self.registry)

    def heard(self, event: str) -> None:
        """An event that was not known."""
        self._events.labels(event).inc()

    def undecodable(self, topic: str) -> None:
        """A record on an event's topic that is none, or one that no worker has passed on."""
        self._undecodable.labels(topic if topic in _TOPICS else _ELSEWHERE).inc()

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self.registry)

    def describe(self) -> list[GaugeMetricFamily]:
        """Nothing before it is asked for: the source isn't there yet when this is registered."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges."""
        # brings the overview up to date, so it comes first
        breaches = self._source.breaches()
        index, heard_us = self._source.index, self._source.heard_us
        broken = Counts(rule for rule, _ in {(breach.finding.rule, breach.checkout_id) for breach in breaches})
        stuck = Counts(summary.state for _, summary in index.stuck(heard_us))
        now_us = time.time_ns() // 1000
        yield _family("checkouts", "Checkouts in the view", "state", {state: index.states[state] for state in STATES})
        yield _family("stuck_checkouts", "Past their limit", "state", {state: stuck[state] for state in OPEN})
        yield _family("breaches", "Checkouts that break it now", "rule", {rule: broken[rule] for rule in RULE_NAMES})
        rate = GaugeMetricFamily(
            "checkout_observer_outcomes_rate", "Ends in a second, over the last minute", labels=("outcome", "code")
        )
        for (outcome, code), count in _bounded({("completed", ""): 0} | index.rates(now_us)).items():
            rate.add_metric((outcome, code), count / RATE_S)
        yield rate
        behind = GaugeMetricFamily("checkout_observer_behind_seconds", "Since when not everything said may be known")
        if heard_us is not None:
            behind.add_metric((), max(0.0, (now_us - heard_us) / SECOND))
        yield behind


def _bounded(rates: dict[tuple[str, str], int]) -> Counts[tuple[str, str]]:
    """Codes that the catalogue doesn't know are one: a label must not grow with what somebody publishes."""
    counts: Counts[tuple[str, str]] = Counts()
    for (outcome, code), count in rates.items():
        counts[outcome, code if code in _CODES else "other"] += count
    return counts


def _family(name: str, what: str, label: str, values: dict[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"checkout_observer_{name}", what, labels=(label,))
    for value, count in values.items():
        family.add_metric((value,), count)
    return family
