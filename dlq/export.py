"""Dead letters as JSON lines, and back: nothing is lost on the way, not the order of headers, not null against empty.

A line has what has to be put back (`topic` without prefix, `key`, `value`, `headers`; bytes as base64) and what a
person or another program wants to know of it (`letter`), which is not read again.
"""

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from dlq.dialects import OURS, read
from dlq.failing import DlqError
from dlq.letters import DeadLetter
from dlq.showing import letter_json
from schemas import json_lines
from schemas.choreography import SERVICES, dead_letter_topic
from schemas.envelope import Header, rfc3339
from schemas.terminal import json_text

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
    """A whole letter as one line, without its end."""
    about = letter_json(letter) | {name: rfc3339(getattr(letter, name)) for name in ("first_failed_at", "failed_at")}
    return json_text(
        {
            "topic": letter.place[0].removeprefix(letter.topic_prefix),
            "key": _text(letter.key),
            "value": _text(letter.value),
            "headers": [[name, _text(value)] for name, value in letter.headers],
            "letter": about,
        },
        compact=True,
    )


class Source:
    """A file of letters that is read from its present place on, as often as it is called."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file, self._name, self._begin = file, name, file.tell()

    def __call__(self) -> Iterator[Parcel]:
        """The letters, one by one. Raises BadLineError."""
        self._file.seek(self._begin)
        return parcels(self._file, self._name)


def parcels(file: BinaryIO, source: str) -> Iterator[Parcel]:
    """The letters in JSON lines; empty lines are skipped. Raises BadLineError at the first that can't be put back."""
    seen: dict[str, int] = {}
    try:
        for number, found in json_lines.values(file, source):
            parcel = _placed(found, number, source)
            if parcel.ledger_key in seen:
                raise BadLineError(f"{source}:{number}: the same letter as in line {seen[parcel.ledger_key]}")
            seen[parcel.ledger_key] = number
            yield parcel
    except json_lines.BadTextError as error:
        raise BadLineError(str(error)) from None


def _placed(found: Any, number: int, source: str) -> Parcel:
    try:
        return _parcel(found, number)
    except KeyError as error:
        raise BadLineError(f"{source}:{number}: {error.args[0]} is missing") from None
    except (TypeError, ValueError) as error:
        raise BadLineError(f"{source}:{number}: {error}") from None


def _parcel(fields: Any, number: int) -> Parcel:
    """Raises KeyError, TypeError, ValueError."""
    if not isinstance(fields, dict):
        raise TypeError("no JSON object")
    topic = fields["topic"]
    if not isinstance(topic, str) or topic not in _OURS:
        raise ValueError(f"topic {str(topic)[:80]!r} is none of {', '.join(_OURS)}: letters of others are not put back")
    headers = _headers(fields["headers"])
    dialect, info = read(headers, (topic, 0, 0))
    if dialect != OURS:
        raise ValueError(f"not a letter of {_OURS[topic]}: it has no headers dlq-id and dlq-service that say so")
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
    name = pair[0]
    if "\0" in name:
        raise ValueError("headers: a name with a NUL, which no client can write")
    return name, _bytes(pair[1], f"header {name[:80]}")


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
