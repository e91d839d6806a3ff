"""Forgets: one transaction in each service's database, with an entry for the audit beside its rows."""

import hashlib
import secrets
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection
from uuid_utils.compat import uuid7

import outbox
from compose.forgetting.names import Names
from compose.forgetting.plan import Plan, Rows, transaction
from compose.forgetting.tables import CHANGES, still_named
from compose.settings import Servers
from dlq.deeds import Action, Author
from outbox.wake import notify
from schemas.choreography import DLQ_AUDIT_TOPIC, SERVICES

_SALT_BYTES: Final = 16
_SCRYPT: Final[dict[str, int]] = {"n": 2**14, "r": 8, "p": 1, "dklen": 32}


def forget(servers: Servers, plan: Plan, author: Author) -> tuple[str, Rows]:
    """(the run's id, rows that were changed). Raises sqlalchemy's DBAPIError: what was committed before it stands.

    The pseudonym is a random one of this run: it tells that two rows are one customer's, and nothing else.
    """
    run = uuid7()
    values = plan.values(f"forgotten-{secrets.token_hex(16)}")
    digest = digest_of(plan.names.customer, secrets.token_bytes(_SALT_BYTES))
    rows: Rows = {}
    for service, changes in CHANGES.items():
        with transaction(servers, service) as db:
            made = rows[service] = {change.table: change.make(db, values) for change in changes}
            if any(made.values()):
                detail = {"service": service, "customer": digest, "checkouts": len(plan.own), "rows": made}
                _audit(db, servers.topic_prefix, run, author, detail)
    return str(run), rows


def digest_of(customer: str, salt: bytes) -> dict[str, str]:
    """By which a known id is recognised in the audit. Slow and salted: ids are short, and would be found by trying.

    Source: RFC 7914, scrypt; 16 MiB of memory for each try.
    """
    digest = hashlib.scrypt(customer.encode(), salt=salt, **_SCRYPT)
    return {"scrypt": digest.hex(), "salt": salt.hex()}


def left(servers: Servers, names: Names) -> dict[str, dict[str, int]]:
    """Service -> `table.column` -> rows that still name the customer, searched in every column of every table."""
    found = {}
    for service in SERVICES:
        with transaction(servers, service) as db:
            if columns := still_named(db, names):
                found[service] = columns
    return found


def _audit(db: Connection, prefix: str, run: UUID, author: Author, detail: dict[str, Any]) -> None:
    """Through the outbox: it is there exactly when the rows are changed."""
    key = f"forget/{run}"
    entry = author.deed(Action.FORGOTTEN, letters=0, detail=detail)
    outbox.add(
        db,
        outbox.Record(
            topic=prefix + DLQ_AUDIT_TOPIC,
            key=key,
            payload=entry.record(key).value,
            type=DLQ_AUDIT_TOPIC,
            aggregatetype="dead_letter",
        ),
    )
    notify(db)
