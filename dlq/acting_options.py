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
from dlq.kafka import KafkaSettings
from dlq.letters import DeadLetter
from dlq.settings import SettingsError

Ids = Annotated[
    list[str] | None, typer.Argument(metavar="[ID]...", help="Letters, by id, its beginning, or SERVICE/ID.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]
By = Annotated[
    str, typer.Option("--by", metavar="NAME", help="Who does it (default: you@this host); the login stands before it.")
]
Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="Why; the audit keeps it.")]


def author(by: str, why: str, settings: KafkaSettings) -> Author:
    """Who acts now: the login that the brokers know, and with it whoever is named, else the operating system's user.

    Raises SettingsError for a client certificate that can't be read.
    """
    person = by or f"{getpass.getuser()}@{socket.gethostname()}"
    try:
        login = settings.login
    except (OSError, ValueError) as error:
        raise SettingsError(f"KAFKA_SSL_CERTIFICATE_LOCATION: {error}") from None
    return Author(by=f"{login} ({person})" if login else person, at=datetime.now(UTC), why=why)


def named(letters: Sequence[DeadLetter], ids: Sequence[str], wanted: Filter) -> Filter:
    """The filter for those of `ids` only. Raises UnknownLetterError for an id that there is not."""
    return replace(wanted, ids=frozenset(find(letters, each).ledger_key for each in ids)) if ids else wanted
