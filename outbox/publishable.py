"""Whether a row of the outbox can be a Kafka record, whoever wrote it. Decided before the client sees it.

A header name with half of a surrogate pair crashes confluent-kafka's `produce`, and with it the process; one with a
NUL, or a text with a NUL as a value, goes out cut off. Whatever a row holds, here it is a record or a sentence.
"""

import base64
import re
from functools import lru_cache
from json import JSONDecoder
from typing import Any, Final

Header = tuple[str, bytes | None]

MAX_RECORD_BYTES: Final = 8 * 1024 * 1024
"""Key, value and headers of one record: as much as our producers send."""
_JSON_PER_BYTE: Final = 6
"""A control character of one byte is six characters of JSON."""
_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")
_PAIR: Final = 2
_SHOWN: Final = 60

_parse: Final = JSONDecoder().raw_decode


@lru_cache(maxsize=4096)
def topic_defect(topic: str) -> str:
    """Why Kafka has no topic of this name; "" for a name that it takes. Source: Kafka's class Topic."""
    if not topic:
        return "its topic has no name"
    if topic in {".", ".."} or not _TOPIC.fullmatch(topic):
        return f"{topic[:_SHOWN]!a} is no name of a topic: 1 to 249 of a-z, A-Z, 0-9, '.', '_' and '-'"
    return ""


def size_defect(content: int, headers_json: int, most: int = MAX_RECORD_BYTES) -> str:
    """Why a row can't be one record, by its size alone. Bytes of key and payload together; of the headers as JSON."""
    if content > most:
        return f"key and payload have {content:,} bytes; a record takes {most:,}"
    if headers_json > most * _JSON_PER_BYTE:
        return f"its headers have {headers_json:,} bytes; a record takes {most:,}"
    return ""


def headers_from(stored: str) -> list[Header]:
    """Headers as `outbox.add` writes them: [[name, text or null or {"base64": text}], ...].

    Raises ValueError, whose text is a sentence.
    """
    pairs = _pairs(stored)
    try:
        return [_header(pair) for pair in pairs]
    except UnicodeEncodeError:
        raise ValueError("the text of a header has half of a surrogate pair, which has no UTF-8") from None


def readable_headers(stored: str) -> list[Header]:
    """What can be read of them, where not everything can."""
    try:
        pairs = _pairs(stored)
    except ValueError:
        return []
    found: list[Header] = []
    for pair in pairs:
        try:
            found.append(_header(pair))
        except ValueError:
            continue
    return found


def name_defect(name: str) -> str:
    """Why this can't be the name of a header."""
    if "\0" in name:
        return f"a header's name has a NUL: {name[:_SHOWN]!a}"
    try:
        name.encode()
    except UnicodeEncodeError:
        return f"a header's name has half of a surrogate pair, which has no UTF-8: {name[:_SHOWN]!a}"
    return ""


def _pairs(stored: str) -> list[Any]:
    try:
        pairs, _ = _parse(stored)
    except RecursionError:
        raise ValueError("its headers are no list of pairs, but JSON in JSON in JSON") from None
    except ValueError as error:
        raise ValueError(f"its headers are no JSON: {error}") from None
    if not isinstance(pairs, list):
        raise ValueError(  # noqa: TRY004 - one kind of error for all that is wrong with a row
            f"its headers are {_KIND.get(type(pairs), 'no list')}, not a list of pairs"
        )
    return pairs


def _header(pair: Any) -> Header:
    if not isinstance(pair, list) or len(pair) != _PAIR or not isinstance(pair[0], str):
        raise ValueError("a header is no pair of a name and a value")
    name, value = pair
    # any other name than such a one is looked at more closely
    if (not name.isascii() or "\0" in name) and (defect := name_defect(name)):
        raise ValueError(defect)
    return name, value.encode() if isinstance(value, str) else _odd_value(name, value)


def _odd_value(name: str, value: Any) -> bytes | None:
    """A value that is no text. Raises ValueError."""
    if value is None:
        return None
    if isinstance(value, dict) and value.keys() == {"base64"} and isinstance(value["base64"], str):
        try:
            return base64.b64decode(value["base64"], validate=True)
        except ValueError:
            raise ValueError(f"the value of header {name[:_SHOWN]!a} is no base64") from None
    raise ValueError(f"the value of header {name[:_SHOWN]!a} is neither text nor base64 nor null")


_KIND: Final = {dict: "an object", str: "a text", int: "a number", float: "a number", bool: "a truth value"}
