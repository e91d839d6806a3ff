"""Dead letters as JSON lines, and back: nothing is lost on the way, not the order of headers, not null against empty.

A line has what has to be put back (`topic` without prefix, `key`, `value`, `headers`; bytes as base64) and what a
person or another program wants to know of it (`letter`), which is not read again.
"""

import base64
import binascii
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from dlq.dialects import OURS, read
from dlq.failing import DlqError
from dlq.letters import DeadLetter
from dlq.showing import letter_json
from schemas.choreography import SERVICES, dead_letter_topic
from schemas.envelope import Header, rfc3339

_OURS: Final = {dead_letter_topic(service): service for service in SERVICES}


class BadLineError(DlqError):
    """A line that can't be put back; the text names it and says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """A letter to be put back. topic: without prefix. number: of its line."""

    number: int
    service: str
    id: str
    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[Header]

    @property
    def ledger_key(self) -> str:
        """Its identity."""
        return f"{self.service}/{self.id}"


def line(letter: DeadLetter) -> str:
    """A letter as one line, without its end."""
    about = letter_json(letter) | {name: rfc3339(getattr(letter, name)) for name in ("first_failed_at", "failed_at")}
    return json.dumps(
        {
            "topic": letter.place[0].removeprefix(letter.topic_prefix),
            "key": _text(letter.key),
            "value": _text(letter.value),
            "headers": [[name, _text(value)] for name, value in letter.headers],
            "letter": about,
        },
        ensure_ascii=False,
        separators=(",", ":"),
    )


def parcels(lines: Iterable[bytes], source: str) -> Iterator[Parcel]:
    """The letters in JSON lines; empty lines are skipped. Raises BadLineError at the first that can't be put back."""
    seen: dict[str, int] = {}
    for number, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        try:
            parcel = _parcel(json.loads(text), number)
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise BadLineError(f"{source}:{number}: {_reason(error)}") from None
        if parcel.ledger_key in seen:
            raise BadLineError(f"{source}:{number}: the same letter as in line {seen[parcel.ledger_key]}")
        seen[parcel.ledger_key] = number
        yield parcel


def _parcel(fields: Any, number: int) -> Parcel:
    if not isinstance(fields, dict):
        raise TypeError("no JSON object")
    topic = fields["topic"]
    if topic not in _OURS:
        raise ValueError(f"topic {topic!r} is none of {', '.join(_OURS)}: letters of others are not put back")
    headers = _headers(fields["headers"])
    dialect, info = read(headers, (topic, 0, 0))
    if dialect != OURS or not info["dlq-id"]:
        raise ValueError("there is no header dlq-id: not a letter of ours")
    if info["dlq-service"] not in ("", _OURS[topic]):
        raise ValueError(f"a letter of {info['dlq-service']} does not belong on {topic}")
    return Parcel(
        number=number,
        service=_OURS[topic],
        id=info["dlq-id"],
        topic=topic,
        key=_bytes(fields["key"], "key"),
        value=_bytes(fields["value"], "value"),
        headers=headers,
    )


def _headers(found: Any) -> list[Header]:
    if not isinstance(found, list):
        raise TypeError("headers: no list")
    return [_header(pair) for pair in found]


def _header(pair: Any) -> Header:
    if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[0], str):  # noqa: PLR2004 - name and value
        raise TypeError("headers: every one is a list of its name and its value")
    pair[0].encode()  # half a surrogate pair is valid JSON and no text
    return pair[0], _bytes(pair[1], f"header {pair[0]}")


def _text(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode("ascii")


def _bytes(text: Any, name: str) -> bytes | None:
    if text is None:
        return None
    if not isinstance(text, str):
        raise TypeError(f"{name}: neither base64 nor null")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"{name}: no base64: {error}") from None


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"no JSON: {error.msg} at column {error.colno}"
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    return f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
