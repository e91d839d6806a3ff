"""Alembic's entry point."""

from alembic import context

from services.shell import migrate

migrate.run(context)  # type: ignore[arg-type]  # alembic's module-level proxy of the EnvironmentContext
