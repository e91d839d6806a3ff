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

INBOX_V3: Final = (
    # only an owner makes and drops tables: it runs with its owner's rights, so that who handles messages need not have
    # them. What it names is looked for in the tables' schema, and among a caller's temporary tables last.
    # ATTACH, because a partition can't be made while the rows of its day lie elsewhere
    """
    DO $make$ BEGIN EXECUTE format($sql$
    CREATE OR REPLACE FUNCTION inbox_maintain(today date, keep_days integer, ahead_days integer) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = %1$I, pg_temp SET lock_timeout = '2s' AS $body$
    DECLARE
        day date;
        part text;
    BEGIN
        IF NOT pg_try_advisory_xact_lock(7304566) THEN
            RETURN;
        END IF;
        FOR day IN SELECT today + n FROM generate_series(-1, ahead_days) AS n LOOP
            part := 'inbox_' || to_char(day, 'YYYYMMDD');
            IF to_regclass(part) IS NULL THEN
                LOCK TABLE inbox_other_days IN ACCESS EXCLUSIVE MODE;
                EXECUTE format('CREATE TABLE %%I (LIKE inbox INCLUDING ALL)', part);
                EXECUTE format(
                    'WITH moved AS (DELETE FROM inbox_other_days WHERE occurred_on = %%L RETURNING *)'
                    ' INSERT INTO %%I SELECT * FROM moved', day, part);
                EXECUTE format(
                    'ALTER TABLE inbox ATTACH PARTITION %%I FOR VALUES FROM (%%L) TO (%%L)', part, day, day + 1);
            END IF;
        END LOOP;
        FOR part IN
            SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
            WHERE inhparent = 'inbox'::regclass AND relname ~ '^inbox_[0-9]{8}$'
            AND relname::text < 'inbox_' || to_char(today - keep_days, 'YYYYMMDD')
        LOOP
            EXECUTE format('DROP TABLE %%I', part);
        END LOOP;
    END
    $body$
    $sql$, current_schema()); END $make$
    """,
    "REVOKE EXECUTE ON FUNCTION inbox_maintain(date, integer, integer) FROM PUBLIC",
)


def create_tables(db: Database) -> None:
    """Create the outbox and inbox tables where they are missing, in the caller's transaction."""
    for statement in (*OUTBOX_V1, *OUTBOX_V2, *INBOX_V1, *INBOX_V2, *INBOX_V3):
        db.execute(text(statement))
