"""Alembic's entry point."""

from alembic import context

from services.shell import migrate
from services.warehouse.tables import RIGHTS

migrate.run(context, RIGHTS)  # type: ignore[arg-type]  # alembic's module-level proxy of the EnvironmentContext
