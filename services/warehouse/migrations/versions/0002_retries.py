"""The retry table and what it needs of the others."""

from alembic import op

from services.shell.retries_ddl import RETRIES_V1

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create it."""
    for statement in RETRIES_V1:
        op.execute(statement)


def downgrade() -> None:
    """There is no way back: messages that wait would be lost."""
    raise NotImplementedError("dropping the tables of a payment system is done by hand")
