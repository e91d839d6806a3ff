"""The `dlq` command: looks at dead letters, and acts on them. Needs Kafka and the registry, no service and no database.

Exit codes: 0 done, 1 `watch` found something to look at, 2 could not do it.
"""

import signal
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import stamina
import typer
from typer.exceptions import Abort, TyperException

from dlq import describing, export, options, picking, showing
from dlq.acting_cli import add_commands
from dlq.console import console, print_json, progress, say, warn
from dlq.contents import whole_letters
from dlq.failing import FAILED, one_line
from dlq.files import write_lines
from dlq.filters import duration, moment_of
from dlq.groups import groups
from dlq.metrics import serve
from dlq.options import Json, Topic, filter_from
from dlq.putting_back import put_back
from dlq.settings import read_settings
from dlq.trail import about
from dlq.watch import Limits
from dlq.watching import look
from schemas import json_lines, terminal
from schemas.json_lines import STANDARD

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Dead letters: look at them, and act on them.",
)

All = Annotated[bool, typer.Option("--all", help="Also those that are resolved, discarded, superseded or too late.")]
File = Annotated[str, typer.Argument(metavar="FILE", help="JSON lines; - is standard input or output.")]


@app.command("groups")
def groups_command(  # noqa: PLR0913 - the filters
    *,
    service: options.Service = None,
    disposition: options.Disposition = None,
    fingerprint: options.Fingerprint = None,
    checkout: options.Checkout = None,
    state: options.StateName = None,
    since: options.Since = None,
    until: options.Until = None,
    match: options.Match = None,
    topic: Topic = None,
    everything: All = False,
    as_json: Json = False,
) -> None:
    """One line for each cause: how many letters, since when, in which states, and one of them."""
    with one_line("groups"):
        wanted = filter_from(service, disposition, fingerprint, checkout, state, since, until, match)
        found = groups(picking.waiting(wanted, topic, everything), datetime.now(UTC))
        if as_json:
            print_json([showing.group_json(group) for group in found])
        elif found:
            showing.print_groups(found, console())
        else:
            warn("no letters")


@app.command("list")
def list_command(  # noqa: PLR0913 - the filters
    *,
    service: options.Service = None,
    disposition: options.Disposition = None,
    fingerprint: options.Fingerprint = None,
    checkout: options.Checkout = None,
    state: options.StateName = None,
    since: options.Since = None,
    until: options.Until = None,
    match: options.Match = None,
    topic: Topic = None,
    everything: All = False,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Show at most so many; 0: all.")] = 0,
    as_json: Json = False,
) -> None:
    """One line for each letter, those that failed first at the top."""
    with one_line("list"):
        wanted = filter_from(service, disposition, fingerprint, checkout, state, since, until, match)
        found = picking.waiting(wanted, topic, everything)
        shown = found[:limit] if limit else found
        if as_json:
            print_json([showing.letter_json(letter) for letter in shown])
        elif shown:
            showing.print_letters(shown, console())
        if len(found) > len(shown) or not found:
            warn(f"{len(found) - len(shown):,} more letters" if found else "no letters")


@app.command()
def show(
    letter_id: Annotated[str, typer.Argument(metavar="ID", help="Its id, or the beginning of it; or SERVICE/ID.")],
    *,
    topic: Topic = None,
    saga: Annotated[bool, typer.Option("--saga/--no-saga", help="Read the event topics for its checkout.")] = True,
    as_json: Json = False,
) -> None:
    """One letter: content, headers, error, state, what was done to it, and the events of its checkout."""
    with one_line("show"):
        settings = read_settings()
        letters = picking.read(settings, topic)
        # JSON is of one letter
        each = [describing.find(letters, letter_id)] if as_json else describing.find_each(letters, letter_id)
        trail = list(picking.trail(settings, None))
        for letter in whole_letters(settings, each):
            events = picking.its_events(settings, letter) if saga else []
            found = describing.describe(letter, settings.registry, list(about(trail, letter)), events)
            if as_json:
                print_json(found)
            else:
                describing.print_letter(found, console())


@app.command("export")
def export_command(  # noqa: PLR0913 - the filters
    file: File,
    *,
    service: options.Service = None,
    disposition: options.Disposition = None,
    fingerprint: options.Fingerprint = None,
    checkout: options.Checkout = None,
    state: options.StateName = None,
    since: options.Since = None,
    until: options.Until = None,
    match: options.Match = None,
    topic: Topic = None,
    as_json: Json = False,
) -> None:
    """Write letters as JSON lines, nothing lost; those of every state unless --state says otherwise."""
    with one_line("export"):
        wanted = filter_from(service, disposition, fingerprint, checkout, state, since, until, match)
        settings = read_settings()
        found = picking.meant(settings, wanted, topic)
        write_lines(file, map(export.line, whole_letters(settings, found)))
        if file == STANDARD:
            warn(f"{len(found):,} exported")
        elif as_json:
            print_json({"exported": len(found), "file": file})
        else:
            say(f"{len(found):,} exported to {file}")


@app.command("import")
def import_command(file: File, *, as_json: Json = False) -> None:
    """Put exported letters back on their topics; none when a line is bad, and none that lies there already."""
    with one_line("import"):
        with json_lines.opened(file) as opened, progress("putting back") as told:
            done = put_back(read_settings(), export.Source(opened, json_lines.name_of(file)), progress=told, warn=warn)
        if as_json:
            there = list(done.lying)
            print_json({"imported": done.back, "already_there": len(there), "already_there_letters": there})
        else:
            say(f"{done.back:,} put back, {len(done.lying):,} lay there already")


@app.command()
def watch(
    *,
    max_open: Annotated[int, typer.Option("--max-open", min=0, help="Unresolved letters that are nothing to say.")] = 0,
    max_age: Annotated[str, typer.Option("--max-age", metavar="SPAN", help="Age that is nothing to say.")] = "24h",
    known: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Fingerprints that were reported; new ones are added  [the ledger's]."),
    ] = None,
    retention_warning: Annotated[str, typer.Option(metavar="SPAN", help="Time before a letter is deleted.")] = "3d",
    as_json: Json = False,
) -> None:
    """For cron: exit 0 when there is nothing to look at, 1 when there is (and what), 2 when it can't look."""
    with one_line("watch"):
        limits = Limits(max_open=max_open, max_age=duration(max_age), warning=duration(retention_warning))
        with progress("reading dead letters") as told:
            report = look(read_settings(), limits, datetime.now(UTC), known, progress=told, warn=warn)
        if as_json:
            print_json(report.as_json())
        else:
            showing.print_findings(report.unresolved, report.findings)
    raise typer.Exit(1 if report.findings else 0)


@app.command("metrics")
def metrics_command(
    *,
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Its port; 0: any free one.")] = 9104,
    every: Annotated[str, typer.Option("--every", metavar="SPAN", help="How often the letters are read.")] = "15s",
) -> None:
    """For Prometheus: what lies on the dead-letter topics, until it is stopped."""
    with one_line("metrics"):
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        every_s = duration(every).total_seconds()
        serve(read_settings(), (host, port), every_s, stop, clock=lambda: datetime.now(UTC), tell=warn)


@app.command()
def audit(since: options.Since = None, *, as_json: Json = False) -> None:
    """Who did what to which letters, and why."""
    with one_line("audit"):
        begin = moment_of(since, datetime.now(UTC)) if since else None
        lines = picking.trail(read_settings(), begin)
        if as_json:
            print_json([line.as_json() for line in lines])
        elif lines:
            showing.print_trail(lines, console())
        else:
            warn("nobody has done anything")


add_commands(app)


def main() -> None:
    """Entry point."""
    # a command says what is wrong when it gives up; that it tries again is not for its user
    stamina.instrumentation.set_on_retry_hooks([])
    terminal.prepare()
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command; its exit code. A usage error is one line on stderr, not a screenful."""
    try:
        code = app(args=list(arguments) or ["--help"], prog_name="dlq", standalone_mode=False)
    except TyperException as error:
        warn(f"{error.format_message()} (--help says more)")
        return error.exit_code
    except Abort:
        typer.echo("dlq: nothing done", err=True)
        return FAILED
    return code if isinstance(code, int) else 0
