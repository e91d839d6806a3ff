"""Migrations by Alembic, one history per service and database."""

from importlib import resources
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from sqlalchemy import create_engine, text

_LOCK: Final = 0x6D6967  # "mig"


def upgrade(service: str, database_url: str) -> None:
    """Bring a service's database to the newest revision; safe to run from several processes at once."""
    engine = create_engine(database_url)
    config = Config()
    config.set_main_option("script_location", str(resources.files(f"services.{service}") / "migrations"))
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        engine.dispose()


def run(context: EnvironmentContext) -> None:
    """What every service's `env.py` does: migrate on the connection that `upgrade` gives it."""
    connection = context.config.attributes.get("connection")
    if connection is None:
        raise RuntimeError("run `checkout migrate`: the database's URL is not kept in alembic's files")
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
