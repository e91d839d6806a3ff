"""The `checkout` command."""

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import stamina
import typer
from typer.exceptions import Abort, TyperException

from compose import publisher, run, setting_up, show
from compose.acls.cli import acls
from compose.audit.report import audit as look
from compose.audit.report import print_report
from compose.console import console
from compose.failing import FAILED, one_line
from compose.forget_cli import forget_command
from compose.outbox_cli import app as outbox_app
from compose.pruning import prune_command
from compose.publisher import Shop
from compose.sandbox_cli import sandbox
from compose.schemas_cli import app as schemas_app
from compose.settings import Servers
from compose.stack import paths, running_stack
from compose.stack.cli import Secure
from compose.stack.cli import app as stack_app
from schemas import json_lines, terminal
from schemas.terminal import json_text
from services.shell.settings import read_settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="An event-driven checkout over Kafka.",
)
app.add_typer(stack_app, name="stack")
app.add_typer(schemas_app, name="schemas")
app.add_typer(outbox_app, name="outbox")
app.command()(sandbox)
app.command()(acls)
app.command("forget")(forget_command)
app.command("prune")(prune_command)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _servers(environ: Mapping[str, str] = os.environ) -> Servers:
    return read_settings(Servers, **{name.lower(): value for name, value in environ.items() if _ours(name)})


def _ours(name: str) -> bool:
    return name.lower() in Servers.model_fields


@app.command("run")
def run_command(
    checkouts: Annotated[int, typer.Option(min=1, help="How many checkouts the sample has.")] = 40,
    exit_when_done: Annotated[bool, typer.Option("--exit-when-done", help="Stop after the summary.")] = False,
    as_json: Json = False,
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="The servers' data  [.checkout/stack].")] = None,
    observer: Annotated[bool, typer.Option("--observer", help="The observer too: /live, /checkouts/ID.")] = False,
    secure: Secure = False,
) -> None:
    """Servers, services and a sample that shows every ending; stays up until Ctrl-C."""
    folder = data or paths.data_dir(os.environ)
    with one_line("run"), running_stack(folder, environ=os.environ, secure=secure) as stack:

        def environ(principal: str) -> Mapping[str, str]:
            return {**os.environ, **stack.env(principal)}

        logins = run.Logins(environ, lambda principal: _servers(environ(principal)))
        options = run.Options(checkouts, exit_when_done, as_json, folder / "logs", observer)
        code = run.run(logins, options)
    raise typer.Exit(code)


@app.command("sample")
def sample_command(
    checkouts: Annotated[int, typer.Option(min=1, help="How many checkouts the sample has.")] = 40,
    as_json: Json = False,
) -> None:
    """Publish a sample that shows every ending to services that run, and report as `run` does."""
    with one_line("sample"):
        code = run.sample(_servers(), checkouts, as_json=as_json)
    raise typer.Exit(code)


@app.command()
def setup(
    seeding: Annotated[bool, typer.Option("--seed/--no-seed", help="Customers and stock for the sample.")] = True,
) -> None:
    """Migrate the databases, register the schemas, create the topics, seed customers and stock."""
    with one_line("setup"):
        setting_up.set_up(_servers(), typer.echo, seeding=seeding)


@app.command()
def migrate() -> None:
    """Bring the three databases to their newest tables."""
    with one_line("migrate"):
        setting_up.migrate(_servers())


@app.command()
def seed() -> None:
    """Customers, payment methods and stock for the sample."""
    with one_line("seed"):
        setting_up.seed(_servers())


@app.command()
def publish(file: Annotated[str, typer.Argument(help="JSON lines, or - for standard input.")]) -> None:
    """Publish `checkout.requested` from JSON lines; nothing is published when a line is bad."""
    with one_line("publish"), json_lines.opened(file) as lines:
        begin, name = lines.tell(), json_lines.name_of(file)
        # read to its end before the first is published, and not held
        count = sum(1 for _ in publisher.requests(lines, name))
        lines.seek(begin)
        with closing(Shop(_servers())) as shop:
            for request in publisher.requests(lines, name):
                shop.publish(request)
        typer.echo(f"{count} published")


@app.command("show")
def show_command(checkout_id: Annotated[str, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """State, audit trail and events of one checkout."""
    with one_line("show"):
        found = show.describe(_servers(), checkout_id)
        if as_json:
            typer.echo(show.to_json(found))
        else:
            show.print_checkout(found, console())


@app.command()
def audit(as_json: Json = False) -> None:
    """Hold databases, topics and the provider's ledger against the invariants; exit 1 when one is broken."""
    with one_line("audit"):
        report = look(_servers())
        if as_json:
            more: dict[str, Any] = {
                "checkouts": report.checkouts,
                "under_way": report.under_way,
                "waiting": report.waiting,
            }
            typer.echo(json_text(report.as_json() | more))
        else:
            print_report(report, console())
    raise typer.Exit(0 if report.clean else 1)


def main() -> None:
    """Entry point."""
    # a command says what is wrong when it gives up; that it tries again is not for its user
    stamina.instrumentation.set_on_retry_hooks([])
    terminal.prepare()
    sys.exit(run_app(sys.argv[1:]))


def run_app(arguments: Sequence[str]) -> int:
    """Run one command; its exit code. A wrong call is told in plain text: its arguments may hold anything."""
    try:
        code = app(args=list(arguments) or ["--help"], prog_name="checkout", standalone_mode=False)
    except TyperException as error:
        usage = getattr(getattr(error, "ctx", None), "get_usage", lambda: "Usage: checkout [OPTIONS] COMMAND [ARGS]...")
        typer.echo(terminal.safe(f"{usage()}\n{error.format_message()}", lines=True), err=True)
        return error.exit_code
    except Abort:
        typer.echo("checkout: nothing done", err=True)
        return FAILED
    return code if isinstance(code, int) else 0
