"""The sandbox provider over HTTP. Time-outs, lost connections and 5xx are unknown outcomes, never failures."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import quote

import aiohttp
from pydantic import SecretStr
from yarl import URL

from schemas import strict_json
from schemas.secret import secret
from services.payment.provider.declines import OnUnmapped, bounded, nobody
from services.payment.provider.protocol import Answer, Authorize, Call, OutcomeUnknownError
from services.payment.provider.reading import MAX_ANSWER_BYTES, PLAIN, body_of, in_short, read_bounded, readable
from services.payment.provider.sandbox_answers import SERVER_ERROR, Body, answer, authorization, request, state

_OK: Final = 200
_MISSING: Final = 404


class SandboxProvider:
    """Calls the sandbox provider.

    url: where it listens. timeout_s: one request's limit, connecting included. connections: kept open, at most.
    on_unmapped: hears of reasons to decline that our table of codes lacks.
    """

    def __init__(
        self, url: SecretStr | str, timeout_s: float, connections: int, on_unmapped: OnUnmapped = nobody
    ) -> None:
        self._url = secret(url)
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._connections = connections
        self._on_unmapped = on_unmapped
        self._session: aiohttp.ClientSession | None = None

    async def perform(self, call: Call) -> Answer:
        """Do `call`; safe to repeat. Raises OutcomeUnknownError: `find` tells then what became of it."""
        path, body = request(call)
        async with _answered(call):
            status, said = await self._send("POST", path, body, {"Idempotency-Key": call.key})
            return answer(call, status, said, self._on_unmapped)

    async def find(self, call: Call) -> Answer | None:
        """What became of `call`: the answer that its key keeps, else what its payment shows; it has no effect.

        None: never executed. Raises OutcomeUnknownError where the provider does not answer or is still at it.
        """
        async with _answered(call):
            status, kept = await self._send("GET", f"/v1/idempotency-keys/{quote(call.key, safe='')}")
            if status == _MISSING:
                # never used, or forgotten: keys are kept for a day
                return await self._shown(call)
            if status != _OK or kept["state"] != "completed":
                says = bounded(str(kept.get("state", status)))
                raise OutcomeUnknownError(f"{call.key}: asked for the key, the provider says {says}")
            if kept["status"] < SERVER_ERROR:
                return answer(call, kept["status"], body_of(kept["response"]), self._on_unmapped)
            return await self._behind_error(call)

    async def close(self) -> None:
        """Give connections back."""
        if self._session is not None:
            await self._session.close()

    async def _behind_error(self, call: Call) -> Answer:
        """A 5xx is what the key will say for ever, although the effect may have taken place: the payment shows it."""
        shown = await self._shown(call)
        if shown is None:
            raise OutcomeUnknownError(f"{call.key}: the provider keeps a server error, and the payment shows no effect")
        return shown

    async def _shown(self, call: Call) -> Answer | None:
        """What the payment's own state says of `call`; None where it shows no trace of it."""
        if isinstance(call, Authorize):
            status, found = await self._send("GET", f"/v1/payments?checkout_id={quote(call.checkout_id, safe='')}")
            _only_ok(call, status)
            return authorization(call, found["payments"], self._on_unmapped)
        status, payment = await self._send("GET", f"/v1/authorizations/{quote(call.payment_id, safe='')}")
        if status == _MISSING:
            return answer(call, status, payment, self._on_unmapped)
        _only_ok(call, status)
        return state(call, payment)

    async def _send(self, method: str, path: str, body: Body | None = None, headers: Any = None) -> tuple[int, Body]:
        # the path is encoded already; a redirect would be no answer of the provider's
        url = URL(self._url.get_secret_value().rstrip("/") + path, encoded=True)
        async with self._http().request(method, url, json=body, headers=headers, allow_redirects=False) as response:
            raw = await read_bounded(response.content)
            return response.status, body_of(strict_json.loads(raw, max_bytes=MAX_ANSWER_BYTES))

    def _http(self) -> aiohttp.ClientSession:
        """The session, made on the event loop that uses it."""
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=self._connections)
            self._session = aiohttp.ClientSession(
                timeout=self._timeout, connector=connector, headers=PLAIN, auto_decompress=False
            )
        return self._session


def _only_ok(call: Call, status: int) -> None:
    if status != _OK:
        raise OutcomeUnknownError(f"{call.key}: asked for the payment, the provider answered {status}")


@asynccontextmanager
async def _answered(call: Call) -> AsyncIterator[None]:
    """No answer within the time, a lost connection, or an answer that can't be read: the outcome is unknown."""
    try:
        with readable(call):
            yield
    except (TimeoutError, aiohttp.ClientError) as error:
        late = isinstance(error, TimeoutError)
        raise OutcomeUnknownError(f"{call.key}: {in_short(error)}", timed_out=late) from error
