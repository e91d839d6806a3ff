"""The payment that was authorized for a checkout, by which others are told apart."""

from alembic import op

from services.checkout.tables import CHECKOUTS_V6

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add it."""
    for statement in CHECKOUTS_V6:
        op.execute(statement)


def downgrade() -> None:
    """There is no way back, and no need for one: nothing that is kept has changed."""
    raise NotImplementedError("the tables of a payment system are changed forwards")
