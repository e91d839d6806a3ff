"""The retry table, as the statements that make it; `services/shell/waiting.py` says what its rows are."""

from typing import Final

RETRIES_V1: Final = (
    """
    CREATE TABLE retries (
        letter_id uuid PRIMARY KEY,
        seq bigint GENERATED ALWAYS AS IDENTITY,
        event_id uuid NOT NULL,
        lane text NOT NULL,
        event_type text NOT NULL,
        operation text NOT NULL,
        gate text NOT NULL,
        status text NOT NULL CHECK (status IN ('pending', 'compensating', 'resolved', 'dead')),
        early boolean NOT NULL,
        attempts integer NOT NULL CHECK (attempts >= 0),
        timeouts integer NOT NULL CHECK (timeouts >= 0),
        error_class text NOT NULL,
        error_message text NOT NULL,
        error_stack text NOT NULL,
        fingerprint text NOT NULL,
        disposition text NOT NULL,
        first_failed_at timestamptz,
        since timestamptz,
        last_failed_at timestamptz,
        next_attempt_at timestamptz,
        deadline_at timestamptz,
        claimed_by uuid,
        claimed_until timestamptz,
        topic text NOT NULL,
        at_partition integer NOT NULL,
        at_offset bigint NOT NULL,
        at_time timestamptz NOT NULL,
        key bytea,
        value bytea,
        headers jsonb NOT NULL,
        replay_id text NOT NULL,
        replay_count integer NOT NULL,
        edit_of text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT claimed_until_a_time CHECK ((claimed_by IS NULL) = (claimed_until IS NULL))
    ) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000)
    """,
    """
    CREATE INDEX retries_lane ON retries (lane, seq) WHERE status IN ('pending', 'compensating')
    """,
    "CREATE INDEX retries_due ON retries (next_attempt_at) WHERE status = 'pending' AND next_attempt_at IS NOT NULL",
    "CREATE INDEX retries_over ON retries (updated_at) WHERE status IN ('resolved', 'dead')",
    """
    CREATE VIEW failed_compensation AS
        SELECT operation, lane AS checkout_id,
            CASE status WHEN 'compensating' THEN 'pending' ELSE status END AS status,
            attempts, timeouts, next_attempt_at, error_class, error_message AS last_error,
            first_failed_at, last_failed_at, letter_id, event_type, updated_at
        FROM retries
        WHERE operation IN ('capture', 'void', 'refund', 'release') AND error_class <> ''
    """,
)


RETRIES_V2: Final = (
    # a replay is taken for the very letter that was written, or for an edit of it
    "ALTER TABLE retries ADD COLUMN digest text NOT NULL DEFAULT ''",
    "ALTER TABLE retries ADD COLUMN edit_root text NOT NULL DEFAULT ''",
)
