"""One run: a system with observer and exporter, honest checkouts, then the same beside a flood of hostile messages."""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from confluent_kafka.admin import AdminClient
from uuid_utils.compat import uuid7

from compose.fleet import die_with_parent
from dlq.offsets import QUIET, bounds, committed
from schemas.choreography import SERVICES, dead_letter_topic, retry_topic, subscriptions
from schemas.envelope import Envelope
from schemas.events import EVENTS
from tests.fuzz.honest import Honest
from tests.fuzz.hostile import Hostiles, sample_of
from tests.fuzz.raw_producer import RawProducer
from tests.observing import worker
from tests.servers import TestServers
from tests.system import System, wait_for

_HONEST_RATE: Final = 5.0
_WARM_S: Final = 5.0
"""The first checkouts of a process take longer than any later one, and would flatter the rest."""
_ALONE_S: Final = 20.0
_CALM_LIMIT_S: Final = 900.0


@dataclass(frozen=True)
class Result:
    """What a run came to. deaths: processes that ended. open: partitions whose messages are not all settled."""

    seed: int
    messages: int
    by_kind: dict[str, int]
    seconds: float
    deaths: list[str]
    letters: dict[str, int]
    honest: int
    honest_without_end: list[str]
    honest_not_completed: list[str]
    p99_alone_s: float
    p99_beside_s: float
    unsettled: list[str]
    breaches: list[str]

    @property
    def holds(self) -> bool:
        """Whether every promise was kept; times are told, not judged."""
        return not (
            self.deaths or self.honest_without_end or self.honest_not_completed or self.unsettled or self.breaches
        )

    def as_json(self) -> dict[str, Any]:
        """For people and programs."""
        return asdict(self) | {"holds": self.holds}


def fuzz(
    servers: TestServers,
    folder: Path,
    *,
    messages: int,
    rate: float,
    seed: int,
    alone_s: float = _ALONE_S,
    tell: Callable[[str], None] = print,
) -> Result:
    """Publish `messages` hostile messages at `rate` a second, after honest ones alone for `alone_s` seconds."""
    with ExitStack() as undo:
        system = undo.enter_context(System(servers, folder))
        observer = undo.enter_context(worker(system))
        exporter = undo.enter_context(_exporter(system))
        deaths: dict[str, str] = {}

        def look() -> None:
            for service in SERVICES:
                if not system.fleet.pids(service):
                    deaths[service] = system.fleet.log(service).read_text(errors="replace")[-2000:]
                    system.fleet.start(service)
            for name, process in (("observer", observer.process), ("exporter", exporter)):
                if process.poll() is not None:
                    deaths[name] = f"exit {process.returncode}"

        first, without_end = _honest_for(system, min(_WARM_S, alone_s))
        alone, more = _honest_for(system, alone_s)
        without_end += more
        tell(f"alone: {len(alone.took_s)} honest checkouts, p99 {alone.p99_s():.3f} s")
        beside, began = Honest(system, _HONEST_RATE), time.monotonic()
        by_kind = _flood(system, messages, rate, seed, look, tell)
        without_end += beside.stop()
        tell(f"beside: {len(beside.took_s)} honest checkouts, p99 {beside.p99_s():.3f} s")
        unsettled = _settle(system, look)
        report = system.audit()
        return Result(
            seed=seed,
            messages=messages,
            by_kind=dict(by_kind.most_common()),
            seconds=round(time.monotonic() - began, 1),
            deaths=[f"{name}: {why}" for name, why in deaths.items()],
            letters={service: len(system.messages(dead_letter_topic(service))) for service in SERVICES},
            honest=sum(len(each.took_s) for each in (first, alone, beside)),
            honest_without_end=without_end,
            honest_not_completed=[
                f"{key}: {found}"
                for each in (first, alone, beside)
                for key, found in each.outcomes.items()
                if set(found) != {"completed"}
            ],
            p99_alone_s=round(alone.p99_s(), 3),
            p99_beside_s=round(beside.p99_s(), 3),
            unsettled=unsettled,
            breaches=[f"{breach.invariant} {breach.offender}: {breach.what}" for breach in report.breaches][:50],
        )


def _honest_for(system: System, seconds: float) -> tuple[Honest, list[str]]:
    """Honest checkouts alone, and the ids of those without an end."""
    honest = Honest(system, _HONEST_RATE)
    time.sleep(seconds)
    return honest, honest.stop()


@contextmanager
def _exporter(system: System) -> Iterator[subprocess.Popen[bytes]]:
    """`dlq metrics`, which reads all that lies on the topics of the dead letters."""
    command = [str(Path(sys.executable).with_name("dlq")), "metrics", "--port", "0", "--every", "10s"]
    with (system.folder / "exporter.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            env=system.env,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent,  # noqa: PLW1509
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


def _encoders(system: System) -> dict[str, Callable[[str], bytes]]:
    def encoder(name: str) -> Callable[[str], bytes]:
        event = EVENTS[name]
        return lambda checkout_id: system.codec.encode(
            Envelope(sample_of(event, checkout_id), uuid7(), datetime.now(UTC))
        )

    return {name: encoder(name) for name in EVENTS}


def _flood(
    system: System, messages: int, rate: float, seed: int, look: Callable[[], None], tell: Callable[[str], None]
) -> Counter[str]:
    prefix, kinds = system.servers.topic_prefix, Counter[str]()
    hostiles = Hostiles(seed, prefix, _encoders(system))
    with closing(RawProducer(system.env["KAFKA_BOOTSTRAP_SERVERS"])) as producer:
        began = looked = time.monotonic()
        for number in range(messages):
            found = hostiles.next()
            producer.produce(prefix + found.topic, found.key, found.value, found.headers, found.timestamp_ms)
            kinds[found.kind] += 1
            ahead_s = number / rate - (time.monotonic() - began)
            if ahead_s > 0:
                time.sleep(ahead_s)
            if time.monotonic() - looked > 1:
                looked = time.monotonic()
                look()
            if number and number % 10_000 == 0:
                tell(f"{number:,} hostile messages after {time.monotonic() - began:.0f} s")
        assert producer.flush() == 0
    return kinds


def _settle(system: System, look: Callable[[], None]) -> list[str]:
    """Wait until every message of every service is settled and nothing waits; what is not."""

    def calm() -> bool:
        look()
        return not _lags(system) and not _waiting(system)

    try:
        wait_for(calm, "everything to be settled", _CALM_LIMIT_S, pause_s=1.0)
        system.await_rest()
    except AssertionError as error:
        return [str(error), *_lags(system), *_waiting(system)]
    return []


def _lags(system: System) -> list[str]:
    prefix, admin = system.servers.topic_prefix, AdminClient({**system.servers.kafka, **QUIET})
    found = []
    for service in SERVICES:
        done = committed(admin, prefix + service, 10.0)
        names = [prefix + topic for topic in (*subscriptions(service), retry_topic(service))]
        for place, (low, high) in bounds(system.servers.kafka, names).items():
            if high > low and done.get(place, low) < high:
                found.append(f"{service} {place}: {done.get(place, low)} of {high}")
    return found


def _waiting(system: System) -> list[str]:
    found = []
    for service in SERVICES:
        [(rows,)] = system.rows(service, "SELECT count(*) FROM retries WHERE status IN ('pending', 'compensating')")
        [(outbox,)] = system.rows(service, "SELECT count(*) FROM outbox")
        found += [f"{service}: {rows} wait, {outbox} in the outbox"] if rows or outbox else []
    return found
