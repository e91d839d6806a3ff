"""The figures: what is measured, and what it has to come to. What is compared is run side by side, in turns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from compose.bench.measuring import Bench, Plan, Run, Runs
from compose.bench.rig import Provider, Shape

Tell = Callable[[str], None]

_SLOW_S: Final = 0.2
_SLOW_RATE: Final = 600
_KEPT: Final = 0.9
_ENOUGH_CALLS: Final = {"PAYMENT_CALLS_LIMIT": "400"}
"""Two calls of 200 ms for each of 600 checkouts a second are 240 at a time, on average."""
_HOT: Final = "sku-1"
_MEMORY_MIB: Final = 150


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. good: None where nothing was promised. data: what it was made of."""

    name: str
    wanted: str
    measured: str
    good: bool | None
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Context:
    """What a figure is measured with. runs: of each; scale: of the loads. peers: where their interpreters are."""

    bench: Bench
    runs: int
    scale: float
    peers: Path
    tell: Tell

    def interpreter(self, peer: str) -> Path:
        """The Python of a peer: some need other versions of the same packages than others."""
        return self.peers / (".venv-peers-dbos" if peer == "dbos" else ".venv-peers") / "bin" / "python"

    def count(self, checkouts: int) -> int:
        """A load's size on this run's scale."""
        return max(50, int(checkouts * self.scale))


def in_turns(context: Context, kinds: Mapping[str, Callable[[], Run]]) -> dict[str, Runs]:
    """Each kind `runs` times, one after the other in turns, so that all meet the machine's good and bad minutes."""
    found: dict[str, Runs] = {}
    for number in range(context.runs):
        for name, run in kinds.items():
            done = run()
            found[name] = found.get(name, Runs(())).and_(done)
            context.tell(f"{name}, run {number + 1}: {done.rate:,.0f}/s, p50 {done.latency_ms['p50']:,.1f} ms")
    return found


def ours(context: Context, shape: Shape, plan: Plan) -> Callable[[], Run]:
    """A run of this system."""
    return lambda: context.bench.run(shape, plan)


def data_of(found: Mapping[str, Runs]) -> dict[str, Any]:
    """Every run, for the file."""
    return {name: [run.as_json() for run in runs.runs] for name, runs in found.items()}


def slow_provider(context: Context) -> list[Figure]:
    """A provider over HTTP that takes 200 ms for each of the two calls, beside one that answers at once."""
    # long enough that the calls of the first and last few, when nothing else is to do, don't weigh
    plan = Plan(context.count(15_000))
    found = in_turns(
        context,
        {
            f"provider over HTTP, {delay_s * 1e3:.0f} ms": ours(
                context, Shape(Provider(http=True, delay_s=delay_s), settings=_ENOUGH_CALLS), plan
            )
            for delay_s in (0.0, _SLOW_S)
        },
    )
    fast, slow = (runs.rate for runs in found.values())
    return [
        Figure("provider over HTTP, 200 ms", f"≥ {_SLOW_RATE}/s", f"{slow:,.0f}/s", slow >= _SLOW_RATE, data_of(found)),
        Figure("the same, of the rate with 0 ms", "≥ 90 %", f"{slow / fast:.0%} of {fast:,.0f}/s", slow > _KEPT * fast),
        memory([run for runs in found.values() for run in runs.runs]),
    ]


def latencies(context: Context) -> list[Figure]:
    """From `checkout.requested` produced to `checkout.completed` read by a client, at two loads."""
    limits = {50: (30, 100), 500: (80, 250)}
    found = in_turns(
        context,
        {f"{rate}/s": ours(context, Shape(), Plan(context.count(20 * rate), rate=rate)) for rate in limits},
    )
    return [_latency(rate, found[f"{rate}/s"], *limits[rate]) for rate in limits]


def _latency(rate: int, runs: Runs, p50: int, p99: int) -> Figure:
    have50, have99 = runs.latency_ms("p50"), runs.latency_ms("p99")
    return Figure(
        f"latency at {rate} checkouts/s",
        f"p50 ≤ {p50} ms, p99 ≤ {p99} ms",
        f"p50 {have50:.0f} ms, p99 {have99:.0f} ms",
        have50 <= p50 and have99 <= p99,
        data_of({f"{rate}/s": runs}),
    )


def slow_calls(context: Context) -> list[Figure]:
    """Of the checkouts, 1 % meet a provider that takes 5 s: the others must not notice."""
    rate = 200
    plan = Plan(context.count(20 * rate), rate=rate)
    found = in_turns(
        context,
        {
            "all calls fast": ours(context, Shape(), plan),
            "1 % of the calls take 5 s": ours(context, Shape(Provider(slow_share=0.01, slow_s=5.0)), plan),
        },
    )
    without, with_slow = (runs.latency_ms("p99") for runs in found.values())
    return [
        Figure(
            "1 % of provider calls take 5 s: p99 of the others",
            "≤ 1.5 x of a run without",
            f"{with_slow / without:.2f} x ({with_slow:.0f} ms, without {without:.0f} ms, at {rate}/s)",
            with_slow <= 1.5 * without,
            data_of(found),
        )
    ]


def hot_row(context: Context) -> list[Figure]:
    """One product in every order, four warehouse processes, one stock row."""
    shape = Shape(copies={"warehouse": 4}, partitions=12)
    count = context.count(8_000)
    found = in_turns(
        context,
        {
            "products by Zipf's law": ours(context, shape, Plan(count)),
            "one product in every order": ours(context, shape, Plan(count, hot=_HOT)),
        },
    )
    uniform, hot = (runs.rate for runs in found.values())
    return [
        Figure(
            "one product in every order, 4 warehouse processes",
            "≥ 80 % of the rate without",
            f"{hot / uniform:.0%} ({hot:,.0f}/s of {uniform:,.0f}/s), no oversell, no deadlock",
            hot >= 0.8 * uniform,
            data_of(found),
        )
    ]


def scale(context: Context) -> list[Figure]:
    """Payment processes that may have 32 calls in flight each, at a provider that takes 200 ms."""
    count = context.count(1_500)
    settings = {"PAYMENT_CALLS_LIMIT": "32"}
    found = in_turns(
        context,
        {
            f"{copies} payment processes": ours(
                context,
                Shape(Provider(http=True, delay_s=_SLOW_S), {"payment": copies}, settings),
                Plan(count * copies),
            )
            for copies in (1, 2, 3, 4)
        },
    )
    rates = [runs.rate for runs in found.values()]
    shown = ", ".join(f"{copies}: {rate:,.0f}/s" for copies, rate in enumerate(rates, start=1))
    return [
        Figure(
            "2 payment processes, 200 ms, 32 calls in flight each",
            "≥ 1.8 x one",
            f"{rates[1] / rates[0]:.2f} x ({shown})",
            rates[1] >= 1.8 * rates[0],
            data_of(found),
        )
    ]


def load_curve(context: Context) -> list[Figure]:
    """Latency against load."""
    rates = (25, 50, 100, 200, 400, 600, 800, 1_000, 1_200)
    found = in_turns(
        context,
        {f"{rate}/s": ours(context, Shape(), Plan(context.count(10 * rate), rate=rate)) for rate in rates},
    )
    shown = ", ".join(f"{name} {runs.latency_ms('p50'):.0f}" for name, runs in found.items())
    return [Figure("latency against load, p50 in ms", "", shown, None, data_of(found))]


def memory(runs: Sequence[Run]) -> Figure:
    """The largest service process of the runs; the provider must be another one, as it keeps its books in memory."""
    most = max(mib for run in runs for mib in run.memory_mib.values())
    return Figure("memory of a service at full load", f"≤ {_MEMORY_MIB} MiB", f"{most:.0f} MiB", most <= _MEMORY_MIB)


def where_it_goes(runs: Runs) -> Figure:
    """Processor time for one checkout, by process."""
    used = runs.cpu_us()
    shown = ", ".join(f"{name} {spent:.0f}" for name, spent in sorted(used.items(), key=lambda item: -item[1]))
    return Figure("processor time for one checkout, us", "", f"{sum(used.values()):.0f}: {shown}", None)
