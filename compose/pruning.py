"""`checkout prune`: the audit trails of checkouts that came to rest long ago leave the databases."""

from collections.abc import Iterator
from typing import Annotated, Final

import typer
from sqlalchemy import text

from compose.failing import or_could_not
from compose.forgetting.plan import transaction
from compose.settings import Servers
from services.shell.settings import read_settings

_PART: Final = 10_000
_OLD: Final = text(
    "SELECT checkout_id FROM checkouts WHERE checkout_id > :after AND updated_at < now() - make_interval(days => :days)"
    " AND status NOT IN ('accepted', 'authorized', 'capture_pending', 'capture_failed')"
    " AND NOT (status = 'failed' AND accepted) ORDER BY checkout_id LIMIT :most"
)
_WHERE: Final = "FROM audit_trail WHERE checkout_id = ANY(CAST(:ids AS text[]))"
_COUNT: Final = text(f"SELECT count(*) {_WHERE}")
_DELETE: Final = text(f"DELETE {_WHERE}")

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it; without it only what would be done is printed.")]


def prune_command(*, yes: Yes = False) -> None:
    """Delete the audit trails of checkouts at rest for longer than AUDIT_TRAIL_KEEP_DAYS."""
    servers = read_settings(Servers)
    if not servers.audit_trail_keep_days:
        typer.echo("nothing to do: AUDIT_TRAIL_KEEP_DAYS is 0, audit trails are kept for ever")
        return
    with or_could_not("prune"):
        checkouts, rows = prune(servers, yes=yes)
    did = "deleted" if yes else "would be deleted (--yes does it)"
    typer.echo(f"{rows:,} rows of {checkouts:,} checkouts {did}")


def prune(servers: Servers, *, yes: bool) -> tuple[int, int]:
    """(checkouts that are old enough, rows of their trails). Raises sqlalchemy's DBAPIError.

    The checkout service's rows go last: a run that was cut off leaves nothing behind that the next does not find.
    """
    checkouts = rows = 0
    for ids in _old(servers):
        checkouts += len(ids)
        for service in ("warehouse", "payment", "checkout"):
            with transaction(servers, service) as db:
                done = db.execute(_DELETE if yes else _COUNT, {"ids": ids})
                rows += done.rowcount if yes else done.scalar_one()
    return checkouts, rows


def _old(servers: Servers) -> Iterator[list[str]]:
    """Checkouts at rest for that long, in parts."""
    after = ""
    while True:
        values = {"after": after, "days": servers.audit_trail_keep_days, "most": _PART}
        with transaction(servers, "checkout") as db:
            ids = list(db.execute(_OLD, values).scalars())
        if not ids:
            return
        yield ids
        after = ids[-1]
