"""Plans of replays and what they came to, for people and as JSON."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from dlq.ledger import State
from dlq.plan import Plan, Refusal
from dlq.replay import Result, Status
from schemas.terminal import flat

_SHOWN: Final = 20
_KINDS: Final = (
    ("by_service", "service"),
    ("by_event_type", "event"),
    ("by_disposition", "disposition"),
    ("by_fingerprint", "fingerprint"),
)


def plan_json(plan: Plan) -> dict[str, Any]:
    """A plan for `--dry-run --json`."""
    order = {lane: [letter.id for letter in letters] for lane, letters in plan.lanes().items()}
    return plan.summary() | {
        "letters": [letter.id for letter in plan.send],
        "order": order,
        "refusals": refusals_json(plan.refused),
    }


def refusals_json(refused: Iterable[Refusal]) -> list[dict[str, str]]:
    """Every refusal, with its sentence."""
    return [
        {"service": each.letter.service, "id": each.letter.id, "reason": each.reason, "why": each.sentence}
        for each in refused
    ]


def plan_lines(plan: Plan) -> Iterator[str]:
    """What would be sent, of which kinds, in which order, and what is refused."""
    more = f"; {plan.left:,} more are left by --limit" if plan.left else ""
    yield f"{len(plan.send):,} letters would be sent{more}"
    summary = plan.summary()
    for name, title in _KINDS:
        yield from _histogram(title, summary[name])
    if plan.overtaking:
        yield f"note: {plan.overtaking:,} of them overtake an earlier letter of their checkout, which stays where it is"
    yield from _some(
        [f"order in {flat(lane)}: {_order(letters)}" for lane, letters in plan.lanes().items()], "checkouts"
    )
    yield from refusal_lines(plan.refused)


def refusal_lines(refused: Iterable[Refusal]) -> Iterator[str]:
    """Refusals: how many of which reason, then each."""
    each = list(refused)
    counts: dict[str, int] = {}
    for refusal in each:
        counts[refusal.reason] = counts.get(refusal.reason, 0) + 1
    for reason, count in counts.items():
        yield f"refused: {count:,} {reason}"
    yield from _some([f"  {r.letter.id}: {flat(r.sentence)}" for r in each], "refusals")


def _order(letters: Iterable[Any]) -> str:
    return ", ".join(letter.id for letter in letters)


def _histogram(title: str, counts: dict[str, int]) -> Iterator[str]:
    widest = max(counts.values(), default=1)
    lines = [
        f"{title:>12} {flat(name):<28} {count:>7,} {'#' * -(-count * 30 // widest)}" for name, count in counts.items()
    ]
    yield from _some(lines, f"{title}s")


def _some(lines: list[str], what: str) -> Iterator[str]:
    yield from lines[:_SHOWN]
    if len(lines) > _SHOWN:
        yield f"  ... and {len(lines) - _SHOWN:,} more {what} (--json has all)"


def status_line(status: Status) -> str:
    """Where a job is, in few words."""
    counts = status.outcomes
    told = f"handled {counts[State.RESOLVED]:,}, too late {counts[State.TOO_LATE]:,}"
    note = f" ({status.note})" if status.note else ""
    return f"sent {status.sent:,}, {told}, failed again {counts[State.FAILED_AGAIN]:,}{note}"


def result_json(result: Result) -> dict[str, Any]:
    """A result for `--json`."""
    status = result.status
    return {
        "job": status.job,
        "planned": status.planned,
        "sent": status.sent,
        "refused": result.plan.reasons(),
        "outcomes": {
            "handled": status.outcomes[State.RESOLVED],
            "too_late": status.outcomes[State.TOO_LATE],
            "failed_again": status.outcomes[State.FAILED_AGAIN],
            "still_out": status.out,
        },
        "end": result.end,
        "seconds": round(result.seconds, 3),
    }


def result_lines(result: Result, *, waited: bool) -> Iterator[str]:
    """How a job ended, for people."""
    yield f"job {result.status.job}: {status_line(result.status)}; {result.seconds:.1f} s"
    if waited and result.status.out:
        yield f"{result.status.out:,} have no outcome yet; `dlq list --state replaying` shows them"
    yield from refusal_lines(result.plan.refused)
