"""Avro records as JSON that people can edit, and back. Pure.

Instants are RFC 3339, UUIDs and decimals text, bytes base64. What comes back is checked against the schema value by
value, so that a mistake is named by its path.
"""

import base64
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from dlq.locks import EditError
from dlq.messages import instant
from schemas.envelope import rfc3339

_SHOWN_CHARS: Final = 200
_LIMITS: Final = {"int": 2**31, "long": 2**63}
Names = dict[str, Any]


def to_json(value: Any) -> Any:
    """A decoded record, JSON-ready."""
    match value:
        case dict():
            return {name: to_json(part) for name, part in value.items()}
        case list() | tuple():
            return [to_json(part) for part in value]
        case _:
            return _scalar(value)


def _scalar(value: Any) -> Any:
    match value:
        case datetime():
            return rfc3339(value)
        case date():
            return value.isoformat()
        case UUID() | Decimal():
            return str(value)
        case bytes():
            return base64.b64encode(value).decode()
        case _:
            return value


def from_json(schema: Any, data: Any) -> Any:
    """The record that `to_json` would show as `data`. Fields that have a default may be missing.

    Raises EditError naming the path of what does not fit.
    """
    return _read(schema, data, "", {})


def _read(schema: Any, data: Any, path: str, names: Names) -> Any:
    if isinstance(schema, list):
        return _union(schema, data, path, names)
    if isinstance(schema, str):
        return _read(names[schema], data, path, names) if schema in names else _primitive(schema, data, path)
    kind = schema["type"]
    if isinstance(kind, dict | list):
        return _read(kind, data, path, names)
    if "name" in schema:
        names[schema["name"]] = names[f"{schema.get('namespace', '')}.{schema['name']}"] = schema
    if (logical := _LOGICAL.get(schema.get("logicalType", ""))) is not None:
        return _parsed(logical, schema["logicalType"], data, path)
    reader = _COMPLEX.get(kind)
    return _primitive(kind, data, path) if reader is None else reader(schema, data, path, names)


def _record(schema: Mapping[str, Any], data: Any, path: str, names: Names) -> Any:
    if not isinstance(data, dict):
        raise _wrong(path, "an object", data)
    fields = {field["name"]: field for field in schema["fields"]}
    if strange := [name for name in data if name not in fields]:
        raise EditError(f"{_at(path, strange[0])}: there is no such field; there is {', '.join(fields)}")
    if missing := [name for name, field in fields.items() if name not in data and "default" not in field]:
        raise EditError(f"{_at(path, missing[0])}: is missing, and has no default")
    return {name: _read(fields[name]["type"], part, _at(path, name), names) for name, part in data.items()}


def _array(schema: Mapping[str, Any], data: Any, path: str, names: Names) -> Any:
    if not isinstance(data, list):
        raise _wrong(path, "a list", data)
    return [_read(schema["items"], part, f"{path}[{index}]", names) for index, part in enumerate(data)]


def _map(schema: Mapping[str, Any], data: Any, path: str, names: Names) -> Any:
    if not isinstance(data, dict):
        raise _wrong(path, "an object", data)
    return {name: _read(schema["values"], part, _at(path, name), names) for name, part in data.items()}


def _enum(schema: Mapping[str, Any], data: Any, path: str, _names: Names) -> Any:
    if data not in schema["symbols"]:
        raise _wrong(path, f"one of {', '.join(schema['symbols'])}", data)
    return data


def _fixed(schema: Mapping[str, Any], data: Any, path: str, _names: Names) -> Any:
    value = _parsed(_base64, "base64", data, path)
    if len(value) != schema["size"]:
        raise _wrong(path, f"base64 of {schema['size']} bytes", data)
    return value


def _union(branches: list[Any], data: Any, path: str, names: Names) -> Any:
    if data is None and "null" in branches:
        return None
    error: EditError = _wrong(path, "one of its kinds", data)
    for branch in branches:
        if branch != "null":
            try:
                return _read(branch, data, path, names)
            except EditError as found:
                error = found
    raise error


def _primitive(kind: str, data: Any, path: str) -> Any:
    if kind == "bytes":
        return _parsed(_base64, "base64", data, path)
    if kind in _LIMITS:
        whole = isinstance(data, int) and not isinstance(data, bool)
        if not whole or not -_LIMITS[kind] <= data < _LIMITS[kind]:
            raise _wrong(path, f"a whole number ({kind})", data)
    elif not _FITS.get(kind, lambda _: False)(data):
        raise _wrong(path, kind, data)
    return data


def _parsed(parse: Callable[[str], Any], what: str, data: Any, path: str) -> Any:
    try:
        value = parse(data) if isinstance(data, str) else None
    except (ValueError, ArithmeticError):
        value = None
    if value is None:
        raise _wrong(path, what, data)
    return value


def _base64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _wrong(path: str, expected: str, data: Any) -> EditError:
    return EditError(f"{path or 'the value'}: {_brief(data)} is not {expected}")


def _brief(data: Any) -> str:
    shown = repr(data)
    return shown if len(shown) <= _SHOWN_CHARS else f"{shown[:_SHOWN_CHARS]}..."


def _at(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


_COMPLEX: Final[dict[str, Callable[[Mapping[str, Any], Any, str, Names], Any]]] = {
    "record": _record,
    "array": _array,
    "map": _map,
    "enum": _enum,
    "fixed": _fixed,
}
_LOGICAL: Final[dict[str, Callable[[str], Any]]] = {
    "timestamp-micros": instant,
    "timestamp-millis": instant,
    "date": date.fromisoformat,
    "uuid": UUID,
    "decimal": Decimal,
}
_FITS: Final[dict[str, Callable[[Any], bool]]] = {
    "null": lambda data: data is None,
    "string": lambda data: isinstance(data, str),
    "boolean": lambda data: isinstance(data, bool),
    "float": lambda data: isinstance(data, int | float) and not isinstance(data, bool),
    "double": lambda data: isinstance(data, int | float) and not isinstance(data, bool),
}
