"""The HTTP contract: one handler per route."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from aiohttp import web

from compose.sandbox import errors
from compose.sandbox.decisions import notice_expiry
from compose.sandbox.errors import BadRequestError
from compose.sandbox.fault_rules import read_rules
from compose.sandbox.faulty_http import response, with_faults
from compose.sandbox.idempotency import Reply, StoredKey, describe, reply
from compose.sandbox.ledger import Work
from compose.sandbox.model import Answer, Entry, Operation, Payment, rfc3339, view
from compose.sandbox.provider import PROVIDER
from compose.sandbox.requests import read_command, read_json, read_key

DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 1000
BODY_DEADLINE_S: Final = 3  # else a body that never ends would hold its connection, and a stop, for ever
MAX_CURSOR_DIGITS: Final = 18  # more would not fit the ledger's 64-bit numbers

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def routes() -> list[web.RouteDef]:
    """Every route of the contract."""
    one = "/v1/authorizations/{payment_id}"
    return [
        web.post("/v1/authorizations", partial(effect, "authorize")),
        web.post(one + "/capture", partial(effect, "capture")),
        web.post(one + "/void", partial(effect, "void")),
        web.post(one + "/refund", partial(effect, "refund")),
        web.get(one, payment_by_id),
        web.get("/v1/idempotency-keys/{key}", key_by_name),
        web.get("/v1/ledger", journal),
        web.get("/v1/payments", payments),
        web.put("/v1/faults", put_faults),
        web.get("/v1/faults", get_faults),
        web.delete("/v1/faults", delete_faults),
        web.get("/healthz", health),
    ]


async def effect(operation: Operation, request: web.Request) -> web.Response:
    """Any POST: validated first, then its faults, then its key, then its effect."""
    provider = request.app[PROVIDER]
    key = read_key(request.headers.get("Idempotency-Key"))
    payment_id = request.match_info.get("payment_id", "")
    command, fingerprint = read_command(operation, payment_id, await _body(request))

    async def execute(error_after: int | None) -> Reply:
        return await provider.execute(Work(key, fingerprint, command, error_after))

    return await with_faults(request, provider, operation, provider.checkout_of(command), execute)


async def payment_by_id(request: web.Request) -> web.Response:
    """One payment as it stands now."""
    provider = request.app[PROVIDER]
    payment_id = request.match_info["payment_id"]
    payment = provider.reader.payment(payment_id) if _storable(payment_id) else None
    answer = Answer(200, _view_now(payment)) if payment else errors.missing("payment", payment_id)
    return await _lookup(request, payment.checkout_id if payment else None, answer)


async def key_by_name(request: web.Request) -> web.Response:
    """What became of the request with this key."""
    provider = request.app[PROVIDER]
    key = request.match_info["key"]
    known = provider.known_key(key) if _storable(key) else None
    checkout_id = known.checkout_id if isinstance(known, StoredKey) else None
    return await _lookup(request, checkout_id, describe(key, known))


async def journal(request: web.Request) -> web.Response:
    """The journal of effects, in the order they took place."""
    after, limit = _page(request)
    found = request.app[PROVIDER].reader.journal(after, limit)
    entries = [{"seq": seq} | _entry_view(entry) for seq, entry in found]
    return _page_response("entries", entries, found[-1][0] if len(found) == limit else None)


async def payments(request: web.Request) -> web.Response:
    """All payments, or those of one checkout, in the order they were made."""
    after, limit = _page(request)
    checkout_id = request.query.get("checkout_id")
    if checkout_id is not None and not _storable(checkout_id):
        raise BadRequestError("checkout_id must be printable.", param="checkout_id")
    found = request.app[PROVIDER].reader.payments(checkout_id, after, limit)
    views = [_view_now(payment) for _, payment in found]
    return _page_response("payments", views, found[-1][0] if len(found) == limit else None)


async def put_faults(request: web.Request) -> web.Response:
    """Replace the rules in force."""
    provider = request.app[PROVIDER]
    provider.rules = read_rules(read_json(await _body(request)), provider.seed)
    return await get_faults(request)


async def get_faults(request: web.Request) -> web.Response:
    """The rules in force, with how often each was applied."""
    rules = request.app[PROVIDER].rules
    return response(reply(Answer(200, {"rules": [rule.view() for rule in rules]})))


async def delete_faults(request: web.Request) -> web.Response:
    """End all faults."""
    request.app[PROVIDER].rules = []
    return await get_faults(request)


async def health(request: web.Request) -> web.Response:
    """200 while the server takes requests."""
    return response(reply(Answer(200, {"status": "ok"})))


async def _body(request: web.Request) -> bytes:
    try:
        async with asyncio.timeout(BODY_DEADLINE_S):
            return await request.read()
    except TimeoutError:
        raise BadRequestError(f"The body did not arrive within {BODY_DEADLINE_S} s.", code="body_invalid") from None


async def _lookup(request: web.Request, checkout_id: str | None, answer: Answer) -> web.Response:
    async def execute(error_after: int | None) -> Reply:
        return reply(answer if error_after is None else errors.provider_failed(error_after))

    return await with_faults(request, request.app[PROVIDER], "lookup", checkout_id, execute)


def _view_now(payment: Payment) -> dict[str, Any]:
    return view(notice_expiry(payment, time.time_ns() // 1000)[0])


def _entry_view(entry: Entry) -> dict[str, Any]:
    return {
        "at": rfc3339(entry.at_us),
        "kind": entry.kind,
        "payment_id": entry.payment_id,
        "checkout_id": entry.checkout_id,
        "amount_minor": entry.amount_minor,
        "currency": entry.currency,
        "idempotency_key": entry.idempotency_key,
    }


def _page_response(name: str, items: list[dict[str, Any]], following: int | None) -> web.Response:
    return response(reply(Answer(200, {name: items, "next": following})))


def _page(request: web.Request) -> tuple[int, int]:
    limit = _number(request, "limit", DEFAULT_LIMIT)
    if not 1 <= limit <= MAX_LIMIT:
        raise BadRequestError(f"limit must be from 1 to {MAX_LIMIT}.", param="limit")
    return _number(request, "after", 0), limit


def _number(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_CURSOR_DIGITS):
        raise BadRequestError(f"{name} must be a whole number, 0 or more.", param=name)
    return int(text)


def _storable(text: str) -> bool:
    """Whether the ledger could hold this text: what isn't printable was never let in."""
    return text.isprintable()
