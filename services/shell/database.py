"""Engines whose connections log in with the password of the moment, and what may be said of their errors."""

from typing import Any, Final

import psycopg2
from pydantic import SecretStr
from sqlalchemy import URL, Dialect, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from schemas.secret import masked

_LOGIN: Final = ("host", "port", "dbname", "user", "password")
_CHARS: Final = 300
_NO_URL: Final = "is no URL of a database: postgresql+psycopg2://user:password@host:port/database"


def url_of(secret: SecretStr) -> URL:
    """A database's URL. Raises ValueError, which does not tell what is in it."""
    try:
        url = make_url(secret.get_secret_value())
    except (ArgumentError, ValueError):
        raise ValueError(_NO_URL) from None
    if url.get_backend_name() != "postgresql":
        raise ValueError(_NO_URL)
    return url


def engine_of(secret: SecretStr, **options: Any) -> Engine:
    """An engine for the database at this URL. options: of `create_engine`.

    The URL is asked for again with every new connection, so that one from a file may change: a password that lives for
    minutes is the next connection's, and connections that are open stay. Raises ValueError for what is no URL.
    """
    engine = create_engine(url_of(secret), **options)

    def log_in(dialect: Dialect, _record: Any, _arguments: Any, parameters: dict[str, Any]) -> None:
        try:
            _, now = dialect.create_connect_args(url_of(secret))
        except ValueError as error:
            raise psycopg2.OperationalError(f"the database's URL {error}") from None
        parameters.update({name: now.get(name) for name in _LOGIN})

    event.listen(engine, "do_connect", log_in)
    return engine


def words_of(error: Exception) -> str:
    """What went wrong, without the row that it went wrong with: its values may be a payment method's token."""
    original = getattr(error, "orig", None)
    diagnosis = getattr(original, "diag", None)
    if diagnosis is None:
        return type(error).__name__ if isinstance(error, DBAPIError) else str(error)[:_CHARS]
    if diagnosis.sqlstate is None:
        # the client's own words: of a server that is away, or a login that it refuses
        return masked(" ".join(str(original).split()))[:_CHARS]
    where = ", ".join(name for name in (diagnosis.table_name, diagnosis.constraint_name) if name)
    said = str(diagnosis.message_primary or "").split("\n", 1)[0][:_CHARS]
    return f"{said} (SQLSTATE {diagnosis.sqlstate}{', ' + where if where else ''})"
