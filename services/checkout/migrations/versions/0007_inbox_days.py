"""The inbox's days are made and dropped by a function of the owner's: a service's role need own nothing."""

from alembic import op

from outbox.ddl import INBOX_V3

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Create it."""
    for statement in INBOX_V3:
        op.execute(statement)


def downgrade() -> None:
    """There is no way back, and no need for one: nothing that is kept has changed."""
    raise NotImplementedError("the tables of a payment system are changed forwards")
