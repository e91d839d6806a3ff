"""Alembic's entry point."""

from alembic import context

from services.payment.tables import RIGHTS
from services.shell import migrate

migrate.run(context, RIGHTS)  # type: ignore[arg-type]  # alembic's module-level proxy of the EnvironmentContext
