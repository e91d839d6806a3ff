"""The relay's figures: how fast a backlog goes out beside Debezium, and how soon a commit is in the broker's log."""

from dataclasses import asdict
from typing import Final

from compose.bench.figures import Context, Figure
from compose.bench.relay import DEBEZIUM, OFFERED, OURS, Comparison, Load, compare

_RATE: Final = 50_000
_TIMES: Final = 5
_LATENCY_MS: Final = 8
_BACKLOG: Final = 100_000


def relay(context: Context) -> list[Figure]:
    """A backlog from the table, rows that a service has just committed, and Debezium on the same table, in turns."""
    found = compare(
        context.bench.environ,
        context.bench.servers.get("postgres"),
        context.bench.folder / "debezium",
        Load(backlog=context.count(_BACKLOG), seconds=20 * min(1.0, context.scale)),
        context.runs,
    )
    return [_rate(found), _beside_debezium(found), _latency(found)]


def _rate(found: Comparison) -> Figure:
    committed, table = found.rate(OFFERED), found.rate(OURS)
    return Figure(
        "relay, events a second: of what was just committed",
        f"≥ {_RATE:,}/s",
        f"{committed:,.0f}/s; a backlog from the table {table:,.0f}/s",
        committed >= _RATE,
        {name: [asdict(drain) for drain in drains] for name, drains in found.drains.items()},
    )


def _beside_debezium(found: Comparison) -> Figure:
    times = found.rate(OURS) / found.rate(DEBEZIUM)
    spent = ", ".join(f"{name} {found.cpu_ms(name):.0f}" for name in (OURS, OFFERED, DEBEZIUM))
    return Figure(
        "a backlog from the table, beside Debezium",
        f"≥ {_TIMES} x",
        f"{times:.1f} x its {found.rate(DEBEZIUM):,.0f}/s; ms of processor for 1,000 events: {spent}",
        times >= _TIMES,
    )


def _latency(found: Comparison) -> Figure:
    (p50, p99), (their_p50, their_p99) = found.latency_ms(OURS), found.latency_ms(DEBEZIUM)
    return Figure(
        "relay, commit to broker, p50 (p99)",
        f"≤ {_LATENCY_MS} ms",
        f"{p50:.1f} ({p99:.1f}) ms; Debezium {their_p50:.1f} ({their_p99:.1f}) ms",
        p50 <= _LATENCY_MS,
        {name: [asdict(latency) for latency in latencies] for name, latencies in found.latencies.items()},
    )
