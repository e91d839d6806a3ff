"""What has to hold for every checkout, held against its events alone. Pure.

A finding says from when on it is a breach: what can never become true again is one at once (`due_us` 0), what may only
wait for an event that is still on its way is one after the grace time, what is late after its deadline.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from services.observer.states import released
from services.observer.steps import waiting
from services.observer.timeline import Said, Timeline

AT_ONCE: Final = 0


class Finding(NamedTuple):
    """A breach from `due_us` on (microseconds since 1970). fault: the event at fault."""

    rule: str
    what: str
    fault: Said
    due_us: int


@dataclass(frozen=True, slots=True)
class Limits:
    """grace_us: how much later than its cause an event may be heard. deadlines_us: by step. stuck_us: of a checkout."""

    grace_us: int
    deadlines_us: Mapping[str, int]
    stuck_us: int

    def after(self, *said: Said) -> int:
        """When everything that these events imply must have been heard."""
        return max(each.at_us for each in said) + self.grace_us


Rule = Callable[[Timeline, Limits], Iterator[Finding]]


def one_end(timeline: Timeline, _limits: Limits) -> Iterator[Finding]:
    """A checkout is completed or has failed: one of them, once."""
    ends = timeline.of("checkout.completed", "checkout.failed")
    if len(ends) > 1:
        names = " and ".join(end.event for end in ends)
        yield Finding("one_end", f"ended {len(ends)} times: {names}", ends[-1], AT_ONCE)


def captured_once(timeline: Timeline, _limits: Limits) -> Iterator[Finding]:
    """Money is captured once."""
    captures = timeline.of("payment.captured")
    if len(captures) > 1:
        yield Finding("captured_once", f"captured {len(captures)} times", captures[-1], AT_ONCE)


def captured_with_grounds(timeline: Timeline, limits: Limits) -> Iterator[Finding]:
    """Nothing is captured that the warehouse has not confirmed, or that was not authorized."""
    captured = timeline.first("payment.captured")
    for needed in ("warehouse.confirmed", "payment.authorized"):
        if captured is not None and not timeline.has(needed):
            yield Finding("captured_with_grounds", f"captured without {needed}", captured, limits.after(captured))


def amounts_agree(timeline: Timeline, limits: Limits) -> Iterator[Finding]:
    """What is authorized, captured and completed is what was asked for."""
    accepted, requests = timeline.first("checkout.accepted"), timeline.of("checkout.requested")
    if accepted and requests and _amount(accepted) not in map(_amount, requests):
        what = f"accepted {_money(accepted)}, but {_money(requests[0])} was requested"
        yield Finding("amounts_agree", what, accepted, limits.after(accepted, *requests))
    wanted = accepted or timeline.first("payment.authorized")
    for said in timeline.of("payment.authorized", "payment.captured", "checkout.completed") if wanted else ():
        if wanted and _amount(said) != _amount(wanted):
            what = f"{said.event} says {_money(said)}, {wanted.event} {_money(wanted)}"
            yield Finding("amounts_agree", what, said, AT_ONCE)


def money_conserved(timeline: Timeline, limits: Limits) -> Iterator[Finding]:
    """Captured minus refunded is what was delivered: everything when completed, nothing when failed."""
    completed, failed = timeline.first("checkout.completed"), timeline.first("checkout.failed")
    if completed and not failed:
        yield from _kept(timeline, limits, completed)
    if failed and not completed:
        yield from _given_back(timeline, limits, failed)


def _kept(timeline: Timeline, limits: Limits, completed: Said) -> Iterator[Finding]:
    if not timeline.has("payment.captured"):
        yield Finding("money_conserved", "completed, but nothing was captured", completed, limits.after(completed))
    for said in timeline.of("payment.refunded", "payment.voided"):
        if said.event == "payment.refunded" or said.facts.get("outcome") == "voided":
            what = f"completed, but {said.event} let go of {said.facts.get('amount_minor')}"
            yield Finding("money_conserved", what, said, limits.after(said, completed))


def _given_back(timeline: Timeline, limits: Limits, failed: Said) -> Iterator[Finding]:
    answers = timeline.of("payment.voided", "payment.refunded")
    captures, refunds = timeline.of("payment.captured"), timeline.of("payment.refunded")
    captured, refunded = _sum(captures), _sum(refunds)
    settled = answers or not failed.facts.get("accepted")
    if captures and settled and captured != refunded:
        what = f"failed, but of {captured} captured {refunded} went back"
        fault = refunds[-1] if refunded > captured else captures[-1]
        yield Finding("money_conserved", what, fault, limits.after(failed, *captures, *answers))
    accepted = timeline.first("checkout.accepted")
    # a capture whose answer nobody heard is refunded without ever having been announced
    if refunds and accepted and refunded > max(captured, _minor(accepted)):
        what = f"refunded {refunded}, more than was ever asked for"
        yield Finding("money_conserved", what, refunds[-1], AT_ONCE)


def units_conserved(timeline: Timeline, limits: Limits) -> Iterator[Finding]:
    """Units reserved are shipped or released: all of them one way."""
    completed, failed = timeline.first("checkout.completed"), timeline.first("checkout.failed")
    returns = [said for said in timeline.of("warehouse.released") if said.facts.get("units")]
    if completed and not failed:
        for needed in ("warehouse.reserved", "warehouse.confirmed"):
            if not timeline.has(needed):
                what = f"completed without {needed}"
                yield Finding("units_conserved", what, completed, limits.after(completed))
        if returns:
            what = f"completed, but {_text(_units(returns))} went back on the shelf"
            yield Finding("units_conserved", what, returns[-1], limits.after(completed, *returns))
    yield from _units_back(timeline, limits, returns)


def _units_back(timeline: Timeline, limits: Limits, returns: list[Said]) -> Iterator[Finding]:
    accepted, answer = timeline.first("checkout.accepted"), released(timeline)
    if accepted is None:
        return
    reserved = timeline.first("warehouse.reserved")
    held, back = _units([accepted] if reserved else []), _units(returns)
    if any(back[sku] > held[sku] for sku in back):
        what = f"{_text(back)} went back, {_text(held)} had been reserved"
        yield Finding("units_conserved", what, returns[-1], AT_ONCE if reserved else limits.after(*returns))
    elif answer and back != held:
        what = f"{_text(held)} had been reserved, {_text(back)} went back"
        yield Finding("units_conserved", what, answer, limits.after(answer, *returns, reserved or answer))


def steps_in_time(timeline: Timeline, limits: Limits) -> Iterator[Finding]:
    """Each step is taken within its deadline."""
    yield from _late(timeline, limits, undoes=False)


def let_go_in_time(timeline: Timeline, limits: Limits) -> Iterator[Finding]:
    """After checkout.failed of an accepted checkout warehouse and payment both answer in time."""
    yield from _late(timeline, limits, undoes=True)


def _late(timeline: Timeline, limits: Limits, *, undoes: bool) -> Iterator[Finding]:
    rule = "let_go_in_time" if undoes else "steps_in_time"
    for step, asked, since_us in waiting(timeline):
        if step.undoes is undoes:
            limit_us = limits.deadlines_us[step.name]
            what = f"{step.service} has not answered {asked.event} within {limit_us / 1_000_000:g} s ({step.name})"
            yield Finding(rule, what, asked, since_us + limit_us + limits.grace_us)


RULES: Final[tuple[Rule, ...]] = (
    one_end,
    captured_once,
    captured_with_grounds,
    amounts_agree,
    money_conserved,
    units_conserved,
    steps_in_time,
    let_go_in_time,
)
RULE_NAMES: Final = tuple(rule.__name__ for rule in RULES)


def findings(timeline: Timeline, limits: Limits) -> tuple[Finding, ...]:
    """What is a breach now or will be one when time passes and nothing more is said."""
    return tuple(finding for rule in RULES for finding in rule(timeline, limits))


def _amount(said: Said) -> tuple[object, object]:
    return said.facts.get("total_minor", said.facts.get("amount_minor")), said.facts.get("currency")


def _money(said: Said) -> str:
    amount, currency = _amount(said)
    return f"{amount} {currency}"


def _sum(said: list[Said]) -> int:
    return sum(_minor(each) for each in said)


def _minor(said: Said) -> int:
    """Its amount; 0 where it names none, or one that had to be masked."""
    amount, _ = _amount(said)
    return amount if isinstance(amount, int) else 0


def _units(said: list[Said]) -> Counter[str]:
    units: Counter[str] = Counter()
    for each in said:
        units.update(each.facts.get("units", {}))
    return units


def _text(units: Counter[str]) -> str:
    return ", ".join(f"{count} of {sku}" for sku, count in sorted(units.items())) or "nothing"
