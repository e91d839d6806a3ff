"""Conditions that are checked on the way: with them a batch needs two or three round trips."""

from alembic import op

from services.shell.insist import INSIST_V1

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create what checks them."""
    for statement in INSIST_V1:
        op.execute(statement)


def downgrade() -> None:
    """There is no way back, and no need for one: nothing that is kept has changed."""
    raise NotImplementedError("the tables of a payment system are changed forwards")
