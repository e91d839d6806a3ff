"""Room beside each product for the versions that its row will have."""

from alembic import op

from services.warehouse.tables import STOCK_V6

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Pages that are written from now on have it; `VACUUM FULL stock` gives it to those that are there."""
    for statement in STOCK_V6:
        op.execute(statement)


def downgrade() -> None:
    """There is no way back, and no need for one: nothing that is kept has changed."""
    raise NotImplementedError("the tables of a payment system are changed forwards")
