"""One run: a system of its own, a load, what came of it, what it cost, and the audit."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any, Final, Self

import psutil

from compose.bench.load import Load, Times, avro, baskets, topics
from compose.bench.provider import is_slow
from compose.bench.rig import Rig, Shape
from schemas.choreography import SERVICES

_MIB: Final = 2**20
_WARM: Final = 300
_LEAD_S: Final = 3.0
"""An open loop's first seconds are not counted: after a rest every cache is cold."""
_KEPT_MS: Final = (0.5, 0.9, 0.99)


class DirtyError(Exception):
    """A run whose audit is not clean is no figure."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is published. rate: checkouts a second; 0: all at once. hot: a product that is in every order."""

    checkouts: int
    rate: float = 0.0
    hot: str = ""
    seed: int = 1
    warm: int = _WARM

    @property
    def lead(self) -> int:
        """Checkouts that go before, at the same rate, and are not counted."""
        return int(self.rate * _LEAD_S)


@dataclass(frozen=True, slots=True)
class Run:
    """What came of it. rate: whole checkouts a second. latency_ms: by quantile; of those that are not slow on purpose.

    cpu_us: processor time for each checkout, by process. memory_mib: the largest process of each service. timeline:
    seconds since the first request at which each hundredth of the checkouts was complete.
    """

    checkouts: int
    rate: float
    latency_ms: Mapping[str, float]
    cpu_us: Mapping[str, float] = field(default_factory=dict)
    memory_mib: Mapping[str, float] = field(default_factory=dict)
    timeline: Sequence[float] = ()

    def as_json(self) -> dict[str, Any]:
        """For the file beside the table."""
        return asdict(self)


class Meter:
    """Processor time of groups of processes, children included."""

    def __init__(self, groups: Mapping[str, Iterable[int]]) -> None:
        self._groups = {name: [psutil.Process(pid) for pid in pids] for name, pids in groups.items()}
        self._before = self._read()

    def seconds(self) -> dict[str, float]:
        """Since it was made."""
        now = self._read()
        return {
            name: sum(used - self._before[name].get(pid, 0.0) for pid, used in pids.items())
            for name, pids in now.items()
        }

    def memory_mib(self) -> dict[str, float]:
        """The largest process of each group, resident."""
        return {
            name: max(process.memory_info().rss for process in processes) / _MIB
            for name, processes in self._groups.items()
        }

    def _read(self) -> dict[str, dict[int, float]]:
        return {name: dict(_used(family(processes))) for name, processes in self._groups.items()}


def family(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Processes and their children: Postgres has one for each session."""
    found = []
    for process in processes:
        found += [process, *process.children(recursive=True)]
    return found


def _used(processes: Iterable[psutil.Process]) -> Iterable[tuple[int, float]]:
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        yield process.pid, times.user + times.system


@dataclass(frozen=True, slots=True)
class Bench:
    """Where it runs. environ: of the servers; servers: name -> pid of those that are ours. folder: logs."""

    environ: Mapping[str, str]
    servers: Mapping[str, int]
    folder: Path

    def run(self, shape: Shape, plan: Plan) -> Run:
        """Make a system, load it, audit it. Raises DirtyError, LoadError, RigError."""
        with Rig(self.environ, self.folder, shape) as rig, closing(load_of(rig)) as load:
            warm_up(rig, load, plan)
            run = self.measured(rig, load, plan)
            audited(rig)
            return run

    def measured(self, rig: Rig, load: Load, plan: Plan) -> Run:
        """The load on a system that is up."""
        messages = avro(baskets(plan.lead + plan.checkouts, plan.seed, plan.hot), rig.servers)
        meter = Meter({service: rig.pids(service) for service in SERVICES} | {n: [p] for n, p in self.servers.items()})
        times = load.run(messages, plan.rate)
        share = rig.shape.provider.slow_share
        counted = [message.key for message in messages[plan.lead :]]
        run = summary(times, [key for key in counted if key in times.completed and not is_slow(key, share)])
        memory = {name: mib for name, mib in meter.memory_mib().items() if name in SERVICES}
        cpu = {name: used / len(messages) * 1e6 for name, used in meter.seconds().items()}
        return replace(run, cpu_us=cpu, memory_mib=memory)


def load_of(rig: Rig) -> Load:
    """A load for a rig."""
    return Load(rig.environ["KAFKA_BOOTSTRAP_SERVERS"], *topics(rig.environ["TOPIC_PREFIX"]))


def warm_up(rig: Rig, load: Load, plan: Plan) -> None:
    """Connections, caches and pages that a service has after its first minute."""
    load.run(avro(baskets(plan.warm, plan.seed + 1, plan.hot), rig.servers))
    rig.await_rest()


def audited(rig: Rig) -> None:
    """Raises DirtyError when an invariant is broken or something has not ended."""
    report = rig.audit()
    if report.breaches or report.under_way:
        raise DirtyError(f"{report.under_way} checkouts under way, breaches: {list(report.breaches[:5])}")


def summary(times: Times, counted: Sequence[str]) -> Run:
    """A run of these times; latencies of the checkouts that are `counted`."""
    latencies = sorted(times.completed[key] - times.due[key] for key in counted)
    began, ends = min(times.due.values()), sorted(times.completed.values())
    hundredths = [ends[min(len(ends) - 1, len(ends) * n // 100)] - began for n in range(1, 101)]
    return Run(
        checkouts=len(times.completed),
        rate=times.rate(),
        latency_ms={_name(q): quantile(latencies, q) * 1e3 for q in _KEPT_MS},
        timeline=hundredths,
    )


def quantile(ordered: Sequence[float], q: float) -> float:
    """The value below which the share `q` lies; `ordered` is sorted."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * q))]


def _name(q: float) -> str:
    return f"p{q * 100:g}"


@dataclass(frozen=True, slots=True)
class Runs:
    """Several runs of the same thing; each figure is their median."""

    runs: Sequence[Run]

    @property
    def rate(self) -> float:
        """Whole checkouts a second."""
        return median(run.rate for run in self.runs)

    def latency_ms(self, quantile_name: str) -> float:
        """Such as `p99`."""
        return median(run.latency_ms[quantile_name] for run in self.runs)

    def cpu_us(self) -> dict[str, float]:
        """By process."""
        return {name: median(run.cpu_us[name] for run in self.runs) for name in self.runs[0].cpu_us}

    def memory_mib(self) -> float:
        """The most that any process of a service had."""
        return max(mib for run in self.runs for mib in run.memory_mib.values())

    def and_(self, run: Run) -> Self:
        """One more."""
        return type(self)([*self.runs, run])
