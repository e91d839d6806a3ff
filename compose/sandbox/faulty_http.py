"""A request's way through its faults: wait, fail before, take effect, fail after."""

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from compose.sandbox import errors
from compose.sandbox.faults import Plan, Target, draw
from compose.sandbox.idempotency import Reply, reply
from compose.sandbox.provider import Provider

log = logging.getLogger("compose.sandbox")

FAULT_HEADER: Final = "Sandbox-Fault"
REPLAYED_HEADER: Final = "Idempotent-Replayed"

_JSON: Final = {"Content-Type": "application/json"}
_REPLAYED: Final = _JSON | {REPLAYED_HEADER: "true"}
_RESET: Final = struct.pack("ii", 1, 0)  # linger on, for no time at all: close() sends RST
_CLIENT_LEFT_POLL_S: Final = 0.05  # aiohttp tells a handler that its client left only by cancelling it

Execute = Callable[[int | None], Awaitable[Reply]]


def response(answer: Reply) -> web.Response:
    """A reply as an HTTP response."""
    return web.Response(status=answer.status, body=answer.body, headers=_REPLAYED if answer.replayed else _JSON)


async def with_faults(
    request: web.Request, provider: Provider, operation: Target, checkout_id: str | None, execute: Execute
) -> web.Response:
    """Answer a request with `execute(error_after)`, and with whatever is to go wrong around it."""
    plan = draw(request.headers.get(FAULT_HEADER), provider.rules, operation, checkout_id)
    for fault in plan.faults:
        log.info("fault applied fault=%s operation=%s checkout_id=%s", fault, operation, checkout_id)
    if plan.latency_ms:
        await asyncio.sleep(plan.latency_ms / 1000)
    if failed := await _fail_before(request, provider, plan):
        return failed
    answer = await execute(plan.error_after)
    if "reset_after" in plan.plain:
        return _reset(request)
    if "lost_answer" in plan.plain:
        return _close(request)
    return response(answer)


async def _fail_before(request: web.Request, provider: Provider, plan: Plan) -> web.Response | None:
    if "hang" in plan.plain:
        return await _hang(request, provider.stopping)
    if "reset_before" in plan.plain:
        return _reset(request)
    if plan.error is not None:
        return response(reply(errors.provider_failed(plan.error)))
    return None


async def _hang(request: web.Request, stopping: asyncio.Event) -> web.Response:
    while request.transport is not None and not stopping.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), _CLIENT_LEFT_POLL_S)
    return _close(request)


def _reset(request: web.Request) -> web.Response:
    """Abort the connection; the client sees "connection reset by peer"."""
    if request.transport is not None:
        connection = request.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        request.transport.abort()
    return web.Response()  # aiohttp wants one; there is no connection left to send it on


def _close(request: web.Request) -> web.Response:
    """End the connection in good order, without the answer."""
    if request.transport is not None:
        request.transport.close()
    return web.Response()
