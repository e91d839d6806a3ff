"""The steps of a checkout: which event waits for which, and since when. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from services.observer.states import released
from services.observer.timeline import Said, Timeline

_REFUSALS: Final = (
    "warehouse.rejected",
    "payment.declined",
    "warehouse.confirm_failed",
    "payment.capture_failed",
)


@dataclass(frozen=True, slots=True)
class Step:
    """`service` answers one of `after` with one of `until`.

    delayed: the operation whose `payment.delayed` says that the service is still at it. undoes: it is what
    checkout.failed asks for; every other step is over when a checkout has failed.
    """

    name: str
    service: str
    after: tuple[str, ...]
    until: tuple[str, ...]
    delayed: str = ""
    undoes: bool = False


STEPS: Final = (
    Step("accept", "checkout", ("checkout.requested",), ("checkout.accepted", "checkout.failed")),
    Step("reserve", "warehouse", ("checkout.accepted",), ("warehouse.reserved", "warehouse.rejected")),
    Step("authorize", "payment", ("warehouse.reserved",), ("payment.authorized", "payment.declined"), "authorize"),
    Step("confirm", "checkout", ("payment.authorized",), ("checkout.confirmed", "checkout.failed")),
    Step("commit", "warehouse", ("checkout.confirmed",), ("warehouse.confirmed", "warehouse.confirm_failed")),
    Step("capture", "payment", ("warehouse.confirmed",), ("payment.captured", "payment.capture_failed"), "capture"),
    Step("complete", "checkout", ("payment.captured",), ("checkout.completed",)),
    Step("fail", "checkout", _REFUSALS, ("checkout.failed",)),
    Step("release", "warehouse", ("checkout.failed",), ("warehouse.released",), undoes=True),
    Step("undo", "payment", ("checkout.failed",), ("payment.voided", "payment.refunded"), undoes=True),
)
NAMES: Final = tuple(step.name for step in STEPS)


class Waiting(NamedTuple):
    """A step that has not been answered. since_us: when it was asked for, or said last to be delayed."""

    step: Step
    asked: Said
    since_us: int


class Done(NamedTuple):
    """A step that was answered. at_us: when."""

    step: str
    at_us: int
    took_us: int


def waiting(timeline: Timeline) -> Iterator[Waiting]:
    """Steps that somebody has still to take."""
    failed = timeline.has("checkout.failed")
    for step in STEPS:
        asked = _asked(timeline, step)
        if asked is None or _answer(timeline, step) or (failed and not step.undoes):
            continue
        delays = (said.at_us for said in timeline.of("payment.delayed") if said.facts.get("operation") == step.delayed)
        yield Waiting(step, asked, max((asked.at_us, *delays)))


def done(timeline: Timeline) -> Iterator[Done]:
    """Steps that were taken, and how long they took; by the clocks of those who spoke."""
    for step in STEPS:
        asked, answer = _asked(timeline, step), _answer(timeline, step)
        if asked is not None and answer is not None and answer.at_us >= asked.at_us:
            yield Done(step.name, answer.at_us, answer.at_us - asked.at_us)


def _asked(timeline: Timeline, step: Step) -> Said | None:
    asked = timeline.first(*step.after)
    # a checkout that was never accepted concerns nobody else
    return None if asked and step.undoes and not asked.facts.get("accepted") else asked


def _answer(timeline: Timeline, step: Step) -> Said | None:
    return released(timeline) if step.until == ("warehouse.released",) else timeline.first(*step.until)


def deadlines(default_s: float, special: Mapping[str, float]) -> dict[str, int]:
    """Step -> microseconds that it may take."""
    return {name: round(special.get(name, default_s) * 1_000_000) for name in NAMES}
