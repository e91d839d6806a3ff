"""What an edit changes, path by path, and which fields it must not touch. Pure: JSON in, changes out."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from dlq.failing import DlqError
from schemas import strict_json

LOCKED: Final = ("event_id", "checkout_id", "amount_minor", "total_minor", "currency", "unit_price_minor")
"""An identity or a sum that is changed by hand is another event, not the same one repaired."""
_ID: Final = "_id"
_STEP: Final = re.compile(r"\.?([A-Za-z_]\w*)|\[(\d+)\]|\.(\d+)", re.ASCII)
NOTHING: Final = "(nothing)"
"""Stands where a value is missing; no JSON text is written so."""


class EditError(DlqError):
    """An edit that is refused; the text says which field and why."""


@dataclass(frozen=True, slots=True)
class Change:
    """One value that differs. path: such as `lines[0].quantity`. old, new: as JSON text."""

    path: str
    old: str
    new: str

    @property
    def locked(self) -> bool:
        """Whether an edit must not do this."""
        names = re.sub(r"\[\d+\]", "", self.path).split(".")
        return any(name in LOCKED or name.endswith(_ID) for name in names)


def changes(old: Any, new: Any) -> list[Change]:
    """The values that differ, in the order in which they stand."""
    before, after = dict(leaves(old)), dict(leaves(new))
    paths = [*before, *(path for path in after if path not in before)]
    told = ((path, before.get(path, NOTHING), after.get(path, NOTHING)) for path in paths)
    return [Change(path, was, is_now) for path, was, is_now in told if was != is_now]


def check_locks(found: Iterable[Change]) -> None:
    """Raises EditError naming every locked field that was changed."""
    locked = [f"{change.path} ({change.old} -> {change.new})" for change in found if change.locked]
    if locked:
        raise EditError(f"locked, because it would be another event then: {', '.join(locked)}")


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """(path, JSON text) of every value that has no parts; an empty list or object is one."""
    match value:
        case dict() if value:
            for name, part in value.items():
                yield from leaves(part, f"{path}.{name}" if path else name)
        case list() if value:
            for index, part in enumerate(value):
                yield from leaves(part, f"{path}[{index}]")
        case _:
            yield path, json.dumps(value, ensure_ascii=False)


def assign(data: Any, assignment: str) -> None:
    """Carry out `path=value` in `data`: text where text stands, else JSON. Raises EditError."""
    path, equals, text = assignment.partition("=")
    steps = _steps(path)
    if not equals or not steps:
        raise EditError(f"{assignment!r} is not path=value, such as lines[0].quantity=2")
    *way, last = steps
    holder = data
    for step in way:
        holder = _part(holder, step, path)
    value = _value(_part(holder, last, path), text)
    if isinstance(holder, str):
        raise EditError(f"{path}: a part of a text can't be set, only all of it")
    holder[last] = value


def _steps(path: str) -> list[str | int]:
    found, at = [], 0
    while at < len(path):
        match = _STEP.match(path, at)
        if match is None:
            raise EditError(f"{path!r} is no path, such as lines[0].quantity")
        found.append(match[1] if match[1] else int(match[2] or match[3]))
        at = match.end()
    return found


def _part(holder: Any, step: str | int, path: str) -> Any:
    try:
        return holder[step]
    except (KeyError, IndexError, TypeError):
        there = ", ".join(holder) if isinstance(holder, dict) else f"{len(holder)} items" if holder else "nothing"
        raise EditError(f"{path}: there is no {step!r}; there is {there}") from None


def _value(old: Any, text: str) -> Any:
    if isinstance(old, str):
        return text
    try:
        return strict_json.loads(text)
    except ValueError:
        return text
