"""The filter options, the same for every command."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer

from dlq.filters import Filter, dispositions_of, moment_of, services_of, states_of
from schemas.choreography import SERVICES

Names = list[str] | None

Service = Annotated[Names, typer.Option("--service", metavar="NAME", help="Letters of this service. Repeatable.")]
Disposition = Annotated[Names, typer.Option("--disposition", metavar="NAME", help="Why it is dead. Repeatable.")]
Fingerprint = Annotated[Names, typer.Option("--fingerprint", metavar="TEXT", help="Of this cause. Repeatable.")]
Checkout = Annotated[Names, typer.Option("--checkout", metavar="ID", help="Of this checkout. Repeatable.")]
StateName = Annotated[Names, typer.Option("--state", metavar="NAME", help="In this state. Repeatable.")]
Since = Annotated[str | None, typer.Option("--since", metavar="WHEN", help="Failed at or after: RFC 3339, or 2h, 3d.")]
Until = Annotated[str | None, typer.Option("--until", metavar="WHEN", help="Failed before: RFC 3339, or 2h, 3d.")]
Match = Annotated[
    Names,
    typer.Option(
        "--match", metavar="TEXT", help="Text or regular expression in error, key, headers, value. Repeatable."
    ),
]
Topic = Annotated[
    Names,
    typer.Option("--topic", metavar="NAME", help="Read this topic (full name), whoever wrote its letters. Repeatable."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def filter_from(  # noqa: PLR0917 - as many as there are options
    service: Sequence[str] | None = None,
    disposition: Sequence[str] | None = None,
    fingerprint: Sequence[str] | None = None,
    checkout: Sequence[str] | None = None,
    state: Sequence[str] | None = None,
    since: str | None = None,
    until: str | None = None,
    match: Sequence[str] | None = None,
) -> Filter:
    """The filter that these options ask for. Raises BadFilterError."""
    now = datetime.now(UTC)
    return Filter(
        services=services_of(service or (), SERVICES),
        dispositions=dispositions_of(disposition or ()),
        fingerprints=frozenset(fingerprint or ()),
        checkouts=frozenset(checkout or ()),
        states=states_of(state or ()),
        since=moment_of(since, now) if since else None,
        until=moment_of(until, now) if until else None,
        match=tuple(match or ()),
    )
