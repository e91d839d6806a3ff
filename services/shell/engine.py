"""The engine of a service's database: sessions for many small transactions on keys."""

from pydantic import SecretStr
from sqlalchemy import Engine

from outbox.prepared import INDEXES_ONLY, prepares
from services.shell.database import engine_of


def make_engine(url: SecretStr, service: str) -> Engine:
    """The engine of a service, in autocommit: what must be atomic is said to be, by `outbox.prepared.transaction`."""
    engine = engine_of(
        url,
        isolation_level="AUTOCOMMIT",
        pool_reset_on_return=None,  # so there is nothing to roll back
        pool_size=3,
        max_overflow=2,
        connect_args={
            "application_name": service,
            "connect_timeout": 5,
            # a lock or statement that takes this long is a fault to be seen, not to be waited for
            "options": "-c statement_timeout=30000 -c lock_timeout=10000 -c idle_in_transaction_session_timeout=60000 "
            + INDEXES_ONLY,
        },
    )
    return prepares(engine)
