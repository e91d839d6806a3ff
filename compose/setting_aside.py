"""Takes one row out of an outbox and makes it a dead letter, in one transaction: for rows that nobody can publish."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, text
from uuid_utils.compat import uuid7

import outbox
from dlq import letter as dead_letter
from dlq.deeds import Action, Author
from dlq.faults import refusal
from dlq.letter import Disposition, Letter
from outbox.publishable import readable_headers
from outbox.stuck import headers_defect, row_defect
from outbox.wake import notify
from schemas.choreography import DLQ_AUDIT_TOPIC, EVENT_MAX_BYTES
from schemas.envelope import Header
from schemas.kafka.record import KafkaRecord, instant_of
from services.shell.scribe import VERSION

UNPUBLISHABLE: Final = "UnpublishableRow"
RAW_HEADERS: Final = "outbox-headers-raw"
_HANDLER: Final = "outbox.relay"
_RAW_BYTES: Final = 64 * 1024
_HEAD_BYTES: Final = 64 * 1024
"""Of what is too large for a letter."""
_READ_BYTES: Final = 8 * 1024 * 1024
_PER_HEADER: Final = 16
_ROW: Final = text(
    """
    SELECT seq, id, topic, aggregateid, shard, octet_length(payload) AS payload_bytes,
    CASE WHEN octet_length(payload) > :most THEN substring(payload FROM 1 FOR :head) ELSE payload END AS payload,
    CASE WHEN octet_length(payload) > :most THEN encode(sha256(payload), 'hex') END AS digest,
    octet_length(key) AS key_bytes, substring(key FROM 1 FOR :head) AS key,
    coalesce(octet_length(payload), 0)::bigint + coalesce(octet_length(key), 0) AS content,
    octet_length(headers::text) AS headers_bytes,
    CASE WHEN octet_length(headers::text) > :read THEN left(headers::text, :head) ELSE headers::text END AS headers,
    CASE WHEN isfinite(created_at) THEN extract(epoch FROM created_at) * 1000 ELSE 0 END AS created_ms
    FROM outbox WHERE seq = :seq FOR UPDATE
    """
)
_DELETE: Final = text("DELETE FROM outbox WHERE seq = :seq")


class RefusedError(Exception):
    """Nothing was done; the text says why."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be set aside, by whom and why. prefix: of the topics. force: also a row that could be published."""

    service: str
    seq: int
    author: Author
    prefix: str = ""
    force: bool = False


def set_aside(db: Connection, asked: Asked) -> str:
    """The id of the dead letter that the row became. db: in a transaction, which the caller commits.

    Raises RefusedError for a row that isn't there any more, and for one that a relay can publish.
    """
    limits = {"most": EVENT_MAX_BYTES, "head": _HEAD_BYTES, "read": _READ_BYTES}
    db.execute(text("SET LOCAL lock_timeout = '10s'"))
    row = db.execute(_ROW, {"seq": asked.seq} | limits).one_or_none()
    if row is None:
        raise RefusedError(f"the outbox of {asked.service} has no row {asked.seq}: it was published, or set aside")
    why = row_defect(db, row)
    if not why and not asked.force:
        raise RefusedError(
            f"row {asked.seq} of {asked.service} is a sound record for {row.topic}: as soon as the broker takes it, it"
            " leaves by itself. --force sets it aside all the same."
        )
    db.execute(_DELETE, {"seq": asked.seq})
    letter = _letter(asked, row, why or "set aside by hand")
    # an ordering key of its own: the letter waits for nothing that its row's key may still have
    record = replace(dead_letter.record(letter, asked.prefix), key=f"{asked.service}/{letter.id}")
    outbox.add(db, record, _audit_entry(asked, row, letter))
    notify(db)
    return letter.id


def _letter(asked: Asked, row: Any, why: str) -> Letter:
    created_at = instant_of(int(row.created_ms))
    return Letter(
        id=str(uuid7()),
        event_id=UUID(str(row.id)),
        lane=row.aggregateid,
        service=asked.service,
        group=asked.prefix + asked.service,
        handler=_HANDLER,
        handler_version=VERSION,
        disposition=Disposition.FATAL,
        fault=refusal(UNPUBLISHABLE, f"row {row.seq} of the outbox: {why}", row.topic[:_SHOWN], _HANDLER),
        attempts=0,
        timeouts=0,
        first_failed_at=created_at,
        failed_at=asked.author.at,
        origin=_origin(row, created_at),
    )


_SHOWN: Final = 300
"""Of a topic's name."""


def _origin(row: Any, created_at: datetime) -> KafkaRecord:
    """It has never lain in Kafka: no partition, no offset."""
    payload, key = _bytes(row.payload), _bytes(row.key)
    headers = _headers(row)
    size = sum(len(part) for part in (payload, key) if part is not None) + _size(headers)
    if payload is not None and size > EVENT_MAX_BYTES:
        payload = payload[:_HEAD_BYTES]
    headers += _cut("outbox-payload", payload, row.payload_bytes) + _cut("outbox-key", key, row.key_bytes)
    if row.digest:
        headers.append(("outbox-payload-sha256", str(row.digest).encode()))
    return KafkaRecord(
        topic=row.topic[:_SHOWN],
        partition=-1,
        offset=-1,
        timestamp=created_at,
        key=key,
        value=payload,
        headers=headers,
    )


def _headers(row: Any) -> list[Header]:
    """What can be read of them, and the raw text where that is not all, or more than a letter takes."""
    unread = row.headers_bytes > _READ_BYTES or bool(headers_defect(row.headers))
    headers: list[Header] = [] if row.headers_bytes > _READ_BYTES else [*readable_headers(row.headers)]
    if _size(headers) + row.content > EVENT_MAX_BYTES and _size(headers) > _RAW_BYTES:
        headers, unread = [], True
    return [*headers, (RAW_HEADERS, row.headers.encode()[:_RAW_BYTES])] if unread else headers


def _size(headers: Sequence[Header]) -> int:
    return sum(len(name.encode()) + len(value or b"") + _PER_HEADER for name, value in headers)


def _cut(name: str, kept: bytes | None, whole: int | None) -> list[Header]:
    """How long it was, where not all of it is kept."""
    return [(f"{name}-bytes", str(whole).encode())] if kept is not None and whole != len(kept) else []


def _audit_entry(asked: Asked, row: Any, letter: Letter) -> outbox.Record:
    """Who set it aside, for `dlq.audit`."""
    detail = {"service": asked.service, "seq": row.seq, "topic": row.topic[:_SHOWN], "problem": letter.fault.message}
    entry = asked.author.deed(Action.SET_ASIDE, detail=detail | {"letter": letter.id})
    written = entry.record(f"{asked.service}/{letter.id}")
    return outbox.Record(
        topic=asked.prefix + DLQ_AUDIT_TOPIC,
        key=f"{asked.service}/{letter.id}",
        payload=written.value,
        type=DLQ_AUDIT_TOPIC,
        aggregatetype="dead_letter",
    )


def _bytes(stored: Any) -> bytes | None:
    return None if stored is None else bytes(stored)
