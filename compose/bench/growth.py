"""What time does to it: a million checkouts in the tables, and a transaction of somebody else's that stays open."""

import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final

from sqlalchemy import text

from compose.bench.figures import Context, Figure, data_of, in_turns
from compose.bench.load import endless
from compose.bench.measuring import Plan, Run, audited, load_of, warm_up
from compose.bench.rig import Rig, Shape
from services.shell.database import engine_of

MILLION: Final = 1_000_000
_KEPT: Final = 0.9
_SLICE: Final = 100_000
_CALM_KIB: Final = 32 * 1024
_CALM_LIMIT_S: Final = 60.0
_IN_FLIGHT: Final = 5_000

# a checkout that was completed a while ago, as the services leave it: statement by service, for numbers :low to :high
_PAST: Final[dict[str, tuple[str, tuple[str, ...], int]]] = {
    "checkout": (
        """
        INSERT INTO checkouts (checkout_id, status, fingerprint, customer_id, currency, total_minor, expires_at,
            accepted, order_id, detail, stock_let_go, money_let_go, version, created_at, updated_at)
        SELECT 'past-' || lpad(n::text, 9, '0'), 'captured', md5(n::text) || md5(n::text), 'shopper-' || n % 1000,
            'EUR', 100 + n, :at, true, gen_random_uuid(), '', false, false, 4, :at, :at
        FROM generate_series(CAST(:low AS int), CAST(:high AS int)) AS n
        """,
        ("accepted", "authorized", "capture_pending", "captured"),
        4,
    ),
    "payment": (
        """
        INSERT INTO payments (checkout_id, status, customer_id, payment_method_id, token, currency, amount_minor,
            payment_id, capture_before, expires_at, version, created_at, updated_at)
        SELECT 'past-' || lpad(n::text, 9, '0'), 'captured', 'shopper-' || n % 1000,
            'shopper-' || n % 1000 || chr(58) || 'ok',
            'tok_ok', 'EUR', 100 + n, 'pay-past-' || n, :at, :at, 5, :at, :at
        FROM generate_series(CAST(:low AS int), CAST(:high AS int)) AS n
        """,
        ("expected", "authorizing", "authorized", "capture_pending", "captured"),
        3,
    ),
    "warehouse": (
        """
        INSERT INTO reservations (checkout_id, status, units, expires_at, version, created_at, updated_at)
        SELECT 'past-' || lpad(n::text, 9, '0'), 'committed', '{}', :at, 2, :at, :at
        FROM generate_series(CAST(:low AS int), CAST(:high AS int)) AS n
        """,
        ("reserved", "committed"),
        2,
    ),
}
_TRAIL: Final = """
    INSERT INTO audit_trail (checkout_id, from_state, to_state, cause_type, cause_id, note, at)
    SELECT 'past-' || lpad(n::text, 9, '0'), :before, :after, 'checkout.requested', gen_random_uuid(), '', :at
    FROM generate_series(CAST(:low AS int), CAST(:high AS int)) AS n
"""
_INBOX: Final = """
    INSERT INTO inbox (event_id, occurred_on, consumer)
    SELECT uuidv7(), CAST(:at AS date), :consumer
    FROM generate_series(CAST(:low AS int), CAST(:high AS int)) AS n, generate_series(1, CAST(:heard AS int)) AS m
"""


def million(context: Context) -> list[Figure]:
    """The rate with a million checkouts in the tables, beside the rate of an empty system."""
    # the fill takes a minute, in which everything else cools down
    plan = Plan(context.count(15_000), warm=context.count(3_000))
    past = context.count(MILLION)

    def full() -> Run:
        with Rig(context.bench.environ, context.bench.folder, Shape()) as rig, closing(load_of(rig)) as load:
            for service in _PAST:
                fill(rig, service, past)
            await_calm()
            warm_up(rig, load, plan)
            # the audit would hold a million made-up checkouts against topics that never heard of them
            return context.bench.measured(rig, load, plan)

    def empty() -> Run:
        return context.bench.run(Shape(), plan)

    found = in_turns(context, {"empty tables": empty, f"{past:,} checkouts in the tables": full})
    fresh, grown = (runs.rate for runs in found.values())
    return [
        Figure(
            f"rate with {past:,} checkouts in the tables",
            "≥ 90 % of an empty system's",
            f"{grown / fresh:.0%} ({grown:,.0f}/s of {fresh:,.0f}/s)",
            grown >= _KEPT * fresh,
            data_of(found),
        )
    ]


def fill(rig: Rig, service: str, count: int) -> None:
    """Put `count` completed checkouts of today into a service's tables, as full as their own would be."""
    rows, states, heard = _PAST[service]
    engine = engine_of(rig.servers.database_url(service))
    for low in range(1, count + 1, _SLICE):
        values: dict[str, Any] = {"low": low, "high": min(count, low + _SLICE - 1), "at": _now(engine)}
        with engine.begin() as db:
            db.execute(text(rows), values)
            for before, after in zip((None, *states), states, strict=False):
                db.execute(text(_TRAIL), values | {"before": before, "after": after})
            consumer = rig.environ["TOPIC_PREFIX"] + service
            db.execute(text(_INBOX), values | {"consumer": consumer, "heard": heard})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as db:
        db.execute(text("VACUUM (ANALYZE)"))
        db.execute(text("CHECKPOINT"))
    engine.dispose()


def await_calm() -> None:
    """Until the disk has what was written: the kernel's own work is no property of large tables."""
    os.sync()
    until = time.monotonic() + _CALM_LIMIT_S
    while _unwritten_kib() > _CALM_KIB and time.monotonic() < until:
        time.sleep(1.0)


def _unwritten_kib() -> int:
    """Source: proc(5), /proc/meminfo."""
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    return sum(int(line[1]) for line in lines if line[0] in ("Dirty:", "Writeback:"))


def _now(engine: Any) -> Any:
    with engine.connect() as db:
        return db.execute(text("SELECT now()")).scalar_one()


def held_transaction(context: Context, minutes: float = 10.0) -> list[Figure]:
    """Full load for `minutes` while a transaction stays open that has a snapshot and has written: no row that dies
    meanwhile can be vacuumed. The rate of the last tenth is held against the first, with and without it.
    """
    found = {name: _endurance(context, minutes, held=held) for name, held in (("without", False), ("with", True))}
    without, with_it = (rates[-1] for rates in found.values())
    return [
        Figure(
            f"a foreign transaction open for {minutes:g} min at full load",
            "≥ 90 % of the rate without",
            f"{with_it / without:.0%} ({with_it:,.0f}/s of {without:,.0f}/s in the last tenth)",
            with_it >= _KEPT * without,
            {"rates_by_tenth": found},
        )
    ]


def _endurance(context: Context, minutes: float, *, held: bool) -> list[float]:
    """The rate in each tenth of the time."""
    with Rig(context.bench.environ, context.bench.folder, Shape()) as rig, closing(load_of(rig)) as load:
        warm_up(rig, load, Plan(1))
        with _held(rig) if held else nullcontext():
            rates = load.sustain(endless(rig.servers), _IN_FLIGHT, minutes * 60, parts=10)
        shown = ", ".join(f"{rate:,.0f}" for rate in rates)
        context.tell(f"{'with' if held else 'without'} a foreign transaction, by tenth: {shown} /s")
        audited(rig)
        return rates


@contextmanager
def _held(rig: Rig) -> Iterator[None]:
    """Transactions in every service's database that have written and read, and then do nothing."""
    engines = [engine_of(rig.servers.database_url(service)) for service in _PAST]
    sessions = [engine.connect().execution_options(isolation_level="REPEATABLE READ") for engine in engines]
    for session in sessions:
        session.execute(text("CREATE TABLE held_by_a_stranger (n int)"))
    try:
        yield
    finally:
        for session, engine in zip(sessions, engines, strict=True):
            session.rollback()
            session.close()
            engine.dispose()
