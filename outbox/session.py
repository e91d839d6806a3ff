"""A session of Postgres that belongs to one part of a process, and ends with it."""

from typing import cast

from psycopg2 import extensions
from sqlalchemy import Engine


def own_session(engine: Engine) -> extensions.connection:
    """A session in autocommit that is nobody else's; the caller closes it.

    Locks, LISTEN and settings belong to the session: it must not go back to a pool where the next transaction would be
    committed without being flushed.
    """
    pooled = engine.raw_connection()
    session = cast("extensions.connection", pooled.driver_connection)
    pooled.detach()
    session.autocommit = True
    return session
