"""What a service's role may do in its database, whose tables belong to another role.

The owner migrates and keeps house; the service reads and writes rows. It makes, changes and drops no table, and what is
in the audit trail it can neither change nor remove. Days of the inbox are made and dropped by a function of the owner's
(`outbox.ddl.INBOX_V3`).
"""

from collections.abc import Mapping
from typing import Final

from sqlalchemy import Connection, text
from sqlalchemy.dialects.postgresql.base import PGDialect

SHARED: Final[Mapping[str, str]] = {
    "outbox": "SELECT, INSERT, UPDATE, DELETE",
    # how far the numbers are: without it a relay finds nothing settled
    "outbox_seq_seq": "SELECT",
    "inbox": "SELECT, INSERT",
    "audit_trail": "SELECT, INSERT",
    "retries": "SELECT, INSERT, UPDATE, DELETE",
    "failed_compensation": "SELECT",
    "fatal_messages": "SELECT, INSERT, UPDATE, DELETE",
}
"""What every service needs: table, view or sequence -> privileges."""
_FUNCTIONS: Final = ("insist(boolean, text)", "inbox_maintain(date, integer, integer)")

_OTHERS: Final = text(
    "SELECT relname, pg_get_userbyid(relowner) FROM pg_class WHERE relnamespace = current_schema()::regnamespace"
    " AND relname = ANY(:names) AND NOT pg_has_role(relowner, 'USAGE') ORDER BY relname LIMIT 1"
)
_quoted: Final = PGDialect().identifier_preparer.quote_identifier  # type: ignore[no-untyped-call]


class OwnerError(Exception):
    """The tables belong to another role than the one that is to change them. The text says what to do."""


def check_owner(db: Connection) -> None:
    """Raises OwnerError where this session's role can't change the tables that are there."""
    found = db.execute(_OTHERS, {"names": [*SHARED, "alembic_version"]}).first()
    if found is not None:
        table, owner = found
        here = db.execute(text("SELECT current_user")).scalar_one()
        raise OwnerError(
            f"the table {table} belongs to {owner}, and {here} can't change it. As a superuser, in this database: "
            f"REASSIGN OWNED BY {_quoted(owner)} TO {_quoted(here)}"
        )


def grant(db: Connection, role: str, own: Mapping[str, str]) -> None:
    """Give `role` exactly what it needs, in the caller's transaction. own: of the service's tables, as `SHARED`.

    Nothing is done where `role` is the owner itself.
    """
    if db.execute(text("SELECT pg_has_role(:role, current_user, 'USAGE')"), {"role": role}).scalar_one():
        return
    schema, database = db.execute(text("SELECT current_schema(), current_database()")).one()
    to, schema = _quoted(role), _quoted(schema)
    statements = [
        f"REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC, {to}",
        f"REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {to}",
        f"REVOKE ALL ON ALL SEQUENCES IN SCHEMA {schema} FROM {to}",
        f"GRANT CONNECT ON DATABASE {_quoted(database)} TO {to}",
        f"GRANT USAGE ON SCHEMA {schema} TO {to}",
        *(f"GRANT {what} ON {name} TO {to}" for name, what in {**SHARED, **own}.items()),
        *(f"GRANT EXECUTE ON FUNCTION {name} TO {to}" for name in _FUNCTIONS),
    ]
    for statement in statements:
        db.execute(text(statement))
