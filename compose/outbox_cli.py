"""`checkout outbox`: the rows that can't be published, and what to do with them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Final, NoReturn

import typer
from rich.table import Table
from rich.text import Text
from sqlalchemy import Connection

from compose.console import console
from compose.failing import or_could_not
from compose.setting_aside import Asked, RefusedError, set_aside
from compose.settings import Servers
from dlq.acting_options import By, Why, Yes, author
from outbox.stuck import Stuck, stuck_rows, waiting_rows
from schemas.choreography import SERVICES
from services.shell.database import engine_of
from services.shell.settings import read_settings

app = typer.Typer(no_args_is_help=True, help="Rows of the outboxes that can't be published: show them, set one aside.")

NOTHING: Final = 1
"""Looked, and found nothing; or refused in a sentence."""
_RESTING_S: Final = 10.0
_MOST: Final = 1000
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400


def _known(service: str) -> str:
    if service and service not in SERVICES:
        raise typer.BadParameter(f"one of {', '.join(SERVICES)}")
    return service


Service = Annotated[str, typer.Argument(metavar="SERVICE", callback=_known, help="checkout, payment or warehouse.")]
OfService = Annotated[str, typer.Option("--service", metavar="NAME", callback=_known, help="Only this one's outbox.")]
OlderThan = Annotated[
    float, typer.Option("--older-than", metavar="SECONDS", min=0, help="A row that newer ones have overtaken is stuck.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Force = Annotated[bool, typer.Option("--force", help="Also a row that could be published; stop the service first.")]


@app.command()
def blocked(service: OfService = "", older_than: OlderThan = 60.0, as_json: Json = False) -> None:
    """Rows that no relay can publish, and old rows that newer ones have overtaken; exit 1 when there are none."""
    servers = read_settings(Servers)
    with or_could_not("outbox blocked"):
        names = [service] if service else list(SERVICES)
        found = [(name, row) for name in names for row in _stuck(servers, name, older_than)]
    if as_json:
        typer.echo(json.dumps([{"service": name, **asdict(row)} for name, row in found], indent=2))
    elif found:
        console().print(_table(found))
    if not found:
        typer.echo("checkout outbox blocked: nothing is blocked", err=True)
        raise typer.Exit(NOTHING)


def _stuck(servers: Servers, service: str, older_than_s: float) -> list[Stuck]:
    with _database(servers, service) as db:
        found = stuck_rows(db, older_than_s, _MOST)
        count, age_s = waiting_rows(db)
    if not found and age_s > max(older_than_s, _RESTING_S):
        _say(f"{service}: {count:,} rows wait, the oldest for {_span(age_s)}, and none has overtaken another: "
             "does the service run, and reach Kafka?")  # fmt: skip
    if len(found) == _MOST:
        _say(f"{service}: the first {_MOST:,} are shown")
    return found


@app.command("set-aside")
def set_aside_command(
    service: Service,
    seq: Annotated[int, typer.Argument(metavar="SEQ", help="The row, as `checkout outbox blocked` shows it.")],
    why: Why,
    by: By = "",
    force: Force = False,
    yes: Yes = False,
) -> None:
    """Take one row out of the outbox and make it a dead letter of its service; later rows of its key then go on."""
    servers = read_settings(Servers)
    if not why.strip():
        _refuse("--why is empty: the audit keeps it")
    if not yes and not typer.confirm(f"Row {seq} of {service} leaves its outbox and becomes a dead letter. Go on?"):
        _refuse("nothing was done")
    with or_could_not("outbox set-aside"):
        asked = Asked(service, seq, author(by, why, servers), servers.topic_prefix, force)
        letter = _set_aside(servers, asked)
    if isinstance(letter, RefusedError):
        _refuse(str(letter))
    typer.echo(f"row {seq} of {service} is the dead letter {letter} now: `dlq show {letter}`")


def _set_aside(servers: Servers, asked: Asked) -> str | RefusedError:
    """The letter's id. What is refused is rolled back, and no failure of this command."""
    try:
        with _database(servers, asked.service) as db:
            return set_aside(db, asked)
    except RefusedError as refused:
        return refused


@contextmanager
def _database(servers: Servers, service: str) -> Iterator[Connection]:
    """A transaction that sees one state of the tables."""
    engine = engine_of(servers.database_url(service), connect_args={"connect_timeout": 5})
    try:
        with engine.connect().execution_options(isolation_level="REPEATABLE READ") as db, db.begin():
            yield db
    finally:
        engine.dispose()


def _refuse(reason: str) -> NoReturn:
    _say(_safe(reason))
    raise typer.Exit(NOTHING)


def _say(sentence: str) -> None:
    typer.echo(f"checkout outbox: {sentence}", err=True)


def _table(found: list[tuple[str, Stuck]]) -> Table:
    table = Table(title="rows that don't leave the outbox", title_justify="left")
    for column in ("service", "seq", "topic", "key", "age", "behind it", "why"):
        table.add_column(column, justify="right" if column in {"seq", "age", "behind it"} else "left")
    for name, row in found:
        cells = (name, str(row.seq), row.topic, row.key, _span(row.age_s), f"{row.behind:,}", row.why)
        table.add_row(*(Text(_safe(cell)) for cell in cells))
    return table


def _span(seconds: float) -> str:
    """`3 h`: the largest unit that is full."""
    for size, unit in ((_DAY_S, "d"), (_HOUR_S, "h"), (_MINUTE_S, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _safe(text: str) -> str:
    """Without control and format characters, which would be the terminal's or another reader's business."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
