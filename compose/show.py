"""`checkout show ID`: what three services and the topics know of one checkout."""

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy import text

from compose.audit.reading import records
from compose.settings import Servers
from schemas.choreography import SERVICES, topics
from schemas.codec import Codec
from schemas.envelope import CHECKOUT_ID
from schemas.events import to_record
from schemas.failures import MEANWHILE, entry_of
from schemas.terminal import json_text, shown
from services.shell.database import engine_of
from services.shell.reading import read

_STATES = {"checkout": "checkouts", "payment": "payments", "warehouse": "reservations"}
# the provider's token is worth money to whoever has it
_SECRET = {"token", "fingerprint", "version"}
_CELL_CHARS = 2000


class UnknownCheckoutError(Exception):
    """No service has ever heard of this checkout."""


def describe(servers: Servers, checkout_id: str) -> dict[str, Any]:
    """State, audit trail and events of one checkout. Raises UnknownCheckoutError."""
    if not CHECKOUT_ID.fullmatch(checkout_id):
        raise UnknownCheckoutError(f"no checkout is called {checkout_id}: an id is 1 to 64 letters, digits or . _ : -")
    states: dict[str, dict[str, Any]] = {}
    trail: list[dict[str, Any]] = []
    waiting: list[dict[str, Any]] = []
    for service in SERVICES:
        state, steps, waits = _in_service(servers, service, checkout_id)
        if state is not None:
            states[service] = state
        trail += steps
        waiting += waits
    if not states:
        raise UnknownCheckoutError(f"no service knows a checkout {checkout_id}")
    trail.sort(key=lambda step: step["at"])
    known = states.get("checkout", {})
    code = known.get("code")
    meanwhile = MEANWHILE if known.get("delay") else None
    return {
        "checkout_id": checkout_id,
        "states": states,
        "customer_reads": entry_of(code).customer if code else meanwhile,
        "failure": _failure(code) if code else None,
        "waiting": waiting,
        "trace": next((trace for step in trail if (trace := _trace(step["traceparent"]))), None),
        "trail": trail,
        "events": _events(servers, checkout_id),
    }


def _trace(traceparent: str | None) -> str:
    """The id of a trace; "" where there is none."""
    parts = (traceparent or "").split("-")
    return parts[1] if len(parts) > 1 else ""


def _failure(code: str) -> dict[str, Any]:
    entry = entry_of(code)
    return {
        "code": code,
        "error_class": entry.error_class,
        "retryable": entry.retryable,
        "engineer_reads": entry.engineer,
    }


def _in_service(
    servers: Servers, service: str, checkout_id: str
) -> tuple[dict[str, Any] | None, list[dict[str, Any]], list[dict[str, Any]]]:
    """(state, audit trail, what waits in the retry table or was given up)."""
    engine = engine_of(servers.database_url(service))
    # the table's name comes from this code
    find = text(f"SELECT * FROM {_STATES[service]} WHERE checkout_id = :id")  # noqa: S608
    steps = text(
        "SELECT at, from_state, to_state, cause_type, cause_id, note, traceparent FROM audit_trail"
        " WHERE checkout_id = :id ORDER BY seq"
    )
    waits = text(
        "SELECT event_type, operation, status, attempts, next_attempt_at, error_class, error_message FROM retries"
        " WHERE lane = :id AND status <> 'resolved' ORDER BY seq"
    )
    with engine.connect() as db:
        row = db.execute(find, {"id": checkout_id}).mappings().first()
        trail = [{"service": service, **step} for step in db.execute(steps, {"id": checkout_id}).mappings()]
        waiting = [{"service": service, **row} for row in db.execute(waits, {"id": checkout_id}).mappings()]
    engine.dispose()
    state = None if row is None else {k: v for k, v in row.items() if k not in _SECRET and v is not None}
    return state, trail, waiting


def _events(servers: Servers, checkout_id: str) -> list[dict[str, Any]]:
    with closing(Codec(servers.registry, servers.topic_prefix)) as codec:
        events = list(_decoded(servers, codec, checkout_id))
    return sorted(events, key=lambda event: event["at"])


def _decoded(servers: Servers, codec: Codec, checkout_id: str) -> Iterator[dict[str, Any]]:
    for record in records(servers, topics()):
        if record.key != checkout_id.encode():
            continue
        delivery = read(record, codec, servers.topic_prefix)
        place = f"{record.topic}/{record.partition}/{record.offset}"
        content = {"defect": delivery.defect} if delivery.event is None else to_record(delivery.event)
        yield {"at": delivery.occurred_at, "id": delivery.event_id, "place": place, "content": content}


def to_json(found: dict[str, Any]) -> str:
    """For `--json`."""
    return json_text(found, default=lambda x: x.isoformat() if isinstance(x, datetime) else str(x), indent=2)


def print_checkout(found: dict[str, Any], console: Console) -> None:
    """For people: states, trail, events."""
    for service, state in found["states"].items():
        _fact(console, service, state["status"])
    if found["failure"]:
        _print_failure(found["customer_reads"], found["failure"], console)
    elif found["customer_reads"]:
        _fact(console, "the customer reads", found["customer_reads"])
    if found["trace"]:
        _fact(console, "trace", found["trace"])
    if found["waiting"]:
        console.print(_waiting_table(found["waiting"]))
    console.print(_trail_table(found["trail"]), _events_table(found["events"]))


def _fact(console: Console, name: str, text: object) -> None:
    console.print(Text.assemble(shown(name, "bold"), ": ", shown(text, limit=_CELL_CHARS)))


def _row(table: Table, *cells: object) -> None:
    """What other services, shops and banks wrote is text, never rich's markup."""
    table.add_row(*(shown("" if cell is None else cell, limit=_CELL_CHARS) for cell in cells))


def _trail_table(trail: list[dict[str, Any]]) -> Table:
    columns = ("time (UTC)", "service", "from", "to", "because of", "note")
    table = Table(*columns, title="audit trail", title_justify="left")
    for step in trail:
        names = ("service", "from_state", "to_state", "cause_type", "note")
        _row(table, _clock(step["at"]), *(step[name] for name in names))
    return table


def _events_table(events: list[dict[str, Any]]) -> Table:
    table = Table("time (UTC)", "topic/partition/offset", "content", title="events", title_justify="left")
    for event in events:
        content = {key: value for key, value in event["content"].items() if key != "checkout_id"}
        _row(table, _clock(event["at"]), event["place"], json_text(content))
    return table


def _clock(at: datetime) -> str:
    return f"{at:%H:%M:%S.%f}"[:-3]


def _waiting_table(waiting: list[dict[str, Any]]) -> Table:
    columns = ("service", "event", "operation", "", "tries", "next (UTC)", "error")
    table = Table(*columns, title="waits to be tried again, or was given up", title_justify="left")
    for row in waiting:
        again = f"{row['next_attempt_at']:%H:%M:%S}" if row["next_attempt_at"] else ""
        error = f"{row['error_class']}: {row['error_message']}" if row["error_class"] else "behind the one before"
        where = (row["service"], row["event_type"], row["operation"], row["status"])
        _row(table, *where, row["attempts"], again, error)
    return table


def _print_failure(customer_reads: str, failure: dict[str, Any], console: Console) -> None:
    again = "may succeed" if failure["retryable"] else "will fail again"
    _fact(console, failure["code"], f"{failure['error_class']}; the same again {again}")
    _fact(console, "the customer reads", customer_reads)
    _fact(console, "for the engineer", failure["engineer_reads"])
