"""The trace that a change belongs to, beside it."""

from alembic import op

from services.shell.trail import TRAIL_V3

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add it."""
    for statement in TRAIL_V3:
        op.execute(statement)


def downgrade() -> None:
    """There is no way back, and no need for one: nothing that is kept has changed."""
    raise NotImplementedError("the tables of a payment system are changed forwards")
