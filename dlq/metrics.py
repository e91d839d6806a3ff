"""`dlq metrics`: what lies on the dead-letter topics, as Prometheus metrics. No label without a bound."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from confluent_kafka import KafkaException
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from dlq.letters import UNRESOLVED, DeadLetter, Warn
from dlq.reading import read_all
from dlq.retention import leaves_at, retentions
from dlq.settings import DlqSettings
from dlq.topics import NoTopicError
from dlq.watching import known_causes
from schemas.choreography import SERVICES
from schemas.terminal import safe

WARNING: Final = timedelta(days=3)
"""How long before retention deletes an unresolved letter it counts as leaving."""
_CAUSES: Final = 50
LABEL_CHARS: Final = 100
OTHER: Final = "other"
_CAUSE: Final = ("service", "event", "reason", "fingerprint")


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was found at one time. known: causes that somebody has seen. kept: retention by topic, None for ever."""

    at: datetime
    letters: Sequence[DeadLetter]
    known: Collection[str]
    kept: Mapping[str, timedelta | None]


def look(settings: DlqSettings, at: datetime) -> Look:
    """Read the dead letters of all services and their ledger. Raises KafkaException, NoTopicError."""
    everything, ledger = read_all(settings)
    letters = [letter for letter in everything if letter.unresolved]
    kept = retentions(settings.kafka, {letter.place[0] for letter in letters})
    return Look(at=at, letters=letters, known=known_causes(letters, ledger), kept=kept)


class Letters(Collector):
    """The newest look as gauges. Without any look there are none: nobody shall read that all is well."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._look: Look | None = None

    def show(self, newest: Look) -> None:
        """From now on this one."""
        self._look = newest

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges; ages go on between two looks."""
        found = self._look
        if found is None:
            return
        yield _gauge("checkout_dlq_last_look_timestamp_seconds", "When the letters were read", (), {(): _since(found)})
        yield _by_state(found.letters)
        yield self._ages(found.letters)
        unseen = {
            (_service(x), x.fingerprint) for x in found.letters if x.fingerprint and x.fingerprint not in found.known
        }
        yield _by_service("checkout_dlq_unseen_causes", "Causes that nobody has looked at yet", [s for s, _ in unseen])
        leaving = [_service(letter) for letter in found.letters if _leaves(letter, found, self._clock())]
        yield _by_service("checkout_dlq_leaving_letters", "Unresolved letters that are deleted in 3 days", leaving)
        yield _by_cause(found.letters)

    def _ages(self, letters: Sequence[DeadLetter]) -> GaugeMetricFamily:
        now, oldest = self._clock(), dict.fromkeys(SERVICES, 0.0)
        for letter in letters:
            age_s = (now - letter.first_failed_at).total_seconds()
            service = _service(letter)
            oldest[service] = max(oldest.get(service, 0.0), age_s)
        values: dict[tuple[str, ...], float] = {(service,): age_s for service, age_s in oldest.items()}
        what = "Since the first failure of the oldest unresolved letter; 0 without any"
        return _gauge("checkout_dlq_oldest_unresolved_age_seconds", what, ("service",), values)


def serve(
    settings: DlqSettings,
    address: tuple[str, int],
    every_s: float,
    stop: threading.Event,
    *,
    clock: Callable[[], datetime],
    tell: Warn,
) -> None:
    """Serve /metrics and look every `every_s` seconds until stopped; a broker that is away is waited for.

    Raises OSError where it can't listen.
    """
    letters, registry = Letters(clock), CollectorRegistry()
    registry.register(letters)
    server, thread = start_http_server(address[1], address[0], registry)
    tell(f"metrics on http://{address[0]}:{server.server_port}/metrics")
    while not stop.is_set():
        began = time.monotonic()
        try:
            letters.show(look(settings, clock()))
        except (KafkaException, NoTopicError) as error:
            # the numbers stay, and their age tells that nobody has looked since
            tell(f"the dead letters can't be read, again in {every_s:.0f} s: {error}")
        stop.wait(max(0.0, every_s - (time.monotonic() - began)))
    server.shutdown()
    server.server_close()
    thread.join()


def _service(letter: DeadLetter) -> str:
    """A label has few values, whatever a letter says."""
    return letter.service if letter.service in SERVICES else OTHER


def _label(text: str) -> str:
    return safe(text[:LABEL_CHARS])[:LABEL_CHARS]


def _since(found: Look) -> float:
    return found.at.timestamp()


def _leaves(letter: DeadLetter, found: Look, now: datetime) -> bool:
    end = leaves_at(letter, found.kept.get(letter.place[0]))
    return end is not None and end - now < WARNING


def _by_state(letters: Sequence[DeadLetter]) -> GaugeMetricFamily:
    values: dict[tuple[str, ...], float] = {(s, state.value): 0 for s in SERVICES for state in UNRESOLVED}
    values |= Counter((_service(letter), letter.state.value) for letter in letters)
    what = "Letters that somebody has to do something about, or waits for"
    return _gauge("checkout_dlq_unresolved_letters", what, ("service", "state"), values)


def _by_service(name: str, what: str, services: Iterable[str]) -> GaugeMetricFamily:
    values: dict[tuple[str, ...], float] = {(service,): 0 for service in SERVICES}
    values |= Counter((service,) for service in services)
    return _gauge(name, what, ("service",), values)


def _by_cause(letters: Sequence[DeadLetter]) -> GaugeMetricFamily:
    counts = Counter(
        (_service(x), *(_label(text) for text in (x.event_type, x.error_class, x.fingerprint))) for x in letters
    )
    values: dict[tuple[str, ...], float] = dict(counts.most_common(_CAUSES))
    rest = counts.total() - sum(values.values())
    if rest:
        values[OTHER, OTHER, OTHER, OTHER] = values.get((OTHER, OTHER, OTHER, OTHER), 0) + rest
    return _gauge("checkout_dlq_letters_by_cause", "Unresolved letters, the most frequent causes", _CAUSE, values)


def _gauge(name: str, what: str, labels: Sequence[str], values: Mapping[tuple[str, ...], float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, what, labels=labels)
    for found, value in values.items():
        family.add_metric(list(found), value)
    return family
