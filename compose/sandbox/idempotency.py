"""Stripe's idempotency: what a key answers when it was used before. Pure.

Same key, same request → the stored answer again, whatever it was, also a decline or a 500. Same key, other
request → an error. Same key while the first request runs → 409. A request that was never executed (it failed
validation, or met a conflict) leaves its key free. Source: https://docs.stripe.com/api/idempotent_requests
"""

import json
from dataclasses import dataclass

from compose.sandbox import errors
from compose.sandbox.model import Answer, Operation
from compose.sandbox.requests import canonical


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it goes over the wire: status, JSON bytes, and whether it was stored earlier."""

    status: int
    body: bytes
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key whose request was executed, with the answer that it keeps."""

    key: str
    fingerprint: str
    operation: Operation
    status: int
    response: str
    payment_id: str
    checkout_id: str
    created_at_us: int


@dataclass(frozen=True, slots=True)
class InFlight:
    """A key whose request is being executed. Known in memory only: a crash frees it, as nothing took place."""

    fingerprint: str
    operation: Operation
    payment_id: str | None


def reply(answer: Answer) -> Reply:
    """An answer on its way out."""
    return Reply(answer.status, canonical(answer.body).encode())


def replay(stored: StoredKey, fingerprint: str) -> Reply:
    """What a key that was used before answers to the request with this fingerprint."""
    if stored.fingerprint != fingerprint:
        return reply(errors.KEY_REUSED)
    return Reply(stored.status, stored.response.encode(), replayed=True)


def conflict(running: InFlight, fingerprint: str) -> Reply:
    """What a key answers while its first request runs."""
    return reply(errors.KEY_IN_USE if running.fingerprint == fingerprint else errors.KEY_REUSED)


def describe(key: str, known: StoredKey | InFlight | None) -> Answer:
    """The lookup of a key: completed with its stored answer, in flight, or 404."""
    if known is None:
        return errors.missing("idempotency key", key)
    found = {"key": key, "operation": known.operation, "payment_id": known.payment_id}
    if isinstance(known, InFlight):
        return Answer(200, found | {"state": "in_flight", "status": None, "response": None})
    response = json.loads(known.response)
    return Answer(200, found | {"state": "completed", "status": known.status, "response": response})
