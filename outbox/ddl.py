"""The tables, as the statements that make them: for Alembic migrations and for services of other houses.

The outbox has Debezium's columns (id, aggregatetype, aggregateid, type, payload), so that its event router can
take the relay's place unchanged. Rows are only ever inserted and deleted.
Source: https://debezium.io/documentation/reference/stable/transformations/outbox-event-router.html
"""

from typing import Final

from sqlalchemy import text

from outbox.bulk import Database

OUTBOX_V1: Final = (
    """
    CREATE TABLE IF NOT EXISTS outbox (
        seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        id uuid NOT NULL,
        aggregatetype text NOT NULL,
        aggregateid text NOT NULL,
        type text NOT NULL,
        payload bytea,
        topic text NOT NULL,
        key bytea,
        headers jsonb NOT NULL,
        shard smallint NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now()
    ) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000)
    """,
    "CREATE INDEX IF NOT EXISTS outbox_shard_seq ON outbox (shard, seq)",
)

OUTBOX_V2: Final = (
    # what nobody searches in is kept as it was written: building a jsonb costs more than the rest of the row
    "ALTER TABLE outbox ALTER COLUMN headers TYPE json USING headers::json",
    # relays read from a floor upwards, by seq alone
    "DROP INDEX IF EXISTS outbox_shard_seq",
)

INBOX_V1: Final = (
    # partitioned by the day the event says it occurred: an event's copies say the same day, so uniqueness holds,
    # and old days leave by DROP TABLE
    """
    CREATE TABLE IF NOT EXISTS inbox (
        event_id uuid NOT NULL,
        occurred_on date NOT NULL,
        consumer text NOT NULL,
        handled_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (event_id, occurred_on, consumer)
    ) PARTITION BY RANGE (occurred_on)
    """,
    "CREATE TABLE IF NOT EXISTS inbox_other_days PARTITION OF inbox DEFAULT",
)

INBOX_V2: Final = (
    # another message under the same identity must not pass for a copy
    "ALTER TABLE inbox ADD COLUMN IF NOT EXISTS content bigint",
)


def create_tables(db: Database) -> None:
    """Create the outbox and inbox tables where they are missing, in the caller's transaction."""
    for statement in (*OUTBOX_V1, *OUTBOX_V2, *INBOX_V1, *INBOX_V2):
        db.execute(text(statement))
