"""What the commands print on: results on stdout, everything else on stderr."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dlq.topics import Progress as Told
from schemas.terminal import flat, json_text, safe

_LOG_COLUMNS: Final = 200
"""A file or pipe has no width of its own, and a table folded at 80 is no table."""


def console(*, stderr: bool = False) -> Console:
    """A console as wide as the terminal, or wide enough where there is none."""
    made = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not made.is_terminal:
        made.width = _LOG_COLUMNS
    return made


def say(line: str, *, err: bool = False) -> None:
    """A line of the result, whatever it holds."""
    typer.echo(safe(line, lines=True), err=err)


def warn(sentence: str) -> None:
    """A line on stderr."""
    typer.echo(f"dlq: {flat(sentence)}", err=True)


def print_json(found: Any) -> None:
    """The result for `--json`."""
    typer.echo(json_text(found, default=_plain, indent=2))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


@contextmanager
def progress(what: str) -> Iterator[Told]:
    """Tells of a long reading on stderr, on a terminal only, and takes away what it said."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    shown = console(stderr=True)
    with Progress(*columns, console=shown, transient=True, disable=not shown.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
