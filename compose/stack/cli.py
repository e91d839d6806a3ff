"""`checkout stack`: the servers from the command line."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from compose.stack import paths, users
from compose.stack.errors import StackError
from compose.stack.stack import ServerStatus, Stack
from schemas.terminal import json_text, safe

FAILED = 1
NOT_RUNNING = 3

app = typer.Typer(no_args_is_help=True, help="Kafka, schema registry, Postgres and payment provider, without Docker.")

Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="The servers' data folder.  [CHECKOUT_STACK_DIR, or .checkout/stack]"),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

Secure = Annotated[
    bool, typer.Option("--secure", help="TLS everywhere, a login for every process, and no right that it doesn't need.")
]


@contextmanager
def _stack(data: Path | None) -> Iterator[Stack]:
    """The stack of a folder; what goes wrong with it becomes one message and exit code 1."""
    try:
        yield Stack(data or paths.data_dir(os.environ), environ=os.environ, echo=_note)
    except (StackError, OSError) as error:
        typer.echo(f"checkout stack: {safe(error, lines=True)}", err=True)
        raise typer.Exit(FAILED) from None


def _note(line: str) -> None:
    typer.echo(safe(line, lines=True), err=True)


@app.command()
def up(data: Data = None, as_json: Json = False, secure: Secure = False) -> None:
    """Start the servers that aren't running; they run on until `down`. The first time downloads 200 MB."""
    with _stack(data) as stack:
        environment = stack.up(secure=secure)
    if as_json:
        typer.echo(json_text(dict(environment)))
    else:
        typer.echo(f'All servers are ready. For your shell: eval "$(checkout stack env{_option(data)})"')


def _option(data: Path | None) -> str:
    return "" if data is None else f" --data {shlex.quote(str(data))}"


@app.command()
def down(data: Data = None) -> None:
    """Stop the servers. Their data stays."""
    with _stack(data) as stack:
        stack.down()


@app.command()
def status(data: Data = None, as_json: Json = False) -> None:
    """Show the servers; exit code 0 when all run, 3 when one doesn't."""
    with _stack(data) as stack:
        servers = stack.status()
    if as_json:
        typer.echo(json_text([server._asdict() for server in servers]))
    else:
        Console(markup=False, emoji=False, highlight=False).print(_table(servers))
    if any(server.state == "stopped" for server in servers):
        raise typer.Exit(NOT_RUNNING)


def _table(servers: list[ServerStatus]) -> Table:
    table = Table("server", "state", "pid", "port", "memory", box=None)
    for server in servers:
        memory = None if server.memory_bytes is None else f"{server.memory_bytes / 1e6:.0f} MB"
        table.add_row(server.name, server.state, *(str(cell or "") for cell in (server.pid, server.port, memory)))
    return table


@app.command()
def env(
    data: Data = None,
    as_json: Json = False,
    principal: Annotated[
        str, typer.Option("--as", metavar="PRINCIPAL", help="Whose environment: payment, observer, shop, ...")
    ] = users.DEVELOPER,
) -> None:
    """Print what a process needs to find the servers and to log in, as shell exports."""
    with _stack(data) as stack:
        environment = stack.env(principal)
    if as_json:
        typer.echo(json_text(dict(environment)))
        return
    for name, value in environment.items():
        typer.echo(f"export {name}={_quoted(value)}")


def _quoted(value: str) -> str:
    # always quoted, also where a shell wouldn't need it
    return "'" + value.replace("'", "'\"'\"'") + "'"


if __name__ == "__main__":
    app()
