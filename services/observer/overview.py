"""What /live shows: the overview of one worker as JSON, and several of them put together. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from services.observer.index import RATE_S, Breach, Index, quantile
from services.observer.instants import SECOND
from services.observer.steps import STEPS
from services.observer.summary import Summary
from services.observer.texts import clean
from services.observer.timeline import SAID_BY

MOST_ROWS: Final = 50
MOST_RECENT: Final = 12

View = dict[str, Any]


def breach_view(breach: Breach, prefix: str) -> View:
    """A breach: the rule, the checkout and the event at fault, with the place where that lies."""
    rule, what, fault, _ = breach.finding
    return {
        "rule": rule,
        "checkout_id": breach.checkout_id,
        "what": clean(what),
        "event": fault.event,
        "said_by": SAID_BY[fault.event],
        "event_id": fault.event_id,
        "topic": prefix + fault.event,
        "partition": fault.partition,
        "offset": fault.offset,
        "at": fault.at_us / SECOND,
    }


def worker_view(
    index: Index, breaches: Sequence[Breach], *, now_us: int, heard_us: int | None, prefix: str, place: View
) -> View:
    """The overview of one worker. place: its url, partitions and the number of all. Instants are seconds since 1970."""
    stuck = index.stuck(heard_us)
    rates = index.rates(now_us)
    return {
        "now": now_us / SECOND,
        "heard_until": None if heard_us is None else heard_us / SECOND,
        "workers": [place],
        "missing": [],
        "states": {state: count for state, count in index.states.items() if count},
        "rates": [[outcome, code, count] for (outcome, code), count in sorted(rates.items())],
        "took": {step: sorted(counts.items()) for step, counts in index.durations(now_us).items()},
        "stuck": [_row(*pair) for pair in stuck[:MOST_ROWS]],
        "stuck_total": len(stuck),
        "breaches": [breach_view(breach, prefix) for breach in breaches[:MOST_ROWS]],
        "breaches_total": len(breaches),
        "recent": [_row(*pair) for pair in index.recent(MOST_RECENT)],
    }


def _row(checkout_id: str, summary: Summary) -> View:
    code = summary.outcome[1] if summary.outcome else ""
    return {
        "checkout_id": checkout_id,
        "state": summary.state,
        "code": code,
        "since": summary.since_us / SECOND,
        "last": summary.last_us / SECOND,
    }


def merged(views: Sequence[View], missing: Iterable[str]) -> View:
    """The overviews of several workers as one; missing: urls of those that did not answer."""
    heard = [view["heard_until"] for view in views]
    rates: Counter[tuple[str, str]] = Counter()
    for view in views:
        rates.update({(outcome, code): count for outcome, code, count in view["rates"]})
    return {
        "now": max(view["now"] for view in views),
        "heard_until": None if None in heard else min(heard),
        "workers": [worker for view in views for worker in view["workers"]],
        "missing": sorted(missing),
        "states": dict(sum((Counter(view["states"]) for view in views), Counter())),
        "rates": [[outcome, code, count] for (outcome, code), count in sorted(rates.items())],
        "took": _took(views),
        "stuck": _rows(views, "stuck", lambda row: row["since"]),
        "stuck_total": sum(view["stuck_total"] for view in views),
        "breaches": _rows(views, "breaches", lambda row: -row["at"]),
        "breaches_total": sum(view["breaches_total"] for view in views),
        "recent": _rows(views, "recent", lambda row: -row["last"])[:MOST_RECENT],
    }


def _rows(views: Sequence[View], name: str, order: Any) -> list[View]:
    return sorted((row for view in views for row in view[name]), key=order)[:MOST_ROWS]


def _took(views: Sequence[View]) -> dict[str, list[tuple[float, int]]]:
    total: dict[str, Counter[float]] = {}
    for view in views:
        for step, counts in view["took"].items():
            total.setdefault(step, Counter()).update(dict(counts))
    return {step: sorted(counts.items()) for step, counts in total.items()}


def for_readers(view: View, deadlines_us: Mapping[str, int]) -> View:
    """The overview as it is handed out: durations as quantiles, rates a minute, what is shown named in one sentence."""
    took = {step: Counter(dict(counts)) for step, counts in view["took"].items()}
    rows = {name: value for name, value in view.items() if name not in ("took", "rates")}
    steps = [
        {
            "step": step.name,
            "service": step.service,
            "count": took[step.name].total(),
            "p50_s": quantile(took[step.name], 0.5),
            "p99_s": quantile(took[step.name], 0.99),
            "deadline_s": deadlines_us[step.name] / SECOND,
        }
        for step in STEPS
        if took.get(step.name)
    ]
    return rows | {
        "shows": shows(view),
        "rates": [
            {"outcome": outcome, "code": code, "per_minute": count * 60 / RATE_S}
            for outcome, code, count in sorted(view["rates"], key=lambda rate: -rate[2])
        ],
        "steps": sorted(steps, key=lambda step: -float(step["p99_s"] or 0)),
    }


def shows(view: View) -> str:
    """Which part of the whole this is."""
    held = sorted({partition for worker in view["workers"] for partition in worker["partitions"]})
    of = max((worker["of"] for worker in view["workers"]), default=0)
    workers = len(view["workers"])
    by = "1 worker" if workers == 1 else f"{workers} workers"
    if of and len(held) == of:
        return f"all {of} partitions, {by}"
    absent = ", ".join(str(each) for each in range(of) if each not in held) or "all"
    return f"{len(held)} of {of} partitions, {by}; missing: {absent}"
