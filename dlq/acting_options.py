"""The options that the acting commands share, and who acts on which letters."""

import getpass
import socket
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated

import typer

from dlq.deeds import Author
from dlq.describing import find
from dlq.filters import Filter
from dlq.letters import DeadLetter

Ids = Annotated[
    list[str] | None, typer.Argument(metavar="[ID]...", help="Letters, by id, its beginning, or SERVICE/ID.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]
By = Annotated[str, typer.Option("--by", metavar="NAME", help="Who does it (default: you@this host).")]
Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="Why; the audit keeps it.")]


def author(by: str, why: str) -> Author:
    """Who acts now: whoever is named, else the operating system's user."""
    return Author(by=by or f"{getpass.getuser()}@{socket.gethostname()}", at=datetime.now(UTC), why=why)


def named(letters: Sequence[DeadLetter], ids: Sequence[str], wanted: Filter) -> Filter:
    """The filter for those of `ids` only. Raises UnknownLetterError for an id that there is not."""
    return replace(wanted, ids=frozenset(find(letters, each).ledger_key for each in ids)) if ids else wanted
