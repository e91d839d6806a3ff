"""What the commands print on: results on stdout, everything else on stderr."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dlq.topics import Progress as Told

_LOG_COLUMNS: Final = 200
"""A file or pipe has no width of its own, and a table folded at 80 is no table."""


def console(*, stderr: bool = False) -> Console:
    """A console as wide as the terminal, or wide enough where there is none."""
    made = Console(stderr=stderr, highlight=False)
    if not made.is_terminal:
        made.width = _LOG_COLUMNS
    return made


def warn(sentence: str) -> None:
    """A line on stderr."""
    typer.echo(f"dlq: {sentence}", err=True)


def print_json(found: Any) -> None:
    """The result for `--json`."""
    typer.echo(json.dumps(found, default=_plain, indent=2, ensure_ascii=False))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


@contextmanager
def progress(what: str) -> Iterator[Told]:
    """Tells of a long reading on stderr, on a terminal only, and takes away what it said."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    shown = console(stderr=True)
    with Progress(*columns, console=shown, transient=True, disable=not shown.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
