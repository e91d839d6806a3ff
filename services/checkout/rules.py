"""What a sound request is. Pure; one problem is enough, the first one found is told."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from schemas.events import CheckoutRequested
from schemas.failures import Code
from schemas.limits import CURRENCIES, MAX_LINES, MAX_TOTAL_MINOR, identifier_fault, line_fault, sum_of


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a request is not sound: the code, a sentence for the engineer, and fields that must not be kept."""

    code: Code
    detail: str
    unusable: dict[str, Any] = field(default_factory=dict)


def problem_of(request: CheckoutRequested, at: datetime) -> Problem | None:
    """The first rule that `request` breaks, or None."""
    problem = _fields(request) or _lines(request) or _total(request) or _deadline(request, at)
    return problem and Problem(problem.code, problem.detail, _unusable(request))


def _unusable(request: CheckoutRequested) -> dict[str, Any]:
    """What is wrong may be a card number or a novel: it is not kept, nor is a digest by which it could be found out."""
    ids = (request.customer_id, request.payment_method_id, *(line.sku for line in request.lines))
    without: dict[str, Any] = {"fingerprint": ""} if any(map(identifier_fault, ids)) else {}
    without |= {"customer_id": ""} if identifier_fault(request.customer_id) else {}
    return without | ({} if request.currency in CURRENCIES else {"currency": ""})


def _fields(request: CheckoutRequested) -> Problem | None:
    for name in ("customer_id", "payment_method_id"):
        fault = identifier_fault(getattr(request, name))
        if fault:
            return Problem(Code.INVALID_FIELD, f"{name} {fault}")
    if request.currency not in CURRENCIES:
        known = ", ".join(sorted(CURRENCIES))
        return Problem(Code.UNKNOWN_CURRENCY, f"currency is not one of {known}")
    return None


def _lines(request: CheckoutRequested) -> Problem | None:
    if not request.lines:
        return Problem(Code.NO_LINES, "lines is empty")
    if len(request.lines) > MAX_LINES:
        return Problem(Code.TOO_MANY_LINES, f"{len(request.lines)} lines; at most {MAX_LINES}")
    for number, line in enumerate(request.lines, start=1):
        fault = line_fault(line)
        if fault:
            return Problem(Code.INVALID_LINE, f"line {number}: {fault}")
    return None


def _total(request: CheckoutRequested) -> Problem | None:
    total = sum_of(request.lines)
    if not 1 <= request.total_minor <= MAX_TOTAL_MINOR or total > MAX_TOTAL_MINOR:
        return Problem(
            Code.TOTAL_OUT_OF_RANGE, f"total {max(total, request.total_minor)}; must be 1 to {MAX_TOTAL_MINOR}"
        )
    if total != request.total_minor:
        return Problem(Code.TOTAL_MISMATCH, f"total_minor is {request.total_minor}, the lines add up to {total}")
    return None


def _deadline(request: CheckoutRequested, at: datetime) -> Problem | None:
    if request.expires_at is not None and request.expires_at <= at:
        return Problem(Code.EXPIRED, "expires_at has passed already")
    return None
