"""Migrations by Alembic, one history per service and database."""

from collections.abc import Mapping
from importlib import resources
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from sqlalchemy import Engine, text

from services.shell import rights

_LOCK: Final = 0x6D6967  # "mig"


def upgrade(service: str, engine: Engine, role: str) -> None:
    """Bring a service's database to the newest revision; safe to run from several processes at once.

    engine: as the owner of the tables. role: the service's, which is given the rights that it needs. Raises OwnerError.
    """
    config = Config()
    config.set_main_option("script_location", str(resources.files(f"services.{service}") / "migrations"))
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        rights.check_owner(connection)
        config.attributes.update(connection=connection, role=role)
        command.upgrade(config, "head")


def run(context: EnvironmentContext, own: Mapping[str, str]) -> None:
    """What every service's `env.py` does: migrate on the connection that `upgrade` gives it, then grant.

    own: what the service's role needs of the service's own tables.
    """
    connection, role = context.config.attributes.get("connection"), context.config.attributes.get("role")
    if connection is None or role is None:
        raise RuntimeError("run `checkout migrate`: the database's URL is not kept in alembic's files")
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
    rights.grant(connection, role, own)
