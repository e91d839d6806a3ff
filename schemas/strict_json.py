"""JSON from outside: bounded in size and depth, without lone surrogates, NaN and other things that nobody can store."""

import json
from typing import Any, Final

MAX_BYTES: Final = 1024 * 1024
MAX_DEPTH: Final = 32


def loads(data: bytes | str, *, max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH) -> Any:
    """The value in `data`. Raises ValueError, whose text is a sentence that says what is wrong and where."""
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    if len(raw) > max_bytes:
        raise ValueError(f"{len(raw):,} bytes of JSON; at most {max_bytes:,} are read")
    try:
        value = json.loads(raw.decode("utf-8"), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8: byte 0x{raw[error.start]:02x} at {error.start}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON: {error.msg} at line {error.lineno} column {error.colno}") from None
    except RecursionError:
        raise ValueError(f"JSON nested more than {max_depth} deep") from None
    _check(value, max_depth)
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _check(value: Any, max_depth: int) -> None:
    """Raises ValueError for what is nested too deep, and for text that has no UTF-8."""
    level = [value]
    for _ in range(max_depth + 1):
        if not level:
            return
        for part in level:
            _check_text(part)
        level = [child for part in level for child in _children(part)]
    if level:
        raise ValueError(f"JSON nested more than {max_depth} deep")


def _children(part: Any) -> list[Any]:
    if isinstance(part, dict):
        return [*part, *part.values()]
    return part if isinstance(part, list) else []


def _check_text(part: Any) -> None:
    if isinstance(part, str):
        try:
            part.encode()
        except UnicodeEncodeError:
            raise ValueError("a text with half of a surrogate pair, which has no UTF-8") from None
