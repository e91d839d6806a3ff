"""`dlq show`: everything that is known of one dead letter."""

from collections.abc import Sequence
from dataclasses import asdict
from math import isfinite
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dlq.decoding import decode, preview
from dlq.failing import DlqError
from dlq.letters import DeadLetter
from dlq.saga import Said
from dlq.showing import clock, letter_json, pretty
from dlq.trail import Line
from schemas.registry_address import Registry
from schemas.terminal import flat, shown

_STACK = "dlq-error-stack"
_DEPTH = 64


class UnknownLetterError(DlqError):
    """There is no such letter, or more than one; the text says which."""


def find(letters: Sequence[DeadLetter], wanted: str) -> DeadLetter:
    """The letter with this id or `service/id`, or the only one whose id begins so. Raises UnknownLetterError."""
    found = _named(letters, wanted) or [letter for letter in letters if wanted and letter.id.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UnknownLetterError(f"there is no letter {wanted}; `dlq list --all` lists those that there are")
    some = ", ".join(letter.ledger_key for letter in found[:3])
    raise UnknownLetterError(f"{len(found)} letters are called {wanted}: {some}{', ...' if len(found) > 3 else ''}")  # noqa: PLR2004


def find_each(letters: Sequence[DeadLetter], wanted: str) -> list[DeadLetter]:
    """As `find`; each where several services have a letter of the same message. Raises UnknownLetterError."""
    return _named(letters, wanted) or [find(letters, wanted)]


def _named(letters: Sequence[DeadLetter], wanted: str) -> list[DeadLetter]:
    return [letter for letter in letters if wanted in (letter.id, letter.ledger_key)]


def describe(letter: DeadLetter, registry: Registry, lines: Sequence[Line], events: Sequence[Said]) -> dict[str, Any]:
    """All of it, as `--json` has it. letter: whole. events: of its checkout."""
    return letter_json(letter) | {
        "at": letter.at,
        "error_stack": letter.info[_STACK],
        "info": letter.info,
        "key": _described(letter.key),
        "value": _value(letter.value, registry),
        "headers": [[name, None if value is None else _text(value)] for name, value in letter.headers],
        "entry": None if letter.entry is None else asdict(letter.entry),
        "audit": [line.as_json() for line in lines],
        "saga": [asdict(event) for event in events],
    }


def _value(value: bytes | None, registry: Registry) -> dict[str, Any]:
    decoded = decode(value, registry)
    return {
        **_described(value),
        "schema": decoded.schema,
        "decoded": json_ready(decoded.content),
        "why": decoded.why,
        "preview": preview(value or b""),
    }


def json_ready(content: Any, depth: int = _DEPTH) -> Any:
    """A decoded record as JSON can hold it: bounded in depth, without numbers that JSON does not have."""
    match content:
        case dict() | list() | tuple() if not depth:
            return "(deeper than is shown)"
        case dict():
            return {str(name): json_ready(part, depth - 1) for name, part in content.items()}
        case list() | tuple():
            return [json_ready(part, depth - 1) for part in content]
        case float() if not isfinite(content):
            return str(content)
        case _:
            return content


def _described(value: bytes | None) -> dict[str, Any]:
    return {"bytes": None if value is None else len(value), "text": None if value is None else _text(value[:2000])}


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")


def print_letter(found: dict[str, Any], console: Console) -> None:
    """For people: what failed and why, its state, its content, its checkout."""
    _facts(found, console)
    _section(console, f"error: {found['error_class']}", found["error_message"])
    if found["error_stack"]:
        console.print(shown(found["error_stack"].rstrip(), "dim", lines=True))
    _content(found["value"], console)
    _print_headers(found["headers"], console)
    _print_ledger(found, console)
    _print_saga(found["saga"], console)


def _facts(found: dict[str, Any], console: Console) -> None:
    info = found["info"]
    origin = "/".join(info[f"dlq-original-{name}"] for name in ("topic", "partition", "offset"))
    grid = Table.grid(padding=(0, 2))
    rows = {
        "letter": f"{found['service']}/{found['id']}",
        "state": found["state"].replace("_", " "),
        "lies at": f"{found['topic']}/{found['partition']}/{found['offset']} since {clock(found['at'])} UTC",
        "written by": found["dialect"] if found["dialect"] != "ours" else "",
        "defect": found["defect"],
        "value is cut": _cut(info),
        "message": f"{origin}, published {info['dlq-original-timestamp']}",
        "checkout": found["checkout_id"],
        "why": found["disposition"],
        "attempts": f"{info['dlq-attempts']}, without an answer {info['dlq-timeouts'] or 'unknown'}",
        "failed": f"first {clock(found['first_failed_at'])}, last {clock(found['failed_at'])} UTC",
        "replayed": str(found["replay_count"]),
        "group": info["dlq-consumer-group"],
        "handler": f"{info['dlq-handler']} {info['dlq-handler-version']}".strip(),
        "compensation": info["dlq-compensation"],
        "fingerprint": found["fingerprint"],
    }
    for name, text in rows.items():
        if text:
            grid.add_row(Text(name, "bold"), shown(text, lines=True))
    console.print(grid)


def _cut(info: dict[str, str]) -> str:
    """What a letter that is too large holds of its message."""
    if not info["dlq-value-cut"]:
        return ""
    return f"{info['dlq-value-cut']}; the whole value's SHA-256 is {info['dlq-value-sha256']}"


def _section(console: Console, title: str, text: str = "") -> None:
    console.print(Text(f"\n{flat(title)}", "bold"))
    if text:
        console.print(shown(text, lines=True))


def _content(value: dict[str, Any], console: Console) -> None:
    size = "no value (null)" if value["bytes"] is None else f"{value['bytes']:,} bytes"
    _section(console, f"value: {size}{', ' + value['schema'] if value['schema'] else ''}")
    if value["decoded"] is not None:
        console.print(shown(pretty(value["decoded"]), lines=True))
    if value["why"]:
        also = "also" if value["decoded"] is not None else "not decoded"
        console.print(shown(f"{also}: {value['why']}", "yellow", lines=True))
    if value["decoded"] is None and value["preview"]:
        console.print(Text(value["preview"]))


def _print_headers(headers: list[list[str | None]], console: Console) -> None:
    _section(console, "headers")
    grid = Table.grid(padding=(0, 2))
    for name, text in headers:
        if name != _STACK:
            grid.add_row(shown(name), Text("null", "dim") if text is None else shown(text, lines=True))
    console.print(grid)


def _print_ledger(found: dict[str, Any], console: Console) -> None:
    entry = found["entry"]
    said = "nobody has touched it" if entry is None else "  ".join(f"{k}={v}" for k, v in entry.items() if v)
    _section(console, "ledger", said)
    for line in found["audit"]:
        fields = {name: value for name, value in line.items() if name not in ("at", "key") and value not in (None, "")}
        words = "  ".join(f"{name}={value}" for name, value in fields.items())
        console.print(shown(f"{clock(line['at'])}  {words}", lines=True))


def _print_saga(events: list[dict[str, Any]], console: Console) -> None:
    _section(console, "its checkout", "" if events else "no event of it is on the topics")
    grid = Table.grid(padding=(0, 2))
    for event in events:
        place = "/".join(map(str, event["place"]))
        mark = "<- this letter's message" if event["is_letter"] else ""
        cells = (f"{event['at']:%Y-%m-%d %H:%M:%S.%f}"[:-3], event["event_type"], event["source"], place, mark)
        grid.add_row(*map(shown, cells))
    console.print(grid)
