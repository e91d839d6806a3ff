"""A condition that a transaction insists on, checked where it is written: without a round trip to ask first."""

from typing import Final

INSIST_V1: Final = (
    # 40001, a serialization failure: somebody else was there, so look again
    """
    CREATE FUNCTION insist(kept boolean, otherwise text) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        IF NOT kept THEN
            RAISE EXCEPTION '%', otherwise USING ERRCODE = 'serialization_failure';
        END IF;
    END
    $$
    """,
)
