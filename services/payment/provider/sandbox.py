"""The sandbox provider over HTTP. Time-outs, lost connections and 5xx are unknown outcomes, never failures."""

from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

import aiohttp
from yarl import URL

from schemas.failures import Code
from services.payment.provider.protocol import (
    Answer,
    Authorize,
    Authorized,
    Call,
    Capture,
    Captured,
    Declined,
    OutcomeUnknownError,
    Refund,
    Refunded,
    Refusal,
    Refused,
    Void,
    Voided,
)

_OK: Final = 200
_CONFLICT: Final = 409
_TOO_MANY: Final = 429
_SERVER_ERROR: Final = 500

_EFFECT: Final[dict[type[Call], str]] = {
    Authorize: "authorized",
    Capture: "captured",
    Void: "voided",
    Refund: "refunded",
}
"""The status of a payment after each call."""

_DECLINES: Final = {
    "insufficient_funds": Code.INSUFFICIENT_FUNDS,
    "expired_card": Code.CARD_EXPIRED,
    "lost_card": Code.CARD_BLOCKED,
    "stolen_card": Code.CARD_BLOCKED,
    "fraudulent": Code.CARD_BLOCKED,
    "do_not_honor": Code.CARD_BLOCKED,
    "authentication_required": Code.AUTHENTICATION_REQUIRED,
}
"""The provider's decline reasons whose customer can do something about it; every other one is PAYMENT_DECLINED."""

_REFUSALS: Final = {
    "capture_refused": Refusal.BY_BANK,
    "payment_already_voided": Refusal.VOIDED_ALREADY,
    "payment_already_captured": Refusal.CAPTURED_ALREADY,
    "charge_already_refunded": Refusal.REFUNDED_ALREADY,
    "authorization_expired": Refusal.EXPIRED,
}


class SandboxProvider:
    """Calls the sandbox provider.

    url: where it listens. timeout_s: one call's limit, connecting included. connections: kept open, at most.
    """

    def __init__(self, url: str, timeout_s: float, connections: int) -> None:
        self._url = url.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def perform(self, call: Call) -> Answer:
        """Do `call`; safe to repeat. Raises OutcomeUnknownError."""
        path, body = _request(call)
        try:
            status, answer = await self._send("POST", path, body, {"Idempotency-Key": call.key})
            if status >= _SERVER_ERROR:
                # a provider may keep a 500 under the key for ever, although the effect took place: ask what did
                return await self._what_happened(call)
            return _answer(call, status, answer)
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:
            raise OutcomeUnknownError(f"{call.key}: {type(error).__name__}: {error}") from error

    async def _what_happened(self, call: Call) -> Answer:
        """The answer to `call` by the state of its payment. Raises OutcomeUnknownError where that does not show it."""
        status, key = await self._send("GET", f"/v1/idempotency-keys/{quote(call.key, safe='')}")
        if status == _OK and key["payment_id"] is not None:
            status, payment = await self._send("GET", f"/v1/authorizations/{key['payment_id']}")
            if status == _OK and payment["status"] == _EFFECT[type(call)]:
                return _done(call, payment)
        raise OutcomeUnknownError(f"{call.key}: the provider answered with a server error")

    async def _send(
        self, method: str, path: str, body: dict[str, Any] | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, Any]]:
        # the path is encoded already
        url = URL(self._url + path, encoded=True)
        async with self._http().request(method, url, json=body, headers=headers, allow_redirects=False) as response:
            return response.status, await response.json()

    async def close(self) -> None:
        """Give connections back."""
        if self._session is not None:
            await self._session.close()

    def _http(self) -> aiohttp.ClientSession:
        """The session, made on the event loop that uses it."""
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=self._connections)
            self._session = aiohttp.ClientSession(timeout=self._timeout, connector=connector)
        return self._session


def _request(call: Call) -> tuple[str, dict[str, Any]]:
    match call:
        case Authorize():
            return "/v1/authorizations", {
                "checkout_id": call.checkout_id,
                "amount_minor": call.amount_minor,
                "currency": call.currency,
                "payment_method": call.token,
                "customer": call.customer_id,
            }
        case Capture():
            return f"/v1/authorizations/{call.payment_id}/capture", {"amount_minor": call.amount_minor}
        case Void():
            return f"/v1/authorizations/{call.payment_id}/void", {}
        case Refund():
            return f"/v1/authorizations/{call.payment_id}/refund", {"amount_minor": call.amount_minor}


def _answer(call: Call, status: int, body: dict[str, Any]) -> Answer:
    """The answer as a value. Raises OutcomeUnknownError for a status that does not say what happened."""
    if status == _OK:
        return _done(call, body)
    if status in (_CONFLICT, _TOO_MANY):
        raise OutcomeUnknownError(f"{call.key}: the provider answered {status}")
    error = body.get("error", {})
    word = str(error.get("decline_code") or error.get("code") or error.get("type") or status)
    # a key that was used for something else says nothing about this call: no rule may take it for a decline
    if isinstance(call, Authorize) and error.get("type") != "idempotency_error":
        return Declined(code=_DECLINES.get(word, Code.PAYMENT_DECLINED), provider_code=word)
    return Refused(refusal=_REFUSALS.get(word, Refusal.OTHER), provider_code=word)


def _done(call: Call, body: dict[str, Any]) -> Answer:
    match call:
        case Authorize():
            until = datetime.fromisoformat(body["capture_before"])
            return Authorized(payment_id=body["payment_id"], capture_before=until)
        case Capture():
            return Captured(amount_minor=int(body["captured_minor"]))
        case Void():
            return Voided()
        case Refund():
            return Refunded(amount_minor=int(body["refunded_minor"]))
