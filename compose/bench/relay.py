"""Our relay beside Debezium on the same outbox: how fast a backlog goes out, how soon a commit is in the log.

Backlog: rows are committed in batches of 500 beforehand; the rate is theirs from the first record's entry into the
broker's log to the last one's. Ours is measured twice: in a process that knows nothing but the table, and in the
process that has just committed the rows and offers them, as services do. Debezium is measured warm: it has
streamed rows before, and is stopped (SIGSTOP) while the backlog is written, so that neither its start nor its
compiler counts. It doesn't delete rows, and sends its own few headers in place of our nine; both are in its favour.

Latency: from the return of the commit to the record's entry into the log, in whole milliseconds.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Final

from compose.bench.measuring import Meter
from compose.bench.relay_places import Place, new_place, rows, write
from compose.bench.relay_processes import process, relay_alone, relay_of_a_service, steady_writer
from compose.debezium import Debezium, running_debezium
from compose.debezium.connect import PLACEMENT

OURS: Final = "our relay"
OFFERED: Final = "our relay, rows offered"
DEBEZIUM: Final = "Debezium"

_OFFERED_ROWS: Final = 20_000
"""As many as a relay keeps of what it is offered."""
_WARM_ROWS: Final = 50_000
_WARM_S: Final = 2.0
_ANSWER_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Drain:
    """A backlog that went out. rate: events a second. cpu_ms: of 1,000 events, of the relay's process and Postgres."""

    rows: int
    rate: float
    cpu_ms: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Latency:
    """From the commit to the log. events: measured."""

    events: int
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Every run, by relay."""

    drains: Mapping[str, list[Drain]]
    latencies: Mapping[str, list[Latency]]

    def rate(self, relay: str) -> float:
        """Events a second of a backlog: the median."""
        return median(drain.rate for drain in self.drains[relay])

    def cpu_ms(self, relay: str) -> float:
        """Processor time of 1,000 events, relay and Postgres together: the median."""
        return median(sum(drain.cpu_ms.values()) for drain in self.drains[relay])

    def latency_ms(self, relay: str) -> tuple[float, float]:
        """p50 and p99: the medians."""
        found = self.latencies[relay]
        return median(x.p50_ms for x in found), median(x.p99_ms for x in found)


@dataclass(frozen=True, slots=True)
class Load:
    """What is published. backlog: rows; rate and seconds: of the steady load."""

    backlog: int = 100_000
    rate: int = 500
    seconds: float = 20.0


def compare(
    environ: Mapping[str, str], postgres_pid: int | None, folder: Path, load: Load | None = None, runs: int = 3
) -> Comparison:
    """Measure all in turns, `runs` times.

    environ: with KAFKA_BOOTSTRAP_SERVERS and POSTGRES_ADMIN_URL. postgres_pid: None where it isn't ours to look at.
    folder: for Debezium's files. Raises StackError, NotPublishedError.
    """
    asked, bench = load or Load(), _Bench(environ, postgres_pid)
    found = Comparison({OURS: [], OFFERED: [], DEBEZIUM: []}, {OURS: [], DEBEZIUM: []})
    for _ in range(runs):
        found.drains[OURS].append(bench.drain_from_table(asked.backlog))
        found.drains[OFFERED].append(bench.drain_offered(min(asked.backlog, _OFFERED_ROWS)))
        with new_place(environ) as place:
            found.latencies[OURS].append(_latency(place, asked, before=0, relays=True))
        with new_place(environ) as place, _connector(environ, folder, place) as debezium:
            found.drains[DEBEZIUM].append(bench.drain_by(debezium, place, asked.backlog))
            before = _WARM_ROWS + asked.backlog
            found.latencies[DEBEZIUM].append(_latency(place, asked, before=before, relays=False))
    return found


def _connector(environ: Mapping[str, str], folder: Path, place: Place) -> AbstractContextManager[Debezium]:
    """With its own few headers only."""
    return running_debezium(environ, folder, place.url, "bench_debezium", {PLACEMENT: ""})


@dataclass(frozen=True, slots=True)
class _Bench:
    environ: Mapping[str, str]
    postgres_pid: int | None

    def meter(self, relay_pid: int) -> Meter:
        postgres = {} if self.postgres_pid is None else {"postgres": [self.postgres_pid]}
        return Meter({"relay": [relay_pid]} | postgres)

    def drain_from_table(self, count: int) -> Drain:
        with new_place(self.environ) as place:
            write(place.url, rows(place.topics, count))
            with process(relay_alone, place) as ours:
                meter = self.meter(ours.pid)
                ours.go()
                place.await_published(count)
                return _drain(place, set(), count, meter)

    def drain_offered(self, count: int) -> Drain:
        with new_place(self.environ) as place, process(relay_of_a_service, place, count) as ours:
            meter = self.meter(ours.pid)
            ours.go()
            place.await_published(count)
            return _drain(place, set(), count, meter)

    def drain_by(self, debezium: Debezium, place: Place, count: int) -> Drain:
        warm, measured = rows(place.topics, _WARM_ROWS), rows(place.topics, count)
        write(place.url, warm)
        place.await_published(len(warm))
        with debezium.paused():
            write(place.url, measured)
            meter = self.meter(debezium.pid)
        place.await_published(len(warm) + count)
        return _drain(place, {row.key.encode() for row in warm}, count, meter)


def _drain(place: Place, before: set[bytes], count: int, meter: Meter) -> Drain:
    """Of the `count` records that are there beside those of `before`."""
    cpu_ms = {name: used * 1e6 / count for name, used in meter.seconds().items()}
    appended = place.appended_ms(len(before) + count)
    times = [at for key, at in appended.items() if key not in before]
    return Drain(len(times), len(times) * 1e3 / max(1, max(times) - min(times)), cpu_ms)


def _latency(place: Place, load: Load, *, before: int, relays: bool) -> Latency:
    """At a steady load. before: records that are there already. relays: the writer has a relay of ours."""
    with process(steady_writer, place, load.rate, load.seconds, relays) as writer:
        writer.go()
        committed_ns: dict[bytes, int] = writer.answer(load.seconds + _ANSWER_S)
        place.await_published(before + len(committed_ns))
    appended = place.appended_ms(before + len(committed_ns))
    began = min(committed_ns.values()) + _WARM_S * 1e9
    taken_ms = [appended[key] - at / 1e6 for key, at in committed_ns.items() if at > began]
    cuts = quantiles(taken_ms, n=100)
    return Latency(len(taken_ms), cuts[49], cuts[98])
