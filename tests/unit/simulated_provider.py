"""A payment provider as a dict: what happened to each amount, and what was answered to each key."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from random import Random
from typing import Final

from services.payment.provider.protocol import (
    Answer,
    Authorize,
    Authorized,
    Call,
    Capture,
    Captured,
    Declined,
    Refund,
    Refunded,
    Refusal,
    Refused,
    Void,
    Voided,
)

_FAR: Final = datetime(2026, 12, 31, tzinfo=UTC)
_WHY_NOT: Final = {
    "voided": Refusal.VOIDED_ALREADY,
    "captured": Refusal.CAPTURED_ALREADY,
    "refunded": Refusal.REFUNDED_ALREADY,
    "expired": Refusal.EXPIRED,
}


@dataclass
class Money:
    """One authorization and what became of it: held, captured, voided, refunded or expired."""

    checkout_id: str
    token: str
    authorized: int
    status: str = "held"
    captured: int = 0
    captures: int = 0


@dataclass
class Provider:
    """Its ledger. may_capture: asked at the moment of each capture; False is a breach that the test reports."""

    may_capture: Callable[[str], bool]
    breaches: list[str] = field(default_factory=list)
    money: dict[str, Money] = field(default_factory=dict)
    _answers: dict[str, tuple[Call, Answer]] = field(default_factory=dict)

    def perform(self, call: Call) -> Answer:
        """Do `call` once per key; every repetition hears the first answer."""
        if call.key not in self._answers:
            self._answers[call.key] = (call, self._do(call))
        first, answer = self._answers[call.key]
        if first != call:
            self.breaches.append(f"key {call.key} came with another body: {first}, then {call}")
        return answer

    def find(self, call: Call) -> Answer | None:
        """What became of `call`: by its key, else by the state of its payment; None when it was never done."""
        if call.key not in self._answers:
            found = self._shown(call)
            if found is None:
                return None
            self._answers[call.key] = (call, found)
        return self._answers[call.key][1]

    def forget(self, key: str) -> None:
        """A key is only kept for a day: the same call again would be a new one."""
        self._answers.pop(key, None)

    def effects(self) -> list[Money]:
        """What happened to all money so far."""
        return [replace(money) for money in self.money.values()]

    def expire_one(self, rng: Random) -> None:
        """Let go of an amount whose time is over, as card schemes do."""
        held = [money for money in self.money.values() if money.status == "held"]
        if held:
            rng.choice(held).status = "expired"

    def _do(self, call: Call) -> Answer:
        match call:
            case Authorize():
                return self._authorize(call)
            case Capture():
                return self._capture(call, self.money[call.payment_id])
            case Void():
                return self._void(self.money[call.payment_id])
            case Refund():
                return self._refund(call, self.money[call.payment_id])

    def _shown(self, call: Call) -> Answer | None:
        if isinstance(call, Authorize):
            held = [payment_id for payment_id, money in self.money.items() if money.checkout_id == call.checkout_id]
            return Authorized(payment_id=held[0], capture_before=_FAR) if held else None
        money = self.money[call.payment_id]
        match call, money.status:
            case Capture(), "captured" | "refunded":
                return Captured(amount_minor=money.captured)
            case Void(), "voided":
                return Voided()
            case Refund(), "refunded":
                return Refunded(amount_minor=money.captured)
            case Refund(), "captured":
                return None
            case _:
                return None if money.status == "held" else _no(money)

    def _authorize(self, call: Authorize) -> Answer:
        if "declined" in call.token:
            return Declined(code="PAYMENT_DECLINED", provider_code="generic_decline")
        payment_id = f"pay_{call.checkout_id}_{len(self.money)}"
        self.money[payment_id] = Money(call.checkout_id, call.token, call.amount_minor)
        return Authorized(payment_id=payment_id, capture_before=_FAR)

    def _capture(self, call: Capture, money: Money) -> Answer:
        if not self.may_capture(call.checkout_id):
            self.breaches.append(f"{call.checkout_id} is captured without a commitment")
        if money.status != "held":
            return _no(money)
        if "capture_refused" in money.token:
            return Refused(refusal=Refusal.BY_BANK, provider_code="lost_card")
        money.status, money.captured, money.captures = "captured", call.amount_minor, money.captures + 1
        return Captured(amount_minor=call.amount_minor)

    def _void(self, money: Money) -> Answer:
        if money.status != "held":
            return _no(money)
        money.status = "voided"
        return Voided()

    def _refund(self, call: Refund, money: Money) -> Answer:
        if money.status != "captured" or call.amount_minor != money.captured:
            return _no(money)
        money.status = "refunded"
        return Refunded(amount_minor=call.amount_minor)


def _no(money: Money) -> Refused:
    return Refused(refusal=_WHY_NOT.get(money.status, Refusal.OTHER), provider_code=money.status)
