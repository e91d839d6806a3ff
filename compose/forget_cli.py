"""`checkout forget`: a customer's rows become nobody's; what topics keep is listed with its date."""

from collections.abc import Iterator
from typing import Annotated, Any, Final

import typer

from compose.failing import or_could_not
from compose.forgetting.acting import forget, left
from compose.forgetting.names import NotANameError, checked
from compose.forgetting.plan import Plan, Rows, make_plan
from compose.forgetting.tables import CHANGES
from compose.forgetting.topics import Found, end_rows, look
from compose.settings import Servers
from dlq.acting_options import By, Why, author
from schemas.terminal import flat, json_text
from services.shell.settings import read_settings

STILL_UNDER_WAY: Final = 1
_SHOWN: Final = 20
_ELSEWHERE: Final = (
    "not here: the payment provider's own records, replicas and backups of the databases, logs, traces, exported"
    " letters, and whoever else reads the topics"
)

Customer = Annotated[str, typer.Argument(metavar="CUSTOMER", help="The customer's id, exactly.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it; without it only what would be done is printed.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def forget_command(customer: Customer, *, yes: Yes = False, why: Why = "", by: By = "", as_json: Json = False) -> None:
    """Forget a customer: rows at rest get a pseudonym; says what stays on which topic until when.

    Exit code 1: something is still under way; forget again when it has ended. 2: it could not be done.
    """
    try:
        name = checked(customer)
    except NotANameError as error:
        raise typer.BadParameter(str(error), param_hint="CUSTOMER") from None
    servers = read_settings(Servers)
    with or_could_not("forget"):
        plan = make_plan(servers, name)
        if plan.names.within(f"{why} {by}".encode("utf-8", "replace")):
            raise typer.BadParameter("names the customer, and the audit keeps it for ever", param_hint="--why, --by")
        found = look(servers, plan.names, plan.own, plan.under_way)
        result = _forgotten(servers, plan, found, by, why) if yes else _planned(plan, found)
    typer.echo(json_text(result, indent=2) if as_json else "\n".join(_lines(result)))
    raise typer.Exit(STILL_UNDER_WAY if plan.under_way else 0)


def _planned(plan: Plan, found: Found) -> dict[str, Any]:
    return _result(plan, found, plan.rows) | {"done": False, "observer_rows": len(found.rows)}


def _forgotten(servers: Servers, plan: Plan, found: Found, by: str, why: str) -> dict[str, Any]:
    run, rows = forget(servers, plan, author(by, why, servers)) if not plan.is_empty else ("", plan.rows)
    ended = end_rows(servers, found.rows) if found.rows else 0
    more = {"done": True, "run": run, "observer_rows": ended, "still_named": left(servers, plan.names)}
    return _result(plan, found, rows) | more


def _result(plan: Plan, found: Found, rows: Rows) -> dict[str, Any]:
    return {
        "checkouts": len(plan.own),
        "under_way": {checkout_id: list(why) for checkout_id, why in plan.under_way.items()},
        "rows": {service: {table: n for table, n in tables.items() if n} for service, tables in rows.items()},
        "ids_with_the_name": sum(plan.names.customer in checkout_id for checkout_id in plan.own),
        "topics": [kept.as_json() for kept in found.staying],
        "unread_records": found.unread,
    }


def _lines(result: dict[str, Any]) -> Iterator[str]:
    if not any(result["rows"].values()) and not result["observer_rows"]:
        yield "nothing to do: no row names this customer" + (" and is at rest" if result["under_way"] else "")
    elif result["done"] and result["run"]:
        yield f"forgotten: {result['checkouts']:,} checkouts; `dlq audit` has it as forget/{result['run']}"
    elif not result["done"]:
        yield f"would be forgotten: {result['checkouts']:,} checkouts"
    yield from _row_lines(result)
    yield from _under_way_lines(result["under_way"])
    yield from _topic_lines(result)
    if result["ids_with_the_name"]:
        yield (
            f"{result['ids_with_the_name']:,} checkouts' own ids contain the customer's: they are the keys of events"
            " and books, and stay"
        )
    for service, columns in result.get("still_named", {}).items():
        for column, rows in columns.items():
            yield f"still names the customer: {service} {column}, {rows:,} rows"
    yield _ELSEWHERE
    if not result["done"]:
        yield "nothing was changed: --yes does it"


def _row_lines(result: dict[str, Any]) -> Iterator[str]:
    for service, tables in result["rows"].items():
        says = {change.table: change.says for change in CHANGES[service]}
        for table, rows in tables.items():
            yield f"  {service} {table}: {rows:,} rows, {says[table]}"
    if result["observer_rows"]:
        yield f"  observer's table: {result['observer_rows']:,} rows, a tombstone each; a running one shows them longer"


def _under_way_lines(under_way: dict[str, list[str]]) -> Iterator[str]:
    if under_way:
        yield f"still under way: {len(under_way):,}, forget again later"
    for checkout_id, why in list(under_way.items())[:_SHOWN]:
        yield f"  {flat(checkout_id)}: {flat('; '.join(why))}"
    if len(under_way) > _SHOWN:
        yield f"  ... and {len(under_way) - _SHOWN:,} more (--json has all)"


def _topic_lines(result: dict[str, Any]) -> Iterator[str]:
    if result["topics"]:
        yield "stays on topics, which nobody can change:"
    for each in result["topics"]:
        until = (
            f"dropped after {each['until']}" if each["until"] else "kept until its key has a newer record, or for ever"
        )
        yield (
            f"  {flat(each['topic'])}: {each['records']:,} records, {each['named']:,} name the customer;"
            f" {each['oldest']} to {each['newest']}, {until}"
        )
    if result["unread_records"]:
        yield f"{result['unread_records']:,} records could not be read: what they hold is not known"
