"""The statements: which rows are a customer's, which still move, what becomes of those at rest.

`:own` are the customer's checkouts at rest, `:rest` those and other customers' that named one of this customer's
payment methods. Names are bound, never matched by LIKE.
"""

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, text

from compose.forgetting.names import Names

METHODS: Final = text("SELECT payment_method_id FROM payment_methods WHERE customer_id = :customer")
OWN: Final = {
    "checkout": text("SELECT checkout_id FROM checkouts WHERE customer_id = :customer"),
    "payment": text("SELECT checkout_id FROM payments WHERE customer_id = :customer"),
}
NAMING: Final = text("SELECT checkout_id FROM payments WHERE payment_method_id = ANY(CAST(:methods AS text[]))")

_IDS: Final = "checkout_id = ANY(CAST(:ids AS text[]))"
MOVING: Final = {
    "checkout": text(
        f"SELECT checkout_id, status FROM checkouts WHERE {_IDS}"  # noqa: S608 - from this code
        " AND (status IN ('accepted', 'authorized', 'capture_pending', 'capture_failed')"
        " OR (status = 'failed' AND accepted))"
    ),
    "payment": text(
        f"SELECT checkout_id, status FROM payments WHERE {_IDS}"  # noqa: S608
        " AND status NOT IN ('declined', 'captured', 'voided', 'refunded', 'closed')"
    ),
    "warehouse": text(
        f"SELECT checkout_id, status FROM reservations WHERE {_IDS} AND status IN ('reserved', 'confirm_failed')"  # noqa: S608
    ),
}
"""Whose state is still needed: money or goods are held, or somebody has yet to answer."""

_IN_BYTES: Final = "EXISTS (SELECT FROM unnest(CAST(:avro AS bytea[])) AS known WHERE position(known IN {0}) > 0)"
WAITING: Final = text(
    "SELECT lane, event_type FROM retries WHERE status IN ('pending', 'compensating')"  # noqa: S608
    f" AND (lane = ANY(CAST(:ids AS text[])) OR {_IN_BYTES.format('value')})"
)
UNPUBLISHED: Final = text(
    "SELECT aggregateid, topic FROM outbox"  # noqa: S608
    f" WHERE aggregateid = ANY(CAST(:ids AS text[])) OR {_IN_BYTES.format('payload')}"
)


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of some rows of a table. sets: of an UPDATE; "" deletes them. says: the same for people."""

    table: str
    where: str
    sets: str
    says: str

    def count(self, db: Connection, values: dict[str, Any]) -> int:
        """How many rows it is about."""
        statement = text(f"SELECT count(*) FROM {self.table} WHERE {self.where}")  # noqa: S608
        return int(db.execute(statement, values).scalar_one())

    def make(self, db: Connection, values: dict[str, Any]) -> int:
        """How many rows were changed or deleted."""
        verb = f"UPDATE {self.table} SET {self.sets}" if self.sets else f"DELETE FROM {self.table}"  # noqa: S608
        return int(db.execute(text(f"{verb} WHERE {self.where}"), values).rowcount)


_OWN: Final = "checkout_id = ANY(CAST(:own AS text[]))"
_TRAIL: Final = Change("audit_trail", f"{_OWN} AND note <> ''", "note = ''", "notes emptied")
_RETRIES: Final = Change(
    "retries",
    "status IN ('dead', 'resolved')"
    " AND (lane = ANY(CAST(:own AS text[])) OR error_message ~ :pattern OR error_stack ~ :pattern)"
    " AND (error_message <> '' OR error_stack <> '' OR value IS NOT NULL OR headers <> '[]')",
    "error_message = '', error_stack = '', value = NULL, headers = '[]'",
    "texts of errors and bytes of messages emptied",
)
CHANGES: Final = {
    "warehouse": (_TRAIL, _RETRIES),
    "checkout": (
        Change(
            "checkouts",
            f"{_OWN} AND customer_id = :customer",
            # a digest of what was ordered is found out by trying; another version fails whoever read the row before
            "customer_id = :pseudonym, fingerprint = '', detail = '', version = version + 1",
            "customer's id a pseudonym; fingerprint and detail emptied",
        ),
        _TRAIL,
        _RETRIES,
    ),
    # last: by its rows a run that was cut off finds the customer again
    "payment": (
        Change(
            "payments",
            "checkout_id = ANY(CAST(:rest AS text[]))"
            " AND (customer_id = :customer OR payment_method_id = ANY(CAST(:methods AS text[])))",
            "customer_id = CASE customer_id WHEN :customer THEN :pseudonym ELSE customer_id END,"
            " payment_method_id = :pseudonym, token = '', version = version + 1",
            "customer's and payment method's ids a pseudonym; token emptied",
        ),
        # a checkout that has not asked for its method yet needs it
        Change("payment_methods", "customer_id = :customer AND NOT :moving", "", "deleted"),
        _TRAIL,
        _RETRIES,
    ),
}
"""By service, in the order in which they are made; each service's in one transaction."""

_COLUMNS: Final = text(
    """
    SELECT class.relname, attribute.attname, type.typname
    FROM pg_class AS class
    JOIN pg_attribute AS attribute ON attribute.attrelid = class.oid AND attribute.attnum > 0
    JOIN pg_type AS type ON type.oid = attribute.atttypid
    WHERE class.relkind IN ('r', 'p') AND NOT class.relispartition AND NOT attribute.attisdropped
    AND class.relnamespace = current_schema()::regnamespace
    AND type.typname IN ('text', 'varchar', 'bpchar', 'json', 'jsonb', 'bytea')
    ORDER BY class.relname, attribute.attnum
    """
)
_MATCHES: Final = {
    "bytea": f"encode({{0}}, 'escape') ~ :pattern OR {_IN_BYTES}",
    "json": "{0}::text ~ :pattern",
    "jsonb": "{0}::text ~ :pattern",
}
_TEXT_MATCHES: Final = "{0} = ANY(CAST(:texts AS text[])) OR {0} ~ :pattern"


def still_named(db: Connection, names: Names) -> dict[str, int]:
    """`table.column` -> rows in which one of the names stands, of whatever tables there are."""
    found: dict[str, int] = {}
    values = {"pattern": names.pattern, "texts": names.texts, "avro": names.avro}
    for table, column, kind in db.execute(_COLUMNS).all():
        matches = _MATCHES.get(kind, _TEXT_MATCHES).format(f'"{column}"')
        rows = db.execute(text(f'SELECT count(*) FROM "{table}" WHERE {matches}'), values).scalar_one()  # noqa: S608
        if rows:
            found[f"{table}.{column}"] = int(rows)
    return found
