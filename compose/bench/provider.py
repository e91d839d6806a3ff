"""A payment provider inside the payment process, for figures that are about us and not about HTTP.

It keeps the rules that money needs (one effect per key, a capture only of what is held) and a journal that the audit
reads like any provider's.
"""

import asyncio
import json
import zlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.payment.provider.protocol import (
    Answer,
    Authorize,
    Authorized,
    Call,
    Capture,
    Captured,
    OutcomeUnknownError,
    Refund,
    Refunded,
    Refusal,
    Refused,
    Void,
    Voided,
)

_HELD_FOR: Final = timedelta(days=7)
_SHARES: Final = 10_000


class ProviderSettings(BaseSettings):
    """How it answers, from environment variables."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_prefix="BENCH_PROVIDER_")

    journal: Path | None = Field(None, description="Where its journal is written when it is closed, as JSON lines")
    delay_s: float = Field(0.0, ge=0, description="Seconds until a call is answered")
    slow_share: float = Field(0.0, ge=0, le=1, description="Share of checkouts whose calls are slow")
    slow_s: float = Field(5.0, ge=0, description="Seconds until those are answered")


class InProcessProvider:
    """Answers every call after its delay."""

    def __init__(self, settings: ProviderSettings) -> None:
        self._settings = settings
        self._answers: dict[str, Answer] = {}
        self._held: dict[str, Authorize] = {}
        self._journal: list[dict[str, Any]] = []

    async def perform(self, call: Call) -> Answer:
        """Do `call` once; repeated, the same answer."""
        await self._think(call)
        answer = self._answers.get(call.key)
        if answer is None:
            answer = self._answers[call.key] = self._do(call)
        return answer

    async def find(self, call: Call) -> Answer | None:
        """What became of `call`; None: never executed."""
        return self._answers.get(call.key)

    async def close(self) -> None:
        """Write the journal."""
        if self._settings.journal is None:
            return
        with self._settings.journal.open("a", encoding="utf-8") as out:
            out.writelines(json.dumps(entry) + "\n" for entry in self._journal)
        self._journal.clear()

    async def _think(self, call: Call) -> None:
        delay_s = self._settings.slow_s if is_slow(call.checkout_id, self._settings.slow_share) else 0.0
        if delay_s or self._settings.delay_s:
            await asyncio.sleep(delay_s or self._settings.delay_s)

    def _do(self, call: Call) -> Answer:
        if isinstance(call, Authorize):
            payment_id = f"pay-{call.checkout_id}"
            self._held[payment_id] = call
            self._note("authorized", call, payment_id)
            return Authorized(payment_id=payment_id, capture_before=datetime.now(UTC) + _HELD_FOR)
        held = self._held.get(call.payment_id)
        if held is None:
            return self._elsewhere(call)
        return self._settle(call, held)

    def _settle(self, call: Capture | Void | Refund, held: Authorize) -> Answer:
        done = {"capture": "captured", "void": "voided", "refund": "refunded"}[call.operation]
        self._note(done, held, call.payment_id)
        if isinstance(call, Capture):
            return Captured(amount_minor=call.amount_minor)
        return Voided() if isinstance(call, Void) else Refunded(amount_minor=call.amount_minor)

    def _elsewhere(self, call: Capture | Void | Refund) -> Answer:
        """Authorized by another payment process, whose books these are not: only a capture can be taken on trust."""
        if not isinstance(call, Capture):
            return Refused(refusal=Refusal.OTHER, provider_code="unknown_payment")
        raise OutcomeUnknownError(f"{call.key}: {call.payment_id} was authorized in another process")

    def _note(self, kind: str, authorized: Authorize, payment_id: str) -> None:
        self._journal.append(
            {
                "kind": kind,
                "checkout_id": authorized.checkout_id,
                "payment_id": payment_id,
                "amount_minor": authorized.amount_minor,
                "currency": authorized.currency,
            }
        )


def is_slow(checkout_id: str, share: float) -> bool:
    """Whether a checkout is one of the slow ones: the same ones for whoever asks."""
    return zlib.crc32(checkout_id.encode()) % _SHARES < share * _SHARES
