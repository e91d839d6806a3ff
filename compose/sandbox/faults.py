"""Faults on demand: which of them a request gets, by its `Sandbox-Fault` header and by the rules in force.

    latency:<ms>     wait before anything else (at most 60 s)
    error:<5xx>      answer so, without effect; nothing is stored under the key
    error_after:<5xx> take effect, and store this answer under the key in place of the true one
    reset_before     reset the connection (TCP RST), without effect
    reset_after      take effect, then reset the connection
    lost_answer      take effect, then close the connection without an answer
    hang             accept, never answer, without effect, until the client goes away

One request can have several; `hang` wins over `reset_before`, that over `error`, and none of the three has an
effect. A lookup has no effect to begin with: its `error_after` is an `error`.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from compose.sandbox.errors import BadRequestError

Target = Literal["authorize", "capture", "void", "refund", "lookup", "*"]
MAX_LATENCY_MS: Final = 60_000
FIRST_STATUS: Final = 500
LAST_STATUS: Final = 599

_PLAIN: Final = frozenset({"reset_before", "reset_after", "lost_answer", "hang"})
_WITH_STATUS: Final = frozenset({"error", "error_after"})


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault; `number` is the milliseconds of a latency or the status of an error."""

    name: str
    number: int | None = None

    def __str__(self) -> str:
        return self.name if self.number is None else f"{self.name}:{self.number}"


@dataclass(frozen=True, slots=True)
class Plan:
    """All that goes wrong with one request."""

    faults: tuple[Fault, ...] = ()
    latency_ms: int = 0
    error: int | None = None
    error_after: int | None = None
    plain: frozenset[str] = frozenset()  # names of the faults that have no number


NOTHING: Final = Plan()


@dataclass(slots=True)
class Rule:
    """A fault that meets every matching request with a probability, until it has been applied `times` times."""

    fault: Fault
    operation: Target
    checkout_id: str | None
    probability: float
    times: int | None
    seed: int
    applied: int = 0
    dice: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)  # noqa: S311 - faults must be repeatable, not secret

    def strikes(self, operation: Target, checkout_id: str | None) -> bool:
        """Whether this request gets the fault; counts it if so."""
        if self.operation not in ("*", operation) or self.checkout_id not in (None, checkout_id):
            return False
        if self.times is not None and self.applied >= self.times:
            return False
        if self.dice.random() >= self.probability:
            return False
        self.applied += 1
        return True

    def view(self) -> dict[str, Any]:
        """The rule as the switch shows it."""
        return {
            "fault": str(self.fault),
            "operation": self.operation,
            "checkout_id": self.checkout_id,
            "probability": self.probability,
            "times": self.times,
            "seed": self.seed,
            "applied": self.applied,
        }


def parse_fault(text: str) -> Fault:
    """Read `latency:200`, `error:503`, `hang`, … Raises BadRequestError."""
    name, _, number = text.strip().partition(":")
    if name in _PLAIN and not number:
        return Fault(name)
    if number.isascii() and number.isdigit() and len(number) <= len(str(MAX_LATENCY_MS)):
        if name == "latency" and int(number) <= MAX_LATENCY_MS:
            return Fault(name, int(number))
        if name in _WITH_STATUS and FIRST_STATUS <= int(number) <= LAST_STATUS:
            return Fault(name, int(number))
    raise BadRequestError(
        f"Unknown fault {text[:40]!r}; known are latency:<ms up to {MAX_LATENCY_MS}>, error:<5xx>, error_after:<5xx>, "
        "reset_before, reset_after, lost_answer and hang.",
        param="fault",
    )


def parse_header(header: str | None) -> tuple[Fault, ...]:
    """The `Sandbox-Fault` header: one fault or more, comma separated."""
    return tuple(parse_fault(part) for part in header.split(",")) if header else ()


def draw(header: str | None, rules: Iterable[Rule], operation: Target, checkout_id: str | None) -> Plan:
    """What goes wrong with one request."""
    asked = parse_header(header)
    struck = [rule.fault for rule in rules if rule.strikes(operation, checkout_id)]
    return plan((*asked, *struck))


def plan(faults: tuple[Fault, ...]) -> Plan:
    """Several faults as one plan: latencies add up, of several statuses the last one counts."""
    made = replace(NOTHING, faults=faults)
    for fault in faults:
        made = _add(made, fault)
    return made


def _add(made: Plan, fault: Fault) -> Plan:
    match fault:
        case Fault("latency", int(latency_ms)):
            return replace(made, latency_ms=made.latency_ms + latency_ms)
        case Fault("error", status):
            return replace(made, error=status)
        case Fault("error_after", status):
            return replace(made, error_after=status)
        case _:
            return replace(made, plain=made.plain | {fault.name})
